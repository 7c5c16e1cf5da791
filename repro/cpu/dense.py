"""Calls of the dense kernels, prepared once for every shape: what is left of a call is a handful of addresses.

A layer is called thousands of times with tensors of the same sizes, and on small layers the arithmetic takes less
time than working out how to do it. `forward_call` and `input_gradient_calls` keep what depends on sizes and strides.
"""

from __future__ import annotations

import functools
from array import array

import numpy as np
import torch

from repro.cpu import correlate as c
from repro.cpu.geometry import Walk, phase_taps, plan
from repro.cpu.runner import run, thread_count
from repro.cpu.simd import PIECE

_Pair = tuple[int, int]
_Sizes = tuple[int, int, int, int]


class Call:
    """One kernel over one walk.

    Args:
        kernel: of `repro.cpu.correlate`.
        walk: its geometry.
        size: bytes of an element.
        source, target, aux: byte strides of the tensors (n, c, h, w).
        weight_pitch, weight_group: bytes from one target channel's weights, and one group's, to the next.
        direct: sources are read where they are; paired: images may lie in pairs.
        weight_offsets: bytes to the weight of each tap, where they are not neighbours.
        summed, checked: filters to sum up, weights to look through, before the walk.
        source_at, target_at, aux_at: bytes from each tensor's first element to the walk's.
    """

    def __init__(
        self, kernel, walk: Walk, size: int, source, target, *, weight_pitch: int, weight_group: int, direct: bool,
        paired: bool = False, aux=None, weight_offsets=None,
        summed: int = 0, checked: int = 0, target_at: int = 0, aux_at: int = 0,
    ):  # fmt: skip
        words, self._offsets, self.slot = plan(walk, direct, source[1], size, summed, paired)
        self.kernel, self.terms = kernel, walk.terms
        self.target_at, self.aux_at = target_at, aux_at
        self._weight_offsets = weight_offsets
        p = words.copy()
        p[c.SOURCE_N : c.SOURCE_W + 1] = source
        p[c.TARGET_N : c.TARGET_W + 1] = target
        if aux is not None:
            p[c.AUX_N : c.AUX_W + 1] = aux
        p[c.WEIGHT_PITCH], p[c.WEIGHT_GROUP], p[c.CHECKED_WEIGHTS] = weight_pitch, weight_group, checked
        p[c.OFFSETS] = self._offsets.ctypes.data
        if weight_offsets is not None:
            p[c.WEIGHT_OFFSETS] = weight_offsets.ctypes.data
        self._words = array("q", p.tobytes())

    def __call__(self, source: int, target: int, weight: int, aux: int = 0) -> None:
        """Run on tensors at these addresses."""
        threads = thread_count(self.terms)
        scratch = torch.empty(self.slot * threads, dtype=torch.uint8, device="cpu")
        p = self._words[:]
        p[c.SOURCE], p[c.TARGET], p[c.AUX] = source, target + self.target_at, aux + self.aux_at
        p[c.WEIGHT], p[c.SCRATCH] = weight, scratch.data_ptr()
        run(self.kernel, p, threads)


def _bytes(strides, size: int) -> tuple[int, ...]:
    return tuple(size * stride for stride in strides)


def flattens(shape, strides) -> bool:
    """Whether rows and columns are one long row of evenly spaced elements."""
    return shape[2] == 1 or strides[2] == shape[3] * strides[3]


def _flat(shape, strides) -> tuple[tuple[int, int], tuple[int, ...]]:
    """(rows, columns) and strides of (N, C, 1, H*W)."""
    pixels = shape[2] * shape[3]
    return (1, pixels), (strides[0], strides[1], pixels * strides[3], strides[3])


def is_pointwise(weight_shape, stride: _Pair, padding: _Pair) -> bool:
    """A 1x1 filter that meets every pixel once."""
    return weight_shape[2] == weight_shape[3] == 1 and stride == (1, 1) and padding == (0, 0)


def forward_walk(
    weight_shape: _Sizes, stride: _Pair, padding: _Pair, dilation: _Pair, groups: int, images: int, source, target
) -> Walk:
    """Every pixel of a target of these (rows, columns) reads the source's pixels under the filter."""
    taps = [tuple(k * dilation[i] - padding[i] for k in range(weight_shape[2 + i])) for i in range(2)]
    return Walk(
        taps_h=taps[0],
        taps_w=taps[1],
        source_step=stride,
        source_channels=weight_shape[1],
        target_channels=weight_shape[0] // groups,
        groups=groups,
        images=images,
        source_size=tuple(source),
        target_size=tuple(target),
    )


@functools.lru_cache(maxsize=1024)
def forward_call(x_shape, x_strides, weight_shape, y_shape, y_strides, size, stride, padding, dilation, groups) -> Call:
    """-sum |x - w| of a layer; tensors (N, C, H, W) with element strides, weights contiguous, `size` bytes a value."""
    source, target = x_shape[2:], y_shape[2:]
    flat = is_pointwise(weight_shape, stride, padding) and all(
        flattens(*tensor) for tensor in ((x_shape, x_strides), (y_shape, y_strides))
    )
    if flat:
        source, x_strides = _flat(x_shape, x_strides)
        target, y_strides = _flat(y_shape, y_strides)
    walk = forward_walk(weight_shape, stride, padding, dilation, groups, x_shape[0], source, target)
    if walk.depthwise:
        kernel = c.depthwise_forward_f32 if size == 4 else c.forward_f64
    else:
        kernel = c.forward_f32 if size == 4 else c.forward_f64
    taps = weight_shape[1] * weight_shape[2] * weight_shape[3]
    return Call(
        kernel,
        walk,
        size,
        _bytes(x_strides, size),
        _bytes(y_strides, size),
        weight_pitch=taps * size,
        weight_group=weight_shape[0] // groups * taps * size,
        direct=flat and x_strides[3] == 1 and source[1] >= PIECE,
        paired=kernel is c.forward_f32 and x_strides[3] == 1,
        summed=weight_shape[0] if kernel is c.forward_f32 else 0,
    )


@functools.lru_cache(maxsize=1024)
def input_gradient_calls(
    grad_shape, grad_strides, x_shape, x_strides, weight_shape, out_strides, size, stride, padding, dilation, groups
) -> tuple[tuple[Call, ...], tuple[tuple[slice, ...], ...]]:
    """sum g * HardTanh(w - x) of a layer: the calls, and the parts of grad_x that no tap reaches and that are zero.

    Arguments as for `forward_call`; `out_strides` are those of grad_x.
    """
    common = dict(weight_shape=weight_shape, groups=groups, images=x_shape[0], size=size)
    if is_pointwise(weight_shape, stride, padding) and all(
        flattens(*tensor) for tensor in ((x_shape, x_strides), (grad_shape, grad_strides), (x_shape, out_strides))
    ):
        source, grad_strides = _flat(grad_shape, grad_strides)
        target, out_strides = _flat(x_shape, out_strides)
        _, x_strides = _flat(x_shape, x_strides)
        taken = (0,), (0,), (0,), (0,)
        direct = grad_strides[3] == 1 and source[1] >= PIECE
        return (_phase(taken, source, target, grad_strides, x_strides, out_strides, (0, 0), direct, **common),), ()
    calls, empty = [], []
    for phase_h in range(min(stride[0], x_shape[2])):
        rows, taps_h = phase_taps(phase_h, weight_shape[2], stride[0], padding[0], dilation[0])
        for phase_w in range(min(stride[1], x_shape[3])):
            cols, taps_w = phase_taps(phase_w, weight_shape[3], stride[1], padding[1], dilation[1])
            if not taps_h or not taps_w:
                part = slice(phase_h, None, stride[0]), slice(phase_w, None, stride[1])
                empty.append((slice(None), slice(None), *part))
                continue
            target = tuple(-(-(x_shape[2 + i] - first) // stride[i]) for i, first in enumerate((phase_h, phase_w)))
            x_apart, out_apart = (
                (*strides[:2], strides[2] * stride[0], strides[3] * stride[1]) for strides in (x_strides, out_strides)
            )
            at = [phase_h * strides[2] + phase_w * strides[3] for strides in (x_strides, out_strides)]
            taken = rows, cols, taps_h, taps_w
            calls.append(_phase(taken, grad_shape[2:], target, grad_strides, x_apart, out_apart, at, False, **common))
    return tuple(calls), tuple(empty)


def _phase(
    taken, source, target, grad_strides, x_strides, out_strides, at, direct, *, weight_shape, groups, images, size
) -> Call:
    """The input gradient of the pixels of one phase; `taken`: filter rows, columns, and output offsets of each."""
    rows, cols, taps_h, taps_w = taken
    outputs, inputs = weight_shape[0] // groups, weight_shape[1]
    plane = weight_shape[2] * weight_shape[3]
    walk = Walk(
        taps_h=taps_h,
        taps_w=taps_w,
        source_step=(1, 1),
        source_channels=outputs,
        target_channels=inputs,
        groups=groups,
        images=images,
        source_size=tuple(source),
        target_size=tuple(target),
    )
    over = np.arange(outputs, dtype=np.int64)[:, None, None] * inputs * plane
    within = np.array(rows, dtype=np.int64)[:, None] * weight_shape[3] + np.array(cols, dtype=np.int64)[None]
    return Call(
        c.clipped_f32 if size == 4 else c.clipped_f64,
        walk,
        size,
        _bytes(grad_strides, size),
        _bytes(out_strides, size),
        weight_pitch=plane * size,
        weight_group=outputs * inputs * plane * size,
        direct=direct,
        aux=_bytes(x_strides, size),
        weight_offsets=np.ascontiguousarray((over + within).reshape(-1) * size),
        checked=groups * outputs * inputs * plane,
        aux_at=at[0] * size,
        target_at=at[1] * size,
    )
