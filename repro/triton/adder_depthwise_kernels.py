"""Triton programs of the depthwise adder convolution (one input channel a group, any channel multiplier).

Nine terms per output leave these bound by memory, so they are plain gathers: a block of BP positions by BC channels,
lanes along positions for NCHW (BC = 1) and along channels for channels-last; taps are unrolled and hit the L1 cache.
"""

import triton
import triton.language as tl

ALL_NAN: tl.constexpr = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def _block(channels, plane, BP: tl.constexpr, BC: tl.constexpr):
    """(image, positions [BP, 1], channels [1, BC]) of this program; position blocks vary fastest."""
    pid = tl.program_id(0)
    p_blocks = tl.cdiv(plane, BP)
    c_blocks = tl.cdiv(channels, BC)
    p = pid % p_blocks * BP + tl.arange(0, BP)[:, None]
    c = pid // p_blocks % c_blocks * BC + tl.arange(0, BC)[None, :]
    return (pid // p_blocks // c_blocks).to(tl.int64), p, c


@triton.jit
def _adder_depthwise_fwd_kernel(
    x_ptr, w_ptr, y_ptr, filters, multiplier, height, width, out_height, out_width,
    x_stride_n, x_stride_c, x_stride_h, x_stride_w, y_stride_n, y_stride_c, y_stride_h, y_stride_w,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y[n, o, i, j] = -sum over taps of |x[n, o / multiplier, ...] - w[o, tap]|."""
    image, p, o = _block(filters, out_height * out_width, BP, BC)
    i, j = p // out_width, p % out_width
    inside = (p < out_height * out_width) & (o < filters)
    x_base = x_ptr + image * x_stride_n + (o // multiplier).to(tl.int64) * x_stride_c
    total = tl.zeros((BP, BC), dtype=tl.float32)
    for kh in tl.static_range(KH):
        for kw in tl.static_range(KW):
            h, w_at = i * SH - PH + kh * DH, j * SW - PW + kw * DW
            mask = inside & (h >= 0) & (h < height) & (w_at >= 0) & (w_at < width)
            x_offset = h.to(tl.int64) * x_stride_h + w_at.to(tl.int64) * x_stride_w
            x = tl.load(x_base + x_offset, mask=mask, other=0.0).to(tl.float32)
            w = tl.load(w_ptr + o * (KH * KW) + kh * KW + kw, mask=o < filters, other=0.0).to(tl.float32)
            total += tl.abs(x - w)
    y_offset = image * y_stride_n + o.to(tl.int64) * y_stride_c
    y_offset = y_offset + i.to(tl.int64) * y_stride_h + j.to(tl.int64) * y_stride_w
    tl.store(y_ptr + y_offset, (-total).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _adder_depthwise_bwd_input_kernel(
    g_ptr, x_ptr, w_ptr, dx_ptr, channels, multiplier, height, width, out_height, out_width,
    x_stride_n, x_stride_c, x_stride_h, x_stride_w, g_stride_n, g_stride_c, g_stride_h, g_stride_w,
    dx_stride_n, dx_stride_c, dx_stride_h, dx_stride_w,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """dx[n, c, h, w] = sum over the channel's filters and taps of g * HardTanh(w - x); NaN kept by the clip."""
    image, p, c = _block(channels, height * width, BP, BC)
    h, w_at = p // width, p % width
    inside = (p < height * width) & (c < channels)
    x_offset = image * x_stride_n + c.to(tl.int64) * x_stride_c
    x_offset = x_offset + h.to(tl.int64) * x_stride_h + w_at.to(tl.int64) * x_stride_w
    x = tl.load(x_ptr + x_offset, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((BP, BC), dtype=tl.float32)
    for member in range(0, multiplier):
        o = c * multiplier + member
        g_base = g_ptr + image * g_stride_n + o.to(tl.int64) * g_stride_c
        for kh in tl.static_range(KH):
            for kw in tl.static_range(KW):
                above, left = h + PH - kh * DH, w_at + PW - kw * DW
                i, j = above // SH, left // SW
                reached = (above >= 0) & (left >= 0) & (i < out_height) & (j < out_width)
                reached = reached & (above % SH == 0) & (left % SW == 0) & inside
                g_offset = i.to(tl.int64) * g_stride_h + j.to(tl.int64) * g_stride_w
                g = tl.load(g_base + g_offset, mask=reached, other=0.0).to(tl.float32)
                w = tl.load(w_ptr + o * (KH * KW) + kh * KW + kw, mask=c < channels, other=0.0).to(tl.float32)
                total += g * tl.clamp(w - x, -1.0, 1.0, propagate_nan=ALL_NAN)
    dx_offset = image * dx_stride_n + c.to(tl.int64) * dx_stride_c
    dx_offset = dx_offset + h.to(tl.int64) * dx_stride_h + w_at.to(tl.int64) * dx_stride_w
    tl.store(dx_ptr + dx_offset, total.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _adder_depthwise_bwd_weight_kernel(
    g_ptr, x_ptr, w_ptr, partial_ptr, images, images_per_split, filters, multiplier, height, width, out_height,
    out_width, x_stride_n, x_stride_c, x_stride_h, x_stride_w, g_stride_n, g_stride_c, g_stride_h, g_stride_w,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, TAPS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """partial[s, o, tap] = sum over the images of split s of g * (x - w): no cancellation, added in a fixed order."""
    pid = tl.program_id(0)
    c_blocks = tl.cdiv(filters, BC)
    split = pid // c_blocks
    o = (pid % c_blocks * BC + tl.arange(0, BC))[None, None, :]
    tap = tl.arange(0, TAPS)[:, None, None]
    down, right = tap // KW * DH - PH, tap % KW * DW - PW
    live = (tap < KH * KW) & (o < filters)
    w = tl.load(w_ptr + o * (KH * KW) + tap, mask=live, other=0.0).to(tl.float32)
    total = tl.zeros((TAPS, BP, BC), dtype=tl.float32)
    for image in range(split * images_per_split, tl.minimum((split + 1) * images_per_split, images)):
        x_base = x_ptr + tl.cast(image, tl.int64) * x_stride_n + (o // multiplier).to(tl.int64) * x_stride_c
        g_base = g_ptr + tl.cast(image, tl.int64) * g_stride_n + o.to(tl.int64) * g_stride_c
        for start in range(0, out_height * out_width, BP):
            p = (start + tl.arange(0, BP))[None, :, None]
            i, j = p // out_width, p % out_width
            inside = (p < out_height * out_width) & (o < filters)
            g_offset = i.to(tl.int64) * g_stride_h + j.to(tl.int64) * g_stride_w
            g = tl.load(g_base + g_offset, mask=inside, other=0.0).to(tl.float32)
            h, w_at = i * SH + down, j * SW + right
            mask = inside & live & (h >= 0) & (h < height) & (w_at >= 0) & (w_at < width)
            x_offset = h.to(tl.int64) * x_stride_h + w_at.to(tl.int64) * x_stride_w
            x = tl.load(x_base + x_offset, mask=mask, other=0.0).to(tl.float32)
            total += g * (x - w)
    partial = tl.sum(total, axis=1)
    tap2, o2 = tl.arange(0, TAPS)[:, None], pid % c_blocks * BC + tl.arange(0, BC)[None, :]
    offset = (split.to(tl.int64) * filters + o2) * (KH * KW) + tap2
    tl.store(partial_ptr + offset, partial, mask=(tap2 < KH * KW) & (o2 < filters))
