"""Triton program of the 8-bit adder convolution: four absolute differences an instruction, sums in int32."""

import triton
import triton.language as tl

from repro.triton.adder_dense_kernels import _positions


@triton.jit
def _sad4(a, b, PLAIN: tl.constexpr):
    """Sum of the absolute differences of the four signed bytes of each word, int32.

    PLAIN unpacks the bytes instead of using the video instruction: for the interpreter, which runs no assembly.
    """
    if PLAIN:
        total = tl.abs((a >> 24) - (b >> 24))
        for place in tl.static_range(3):
            total += tl.abs(((a << (24 - 8 * place)) >> 24) - ((b << (24 - 8 * place)) >> 24))
        return total
    return tl.inline_asm_elementwise(  # the accumulator operand must be a register
        "{ .reg .b32 zero; mov.b32 zero, 0; vabsdiff4.u32.s32.s32.add $0, $1, $2, zero; }",
        "=r,r,r",
        [a, b],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def _adder_conv2d_int8_kernel(
    x_ptr, w_ptr, y_ptr, positions, words, filters, height, width, out_height, out_width, groups,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, PLAIN: tl.constexpr, WIDE: tl.constexpr,
    TM: tl.constexpr, TN: tl.constexpr, LM: tl.constexpr, LN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """y[m, o] = -sum |patch - w| over words of four channels; register tiles as in `adder_dense_kernels`.

    x is (N, H, W, groups, words), w (groups * filters, KH, KW, words), y (N, H_out, W_out, groups * filters), all int32
    and contiguous. Channels that fill up a word are 0 on both sides; padded pixels are 0 on the side of x.
    """
    n_tiles = tl.cdiv(filters, TN * LN)
    pid = tl.program_id(0)
    n_tile = pid % n_tiles
    group = pid // n_tiles % groups
    image, i, j, inside = _positions(
        pid // n_tiles // groups, positions, out_width, out_width * out_height, TM, LM, WIDE
    )
    row, column = i * SH - PH, j * SW - PW
    pixel = (image.to(tl.int64) * height + row) * width + column
    x_base = x_ptr + ((pixel * groups + group) * words)[None]
    o = n_tile * (TN * LN) + tl.arange(0, TN)[:, None] * LN + tl.arange(0, LN)[None, :]
    w_base = w_ptr + (group * filters + o)[None].to(tl.int64) * (KH * KW) * words
    lane = tl.arange(0, BK)[:, None, None]
    total = tl.zeros((TM, TN, LM, LN), dtype=tl.int32)
    first = words * 0
    tap = words * 0
    for _ in range(0, KH * KW * tl.cdiv(words, BK)):
        c = first + lane
        down, right = tap // KW * DH, tap % KW * DW
        mask = inside[None] & (c < words)
        if PH > 0 or PW > 0:
            h, w_at = (row + down)[None], (column + right)[None]
            mask = mask & (h >= 0) & (h < height) & (w_at >= 0) & (w_at < width)
        step = (tl.cast(down, tl.int64) * width + right) * groups * words
        x = tl.load(x_base + step + c, mask=mask, other=0)
        w = tl.load(w_base + (tap * words + c), mask=(o < filters)[None] & (c < words), other=0)
        x5, w5 = tl.broadcast(x[:, :, None, :, None], w[:, None, :, None, :])
        total += tl.sum(_sad4(x5, w5, PLAIN), axis=0)
        first += BK
        wrap = first >= words
        tap = tl.where(wrap, tap + 1, tap)
        first = tl.where(wrap, 0, first)
    y_offset = (_pixel(image, i, j, out_height, out_width) * groups + group) * filters
    y_mask = inside[:, None, :, None] & (o < filters)[None, :, None, :]
    tl.store(y_ptr + y_offset[:, None, :, None] + o[None, :, None, :], -total, mask=y_mask)


@triton.jit
def _pixel(image, i, j, out_height, out_width):
    """Flat index of an output pixel, int64."""
    return (image.to(tl.int64) * out_height + i) * out_width + j
