"""One optimiser step of whole networks: the ordinary one beside its adder, shift and ShiftAdd forms."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.bench.gate import CheckFailed, compare
from repro.bench.shapes import Network
from repro.bench.timer import Work
from repro.layers import AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear
from repro.models import create

RESNET20 = Network("resnet20", 128, 32, (("num_classes", 10),))
MOBILENET = Network("mobilenet_v2", 32, 160, (("width", 0.35), ("num_classes", 100)))
"""ShiftAddAug supplement, table 3: MobileNetV2-w0.35, 160 pixels, batch 32."""
STEP_NETWORKS = (RESNET20, MOBILENET)
OURS = (AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear)
OPERATORS = ("conv", "adder", "shift", "shiftadd")
METHODS = {"Base": "conv", "Shift": "shift", "Add": "adder", "ShiftAddNet": "shiftadd"}
"""Rows of the supplement's table 3 that direct training gives."""


def _model(network: Network, op: str, device: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(network.model, op=op, **dict(network.options)).to(device).train()


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


def _outputs(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """y, dx and the parameters' gradients of one layer for a fixed normal gradient of y."""
    x = x.detach().requires_grad_()
    y = layer(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return y.detach(), *torch.autograd.grad(y, (x, *layer.parameters()), grad.to(y))


def _twin(layer: nn.Module) -> nn.Module:
    """The same layer in float64 on the reference back end."""
    twin = copy.deepcopy(layer).double().cpu()
    twin.backend = "reference"
    return twin


def check_step(network: Network, op: str, device: str = "cpu", batch: int = 2) -> None:
    """Every layer of ours, with the inputs it really gets, must agree with the reference; raises CheckFailed.

    Outputs and all gradients are compared layer by layer. Comparing the network's loss would tell nothing: batch
    statistics over few values magnify rounding so much that float32 and float64 differ in the third digit by
    themselves.
    """
    model = _model(network, op, device)
    layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, OURS)}
    inputs: dict[nn.Module, Tensor] = {}

    def watch(layer: nn.Module, args: tuple) -> None:
        inputs[layer] = args[0].detach()

    handles = [layer.register_forward_pre_hook(watch) for layer in layers]
    loss = model(_batch(replace(network, batch=batch), device)[0]).sum()
    for handle in handles:
        handle.remove()
    if not bool(torch.isfinite(loss)):
        raise CheckFailed("the network's output is not finite")
    for layer, name in layers.items():
        ours = _outputs(layer, inputs[layer])
        exact = _outputs(_twin(layer), inputs[layer].double().cpu())
        for what, mine, theirs in zip(("y", "dx", *(key for key, _ in layer.named_parameters())), ours, exact):
            compare(f"{what} of layer {name}", mine, theirs, torch.float32)
