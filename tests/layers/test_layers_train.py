"""Layers in training: a batch can be overfitted, and every back end follows the same loss."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repro.layers import make_conv2d, make_linear
from tests.ops.op_checks import BACKENDS, need_backend


def small_net(op: str, *, width: int = 8, **options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        make_conv2d(op, 3, width, 3, padding=1, **options),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        make_conv2d(op, width, width, 3, stride=2, padding=1, groups=width, **options),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        make_linear(op, width * 9, 4, bias=False, **options),
        nn.BatchNorm1d(4),
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(12, 3, 6, 6, generator=generator), torch.arange(12) % 4


def losses(net: nn.Module, steps: int, lr: float = 0.02) -> list[float]:
    x, labels = batch()
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    out = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        out.append(loss.item())
    return out


@pytest.mark.parametrize(
    ("op", "options"),
    [("adder", {}), ("shift", {}), ("shift", {"mode": "ps"}), ("shiftadd", {})],
    ids=["adder", "shift q", "shift ps", "shiftadd"],
)
def test_one_batch_can_be_overfitted(op, options):
    net = small_net(op, **options)
    history = losses(net, 120)
    assert history[-1] < 0.2 * history[0]
    x, labels = batch()
    assert (net(x).argmax(1) == labels).all()


@pytest.mark.parametrize("op", ["adder", "shift", "shiftadd"])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
def test_back_ends_follow_the_same_loss_for_ten_steps(op, backend):
    need_backend(backend)
    if op != "adder":
        need_backend(backend, "fixed_point" if backend == "cpu" else "shift")
    if backend == "triton" and op == "shiftadd":
        pytest.skip("both of its parts are covered, and the interpreter is slow")
    steps, width = (2, 2) if backend == "triton" else (10, 8)  # the interpreter is slow
    reference = losses(small_net(op, width=width, backend="reference"), steps)
    ours = losses(small_net(op, width=width, backend=backend), steps)
    assert ours == pytest.approx(reference, rel=1e-3)


@pytest.mark.parametrize("op", ["adder", "shift", "shiftadd"])
def test_training_under_autocast_stays_finite_and_learns(op):
    net = small_net(op)
    x, labels = batch()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    history = []
    for _ in range(30):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize("op", ["adder", "shift"])
def test_compiled_model_takes_the_same_steps(op):
    net = small_net(op)
    twin = copy.deepcopy(net)
    torch._dynamo.reset()
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    assert losses(compiled, 3) == pytest.approx(losses(net, 3), rel=1e-4)
