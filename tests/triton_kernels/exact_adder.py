"""The adder convolution in float64 by strided windows and one broadcast: shares no code with the package."""

from __future__ import annotations

import torch
from torch import Tensor


def windows(x: Tensor, kernel_size, stride, padding, dilation, groups) -> Tensor:
    """(N, groups, C / groups, H_out, W_out, K_h, K_w) of the zero-padded image."""
    x = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    for axis in (0, 1):
        span = dilation[axis] * (kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, span, stride[axis])
    x = x[..., :: dilation[0], :: dilation[1]]
    return x.unflatten(1, (groups, -1))


def adder_exact(x: Tensor, weight: Tensor, grad_out: Tensor | None, stride, padding, dilation, groups, dtype):
    """(y, dx, dw) computed in `dtype`; gradients as zeros where grad_out is None. dx by autograd of the windows."""
    image = x.to(dtype).detach().requires_grad_()
    filters = weight.to(dtype).unflatten(0, (groups, -1))[None, :, :, :, None, None]
    patches = windows(image, weight.shape[2:], stride, padding, dilation, groups)
    difference = patches[:, :, None] - filters  # (N, groups, filters, C, H_out, W_out, K_h, K_w)
    y = -difference.detach().abs().sum((3, 6, 7)).flatten(1, 2)
    if grad_out is None:
        return y, None, None
    g = grad_out.to(dtype).unflatten(1, (groups, -1))[:, :, :, None, :, :, None, None]
    dw = (g * difference.detach()).sum((0, 4, 5)).flatten(0, 1)
    clipped = g * (-difference.detach()).clamp(-1, 1)
    (dx,) = torch.autograd.grad(patches, image, clipped.sum(2))
    return y, dx, dw


def check_error(ours: Tensor, plain: Tensor, exact: Tensor, what: str) -> None:
    """Worst error at most twice that of the plain formulation at working precision, plus one rounding of the result."""
    assert ours.shape == exact.shape, f"{what}: shape {tuple(ours.shape)} instead of {tuple(exact.shape)}"
    if exact.numel() == 0:
        return
    assert bool(torch.isfinite(ours).all()), f"{what}: not finite at {int((~torch.isfinite(ours)).sum())} places"
    error = (ours.double() - exact).abs().max().item()
    allowed = 2 * (plain.double() - exact).abs().max().item() + torch.finfo(ours.dtype).eps * exact.abs().max().item()
    assert error <= allowed, f"{what}: worst error {error:.3e}, allowed {allowed:.3e}"
