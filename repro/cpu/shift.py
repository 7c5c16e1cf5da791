"""Shift layers on packed power-of-two weights on the CPU: inference in floating point, and exactly in fixed point.

Layout of the codes: `repro.codes` (one home for both back ends).

Floating point: the codes of a band of filters are decoded by a compiled kernel, which puts sign and exponent straight
into the bits of a float32, and multiplied by the library's matrix product or convolution; a product with 2^p is exact.

Fixed point: activations are int32 in any scale; the result is int64 in that scale times 2^p_min,
y = sum of +-(x << (p - p_min)), by shifts and additions only. No bit is dropped, so order and threads do not matter. It
can overflow only if sum |x| * 2^(p - p_min) reaches 2^63 (with 31-bit x and 5-bit weights: over 2^18 terms); then it
wraps modulo 2^64.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from repro.codes import GROUP, check_packed, check_shift_format, pack_shift_weight, unpack_shift_weight
from repro.cpu import memory
from repro.cpu.runner import TICKET, launch, thread_count
from repro.cpu.simd import _pointer
from repro.errors import BackendError, InputError
from repro.geometry import output_sizes

__all__ = [
    "pack_shift_weight",
    "shift_conv2d_fixed",
    "shift_conv2d_packed",
    "shift_linear_fixed",
    "shift_linear_packed",
    "unpack_shift_weight",
]

_Pair = tuple[int, int]
BAND_ELEMENTS = 1 << 18  # weights decoded at a time: 1 MiB of float32
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

(_PACKED, _OUT, _ROWS, _COLS, _WORDS, _BITS, _P_MIN) = range(2, 9)
(
    _X, _X_N, _X_C, _X_H, _X_W, _Y, _CODES, _IMAGES, _GROUPS, _CIN, _COUT, _H, _W, _OH, _OW,
    _KH, _KW, _SH, _SW, _PH, _PW, _DH, _DW,
) = range(2, 25)  # fmt: skip


@intrinsic
def _load_word(typingctx, address):
    """The int32 word at `address`, zero-extended."""

    def codegen(context, builder, signature, args):
        word = builder.load(_pointer(builder, args[0]), align=4, typ=ir.IntType(32))
        return builder.zext(word, ir.IntType(64))

    return types.int64(types.int64), codegen


@intrinsic
def _store_word(typingctx, address, value):
    """Write the low 32 bits of `value`."""

    def codegen(context, builder, signature, args):
        builder.store(builder.trunc(args[1], ir.IntType(32)), _pointer(builder, args[0]), align=4)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen


@intrinsic
def _load_signed(typingctx, address):
    """The int32 number at `address`."""

    def codegen(context, builder, signature, args):
        word = builder.load(_pointer(builder, args[0]), align=4, typ=ir.IntType(32))
        return builder.sext(word, ir.IntType(64))

    return types.int64(types.int64), codegen


@numba.njit(inline="always")
def _code(row, column, padded, bits):
    """(magnitude, sign) of one column of a packed row."""
    nibble = (_load_word(row + (column // 8) * 4) >> ((column % 8) * 4)) & 15
    if bits == 4:
        return nibble & 7, nibble >> 3
    sign = (_load_word(row + padded // 8 * 4 + (column // 32) * 4) >> (column % 32)) & 1
    return nibble, sign


def decode_rows(p):
    """Packed codes to float32, a row a task."""
    rows, cols, words = memory.load_int(p, _ROWS), memory.load_int(p, _COLS), memory.load_int(p, _WORDS)
    bits, p_min = memory.load_int(p, _BITS), memory.load_int(p, _P_MIN)
    padded = (cols + GROUP - 1) // GROUP * GROUP
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= rows:
            break
        row = memory.load_int(p, _PACKED) + task * words * 4
        out = memory.load_int(p, _OUT) + task * cols * 4
        for column in range(cols):
            magnitude, sign = _code(row, column, padded, bits)
            value = (sign << 31) | ((magnitude + (p_min + 126)) << 23)
            _store_word(out + column * 4, value if magnitude > 0 else 0)


def fixed_rows(p):
    """One output row of one filter a task: shifts and additions on int64."""
    oh, ow, cout = memory.load_int(p, _OH), memory.load_int(p, _OW), memory.load_int(p, _COUT)
    groups, cin = memory.load_int(p, _GROUPS), memory.load_int(p, _CIN)
    kh, kw, h, w = (memory.load_int(p, _KH), memory.load_int(p, _KW), memory.load_int(p, _H), memory.load_int(p, _W))
    sh, sw = memory.load_int(p, _SH), memory.load_int(p, _SW)
    stride_w = memory.load_int(p, _X_W)
    tasks = memory.load_int(p, _IMAGES) * groups * cout * oh
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        i = task % oh
        out_channel = (task // oh) % (groups * cout)
        image = task // (oh * groups * cout)
        group = out_channel // cout
        y = memory.load_int(p, _Y) + task_offset(image, out_channel, i, groups * cout, oh, ow)
        for j in range(ow):
            memory.store_int(y, j, 0)
        codes = memory.load_int(p, _CODES) + out_channel * cin * kh * kw * 8
        for channel in range(cin):
            plane = memory.load_int(p, _X) + image * memory.load_int(p, _X_N)
            plane += (group * cin + channel) * memory.load_int(p, _X_C)
            for a in range(kh):
                row = i * sh + a * memory.load_int(p, _DH) - memory.load_int(p, _PH)
                if row < 0 or row >= h:
                    continue
                line = plane + row * memory.load_int(p, _X_H)
                for b in range(kw):
                    code = memory.load_int(codes, (channel * kh + a) * kw + b)
                    if code == 0:
                        continue
                    first = b * memory.load_int(p, _DW) - memory.load_int(p, _PW)
                    begin = 0 if first >= 0 else (-first + sw - 1) // sw
                    end = 0 if first >= w else min(ow, (w - first + sw - 1) // sw)
                    places = abs(code) - 1
                    if code > 0:
                        for j in range(begin, end):
                            at = line + (first + j * sw) * stride_w
                            memory.store_int(y, j, memory.load_int(y, j) + (_load_signed(at) << places))
                    else:
                        for j in range(begin, end):
                            at = line + (first + j * sw) * stride_w
                            memory.store_int(y, j, memory.load_int(y, j) - (_load_signed(at) << places))


@numba.njit(inline="always")
def task_offset(image, channel, row, channels, rows, cols):
    """Bytes from the start of a contiguous int64 (N, C, rows, cols) tensor to one of its rows."""
    return ((image * channels + channel) * rows + row) * cols * 8


def _check(x: torch.Tensor, dtypes: tuple, dims: int) -> None:
    if x.device.type != "cpu":
        raise BackendError(f"x is on device {x.device}, but the CPU kernels take tensors on the CPU only.")
    if x.dtype not in dtypes or x.dim() != dims:
        raise InputError(
            f"x has dtype {x.dtype} and shape {tuple(x.shape)}; it must have {dims} dimensions and one of the types "
            f"{', '.join(str(d) for d in dtypes)}."
        )


def _decode(packed: torch.Tensor, columns: int, weight_bits: int, p_min: int) -> torch.Tensor:
    """(rows, words) codes to a (rows, columns) float32 matrix."""
    if p_min < -126:  # below the normal numbers of float32; the exponent field cannot hold it
        raise InputError(f"p_min={p_min} is not allowed; float32 weights need at least -126.")
    packed = packed.contiguous()
    out = torch.empty((packed.shape[0], columns), dtype=torch.float32, device="cpu")
    p = np.zeros(9, np.int64)
    p[2:] = (packed.data_ptr(), out.data_ptr(), *out.shape, packed.shape[1], weight_bits, p_min)
    launch(decode_rows, p, thread_count(8 * out.numel()))
    return out


def _check_conv(x: torch.Tensor, weight_shape, groups: int, stride, padding, dilation) -> tuple[int, ...]:
    if groups < 1 or weight_shape[0] % groups or x.shape[1] != weight_shape[1] * groups:
        raise InputError(f"groups={groups} does not fit x of {x.shape[1]} channels and weights of {weight_shape}.")
    size = output_sizes(x.shape[2:], weight_shape[2:], stride, padding, dilation)
    if min(size) < 1:
        raise InputError(
            f"x of {x.shape[2]}x{x.shape[3]} pixels is smaller than the filter; the output would be empty."
        )
    return size


def shift_conv2d_packed(
    x: torch.Tensor,
    packed: torch.Tensor,
    weight_shape: tuple[int, int, int, int],
    bias: torch.Tensor | None = None,
    *,
    stride: _Pair = (1, 1),
    padding: _Pair = (0, 0),
    dilation: _Pair = (1, 1),
    groups: int = 1,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> torch.Tensor:
    """Convolution with packed weights, decoded for this call only.

    Args:
        x: (N, C_in, H, W), float32, float16 or bfloat16.
        packed: what `pack_shift_weight` returned for a weight of `weight_shape`, (C_out, C_in / groups, K_h, K_w).
        bias: (C_out,) or None.
    Returns: (N, C_out, H_out, W_out) in the dtype of `x`.
    Raises: InputError, BackendError: shapes, dtypes or a device that do not fit.
    """
    _check(x, _DTYPES, 4)
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    _check_conv(x, weight_shape, groups, stride, padding, dilation)
    columns = math.prod(weight_shape[1:])
    check_packed(packed, weight_shape[0], columns, weight_bits)
    weight = _decode(packed, columns, weight_bits, p_min).reshape(weight_shape)
    y = torch.nn.functional.conv2d(
        x.float(), weight, None if bias is None else bias.float(), stride, padding, dilation, groups
    )
    return y.to(x.dtype)


def shift_linear_packed(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> torch.Tensor:
    """y = x @ w.T (+ bias), filters decoded a band at a time; x (N, C_in), packed (C_out, words), y (N, C_out)."""
    _check(x, _DTYPES, 2)
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    check_packed(packed, packed.shape[0], x.shape[1], weight_bits)
    wide = x.float()
    y = torch.empty((x.shape[0], packed.shape[0]), dtype=torch.float32, device="cpu")
    band = max(1, BAND_ELEMENTS // max(1, x.shape[1]))
    for first in range(0, packed.shape[0], band):
        weight = _decode(packed[first : first + band], x.shape[1], weight_bits, p_min)
        torch.mm(wide, weight.t(), out=y[:, first : first + band])
    if bias is not None:
        y += bias.float()
    return y.to(x.dtype)


def _shift_codes(packed: torch.Tensor, columns: int, weight_bits: int) -> torch.Tensor:
    """int64 (rows, columns): 0 for the weight zero, else sign * (p - p_min + 1)."""
    exact = unpack_shift_weight(packed, (packed.shape[0], columns), weight_bits, 0, torch.float64)
    exponent = torch.frexp(exact).exponent.to(torch.int64)  # |w| = 2^(e - 1), p_min = 0 here, so e = p - p_min + 1
    return (exact.sign().to(torch.int64) * exponent).contiguous()


def shift_conv2d_fixed(
    x: torch.Tensor,
    packed: torch.Tensor,
    weight_shape: tuple[int, int, int, int],
    *,
    stride: _Pair = (1, 1),
    padding: _Pair = (0, 0),
    dilation: _Pair = (1, 1),
    groups: int = 1,
    weight_bits: int = 5,
    p_min: int | None = None,
) -> torch.Tensor:
    """Fixed-point convolution by shifts and additions; x int32, result int64 in the scale of x times 2^p_min. Exact."""
    _check(x, (torch.int32,), 4)
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    size = _check_conv(x, weight_shape, groups, stride, padding, dilation)
    columns = math.prod(weight_shape[1:])
    check_packed(packed, weight_shape[0], columns, weight_bits)
    y = torch.empty((x.shape[0], weight_shape[0], *size), dtype=torch.int64, device="cpu")
    if y.numel() == 0:
        return y
    codes = _shift_codes(packed, columns, weight_bits)
    p = np.zeros(25, np.int64)
    p[2:] = (
        x.data_ptr(), *(4 * s for s in x.stride()), y.data_ptr(), codes.data_ptr(), x.shape[0], groups,
        weight_shape[1], weight_shape[0] // groups, *x.shape[2:], *size, *weight_shape[2:],
        *stride, *padding, *dilation,
    )  # fmt: skip
    launch(fixed_rows, p, thread_count(y.numel() * columns))
    return y


def shift_linear_fixed(
    x: torch.Tensor, packed: torch.Tensor, *, weight_bits: int = 5, p_min: int | None = None
) -> torch.Tensor:
    """Fixed-point product by shifts and additions; x (N, C_in) int32, result (N, C_out) int64 scaled by 2^p_min."""
    _check(x, (torch.int32,), 2)
    if not x.shape[0]:
        return torch.zeros((0, packed.shape[0]), dtype=torch.int64, device="cpu")
    shape = (packed.shape[0], x.shape[1], 1, 1)
    y = shift_conv2d_fixed(x.t()[None, :, None, :], packed, shape, weight_bits=weight_bits, p_min=p_min)
    return y[0, :, 0].t().contiguous()
