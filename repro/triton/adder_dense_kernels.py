"""Triton programs of the dense and grouped adder convolution: forward, input gradient, weight gradient.

All three are one loop: a tile of BM x BN outputs, a short step of BK terms at a time, patches gathered straight from
the activation (implicit im2col). What matters is how the tile is spread over threads, and Triton's only handle on that
is the shape of the tensor. Written as [BK, TM, TN, LM, LN] with BM = TM * LM and BN = TN * LN, the default layout puts
lanes and warps on LM and LN and leaves BK, TM and TN inside each thread: a register tile of TM x TN outputs, operands
read from shared memory once per TM + TN, the sum over BK without a shuffle. The plain [BK, BM, BN] form leaves the
thread a column instead of a square: four times the reads per term, and spills.

The |.| costs nothing (an operand modifier), so a forward term is two FADD. 2 * max(x, w) - x - w would move one of them
to another pipe, but both pipes share one issue slot a cycle, max runs at half rate, and the sum cancels for large |x|.

Masked and padded elements load 0 on both sides or, for padding, on the activation's side only: |0 - w| counts.
"""

import triton
import triton.language as tl

# Steps summed apart before they join the total: two short chains round less than one long one.
FOLD: tl.constexpr = tl.constexpr(32)
ALL_NAN: tl.constexpr = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def _positions(tile, count, plane_width, plane_size, TM: tl.constexpr, LM: tl.constexpr, WIDE: tl.constexpr):
    """Output positions of a tile as (n, row, column, inside), each [TM, LM]; 64-bit only where the count needs it."""
    offset = tl.arange(0, TM)[:, None] * LM + tl.arange(0, LM)[None, :]
    m = tile.to(tl.int64) * (TM * LM) + offset if WIDE else tile * (TM * LM) + offset
    rest = m % plane_size
    return m // plane_size, rest // plane_width, rest % plane_width, m < count


@triton.jit
def _load_tap(base, row, column, inside, c, down, right, channels, height, width, stride_c, stride_h, stride_w,
              CHECK: tl.constexpr):  # fmt: skip
    """Channels c of the pixel that one filter tap sees, 0 outside the image; down and right are scalars."""
    mask = inside
    if CHECK:
        h, w = row + down, column + right
        mask = mask & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    tap = tl.cast(down, tl.int64) * stride_h + tl.cast(right, tl.int64) * stride_w
    offset = c.to(tl.int64) * stride_c
    return tl.load(base + tap + offset, mask=mask & (c < channels), other=0.0).to(tl.float32)


@triton.jit
def _adder_conv2d_fwd_kernel(
    x_ptr, w_ptr, y_ptr, positions, channels, filters, height, width, out_height, out_width,
    x_stride_n, x_stride_c, x_stride_h, x_stride_w, y_stride_n, y_stride_c, y_stride_h, y_stride_w, groups,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, WIDE: tl.constexpr,
    TM: tl.constexpr, TN: tl.constexpr, LM: tl.constexpr, LN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """y[n, o, i, j] = -sum_k |patch[n, i, j, k] - w[o, k]|; `channels` and `filters` are per group.

    w is (groups * filters, KH * KW, channels) contiguous. A step takes BK channels of one tap, so where the tap lies
    and whether it is inside the image is scalar arithmetic or one comparison a position, not one an element.
    """
    CHECK: tl.constexpr = PH > 0 or PW > 0
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
    w_base = w_ptr + (group * filters + o)[None].to(tl.int64) * (KH * KW) * channels
    w_inside = (o < filters)[None]
    lane = tl.arange(0, BK)[:, None, None]

    x = _load_tap(x_base, row, column, inside[None], lane, 0, 0, channels, height, width,
                  x_stride_c, x_stride_h, x_stride_w, CHECK)  # fmt: skip
    w = tl.load(w_base + lane, mask=w_inside & (lane < channels), other=0.0).to(tl.float32)
    total = tl.zeros((TM, TN, LM, LN), dtype=tl.float32)
    first = channels * 0
    tap = channels * 0
    steps = KH * KW * tl.cdiv(channels, BK)
    for chunk in range(0, steps, FOLD):
        part = tl.zeros((TM, TN, LM, LN), dtype=tl.float32)
        for _ in range(chunk, tl.minimum(chunk + FOLD, steps)):
            first += BK  # the next step's operands travel while this one is summed
            wrap = first >= channels
            tap = tl.where(wrap, tap + 1, tap)
            first = tl.where(wrap, 0, first)
            c = first + lane
            x_next = _load_tap(x_base, row, column, inside[None] & (tap < KH * KW), c, tap // KW * DH, tap % KW * DW,
                               channels, height, width, x_stride_c, x_stride_h, x_stride_w, CHECK)  # fmt: skip
            w_next = tl.load(w_base + (tap * channels + c), mask=w_inside & (tap < KH * KW) & (c < channels),
                             other=0.0).to(tl.float32)  # fmt: skip
            part += tl.sum(tl.abs(x[:, :, None, :, None] - w[:, None, :, None, :]), axis=0)
            x, w = x_next, w_next
        total += part

    y_offset = image.to(tl.int64) * y_stride_n + i.to(tl.int64) * y_stride_h + j.to(tl.int64) * y_stride_w
    y_offset = y_offset[:, None, :, None] + ((group * filters + o).to(tl.int64) * y_stride_c)[None, :, None, :]
    y_mask = inside[:, None, :, None] & (o < filters)[None, :, None, :]
    tl.store(y_ptr + y_offset, (-total).to(y_ptr.dtype.element_ty), mask=y_mask)


@triton.jit
def _load_grad(base, i, j, inside, o, up, left, filters, out_height, out_width, stride_c, stride_h, stride_w):
    """Gradients of outputs o that reach the input positions through one tap; up and left are scalars."""
    h, w = i - up, j - left
    mask = inside & (h >= 0) & (h < out_height) & (w >= 0) & (w < out_width)
    tap = tl.cast(up, tl.int64) * stride_h + tl.cast(left, tl.int64) * stride_w
    offset = o.to(tl.int64) * stride_c
    return tl.load(base - tap + offset, mask=mask & (o < filters), other=0.0).to(tl.float32)


@triton.jit
def _adder_conv2d_bwd_input_kernel(
    g_ptr, x_ptr, w_ptr, dx_ptr, positions, channels, filters, rows, columns, out_height, out_width,
    first_row, first_column, first_i, first_j,
    x_stride_n, x_stride_c, x_stride_h, x_stride_w, g_stride_n, g_stride_c, g_stride_h, g_stride_w,
    dx_stride_n, dx_stride_c, dx_stride_h, dx_stride_w, groups,
    NH: tl.constexpr, NW: tl.constexpr, QH: tl.constexpr, QW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    WIDE: tl.constexpr,
    TM: tl.constexpr, TN: tl.constexpr, LM: tl.constexpr, LN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """dx[n, c, h, w] = sum over filters and taps of g * HardTanh(w - x), for one residue class of positions.

    With stride s, the positions (first_row + s * a, first_column + s * b) all see the same NH x NW taps, so no term is
    spent on a tap that cannot reach. w is (groups, NH * NW, filters, channels) contiguous, those taps only. x does not
    depend on tap and filter and stays in registers.

    The symmetric clip is one instruction, min with the sign passed through, and keeps NaN: three instructions a term.
    A saturating add would save it (HT(d) = 2 sat((d + 1) / 2) - 1), but rounds small differences at the scale of 1 and
    turns NaN into 0, hiding a blow-up.
    """
    n_tiles = tl.cdiv(channels, TN * LN)
    pid = tl.program_id(0)
    n_tile = pid % n_tiles
    group = pid // n_tiles % groups
    image, a, b, inside = _positions(pid // n_tiles // groups, positions, columns, rows * columns, TM, LM, WIDE)
    c = n_tile * (TN * LN) + tl.arange(0, TN)[:, None] * LN + tl.arange(0, LN)[None, :]
    h, w_at = (first_row + a * SH).to(tl.int64), (first_column + b * SW).to(tl.int64)
    channel = ((group * channels + c).to(tl.int64))[None, :, None, :]
    out_mask = inside[:, None, :, None] & (c < channels)[None, :, None, :]
    x_offset = (image.to(tl.int64) * x_stride_n + h * x_stride_h + w_at * x_stride_w)[:, None, :, None]
    x = tl.load(x_ptr + x_offset + channel * x_stride_c, mask=out_mask, other=0.0).to(tl.float32)

    i, j = (first_i + a)[None], (first_j + b)[None]
    g_base = g_ptr + (group * filters).to(tl.int64) * g_stride_c + image[None].to(tl.int64) * g_stride_n
    g_base += i.to(tl.int64) * g_stride_h + j.to(tl.int64) * g_stride_w
    w_base = w_ptr + group.to(tl.int64) * (NH * NW) * filters * channels + c[None]
    w_inside = (c < channels)[None]

    lane = tl.arange(0, BK)[:, None, None]

    g = _load_grad(g_base, i, j, inside[None], lane, 0, 0, filters, out_height, out_width,
                   g_stride_c, g_stride_h, g_stride_w)  # fmt: skip
    w = tl.load(w_base + lane.to(tl.int64) * channels, mask=w_inside & (lane < filters), other=0.0).to(tl.float32)
    total = tl.zeros((TM, TN, LM, LN), dtype=tl.float32)
    first = filters * 0
    tap = filters * 0
    steps = NH * NW * tl.cdiv(filters, BK)
    for chunk in range(0, steps, FOLD):
        part = tl.zeros((TM, TN, LM, LN), dtype=tl.float32)
        for _ in range(chunk, tl.minimum(chunk + FOLD, steps)):
            first += BK
            wrap = first >= filters
            tap = tl.where(wrap, tap + 1, tap)
            first = tl.where(wrap, 0, first)
            o = first + lane
            g_next = _load_grad(g_base, i, j, inside[None] & (tap < NH * NW), o, tap // NW * QH, tap % NW * QW, filters,
                                out_height, out_width, g_stride_c, g_stride_h, g_stride_w)  # fmt: skip
            w_next = tl.load(w_base + (tap * filters + o).to(tl.int64) * channels,
                             mask=w_inside & (tap < NH * NW) & (o < filters), other=0.0).to(tl.float32)  # fmt: skip
            clipped = tl.clamp(w[:, None, :, None, :] - x[None], -1.0, 1.0, propagate_nan=ALL_NAN)
            part += tl.sum(g[:, :, None, :, None] * clipped, axis=0)
            g, w = g_next, w_next
        total += part

    dx_offset = (image.to(tl.int64) * dx_stride_n + h * dx_stride_h + w_at * dx_stride_w)[:, None, :, None]
    tl.store(dx_ptr + dx_offset + channel * dx_stride_c, total.to(dx_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def _load_patches(base, row, column, inside, k, k_count, height, width, stride_c, stride_h, stride_w,
                  KH: tl.constexpr, KW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
                  CHECK: tl.constexpr):  # fmt: skip
    """Elements k of the patches at (row, column), 0 outside the image: shapes of k and row broadcast together."""
    c, tap = k // (KH * KW), k % (KH * KW)  # the filter's own order
    down, right = tap // KW * DH, tap % KW * DW
    mask = inside & (k < k_count)
    if CHECK:
        h, w = row + down, column + right
        mask = mask & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    offset = c.to(tl.int64) * stride_c + down.to(tl.int64) * stride_h + right.to(tl.int64) * stride_w
    return tl.load(base + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _adder_conv2d_bwd_weight_kernel(
    g_ptr, x_ptr, centre_ptr, partial_ptr, channels, filters, k_count, height, width, out_height, out_width,
    image_rows, rows_per_split, x_stride_n, x_stride_c, x_stride_h, x_stride_w,
    g_stride_n, g_stride_c, g_stride_h, g_stride_w, groups,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, DOT: tl.constexpr, DOT_UPCAST: tl.constexpr,
    TM: tl.constexpr, TN: tl.constexpr, LM: tl.constexpr, LN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """partial[s, o, k] = sum over the output rows of split s of g[n, o, i, j] * (patch[n, i, j, k] - centre[k]).

    The launcher adds the splits in a fixed order and the correction -(w - centre) * sum(g). float32 products stay on
    the FMA pipe with the register tile of the forward; with DOT the halves go to the tensor cores (centre is 0 then:
    their products are exact in float32). Positions run along one output row at a time, so that finding a patch costs
    scalar arithmetic only.
    """
    CHECK: tl.constexpr = PH > 0 or PW > 0
    k_tiles = tl.cdiv(k_count, TN * LN)
    o_tiles = tl.cdiv(filters, TM * LM)
    pid = tl.program_id(0)
    k_tile = pid % k_tiles
    o_tile = pid // k_tiles % o_tiles
    group = pid // k_tiles // o_tiles % groups
    split = pid // k_tiles // o_tiles // groups
    o = o_tile * (TM * LM) + tl.arange(0, TM)[:, None] * LM + tl.arange(0, LM)[None, :]
    k = k_tile * (TN * LN) + tl.arange(0, TN)[:, None] * LN + tl.arange(0, LN)[None, :]
    o_flat = o_tile * (TM * LM) + tl.arange(0, TM * LM)
    k_flat = k_tile * (TN * LN) + tl.arange(0, TN * LN)
    g_group = g_ptr + (group * filters).to(tl.int64) * g_stride_c
    x_group = x_ptr + (group * channels).to(tl.int64) * x_stride_c
    centre = tl.load(centre_ptr + group.to(tl.int64) * k_count + k, mask=k < k_count, other=0.0)[None]
    if DOT:
        total = tl.zeros((TM * LM, TN * LN), dtype=tl.float32)
    else:
        total = tl.zeros((TM, TN, LM, LN), dtype=tl.float32)
    for image_row in range(split * rows_per_split, tl.minimum((split + 1) * rows_per_split, image_rows)):
        image, i = image_row // out_height, image_row % out_height
        row = i * SH - PH
        g_row = g_group + image.to(tl.int64) * g_stride_n + i.to(tl.int64) * g_stride_h
        x_row = x_group + image.to(tl.int64) * x_stride_n + row.to(tl.int64) * x_stride_h
        for start in range(0, out_width, BK):
            if DOT:
                j = start + tl.arange(0, BK)
                g2 = tl.load(g_row + o_flat[:, None].to(tl.int64) * g_stride_c + j[None, :].to(tl.int64) * g_stride_w,
                             mask=(o_flat < filters)[:, None] & (j < out_width)[None, :], other=0.0)  # fmt: skip
                column = (j * SW - PW)[:, None]
                x2 = _load_patches(x_row + column.to(tl.int64) * x_stride_w, row, column, (j < out_width)[:, None],
                                   k_flat[None, :], k_count, height, width, x_stride_c, x_stride_h,
                                   x_stride_w, KH, KW, DH, DW, CHECK)  # fmt: skip
                if DOT_UPCAST:
                    total = tl.dot(g2.to(tl.float32), x2, total, input_precision="ieee")
                else:
                    total = tl.dot(g2, x2.to(g2.dtype), total, input_precision="ieee")
            else:
                j = start + tl.arange(0, BK)[:, None, None]
                g = tl.load(g_row + o[None].to(tl.int64) * g_stride_c + j.to(tl.int64) * g_stride_w,
                            mask=(o < filters)[None] & (j < out_width), other=0.0).to(tl.float32)  # fmt: skip
                column = j * SW - PW
                x = _load_patches(x_row + column.to(tl.int64) * x_stride_w, row, column, j < out_width,
                                  k[None], k_count, height, width, x_stride_c, x_stride_h,
                                  x_stride_w, KH, KW, DH, DW, CHECK) - centre  # fmt: skip
                total += tl.sum(g[:, :, None, :, None] * x[:, None, :, None, :], axis=0)

    base = partial_ptr + (split.to(tl.int64) * groups + group) * filters * k_count
    if DOT:
        offset = o_flat[:, None].to(tl.int64) * k_count + k_flat[None, :]
        tl.store(base + offset, total, mask=(o_flat < filters)[:, None] & (k_flat < k_count)[None, :])
    else:
        offset = (o.to(tl.int64) * k_count)[:, None, :, None] + k[None, :, None, :]
        mask = (o < filters)[:, None, :, None] & (k < k_count)[None, :, None, :]
        tl.store(base + offset, total, mask=mask)
