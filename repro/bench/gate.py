"""No number without a green check: a result is compared at the very shape that is about to be timed.

The full-batch call is checked against the definition in float64 on its first and last image: outputs and input
gradients of those images, and the weight gradient, for which the gradient of all other images is set to zero (both are
sums over images, so nothing else can reach them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.ops import reference

# Rounding of a sum in float32 or with half-precision ends, relative to the largest value; a wrong term is far above.
TOLERANCE = {torch.float32: 3e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 2e-2}


class CheckFailed(Exception):
    """The operator is wrong at this shape; the message says where and by how much."""


@dataclass
class Inputs:
    """Tensors of one case: x, weight and the gradient of the output, all on one device."""

    x: Tensor
    weight: Tensor
    grad: Tensor


def make_inputs(shape, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Inputs:
    """Normal values, the same for a shape on every device; x and weight ask for gradients."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(device=device, dtype=dtype)

    x = normal(shape.batch, shape.in_channels, shape.height, shape.width).requires_grad_()
    weight = normal(shape.out_channels, shape.in_channels // shape.groups, *shape.kernel).requires_grad_()
    grad = normal(shape.batch, shape.out_channels, *shape.out_size)
    return Inputs(x, weight, grad)


def compare(what: str, ours: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """Raise CheckFailed unless `ours` is `exact` up to rounding, element by element."""
    if ours.shape != exact.shape:
        raise CheckFailed(f"{what} has shape {tuple(ours.shape)}, not {tuple(exact.shape)}")
    scale = float(exact.abs().max()) or 1.0
    worst = float((ours.double().cpu() - exact.cpu()).abs().max()) / scale
    if not worst <= TOLERANCE[dtype]:
        raise CheckFailed(f"{what} is off by {worst:.1e} of its largest value (allowed {TOLERANCE[dtype]:.0e})")


def _geometry(shape) -> tuple:
    return (shape.stride, shape.stride), shape.padding, (1, 1), shape.groups


def _ends(shape) -> list[int]:
    return sorted({0, shape.batch - 1})


def check_adder(op: Callable, shape, inputs: Inputs, backward: bool) -> None:
    """Check an adder convolution (and its surrogate gradients) at `shape`; raises CheckFailed."""
    ends, dtype = _ends(shape), inputs.x.dtype
    x, weight = (tensor.detach()[index].double().cpu() for tensor, index in ((inputs.x, ends), (inputs.weight, ...)))
    with torch.set_grad_enabled(backward):
        y = op(inputs.x, inputs.weight, **shape.options)
    compare("y", y.detach()[ends], reference.adder_conv2d_fwd(x, weight, *_geometry(shape)), dtype)
    if not backward:
        return
    grad = torch.zeros_like(inputs.grad)
    grad[ends] = inputs.grad[ends]
    grad_x, grad_weight = torch.autograd.grad(y, (inputs.x, inputs.weight), grad)
    wide = grad[ends].double().cpu()
    compare("dx", grad_x[ends], reference.adder_conv2d_bwd_input(wide, x, weight, *_geometry(shape)), dtype)
    compare("dweight", grad_weight, reference.adder_conv2d_bwd_weight(wide, x, weight, *_geometry(shape)), dtype)
    if shape.batch > 2 and bool(grad_x[1:-1].count_nonzero()):
        raise CheckFailed("dx of images without a gradient is not zero")


def check_shift(op: Callable, shape, inputs: Inputs) -> None:
    """Check a shift convolution with 5-bit weights: its forward against the definition in float64."""
    ends, dtype = _ends(shape), inputs.x.dtype
    x, weight = inputs.x.detach()[ends].double().cpu(), inputs.weight.detach().double().cpu()
    y = op(inputs.x.detach(), inputs.weight.detach(), **shape.options)[ends]
    from repro.ops import shift_exponents

    exact = reference.shift_conv2d_fwd(x, weight, None, *_geometry(shape), shift_exponents(5), (16, 16))
    compare("y", y, exact, dtype)


def check_int8(kernel: Callable, shape, x: Tensor, weight: Tensor) -> None:
    """Check an 8-bit adder convolution: equal to the reference, since integer sums are exact."""
    ends = _ends(shape)
    y = kernel(x, weight, *_geometry(shape))[ends].cpu()
    exact = reference.adder_conv2d_int8(x[ends].cpu(), weight.cpu(), *_geometry(shape))
    if not torch.equal(y, exact):
        raise CheckFailed(f"y differs from the integer sums in {int((y != exact).sum())} of {y.numel()} elements")
