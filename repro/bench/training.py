"""One optimiser step of whole networks: the ordinary one beside adder, shift and ShiftAdd forms, and augmented ones.

An augmented step has two passes, of a network drawn around the target and of the target, and one step of the optimiser.
All augmented methods draw the same networks in the same order.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.augment import AugmentedNetwork, augment
from repro.bench.gate import CheckFailed, compare
from repro.bench.shapes import Network
from repro.bench.timer import Work
from repro.layers import AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear
from repro.models.registry import create
from repro.ops import fixed_point_round
from repro.ops.quantize import FIXED_POINT

RESNET20 = Network("resnet20", 128, 32, (("num_classes", 10),))
MOBILENET = Network("mobilenet_v2", 32, 160, (("width", 0.35), ("num_classes", 100)))
"""ShiftAddAug supplement, table 3: MobileNetV2-w0.35, 160 pixels, batch 32."""
STEP_NETWORKS = (RESNET20, MOBILENET)
OURS = (AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear)
OPERATORS = ("conv", "adder", "shift", "shiftadd")
AUGMENTED = {"netaug": ("conv", None), "augshift": ("shift", "laplace"), "augadd": ("adder", "laplace")}
"""Augmented training -> operator of the target and R of equation 5."""
MULTIPLE = 2.2
"""Largest multiple of width and of expansion, the first of ShiftAddAug's table 2."""
METHODS = {
    "Base": "conv",
    "Shift": "shift",
    "Add": "adder",
    "ShiftAddNet": "shiftadd",
    "NetAug": "netaug",
    "AugShift": "augshift",
    "AugAdd": "augadd",
}
"""Rows of the supplement's table 3."""


def methods(network: Network) -> tuple[str, ...]:
    """What is timed of a network: its four forms, and of the supplement's network the augmented trainings too."""
    return (*OPERATORS, *AUGMENTED) if network is MOBILENET else OPERATORS


def _model(network: Network, op: str, device: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(network.model, op=op, **dict(network.options)).to(device).train()


def _augmented(network: Network, method: str, device: str) -> AugmentedNetwork:
    op, remap = AUGMENTED[method]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        target = create(network.model, **dict(network.options))
        return augment(target, width=MULTIPLE, expand=MULTIPLE, op=op, remap=remap).to(device).train()


def _batch(network: Network, device: str):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(network.batch, 3, network.size, network.size, generator=generator)
    labels = torch.randint(dict(network.options)["num_classes"], (network.batch,), generator=generator)
    return images.to(device), labels.to(device)


def make_step(network: Network, op: str, device: str = "cpu", *, widest: bool = False) -> Work:
    """A function that runs one step: forward, cross entropy, backward, SGD with momentum; returns the loss.

    Args:
        op: one of `methods`.  widest: whether an augmented step takes the widest network, not one that it draws.
    """
    augmented = op in AUGMENTED
    model = _augmented(network, op, device) if augmented else _model(network, op, device)
    images, labels = _batch(network, device)
    draws = torch.Generator().manual_seed(2)
    # A small rate: the timed steps must not drive an untuned network out of the range of numbers.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        if augmented:
            around = model.full if widest else model.sample(draws)
            functional.cross_entropy(model(images, around), labels).backward()
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
    themselves. Of an augmented network the deployed layers are compared so, and the outputs of the widest network's
    layers with equation 4.
    """
    images = _batch(replace(network, batch=batch), device)[0]
    if op in AUGMENTED:
        whole = _augmented(network, op, device)
        wide = {layer: name for name, layer in whole.wide_layers()}
        for layer, x in _inputs(whole, wide, images, whole.full).items():
            compare(f"y of wide layer {wide[layer]}", layer(x).detach(), _equation_4(layer, x), torch.float32)
        model = whole.export_target()
    else:
        model = _model(network, op, device)
    layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, OURS)}
    for layer, x in _inputs(model, layers, images).items():
        ours = _outputs(layer, x)
        exact = _outputs(_twin(layer), x.double().cpu())
        for what, mine, theirs in zip(("y", "dx", *(key for key, _ in layer.named_parameters())), ours, exact):
            compare(f"{what} of layer {layers[layer]}", mine, theirs, torch.float32)


def _inputs(model: nn.Module, layers, images: Tensor, *part) -> dict[nn.Module, Tensor]:
    """What each of the layers gets in one pass; raises CheckFailed where the network's output is not finite."""
    inputs: dict[nn.Module, Tensor] = {}

    def watch(layer: nn.Module, args: tuple) -> None:
        inputs[layer] = args[0].detach()

    handles = [layer.register_forward_pre_hook(watch) for layer in layers]
    loss = model(images, *part).sum()
    for handle in handles:
        handle.remove()
    if not bool(torch.isfinite(loss)):
        raise CheckFailed("the network's output is not finite")
    return inputs


@torch.no_grad()
def _equation_4(layer: nn.Module, x: Tensor) -> Tensor:
    """Output of the widest form of a layer in float64: an ordinary one over all of x without the target's own filters,
    and the deployed layer over the target's channels."""
    x, weight = x.double().cpu(), layer.weight.detach().double().cpu()
    bias = None if layer.bias is None else layer.bias.detach().double().cpu()
    own = layer.deployed().double().cpu()
    own.backend = "reference"
    inputs, outputs = layer.target
    if layer.op == "shift":
        x = fixed_point_round(x, *FIXED_POINT)  # what a shift layer reads
    weight[:outputs, : 1 if layer.depthwise else inputs] = 0
    if bias is not None:
        bias[:outputs] = 0
    if isinstance(own, nn.Linear | ShiftLinear | AdderLinear):
        y = functional.linear(x, weight, bias)
        y[..., :outputs] += own(x[..., :inputs])
        return y
    y = functional.conv2d(x, weight, bias, groups=x.shape[1] if layer.depthwise else 1, **layer.geometry)
    y[:, :outputs] += own(x[:, :inputs])
    return y
