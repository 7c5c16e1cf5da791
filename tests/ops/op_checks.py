"""What the tests of operators share: inputs, gradients, back ends, and a tolerance that explains itself."""

from __future__ import annotations

import pytest
import torch

from repro.ops import dispatch

BACKENDS = ("reference", "cpu", "triton")


def backend_params(*names: str):
    """The back ends as test parameters; one that cannot run here is skipped with its own reason."""
    return pytest.mark.parametrize("backend", names or BACKENDS)


def need_backend(backend: str, family: str = "adder") -> None:
    """Skip the running test if `backend` does not work for CPU tensors here."""
    reason = None if backend == "reference" else dispatch._unusable(backend, "cpu", family)
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def conv_inputs(batch, channels, size, filters, kernel_size, groups, *, dtype=torch.float32, scale=1.0, seed=0):
    """(x, weight) of a 2-d operator, normally distributed times `scale`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((batch, channels, *size), generator=generator) * scale
    weight = torch.randn((filters, channels // groups, *kernel_size), generator=generator) * scale
    return x.to(dtype), weight.to(dtype)


def forward_and_grads(op, x, weight, bias=None, **options) -> dict[str, torch.Tensor]:
    """y, dx, dweight (and dbias) of `op` under an upstream gradient fixed by the output's shape."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y = op(*leaves, **options)
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    y.backward(upstream)
    grads = {name: leaf.grad for name, leaf in zip(("dx", "dweight", "dbias"), leaves) if leaf is not None}
    return {"y": y.detach(), **grads}


def assert_error_within(ours, plain, exact, factor: float = 2.0, name: str = "") -> None:
    """The worst element of `ours` errs at most `factor` times as much as plain PyTorch does at the same precision.

    `exact` is the float64 result. Two units in the last place of the largest exact value are allowed on top: one
    rounding more or less at the end is not an error. The message shows the worst element, not a mean. Lists are pooled:
    the largest error of several draws is a steadier yardstick than that of one small tensor.
    """
    if isinstance(ours, list):
        ours, plain, exact = (torch.stack(values) for values in (ours, plain, exact))
    assert ours.shape == exact.shape, f"{name}: shape {tuple(ours.shape)}, expected {tuple(exact.shape)}"
    assert ours.dtype == plain.dtype, f"{name}: dtype {ours.dtype}, expected {plain.dtype}"
    if not exact.numel():
        return
    error = (ours.double() - exact).abs()
    assert error.isfinite().all(), f"{name}: not finite"
    allowed = factor * (plain.double() - exact).abs().max() + 2 * torch.finfo(plain.dtype).eps * exact.abs().max()
    worst = error.argmax()
    assert error.max() <= allowed, (
        f"{name}: error {error.max():.3g} at flat index {worst} (ours {ours.flatten()[worst]:.9g}, exact "
        f"{exact.flatten()[worst]:.9g}); allowed is {allowed:.3g}, {factor} times plain PyTorch's"
    )
