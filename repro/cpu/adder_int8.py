"""8-bit adder inference on the CPU: int8 activations and filters in one common scale, exact int32 sums.

1x1 filters, images of one pixel and layers of few input channels run as rows of bytes (`repro.cpu.byte_rows`). For the
others activations are copied once into elements of 8 channels (one byte a value, the only memory beside the output and
a bounded scratch) and run through the walk of `repro.cpu.correlate` with sums of absolute byte differences. Groups of
fewer than four channels, depthwise above all, would leave most bytes of an element empty; they run through the float32
kernels, whose sums of whole numbers below 2^24 are exact.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from repro.cpu import byte_rows, correlate, memory, sad
from repro.cpu.adder import adder_conv2d_fwd
from repro.cpu.dense import Call, forward_walk, is_pointwise
from repro.cpu.runner import TICKET, launch, thread_count
from repro.cpu.simd import PIECE, ROWS
from repro.errors import BackendError, InputError
from repro.geometry import output_sizes

_Pair = tuple[int, int]
CHANNELS = 8  # bytes of one element
MAX_TERMS = (2**31 - 1) // 255
_FLOAT_TERMS = 2**24 // 512  # 2 max(x, w), sum x and sum w stay whole numbers below 2^24
_SOURCE, _TARGET, _PLANES, _PIXELS = range(2, 6)


@numba.njit(inline="never")
def _sad_block(p, pieces, present, group, b0, b1, b2, b3, tile, portable):
    taps, offsets = memory.load_int(p, correlate.TAPS), memory.load_int(p, correlate.OFFSETS)
    channels = memory.load_int(p, correlate.TARGET_CHANNELS)
    blocks = (channels + ROWS - 1) // ROWS
    for block in range(blocks):
        weights = memory.load_int(p, correlate.WEIGHT) + (group * blocks + block) * taps * ROWS * CHANNELS
        if portable:
            sad.sad_tile_portable(b0, b1, b2, b3, offsets, weights, taps, tile)
        else:
            sad.sad_tile(b0, b1, b2, b3, offsets, weights, taps, tile)
        rows = min(ROWS, channels - block * ROWS)
        first = group * channels + block * ROWS
        correlate._write_tile(np.float32(0), p, pieces, present, first, rows, tile)  # int32 is moved like float32


@numba.njit(inline="never")
def _sad_tile(unit, p, pieces, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile):
    _sad_block(p, pieces, present, group, b0, b1, b2, b3, tile, False)


@numba.njit(inline="never")
def _sad_tile_portable(unit, p, pieces, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile):
    _sad_block(p, pieces, present, group, b0, b1, b2, b3, tile, True)


def forward_int8(p):
    """Dense adder forward on elements of 8 bytes."""
    correlate._walk(np.float64(0), p, _sad_tile)


def forward_int8_portable(p):
    """`forward_int8` without the machine's instruction for byte differences."""
    correlate._walk(np.float64(0), p, _sad_tile_portable)


def interleave(p):
    """Planes of bytes, 8 at a time, to elements of 8 bytes."""
    pixels, planes = memory.load_int(p, _PIXELS), memory.load_int(p, _PLANES)
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= planes:
            break
        source = memory.load_int(p, _SOURCE) + task * CHANNELS * pixels
        target = memory.load_int(p, _TARGET) + task * CHANNELS * pixels
        at = 0
        while at < pixels - 16:
            sad.interleave_16(source + at, pixels, target + CHANNELS * at)
            at += 16
        sad.interleave_16(source + pixels - 16, pixels, target + CHANNELS * (pixels - 16))


def _elements(x: torch.Tensor, groups: int) -> torch.Tensor:
    """int8 (N, C, H, W) to (N, groups * ceil(C / groups / 8), H, W) of 8-byte elements (typed float64, only moved)."""
    n, channels, rows, cols = x.shape
    per_group = channels // groups
    missing = -per_group % CHANNELS
    whole = (n, groups, -1, CHANNELS, rows, cols)
    if missing:
        x = torch.nn.functional.pad(x.reshape(n, groups, per_group, rows, cols), (0, 0, 0, 0, 0, missing))
        x = x.reshape(n, -1, rows, cols)
    planes = x.shape[1] // CHANNELS
    if x.is_contiguous() and rows * cols >= 16:
        packed = torch.empty((n, planes, rows, cols), dtype=torch.float64, device="cpu")
        p = np.zeros(6, np.int64)
        p[_SOURCE:] = x.data_ptr(), packed.data_ptr(), n * planes, rows * cols
        launch(interleave, p, thread_count(2 * x.numel()))
        return packed
    blocked = x.reshape(whole).permute(0, 1, 2, 4, 5, 3).contiguous()
    return blocked.reshape(-1).view(torch.float64).reshape(n, planes, rows, cols)


def _filters(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """int8 (C_out, C, K_h, K_w) to 8-byte elements (groups, filters, taps), 128 added to every byte."""
    missing = -weight.shape[1] % CHANNELS
    padded = torch.nn.functional.pad(weight, (0, 0, 0, 0, 0, missing))
    blocked = padded.reshape(weight.shape[0], -1, CHANNELS, *weight.shape[2:]).permute(0, 1, 3, 4, 2).contiguous()
    flipped = blocked.reshape(-1).view(torch.uint8).bitwise_xor(128)
    return flipped.view(torch.float64).reshape(groups, weight.shape[0] // groups, -1)


def _pack(weight: torch.Tensor) -> torch.Tensor:
    """(groups, targets, taps) to (groups, blocks, taps, ROWS): one tap's values for a tile's filters side by side."""
    groups, targets, taps = weight.shape
    padded = torch.cat([weight, weight.new_zeros((groups, -targets % ROWS, taps))], 1)
    return padded.view(groups, -1, ROWS, taps).transpose(2, 3).contiguous()


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous (N, C, H, W) to (N, C, 1, H*W), a view."""
    return tensor.view(*tensor.shape[:2], 1, -1)


def _check(x: torch.Tensor, weight: torch.Tensor, groups: int) -> None:
    for name, tensor in (("x", x), ("weight", weight)):
        if tensor.device.type != "cpu":
            raise BackendError(
                f"{name} is on device {tensor.device}, but the CPU kernels take tensors on the CPU only."
            )
        if tensor.dtype != torch.int8 or tensor.dim() != 4:
            raise InputError(
                f"{name} has dtype {tensor.dtype} and shape {tuple(tensor.shape)}; it must be int8 of four dimensions."
            )
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise InputError(f"groups={groups} does not fit x of {x.shape[1]} channels and weights {tuple(weight.shape)}.")
    if weight[0].numel() > MAX_TERMS:
        raise InputError(
            f"a filter of {weight[0].numel()} values could overflow int32; at most {MAX_TERMS} are allowed."
        )


def adder_conv2d_int8(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: _Pair = (1, 1),
    padding: _Pair = (0, 0),
    dilation: _Pair = (1, 1),
    groups: int = 1,
    *,
    portable: bool = False,
) -> torch.Tensor:
    """-sum |patch - w| in int32, exact; a zero-padded position contributes |0 - w|.

    Args:
        x: (N, C_in, H, W) int8, any strides.
        weight: (C_out, C_in / groups, K_h, K_w) int8 in the scale of `x`.
        stride, padding, dilation: (rows, columns).
        portable: do without the machine's byte-difference instruction (for tests).
    Returns: (N, C_out, H_out, W_out) int32, contiguous.
    Raises: InputError, BackendError: shapes, dtypes or a device that do not fit.
    """
    _check(x, weight, groups)
    size = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    if min(size) < 1:
        raise InputError(
            f"x of {x.shape[2]}x{x.shape[3]} pixels is smaller than the filter; the output would be empty."
        )
    y = torch.empty((x.shape[0], weight.shape[0], *size), dtype=torch.int32, device="cpu")
    if y.numel() == 0:
        return y
    if byte_rows.serves(x, weight, stride, padding, groups):
        byte_rows.forward(x.contiguous(), weight.contiguous(), y, stride, padding, dilation, portable)
        return y
    if weight.shape[1] < 4 and weight[0].numel() <= _FLOAT_TERMS:
        return adder_conv2d_fwd(x.float(), weight.float(), stride, padding, dilation, groups).to(torch.int32)
    flat = is_pointwise(weight.shape, stride, padding)
    elements, filters = _elements(x, groups), _pack(_filters(weight, groups))
    source, target = (_flat(elements), _flat(y)) if flat else (elements, y)
    shape = (weight.shape[0], elements.shape[1] // groups, *weight.shape[2:])
    walk = forward_walk(shape, stride, padding, dilation, groups, x.shape[0], source.shape[2:], target.shape[2:])
    call = Call(
        forward_int8_portable if portable else forward_int8,
        walk,
        CHANNELS,
        tuple(CHANNELS * s for s in source.stride()),
        tuple(4 * s for s in target.stride()),
        weight_pitch=0,
        weight_group=0,
        direct=flat and source.shape[3] >= PIECE,
    )
    call(source.data_ptr(), y.data_ptr(), filters.data_ptr())
    return y


def adder_linear_int8(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """-sum_c |x[n, c] - w[o, c]| in int32, exact; x (N, C_in) int8, weight (C_out, C_in) int8, result (N, C_out)."""
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise InputError(
            f"x of shape {tuple(x.shape)} and weight of shape {tuple(weight.shape)} do not fit; "
            "they must be (N, C_in) and (C_out, C_in)."
        )
    if not x.shape[0]:
        return torch.zeros((0, weight.shape[0]), dtype=torch.int32, device="cpu")
    return adder_conv2d_int8(x[:, :, None, None], weight[:, :, None, None]).flatten(1)
