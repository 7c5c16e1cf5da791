"""Inference with packed power-of-two weights on a GPU: dense, small batch, and exact fixed point.

Weights are packed by `pack_shift_weight` (layout: `repro.codes`, the same as on the CPU). Floating-point
activations are float32, float16 or bfloat16 and are summed in float32; a product with 2^p is exact.

Fixed point (`shift_conv2d_fixed`, `shift_linear_fixed`): activations are int32 in any scale; the result is int64 in
that scale times 2^p_min, y = sum of +-(x << (p - p_min)). No bit is dropped, so the result does not depend on order or
back end. It can overflow only if sum |x| * 2^(p - p_min) reaches 2^63; with |x| < 2^31 and 5-bit weights that takes
more than 2^18 terms; then it wraps modulo 2^64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repro.codes import GROUP, check_packed, check_shift_format, pack_shift_weight, unpack_shift_weight
from repro.errors import BackendError, InputError
from repro.geometry import output_sizes
from repro.runtime import triton_interpreted
from repro.triton import launch as run
from repro.triton.launch import INTERPRETER_TILE, Tile, cdiv
from repro.triton.tuning import fitting_tile

__all__ = [
    "pack_shift_weight",
    "shift_conv2d_fixed",
    "shift_conv2d_packed",
    "shift_linear_fixed",
    "shift_linear_packed",
    "unpack_shift_weight",
]

Pair = tuple[int, int]
SMALL_BATCH = 16  # rows up to which reading the weights is all the time
SMALL_PROGRAMS = 1056  # programs that a small-batch product is split into: eight for each of 132 multiprocessors
HALF_P_MIN = -24  # the smallest power of two that float16 holds
TILES = (  # the first is for float32 only: 64-bit sums of its size spill
    Tile(8, 4, 16, 8, 8, 4),
    Tile(4, 4, 16, 8, 8, 4),
    Tile(4, 2, 32, 4, 8, 4),
    Tile(2, 2, 16, 8, 8, 4),
)


def shift_conv2d_packed(
    x: Tensor,
    packed: Tensor,
    weight_shape: tuple[int, int, int, int],
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> Tensor:
    """Convolution with packed weights, decoded in registers in front of the tensor cores.

    Args:
        x: (N, C_in, H, W), float32, float16 or bfloat16, any strides.
        packed: what `pack_shift_weight` returned for a weight of `weight_shape`, (C_out, C_in / groups, K_h, K_w).
        bias: (C_out,) or None.
    Returns: (N, C_out, H_out, W_out) in the dtype and memory format of `x`.
    Raises: InputError on mismatched sizes; BackendError if Triton or the device cannot run this.
    """
    weight_bits, p_min = _check_float(x, weight_bits, p_min)
    return _conv2d(x, packed, weight_shape, bias, stride, padding, dilation, groups, weight_bits, p_min, x.dtype)


def shift_conv2d_fixed(
    x: Tensor,
    packed: Tensor,
    weight_shape: tuple[int, int, int, int],
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> Tensor:
    """Fixed-point convolution by shifts and additions; x int32, result int64 in the scale of x times 2^p_min. Exact."""
    run.check_available(x, dtypes=(torch.int32,))
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    return _conv2d(x, packed, weight_shape, None, stride, padding, dilation, groups, weight_bits, p_min, torch.int64)


def shift_linear_packed(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None = None,
    *,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> Tensor:
    """y = x @ w.T (+ bias); x (N, C_in), packed (C_out, words), result (N, C_out) in the dtype of `x`.

    Up to 16 rows run a program of their own that is bound by reading the codes; more rows run the dense one.
    """
    weight_bits, p_min = _check_float(x, weight_bits, p_min)
    shape = (packed.shape[0], x.shape[1])
    check_packed(packed, *shape, weight_bits)
    if 0 < x.shape[0] <= SMALL_BATCH and min(shape) > 0:
        y = _small_batch(x, packed, weight_bits, p_min)
        return (y if bias is None else y + bias.float()).to(x.dtype)
    return _rows(x, packed, bias, weight_bits, p_min, x.dtype)


def shift_linear_fixed(x: Tensor, packed: Tensor, *, weight_bits: int = 5, p_min: int | None = None) -> Tensor:
    """Fixed-point product by shifts and additions; x (N, C_in) int32, result (N, C_out) int64 scaled by 2^p_min."""
    run.check_available(x, dtypes=(torch.int32,))
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    return _rows(x, packed, None, weight_bits, p_min, torch.int64)


def _check_float(x: Tensor, weight_bits: int, p_min: int | None) -> tuple[int, int]:
    run.check_available(x)
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    if x.dtype == torch.float16 and p_min < HALF_P_MIN:
        raise BackendError(
            f"p_min={p_min} is not served for float16 activations; float16 holds powers of two from 2^-24, "
            "so use bfloat16 or float32."
        )
    return weight_bits, p_min


def _rows(x: Tensor, packed: Tensor, bias, weight_bits: int, p_min: int, dtype: torch.dtype) -> Tensor:
    shape = (packed.shape[0], x.shape[1], 1, 1)
    x_row = x.t()[None, :, None, :]  # the batch as the positions of one row of an image
    y = _conv2d(x_row, packed, shape, bias, (1, 1), (0, 0), (1, 1), 1, weight_bits, p_min, dtype)
    return y[0, :, 0].t().contiguous()


def _conv2d(x, packed, weight_shape, bias, stride, padding, dilation, groups, weight_bits, p_min, dtype) -> Tensor:
    out_channels, channels, kh, kw = weight_shape
    if groups < 1 or out_channels % groups or x.shape[1] != channels * groups:
        raise InputError(f"groups={groups} does not fit x of {x.shape[1]} channels and weights of {weight_shape}.")
    k_count, filters = channels * kh * kw, out_channels // groups
    check_packed(packed, out_channels, k_count, weight_bits)
    out_size = output_sizes(x.shape[2:], weight_shape[2:], stride, padding, dilation)
    y = run.empty_like_format(x, (x.shape[0], out_channels, *out_size), dtype)
    if y.numel() == 0:
        return y
    positions, fixed = x.shape[0] * out_size[0] * out_size[1], dtype == torch.int64
    sizes = (positions, channels, filters, k_count, cdiv(k_count, GROUP) * GROUP, *x.shape[2:], *out_size)
    window = dict(
        KH=kh, KW=kw, SH=stride[0], SW=stride[1], PH=padding[0], PW=padding[1], DH=dilation[0], DW=dilation[1]
    )
    window |= dict(BITS=weight_bits, P_MIN=p_min, HAS_BIAS=bias is not None, WIDE=run.is_wide(positions))
    tensors = (x, packed.contiguous(), y if bias is None else bias.contiguous(), y)
    if fixed or x.dtype == torch.float32:
        from repro.triton.shift_kernels import _shift_conv2d_tile_kernel as kernel

        tile = (
            INTERPRETER_TILE
            if triton_interpreted()
            else fitting_tile(TILES[1:] if fixed else TILES, positions, filters)
        )
        height, width, rest = tile.TM * tile.LM, tile.TN * tile.LN, dict(FIXED=fixed, **tile.meta())
    else:
        from repro.triton.shift_kernels import _shift_conv2d_dot_kernel as kernel

        height, width = _dot_block(positions, filters)
        rest = dict(UPCAST=_upcast(x), BM=height, BN=width, BK=32)
    programs = cdiv(positions, height) * cdiv(filters, width) * groups
    grid = (run.check_grid(programs, "shift_conv2d"),)
    kernel[grid](*tensors, *sizes, *x.stride(), *y.stride(), groups, **window, **rest)
    return y


def _dot_block(positions: int, filters: int) -> Pair:
    """Output tile of a tensor-core program: 64 x 64 at most, so that gathering patches does not spill registers."""
    if triton_interpreted():
        return 16, 16
    return max(16, min(64, run.pow2(positions))), max(16, min(64, run.pow2(filters)))


def _upcast(x: Tensor) -> bool:
    """The interpreter's bfloat16 product is wrong; there, products are taken in float32."""
    return triton_interpreted() and x.dtype == torch.bfloat16


def _small_batch(x: Tensor, packed: Tensor, weight_bits: int, p_min: int) -> Tensor:
    from repro.triton.shift_kernels import _shift_linear_small_kernel as kernel

    (batch, k_count), filters = x.shape, packed.shape[0]
    dot = batch > 4
    bn, bk = (32, 64) if dot else (16, 128)
    bands = cdiv(filters, bn)
    splits = max(1, min(cdiv(k_count, 2 * bk), SMALL_PROGRAMS // bands))
    k_per_split = cdiv(cdiv(k_count, splits), bk) * bk
    splits = cdiv(k_count, k_per_split)
    partial = torch.empty((splits, batch, filters), dtype=torch.float32, device=x.device)
    kernel[(run.check_grid(bands, "shift_linear"), splits)](
        x, packed.contiguous(), partial, batch, filters, k_count, cdiv(k_count, GROUP) * GROUP, k_per_split,
        *x.stride(), BITS=weight_bits, P_MIN=p_min, BB=16 if dot else run.pow2(batch), BN=bn, BK=bk, DOT=dot,
        UPCAST=_upcast(x),
    )  # fmt: skip
    return partial.sum(0)
