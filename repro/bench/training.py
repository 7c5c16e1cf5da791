"""One optimiser step of whole networks: the ordinary one beside its adder, shift and ShiftAdd forms."""

from __future__ import annotations

import torch
from torch.nn import functional

from repro.bench.gate import CheckFailed
from repro.bench.shapes import Network
from repro.bench.timer import Work
from repro.models import create

RESNET20 = Network("resnet20", 128, 32, (("num_classes", 10),))
MOBILENET = Network("mobilenet_v2", 32, 160, (("width", 0.35), ("num_classes", 100)))
"""ShiftAddAug supplement, table 3: MobileNetV2-w0.35, 160 pixels, batch 32."""
STEP_NETWORKS = (RESNET20, MOBILENET)
OPERATORS = ("conv", "adder", "shift", "shiftadd")
METHODS = {"Base": "conv", "Shift": "shift", "Add": "adder", "ShiftAddNet": "shiftadd"}
"""Rows of the supplement's table 3 that direct training gives."""


def _model(network: Network, op: str, device: str, backend: str = "auto"):
    options = {name: {"backend": backend} for name in OPERATORS if name != "conv"} if backend != "auto" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(network.model, op=op, op_options=options, **dict(network.options)).to(device).train()


def _batch(network: Network, device: str):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(network.batch, 3, network.size, network.size, generator=generator)
    labels = torch.randint(dict(network.options)["num_classes"], (network.batch,), generator=generator)
    return images.to(device), labels.to(device)


def make_step(network: Network, op: str, device: str = "cpu") -> Work:
    """A function that runs one step: forward, cross entropy, backward, SGD with momentum; returns the loss."""
    model = _model(network, op, device)
    images, labels = _batch(network, device)
    # A small rate: the timed steps must not drive an untuned network out of the range of numbers.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _loss_and_gradient(network: Network, op: str, device: str, backend: str):
    model = _model(network, op, device, backend)
    images, labels = _batch(network, device)
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return float(loss.detach()), gradients.double().cpu()


def check_step(network: Network, op: str, device: str = "cpu", batch: int = 2) -> None:
    """Loss and gradients of one small batch must be those of the reference back end; raises CheckFailed.

    Batch statistics over few values and clipped gradients magnify rounding, so gradients are compared by their
    direction: the cosine of the two must be 0.999 or more.
    """
    if op == "conv":
        return
    small = Network(network.model, batch, network.size, network.options)
    loss, gradient = _loss_and_gradient(small, op, device, "auto")
    exact, exact_gradient = _loss_and_gradient(small, op, "cpu", "reference")
    if not abs(loss - exact) <= 1e-3 * max(1.0, abs(exact)):
        raise CheckFailed(f"loss is {loss:.6g}, the reference's is {exact:.6g}")
    cosine = float(functional.cosine_similarity(gradient, exact_gradient, dim=0))
    if not cosine >= 0.999:
        raise CheckFailed(f"gradients point elsewhere than the reference's (cosine {cosine:.4f})")
