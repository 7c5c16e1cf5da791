"""Adder convolution and linear layer on a GPU: forward, input gradient, weight gradient. Tensors in, tensors out.

Signatures and meaning are those of `repro.ops.reference` and `repro.cpu.adder`. float32, float16 and bfloat16 tensors,
sums in float32, any strides, offsets in 64 bits. Importing this module needs neither Triton nor a GPU; calling one of
the functions does, and says what is missing in a BackendError.

No float atomics: split sums are added in a fixed order, so results are bitwise reproducible for a given tile (see
`repro.triton.tuning` for how tiles are chosen and kept).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from repro.geometry import output_sizes
from repro.runtime import triton_interpreted
from repro.triton import launch as run
from repro.triton.launch import INTERPRETER_TILE, Tile, cdiv
from repro.triton.tuning import choose_tile

Pair = tuple[int, int]

# Register tiles of 64, 32 or 16 sums a thread. Lanes and warps lie on LM x LN, so LM * LN = 32 * num_warps.
FWD_TILES = (
    Tile(8, 8, 16, 8, 4, 4),
    Tile(8, 8, 32, 4, 4, 4),
    Tile(8, 8, 8, 8, 4, 2),
    Tile(8, 4, 16, 8, 8, 4),
    Tile(8, 4, 32, 4, 8, 4),
    Tile(4, 4, 16, 8, 8, 4),
    Tile(4, 4, 8, 8, 8, 2),
    Tile(4, 2, 32, 4, 8, 4),
)
BWD_INPUT_TILES = (
    Tile(4, 8, 16, 8, 8, 4),
    Tile(8, 4, 16, 8, 8, 4),
    Tile(8, 4, 32, 4, 8, 4),
    Tile(4, 4, 16, 8, 8, 4),
    Tile(4, 4, 8, 8, 8, 2),
    Tile(4, 2, 32, 4, 8, 4),
)
BWD_WEIGHT_TILES = (
    Tile(8, 8, 16, 8, 4, 4),
    Tile(8, 8, 8, 16, 4, 4),
    Tile(4, 8, 8, 16, 8, 4),
    Tile(4, 4, 8, 16, 8, 4),
    Tile(2, 8, 8, 16, 8, 4),
    Tile(4, 4, 8, 8, 8, 2),
)
BWD_WEIGHT_DOT_TILES = (  # only the products TM * LM and TN * LN matter to tensor cores
    Tile(8, 8, 8, 8, 32, 4),
    Tile(4, 8, 8, 8, 32, 4),
    Tile(2, 8, 8, 8, 32, 4),
    Tile(2, 4, 8, 16, 64, 4),
)
PROGRAMS = 528  # what split sums aim at: four programs for each of 132 multiprocessors, fixed so that sums do not
SPLIT_ELEMENTS = 2**23  # depend on the device; and at most 32 MiB of partial sums


def _tiles(tiles: tuple[Tile, ...], dot: bool = False) -> tuple[Tile, ...]:
    if triton_interpreted():
        return (Tile(2, 2, 16, 8, 16, 4),) if dot else (INTERPRETER_TILE,)
    return tiles


def _window(weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> dict[str, int]:
    kh, kw = weight.shape[2:]
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    return dict(KH=kh, KW=kw, SH=sh, SW=sw, PH=ph, PW=pw, DH=dh, DW=dw)


def _is_depthwise(weight: Tensor, groups: int) -> bool:
    return weight.shape[1] == 1 and groups > 1


# --- convolution -----------------------------------------------------------------------------------------------------


def adder_conv2d_fwd(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """y = -sum |patch - w|; a zero-padded position contributes |0 - w|.

    Args: x (N, C_in, H, W); weight (C_out, C_in / groups, K_h, K_w); pairs of ints.
    Returns: (N, C_out, H_out, W_out) in the dtype and memory format of `x`.
    Raises: BackendError if Triton or the device cannot run this.
    """
    run.check_available(x, weight)
    y = run.empty_like_format(
        x, (x.shape[0], weight.shape[0], *output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation))
    )
    return _fwd_into(y, x, weight, stride, padding, dilation, groups)


def _fwd_into(y: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    if y.numel() == 0:
        return y
    if _is_depthwise(weight, groups):
        return _depthwise_fwd(y, x, weight, stride, padding, dilation, groups)
    from repro.triton.adder_dense_kernels import _adder_conv2d_fwd_kernel as kernel

    channels, filters, k_count = weight.shape[1], weight.shape[0] // groups, weight[0].numel()
    flat = weight.permute(0, 2, 3, 1).contiguous()
    positions = y.shape[0] * y.shape[2] * y.shape[3]

    def launch(tile: Tile) -> None:
        programs = cdiv(positions, tile.TM * tile.LM) * cdiv(filters, tile.TN * tile.LN) * groups
        kernel[(run.check_grid(programs, "adder_conv2d_fwd"),)](
            x, flat, y, positions, channels, filters, *x.shape[2:], *y.shape[2:], *x.stride(), *y.stride(),
            groups, **_window(weight, stride, padding, dilation), WIDE=run.is_wide(positions), **tile.meta(),
        )  # fmt: skip

    shape_class = (
        x.dtype,
        run.pow2(positions),
        filters,
        k_count,
        *weight.shape[2:],
        *stride,
        x.stride(1) == 1,
        groups > 1,
    )
    launch(choose_tile("adder_conv2d_fwd", shape_class, _tiles(FWD_TILES), positions, filters, launch))
    return y


def adder_conv2d_bwd_input(
    grad_out: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """dx = sum g * HardTanh(w - x), the surrogate; shapes as in `adder_conv2d_fwd`, result like `x`.

    NaN in x, w or g reaches the result (the clip keeps it).
    """
    run.check_available(grad_out, x, weight)
    return _bwd_input_into(run.empty_like_format(x, x.shape), grad_out, x, weight, stride, padding, dilation, groups)


def _bwd_input_into(dx, grad_out, x, weight, stride, padding, dilation, groups) -> Tensor:
    if dx.numel() == 0:
        return dx
    if grad_out.numel() == 0:
        return dx.zero_()
    if _is_depthwise(weight, groups):
        return _depthwise_bwd_input(dx, grad_out, x, weight, stride, padding, dilation, groups)
    for rows in _residues(x.shape[2], weight.shape[2], stride[0], padding[0], dilation[0]):
        for columns in _residues(x.shape[3], weight.shape[3], stride[1], padding[1], dilation[1]):
            _bwd_input_class(dx, grad_out, x, weight, stride, groups, rows, columns)
    return dx


def _residues(size: int, kernel_size: int, stride: int, padding: int, dilation: int) -> list[dict[str, int]]:
    """Input positions along one axis by (position + padding) mod stride: each class sees the same taps.

    first, count: positions first, first + stride, ...; taps: range of filter taps; i: output index of the first
    position through the first tap; step: how far the output index falls from one tap to the next.
    """
    classes = []
    tap_step = stride // math.gcd(stride, dilation)
    for first in range(min(stride, size)):
        reaching = (tap for tap in range(kernel_size) if (first + padding - tap * dilation) % stride == 0)
        first_tap = next(reaching, kernel_size)
        classes.append(
            dict(
                first=first,
                count=cdiv(size - first, stride),
                taps=range(first_tap, kernel_size, tap_step),
                i=(first + padding - first_tap * dilation) // stride,
                step=tap_step * dilation // stride,
            )
        )
    return classes


def _bwd_input_class(dx, grad_out, x, weight, stride, groups, rows, columns) -> None:
    taps = len(rows["taps"]) * len(columns["taps"])
    if taps == 0:  # a stride longer than the filter skips these positions
        dx[:, :, rows["first"] :: stride[0], columns["first"] :: stride[1]] = 0
        return
    from repro.triton.adder_dense_kernels import _adder_conv2d_bwd_input_kernel as kernel

    channels, filters = weight.shape[1], weight.shape[0] // groups
    k_count = filters * taps
    seen = weight[:, :, rows["taps"].start :: rows["taps"].step, columns["taps"].start :: columns["taps"].step]
    seen = seen.unflatten(0, (groups, filters)).permute(0, 3, 4, 1, 2).contiguous()
    positions = x.shape[0] * rows["count"] * columns["count"]

    def launch(tile: Tile) -> None:
        programs = cdiv(positions, tile.TM * tile.LM) * cdiv(channels, tile.TN * tile.LN) * groups
        kernel[(run.check_grid(programs, "adder_conv2d_bwd_input"),)](
            grad_out, x, seen, dx, positions, channels, filters, rows["count"], columns["count"],
            *grad_out.shape[2:], rows["first"], columns["first"], rows["i"], columns["i"],
            *x.stride(), *grad_out.stride(), *dx.stride(), groups, NH=len(rows["taps"]), NW=len(columns["taps"]),
            QH=rows["step"], QW=columns["step"], SH=stride[0], SW=stride[1], WIDE=run.is_wide(positions), **tile.meta(),
        )  # fmt: skip

    shape_class = (x.dtype, run.pow2(positions), channels, k_count, taps, *stride, x.stride(1) == 1, groups > 1)
    launch(choose_tile("adder_conv2d_bwd_input", shape_class, _tiles(BWD_INPUT_TILES), positions, channels, launch))


def adder_conv2d_bwd_weight(
    grad_out: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """dw = sum g * (patch - w), computed as sum g * (patch - c) - (w - c) * sum g; result like `weight`.

    A product and a correction cost one fused multiply-add a term where the plain difference costs two instructions.
    For float32 the centre c is the mean filter, which removes the cancellation that a common offset of x and w would
    bring. Our own program rather than cuDNN's weight gradient: that one rounds to TF32 by default, may use atomics,
    and takes no centre.
    """
    run.check_available(grad_out, x, weight)
    grad_weight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
    if grad_weight.numel() == 0:
        return grad_weight
    if grad_out.numel() == 0:
        return grad_weight.zero_()
    if _is_depthwise(weight, groups):
        return grad_weight.copy_(_depthwise_bwd_weight(grad_out, x, weight, stride, padding, dilation, groups))
    if weight.shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0):
        grad_out, x = _planes_as_rows(grad_out), _planes_as_rows(x)
    return grad_weight.copy_(_dense_bwd_weight(grad_out, x, weight, stride, padding, dilation, groups))


def _planes_as_rows(x: Tensor) -> Tensor:
    """(N, C, H, W) seen as (N, C, 1, H * W), copied only where the strides do not allow the view."""
    return x.flatten(2).unsqueeze(2)


def _dense_bwd_weight(grad_out, x, weight, stride, padding, dilation, groups) -> Tensor:
    from repro.triton.adder_dense_kernels import _adder_conv2d_bwd_weight_kernel as kernel

    channels, filters, k_count = weight.shape[1], weight.shape[0] // groups, weight[0].numel()
    wide = weight.reshape(groups, filters, k_count).float()
    dot = x.dtype != torch.float32
    centre = wide.mean(1)
    centre = torch.zeros_like(centre) if dot else torch.where(centre.isfinite(), centre, 0.0).contiguous()
    image_rows = grad_out.shape[0] * grad_out.shape[2]
    upcast = triton_interpreted() and x.dtype == torch.bfloat16  # the interpreter's bfloat16 product is wrong

    def launch(tile: Tile) -> Tensor:
        tiles = cdiv(k_count, tile.TN * tile.LN) * cdiv(filters, tile.TM * tile.LM) * groups
        splits = _splits(image_rows, tiles, weight.numel())
        per_split = cdiv(image_rows, splits)
        splits = cdiv(image_rows, per_split)
        partial = torch.empty((splits, groups, filters, k_count), dtype=torch.float32, device=x.device)
        kernel[(run.check_grid(tiles * splits, "adder_conv2d_bwd_weight"),)](
            grad_out, x, centre, partial, channels, filters, k_count, *x.shape[2:], *grad_out.shape[2:],
            image_rows, per_split, *x.stride(), *grad_out.stride(), groups,
            **_window(weight, stride, padding, dilation), DOT=dot, DOT_UPCAST=upcast, **tile.meta(),
        )  # fmt: skip
        return partial

    tiles = _tiles(BWD_WEIGHT_DOT_TILES if dot else BWD_WEIGHT_TILES, dot)
    shape_class = (x.dtype, run.pow2(image_rows), grad_out.shape[3], filters, k_count, *stride, x.stride(1) == 1)
    partial = launch(choose_tile("adder_conv2d_bwd_weight", shape_class, tiles, filters, k_count, launch))
    grad_sum = grad_out.sum((0, 2, 3), dtype=torch.float32).reshape(groups, filters, 1)
    return (partial.sum(0) - (wide - centre[:, None]) * grad_sum).reshape(weight.shape)


def _splits(rows: int, programs: int, elements: int) -> int:
    """Into how many parts a reduction over `rows` is cut so that the device is full and partial sums stay small."""
    return max(1, min(rows, cdiv(PROGRAMS, programs), SPLIT_ELEMENTS // elements))


# --- depthwise -------------------------------------------------------------------------------------------------------


def _depthwise_block(channels_last: bool, positions: int, channels: int) -> dict[str, int]:
    """Block of positions by channels with lanes along the axis that is contiguous in memory."""
    if triton_interpreted():
        return dict(BP=32, BC=4)
    bc = min(32, run.pow2(channels)) if channels_last else 1
    return dict(BP=max(1, min(run.pow2(positions), 512 // bc)), BC=bc, num_warps=4)


def _depthwise_fwd(y, x, weight, stride, padding, dilation, groups) -> Tensor:
    from repro.triton.adder_depthwise_kernels import _adder_depthwise_fwd_kernel as kernel

    filters, plane = weight.shape[0], y.shape[2] * y.shape[3]
    block = _depthwise_block(y.stride(1) == 1 and plane > 1, plane, filters)
    programs = y.shape[0] * cdiv(plane, block["BP"]) * cdiv(filters, block["BC"])
    kernel[(run.check_grid(programs, "adder_conv2d_fwd"),)](
        x, weight.contiguous(), y, filters, filters // groups, *x.shape[2:], *y.shape[2:], *x.stride(), *y.stride(),
        **_window(weight, stride, padding, dilation), **block,
    )  # fmt: skip
    return y


def _depthwise_bwd_input(dx, grad_out, x, weight, stride, padding, dilation, groups) -> Tensor:
    from repro.triton.adder_depthwise_kernels import _adder_depthwise_bwd_input_kernel as kernel

    plane = x.shape[2] * x.shape[3]
    block = _depthwise_block(x.stride(1) == 1 and plane > 1, plane, x.shape[1])
    programs = x.shape[0] * cdiv(plane, block["BP"]) * cdiv(x.shape[1], block["BC"])
    kernel[(run.check_grid(programs, "adder_conv2d_bwd_input"),)](
        grad_out, x, weight.contiguous(), dx, x.shape[1], weight.shape[0] // groups, *x.shape[2:],
        *grad_out.shape[2:], *x.stride(), *grad_out.stride(), *dx.stride(),
        **_window(weight, stride, padding, dilation), **block,
    )  # fmt: skip
    return dx


def _depthwise_bwd_weight(grad_out, x, weight, stride, padding, dilation, groups) -> Tensor:
    from repro.triton.adder_depthwise_kernels import _adder_depthwise_bwd_weight_kernel as kernel

    filters, images = weight.shape[0], x.shape[0]
    taps = weight.shape[2] * weight.shape[3]
    last = x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1
    block = dict(BP=8 if last else 256, BC=min(32, run.pow2(filters)) if last else 1)
    if triton_interpreted():
        block = dict(BP=32, BC=4)
    splits = _splits(images, cdiv(filters, block["BC"]), weight.numel())
    per_split = cdiv(images, splits)
    splits = cdiv(images, per_split)
    partial = torch.empty((splits, *weight.shape), dtype=torch.float32, device=x.device)
    kernel[(run.check_grid(splits * cdiv(filters, block["BC"]), "adder_conv2d_bwd_weight"),)](
        grad_out, x, weight.contiguous(), partial, images, per_split, filters, filters // groups, *x.shape[2:],
        *grad_out.shape[2:], *x.stride(), *grad_out.stride(), **_window(weight, stride, padding, dilation),
        TAPS=run.pow2(taps), **block,
    )  # fmt: skip
    return partial.sum(0)


# --- linear: a 1x1 convolution over one row whose positions are the batch --------------------------------------------

_POINT = ((1, 1), (0, 0), (1, 1), 1)


def _as_row(x: Tensor) -> Tensor:
    return x.t()[None, :, None, :]


def adder_linear_fwd(x: Tensor, weight: Tensor) -> Tensor:
    """y[n, o] = -sum_c |x[n, c] - w[o, c]|; x (N, C_in), weight (C_out, C_in), result (N, C_out)."""
    run.check_available(x, weight)
    y = torch.empty((x.shape[0], weight.shape[0]), dtype=x.dtype, device=x.device)
    _fwd_into(_as_row(y), _as_row(x), weight[:, :, None, None], *_POINT)
    return y


def adder_linear_bwd_input(grad_out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dx[n, c] = sum_o g[n, o] * HardTanh(w[o, c] - x[n, c])."""
    run.check_available(grad_out, x, weight)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _bwd_input_into(_as_row(dx), _as_row(grad_out), _as_row(x), weight[:, :, None, None], *_POINT)
    return dx


def adder_linear_bwd_weight(grad_out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dw[o, c] = sum_n g[n, o] * (x[n, c] - w[o, c])."""
    run.check_available(grad_out, x, weight)
    width = next((w for w in (128, 64, 32, 16) if x.shape[0] % w == 0), x.shape[0])  # rows that splits can share out

    def rows(t: Tensor) -> Tensor:
        return t.unflatten(0, (-1, width)).permute(0, 2, 1).unsqueeze(2) if width else t[:, :, None, None]

    grad = adder_conv2d_bwd_weight(rows(grad_out), rows(x), weight[:, :, None, None], *_POINT)
    return grad[:, :, 0, 0]
