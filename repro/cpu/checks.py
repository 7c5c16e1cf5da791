"""What the CPU kernels refuse, each in one sentence, and the sizes they work out from tensors' shapes."""

from __future__ import annotations

import torch

from repro.errors import BackendError, InputError
from repro.geometry import output_sizes

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def check_tensors(
    x: torch.Tensor, weight: torch.Tensor, grad_out: torch.Tensor | None = None, dimensions: int = 4
) -> None:
    """Device, dtype and number of dimensions of a layer's tensors."""
    tensors = (x, weight) if grad_out is None else (x, weight, grad_out)
    if x.dtype in _DTYPES and all(t.is_cpu and t.dtype == x.dtype and t.dim() == dimensions for t in tensors):
        return
    for name, tensor in (("x", x), ("weight", weight), ("grad_out", grad_out)):
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise BackendError(
                f"{name} is on device {tensor.device}, but the CPU kernels take tensors on the CPU only."
            )
        if tensor.dtype not in _DTYPES:
            raise InputError(
                f"{name} has dtype {tensor.dtype}; the adder kernels take float32, float64, float16 or bfloat16."
            )
        if tensor.dtype != x.dtype:
            raise InputError(f"{name} has dtype {tensor.dtype} but x has {x.dtype}; they must be the same.")
        if tensor.dim() != dimensions:
            number = {2: "two", 4: "four"}[dimensions]
            raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must have {number} dimensions.")


def check_shapes(
    x_shape, weight_shape, stride, padding, dilation, groups, grad_shape=None
) -> tuple[int, int, int, int]:
    """Shapes that fit each other; returns the output's shape."""
    if x_shape[1] != weight_shape[1] * groups or weight_shape[0] % groups:
        raise InputError(
            f"weight has shape {tuple(weight_shape)}, but x has {x_shape[1]} channels in {groups} groups; "
            f"it must be (a multiple of {groups}, {x_shape[1] // groups}, kernel rows, kernel columns)."
        )
    rows, cols = output_sizes(x_shape[2:], weight_shape[2:], stride, padding, dilation)
    if rows < 1 or cols < 1:
        raise InputError(
            f"x of {x_shape[2]}x{x_shape[3]} pixels is smaller than the filter of {weight_shape[2]}x{weight_shape[3]} "
            f"with padding={padding} and dilation={dilation}; the output would be empty."
        )
    expected = (x_shape[0], weight_shape[0], rows, cols)
    if grad_shape is not None and tuple(grad_shape) != expected:
        raise InputError(f"grad_out has shape {tuple(grad_shape)}; it must be {expected}.")
    return expected


def check_linear(x: torch.Tensor, weight: torch.Tensor, grad_out: torch.Tensor | None = None) -> None:
    """Dimensions of a linear layer's tensors, x (N, C_in), weight (C_out, C_in), grad_out (N, C_out)."""
    check_tensors(x, weight, grad_out, dimensions=2)
    if x.shape[1] != weight.shape[1]:
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, but x has {x.shape[1]} features; the last dimensions must agree."
        )
    if grad_out is not None and tuple(grad_out.shape) != (x.shape[0], weight.shape[0]):
        raise InputError(f"grad_out has shape {tuple(grad_out.shape)}; it must be {(x.shape[0], weight.shape[0])}.")
