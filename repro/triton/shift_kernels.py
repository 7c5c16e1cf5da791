"""Triton programs over packed power-of-two weights (layout: `repro.codes`).

Dense programs decode a tile of codes in registers and hand it to the tensor cores. With a small batch reading the
weights is all the time, so that program is a band of filters by a range of columns. Fixed point shifts and adds.
"""

import triton
import triton.language as tl

from repro.triton.adder_dense_kernels import _positions


@triton.jit
def _decode(row_ptr, start, padded, row_mask, BITS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Magnitude and sign of the codes of columns start .. start + BK - 1, int32 [BN, BK]; row_ptr is [BN, 1, 1].

    `start` and BK are multiples of 32. Each word is read once and spread over its columns. Beyond the padded row: 0.
    """
    word = start // 8 + tl.arange(0, BK // 8)[None, :, None]
    words = tl.load(row_ptr + word, mask=row_mask & (word < padded // 8), other=0)
    nibble = (words >> (tl.arange(0, 8) * 4)[None, None, :]) & 15
    nibble = tl.reshape(nibble, (BN, BK))
    if BITS == 4:
        magnitude, sign = nibble & 7, nibble >> 3
    else:
        word = start // 32 + tl.arange(0, BK // 32)[None, :, None]
        words = tl.load(row_ptr + padded // 8 + word, mask=row_mask & (word < padded // 32), other=0)
        sign = tl.reshape((words >> tl.arange(0, 32)[None, None, :]) & 1, (BN, BK))
        magnitude = nibble
    return magnitude, sign


@triton.jit
def _power_of_two(magnitude, sign, P_MIN: tl.constexpr):
    """float32 value of a code, put together from its bits."""
    bits = ((magnitude + (P_MIN - 1 + 127)) << 23) | (sign << 31)
    return tl.where(magnitude == 0, 0, bits).to(tl.float32, bitcast=True)


@triton.jit
def _shift_conv2d_dot_kernel(
    x_ptr, codes_ptr, bias_ptr, y_ptr, positions, channels, filters, k_count, padded, height, width, out_height,
    out_width, x_stride_n, x_stride_c, x_stride_h, x_stride_w, y_stride_n, y_stride_c, y_stride_h, y_stride_w, groups,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, BITS: tl.constexpr, P_MIN: tl.constexpr, HAS_BIAS: tl.constexpr,
    UPCAST: tl.constexpr, WIDE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """y[n, o, i, j] = sum_k patch[n, i, j, k] * w[o, k] (+ bias[o]) for half-precision patches, on tensor cores."""
    n_tiles = tl.cdiv(filters, BN)
    pid = tl.program_id(0)
    n_tile = pid % n_tiles
    group = pid // n_tiles % groups
    m_tile = pid // n_tiles // groups
    m = (m_tile.to(tl.int64) if WIDE else m_tile) * BM + tl.arange(0, BM)
    rest = m % (out_height * out_width)
    image, i, j = (m // (out_height * out_width)).to(tl.int64), rest // out_width, rest % out_width
    row, column = (i * SH - PH)[:, None], (j * SW - PW)[:, None]
    x_base = x_ptr + (image * x_stride_n)[:, None] + (group * channels).to(tl.int64) * x_stride_c
    x_base += row.to(tl.int64) * x_stride_h + column.to(tl.int64) * x_stride_w
    o = n_tile * BN + tl.arange(0, BN)
    row_ptr = codes_ptr + ((group * filters + o).to(tl.int64) * (padded // 32 * BITS))[:, None, None]
    row_mask = (o < filters)[:, None, None]
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, k_count, BK):
        k = start + tl.arange(0, BK)[None, :]
        c, tap = k // (KH * KW), k % (KH * KW)
        down, right = tap // KW * DH, tap % KW * DW
        mask = (m < positions)[:, None] & (k < k_count)
        if PH > 0 or PW > 0:
            h, w_at = row + down, column + right
            mask = mask & (h >= 0) & (h < height) & (w_at >= 0) & (w_at < width)
        offset = c.to(tl.int64) * x_stride_c + down.to(tl.int64) * x_stride_h + right.to(tl.int64) * x_stride_w
        x = tl.load(x_base + offset, mask=mask, other=0.0)
        magnitude, sign = _decode(row_ptr, start, padded, row_mask, BITS, BN, BK)
        weight = tl.trans(_power_of_two(magnitude, sign, P_MIN))
        if UPCAST:
            total = tl.dot(x.to(tl.float32), weight, total, input_precision="ieee")
        else:
            total = tl.dot(x, weight.to(x.dtype), total, input_precision="ieee")
    if HAS_BIAS:
        total += tl.load(bias_ptr + group * filters + o, mask=o < filters, other=0.0).to(tl.float32)[None, :]
    y_offset = image * y_stride_n + i.to(tl.int64) * y_stride_h + j.to(tl.int64) * y_stride_w
    y_offset = y_offset[:, None] + ((group * filters + o).to(tl.int64) * y_stride_c)[None, :]
    y_mask = (m < positions)[:, None] & (o < filters)[None, :]
    tl.store(y_ptr + y_offset, total.to(y_ptr.dtype.element_ty), mask=y_mask)


@triton.jit
def _shift_conv2d_tile_kernel(
    x_ptr, codes_ptr, bias_ptr, y_ptr, positions, channels, filters, k_count, padded, height, width, out_height,
    out_width, x_stride_n, x_stride_c, x_stride_h, x_stride_w, y_stride_n, y_stride_c, y_stride_h, y_stride_w, groups,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, BITS: tl.constexpr, P_MIN: tl.constexpr, HAS_BIAS: tl.constexpr,
    FIXED: tl.constexpr, WIDE: tl.constexpr,
    TM: tl.constexpr, TN: tl.constexpr, LM: tl.constexpr, LN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """The same sum over register tiles (see `adder_dense_kernels`): float32, or fixed point by shifts and additions.

    FIXED: x is int32, y is int64, every term is x << (p - P_MIN), added or subtracted: no product, no rounding.
    A step's BK <= 8 codes of a filter lie in one word, so a word is read once a step and shifted by each lane.
    """
    n_tiles = tl.cdiv(filters, TN * LN)
    pid = tl.program_id(0)
    n_tile = pid % n_tiles
    group = pid // n_tiles % groups
    image, i, j, inside = _positions(
        pid // n_tiles // groups, positions, out_width, out_width * out_height, TM, LM, WIDE
    )
    row, column = (i * SH - PH)[None], (j * SW - PW)[None]
    x_base = x_ptr + (group * channels).to(tl.int64) * x_stride_c + image[None].to(tl.int64) * x_stride_n
    x_base += row.to(tl.int64) * x_stride_h + column.to(tl.int64) * x_stride_w
    o = n_tile * (TN * LN) + tl.arange(0, TN)[:, None] * LN + tl.arange(0, LN)[None, :]
    row_ptr = codes_ptr + (group * filters + o)[None].to(tl.int64) * (padded // 32 * BITS)
    row_mask = (o < filters)[None]
    lane = tl.arange(0, BK)[:, None, None]
    total = tl.zeros((TM, TN, LM, LN), dtype=tl.int64 if FIXED else tl.float32)
    for start in range(0, k_count, BK):
        k = start + lane
        c, tap = k // (KH * KW), k % (KH * KW)
        down, right = tap // KW * DH, tap % KW * DW
        mask = inside[None] & (k < k_count)
        if PH > 0 or PW > 0:
            h, w_at = row + down, column + right
            mask = mask & (h >= 0) & (h < height) & (w_at >= 0) & (w_at < width)
        offset = c.to(tl.int64) * x_stride_c + down.to(tl.int64) * x_stride_h + right.to(tl.int64) * x_stride_w
        x = tl.load(x_base + offset, mask=mask, other=0)[:, :, None, :, None]
        nibble = (tl.load(row_ptr + start // 8, mask=row_mask, other=0) >> (start % 8 + lane) * 4) & 15
        if BITS == 4:
            magnitude, sign = nibble & 7, nibble >> 3
        else:
            signs = tl.load(row_ptr + padded // 8 + start // 32, mask=row_mask, other=0)
            magnitude, sign = nibble, (signs >> (start % 32 + lane)) & 1
        if FIXED:
            live = tl.where(magnitude == 0, 0, -1).to(tl.int64)[:, None, :, None, :]  # all ones, or the weight zero
            negative = -sign.to(tl.int64)[:, None, :, None, :]
            places = tl.maximum(magnitude - 1, 0).to(tl.int64)[:, None, :, None, :]
            total += tl.sum((((x.to(tl.int64) << places) & live) ^ negative) - negative, axis=0)
        else:
            total += tl.sum(x.to(tl.float32) * _power_of_two(magnitude, sign, P_MIN)[:, None, :, None, :], axis=0)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + group * filters + o, mask=o < filters, other=0).to(total.dtype)
        total += bias[None, :, None, :]
    y_offset = image.to(tl.int64) * y_stride_n + i.to(tl.int64) * y_stride_h + j.to(tl.int64) * y_stride_w
    y_offset = y_offset[:, None, :, None] + ((group * filters + o).to(tl.int64) * y_stride_c)[None, :, None, :]
    y_mask = inside[:, None, :, None] & (o < filters)[None, :, None, :]
    tl.store(y_ptr + y_offset, total.to(y_ptr.dtype.element_ty), mask=y_mask)


@triton.jit
def _shift_linear_small_kernel(
    x_ptr, codes_ptr, partial_ptr, batch, filters, k_count, padded, k_per_split, x_stride_n, x_stride_c,
    BITS: tl.constexpr, P_MIN: tl.constexpr, BB: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    DOT: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """partial[s, n, o] = sum over the columns of split s of x[n, k] * w[o, k], for a batch of at most BB rows.

    Bound by reading the codes: many programs, each a band of filters and a range of columns. A batch of up to four
    is summed on the FMA pipe, every lane its own columns, one reduction at the end; more rows go to the tensor cores.
    """
    o = tl.program_id(0) * BN + tl.arange(0, BN)
    split = tl.program_id(1)
    n = tl.arange(0, BB)
    row_ptr = codes_ptr + (o.to(tl.int64) * (padded // 32 * BITS))[:, None, None]
    row_mask = (o < filters)[:, None, None]
    if DOT:
        total = tl.zeros((BB, BN), dtype=tl.float32)
    else:
        total = tl.zeros((BB, BN, BK), dtype=tl.float32)
    for start in range(split * k_per_split, tl.minimum((split + 1) * k_per_split, k_count), BK):
        k = start + tl.arange(0, BK)
        x_offset = n[:, None].to(tl.int64) * x_stride_n + k[None, :].to(tl.int64) * x_stride_c
        x = tl.load(x_ptr + x_offset, mask=(n < batch)[:, None] & (k < k_count)[None, :], other=0.0)
        magnitude, sign = _decode(row_ptr, start, padded, row_mask, BITS, BN, BK)
        weight = _power_of_two(magnitude, sign, P_MIN)
        if DOT:
            if UPCAST:
                total = tl.dot(x.to(tl.float32), tl.trans(weight), total, input_precision="ieee")
            else:
                total = tl.dot(x, tl.trans(weight).to(x.dtype), total, input_precision="ieee")
        else:
            total += x.to(tl.float32)[:, None, :] * weight[None, :, :]
    if not DOT:
        total = tl.sum(total, axis=2)
    offset = (split.to(tl.int64) * batch + n)[:, None] * filters + o[None, :]
    tl.store(partial_ptr + offset, total, mask=(n < batch)[:, None] & (o < filters)[None, :])
