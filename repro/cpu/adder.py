"""Adder convolution and adder linear on the CPU: y = -sum |x - w|, and AdderNet's two surrogate gradients.

Float32 and float64 are computed in their own type; float16 and bfloat16 inputs are widened to float32, summed there
and rounded once at the end. Tensors may be NCHW, channels-last or strided in any way; outputs keep the memory format
of their input. Every output element is summed by one thread in one order, so results are the same on any number of
threads. Source: Chen et al., AdderNet, 2020, equations 2, 5 and 6 (input gradient clipped, weight gradient full).
"""

from __future__ import annotations

import functools
import math

import torch

from repro.cpu import correlate, depthwise
from repro.cpu.geometry import Walk, phase_taps, plan
from repro.cpu.runner import launch, thread_count
from repro.cpu.simd import PIECE, ROWS
from repro.cpu.weight_gradient import weight_products
from repro.errors import BackendError, InputError

_WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_Pair = tuple[int, int]
CHAIN_ROWS = 256  # rows that a matrix product may add up in one line before the result joins the total


def output_size(size: int, kernel_size: int, stride: int, padding: int, dilation: int) -> int:
    """Rows (or columns) of a convolution's output."""
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def _check(x: torch.Tensor, weight: torch.Tensor, stride, padding, dilation, groups, grad_out=None) -> tuple[int, int]:
    """Refuse what the kernels cannot run, each in one sentence; returns the output's rows and columns."""
    for name, tensor in (("x", x), ("weight", weight), ("grad_out", grad_out)):
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise BackendError(
                f"{name} is on device {tensor.device}, but the CPU kernels take tensors on the CPU only."
            )
        if tensor.dtype not in _DTYPES:
            raise InputError(
                f"{name} has dtype {tensor.dtype}; the adder kernels take float32, float64, float16 or bfloat16."
            )
        if tensor.dtype != x.dtype:
            raise InputError(f"{name} has dtype {tensor.dtype} but x has {x.dtype}; they must be the same.")
        if tensor.dim() != 4:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must have four dimensions.")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, but x has {x.shape[1]} channels in {groups} groups; "
            f"it must be (a multiple of {groups}, {x.shape[1] // groups}, kernel rows, kernel columns)."
        )
    rows, cols = (
        output_size(x.shape[2 + i], weight.shape[2 + i], stride[i], padding[i], dilation[i]) for i in range(2)
    )
    if rows < 1 or cols < 1:
        raise InputError(
            f"x of {x.shape[2]}x{x.shape[3]} pixels is smaller than the filter of {weight.shape[2]}x{weight.shape[3]} "
            f"with padding={padding} and dilation={dilation}; the output would be empty."
        )
    expected = (x.shape[0], weight.shape[0], rows, cols)
    if grad_out is not None and tuple(grad_out.shape) != expected:
        raise InputError(f"grad_out has shape {tuple(grad_out.shape)}; it must be {expected}.")
    return rows, cols


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def _pad_rows(packed: torch.Tensor, dim: int) -> torch.Tensor:
    missing = -packed.shape[dim] % ROWS
    if not missing:
        return packed
    shape = list(packed.shape)
    shape[dim] = missing
    return torch.cat([packed, packed.new_zeros(shape)], dim)


def _pack(weight: torch.Tensor) -> torch.Tensor:
    """(groups, targets, taps) to (groups, blocks, taps, ROWS): one tap's values for a tile's filters side by side."""
    groups, _, taps = weight.shape
    padded = _pad_rows(weight, 1)
    return padded.view(groups, -1, ROWS, taps).transpose(2, 3).contiguous()


def _weight_sums(weight: torch.Tensor) -> torch.Tensor:
    """(groups, targets, taps) to (groups, targets rounded up, 2): sum of w and of |w| over the taps."""
    return _pad_rows(torch.stack([weight.sum(2), weight.abs().sum(2)], 2), 1).contiguous()


def _flattens(tensor: torch.Tensor) -> bool:
    return tensor.shape[2] == 1 or tensor.stride(2) == tensor.shape[3] * tensor.stride(3)


def _strides(tensor: torch.Tensor) -> list[int]:
    size = tensor.element_size()
    return [stride * size for stride in tensor.stride()]


def _run(kernels, walk: Walk, source, target, packed, sums=None, aux=None, keep_nan=False, flat=False) -> None:
    """Fill the parameter array and launch. `flat`: rows and columns of every tensor are one long row."""
    size = source.element_size()
    strides = _strides(source)
    direct = flat and strides[3] == size and walk.source_size[1] >= PIECE
    words, offsets, slot = plan(walk, direct, strides[1], size)
    threads = thread_count(walk.terms)
    scratch = torch.empty(slot * threads, dtype=torch.uint8)
    p = words.copy()
    c = correlate
    p[c.SOURCE], p[c.SOURCE_N : c.SOURCE_W + 1] = source.data_ptr(), strides
    p[c.TARGET], p[c.TARGET_N : c.TARGET_W + 1] = target.data_ptr(), _strides(target)
    if aux is not None:
        p[c.AUX], p[c.AUX_N : c.AUX_W + 1] = aux.data_ptr(), _strides(aux)
    p[c.WEIGHT] = packed.data_ptr()
    p[c.WEIGHT_SUMS] = 0 if sums is None else sums.data_ptr()
    p[c.OFFSETS], p[c.SCRATCH], p[c.KEEP_NAN] = offsets.ctypes.data, scratch.data_ptr(), int(keep_nan)
    launch(kernels[0] if source.dtype == torch.float32 else kernels[1], p, threads)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to (N, C, 1, H*W), a view."""
    n, channels, rows, cols = tensor.shape
    stride = tensor.stride()
    return tensor.as_strided((n, channels, 1, rows * cols), (stride[0], stride[1], rows * cols * stride[3], stride[3]))


def _is_pointwise(weight: torch.Tensor, stride: _Pair, padding: _Pair) -> bool:
    return tuple(weight.shape[2:]) == (1, 1) and tuple(stride) == (1, 1) and tuple(padding) == (0, 0)


def _is_depthwise(x: torch.Tensor, weight: torch.Tensor, groups: int) -> bool:
    return weight.shape[1] == 1 and weight.shape[0] == groups == x.shape[1]


def _widened(function):
    """Compute half precision in float32 and round the result once."""

    @functools.wraps(function)
    def wrapper(*args):
        dtype = args[0].dtype
        if dtype not in _WIDENED or any(a.dtype != dtype for a in args if isinstance(a, torch.Tensor)):
            return function(*args)
        wide = [a.to(_WIDENED[dtype]) if isinstance(a, torch.Tensor) else a for a in args]
        return function(*wide).to(dtype)

    return wrapper


def _forward_walk(weight, stride: _Pair, padding: _Pair, dilation: _Pair, groups: int, source, target) -> Walk:
    """Every pixel of `target` reads the pixels of `source` under the filter (both flattened for 1x1 filters)."""
    taps = [tuple(k * dilation[i] - padding[i] for k in range(weight.shape[2 + i])) for i in range(2)]
    return Walk(
        taps_h=taps[0],
        taps_w=taps[1],
        source_step=tuple(stride),
        source_channels=weight.shape[1],
        target_channels=weight.shape[0] // groups,
        groups=groups,
        images=source.shape[0],
        source_size=tuple(source.shape[2:]),
        target_size=tuple(target.shape[2:]),
    )


@_widened
def adder_conv2d_fwd(
    x: torch.Tensor, weight: torch.Tensor, stride: _Pair, padding: _Pair, dilation: _Pair, groups: int
) -> torch.Tensor:
    """-sum |x - w| over every patch.

    Args:
        x: (N, C_in, H, W), float32, float64, float16 or bfloat16.
        weight: (C_out, C_in / groups, K_h, K_w), dtype of `x`.
        stride, padding, dilation: (rows, columns). A zero-padded pixel contributes |0 - w|.
        groups: C_in and C_out are split into this many groups.
    Returns:
        (N, C_out, H_out, W_out), dtype and memory format of `x`.
    Raises:
        InputError, BackendError: shapes, dtypes or a device that do not fit.
    """
    rows, cols = _check(x, weight, stride, padding, dilation, groups)
    n, out_channels = x.shape[0], weight.shape[0]
    y = torch.empty((n, out_channels, rows, cols), dtype=x.dtype, memory_format=_memory_format(x))
    if y.numel() == 0:
        return y
    if _is_depthwise(x, weight, groups) and depthwise.serves_forward(x, y, stride, padding):
        depthwise.forward(x, weight, y, stride, padding, dilation)
        return y
    flat = _is_pointwise(weight, stride, padding) and _flattens(x)
    source, target = (_flat(x), _flat(y)) if flat else (x, y)
    walk = _forward_walk(weight, stride, padding, dilation, groups, source, target)
    filters = weight.reshape(groups, out_channels // groups, -1)
    if walk.depthwise:
        kernels = (correlate.depthwise_forward_f32, correlate.depthwise_forward_f64)
        _run(kernels, walk, source, target, filters.contiguous(), flat=flat)
    else:
        kernels = (correlate.forward_f32, correlate.forward_f64)
        _run(kernels, walk, source, target, _pack(filters), _weight_sums(filters), flat=flat)
    return y


@_widened
def adder_conv2d_bwd_input(
    grad_out: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    groups: int,
) -> torch.Tensor:
    """sum g * HardTanh(w - x) over the outputs an input pixel takes part in.

    Args:
        grad_out: (N, C_out, H_out, W_out), dtype of `x`.
        x, weight, stride, padding, dilation, groups: as for `adder_conv2d_fwd`.
    Returns:
        (N, C_in, H, W), dtype and memory format of `x`.
    """
    _check(x, weight, stride, padding, dilation, groups, grad_out)
    grad_x = torch.empty(x.shape, dtype=x.dtype, memory_format=_memory_format(x))
    if grad_x.numel() == 0:
        return grad_x
    flat = _is_pointwise(weight, stride, padding) and all(_flattens(t) for t in (x, grad_out))
    filters = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], *weight.shape[2:])
    keep_nan = not bool(torch.isfinite(weight).all())
    # With a stride the zeros between gradients meet x; a NaN there must not spread to pixels that no tap reaches.
    spread_is_safe = not keep_nan and all(weight.shape[2 + i] >= stride[i] and dilation[i] == 1 for i in range(2))
    if _is_depthwise(x, weight, groups) and (tuple(stride) == (1, 1) or spread_is_safe):
        if depthwise.serves_backward(grad_out, x, grad_x, weight, stride, padding, dilation):
            depthwise.backward_input(grad_out, x, weight, grad_x, stride, padding, dilation)
            return grad_x
    if flat:
        _backward_phase(_flat(grad_out), _flat(x), filters, _flat(grad_x), (0,), (0,), keep_nan, flat=True)
        return grad_x
    for phase_h in range(min(stride[0], x.shape[2])):
        rows, taps_h = phase_taps(phase_h, weight.shape[2], stride[0], padding[0], dilation[0])
        for phase_w in range(min(stride[1], x.shape[3])):
            cols, taps_w = phase_taps(phase_w, weight.shape[3], stride[1], padding[1], dilation[1])
            part = (slice(None), slice(None), slice(phase_h, None, stride[0]), slice(phase_w, None, stride[1]))
            if not taps_h or not taps_w:
                grad_x[part] = 0
                continue
            taken = filters
            if len(rows) < filters.shape[3] or len(cols) < filters.shape[4]:
                taken = filters[:, :, :, list(rows)][..., list(cols)]
            _backward_phase(grad_out, x[part], taken, grad_x[part], taps_h, taps_w, keep_nan)
    return grad_x


def _backward_phase(grad_out, x, filters, grad_x, taps_h, taps_w, keep_nan, flat=False) -> None:
    """The input gradient of the pixels of one phase; filters: (groups, outputs, inputs, kernel rows, columns)."""
    groups, outputs, inputs = filters.shape[:3]
    walk = Walk(
        taps_h=taps_h,
        taps_w=taps_w,
        source_step=(1, 1),
        source_channels=outputs,
        target_channels=inputs,
        groups=groups,
        images=x.shape[0],
        source_size=tuple(grad_out.shape[2:]),
        target_size=tuple(x.shape[2:]),
    )
    rows = filters.transpose(1, 2).reshape(groups, inputs, -1)
    packed = rows.contiguous() if walk.depthwise else _pack(rows)
    kernels = (correlate.clipped_f32, correlate.clipped_f64)
    if walk.depthwise:
        kernels = (correlate.depthwise_clipped_f32, correlate.depthwise_clipped_f64)
    _run(kernels, walk, grad_out, grad_x, packed, aux=x, keep_nan=keep_nan, flat=flat)


def _centred(x: torch.Tensor, weight: torch.Tensor, padding: _Pair) -> tuple[torch.Tensor, torch.Tensor, _Pair]:
    """(x - c, w - c, padding) with c the mean weight where that outweighs the weights' spread, else unchanged.

    x - w does not change, but a common offset, which the product and its correction would each carry and then cancel,
    is gone. Padding is done here then, with the value -c that a zero takes.
    """
    spread, mean = torch.std_mean(weight.detach(), correction=0)
    centre = float(mean)
    if not abs(centre) > float(spread) or not math.isfinite(centre):
        return x, weight, padding
    margins = (padding[1], padding[1], padding[0], padding[0])
    shifted = x - centre
    shifted = torch.nn.functional.pad(shifted, margins, value=-centre) if any(padding) else shifted
    return shifted, weight - centre, (0, 0)


@_widened
def adder_conv2d_bwd_weight(
    grad_out: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    groups: int,
) -> torch.Tensor:
    """sum g * (x - w), as sum g * x less w times the sum of g (padding counts as x = 0); totals in float64.

    Args: as for `adder_conv2d_bwd_input`.
    Returns:
        (C_out, C_in / groups, K_h, K_w), dtype of `weight`.
    """
    _check(x, weight, stride, padding, dilation, groups, grad_out)
    if grad_out.numel() == 0:
        return torch.zeros_like(weight)
    if x.dtype == torch.float32:
        x, weight, padding = _centred(x, weight, padding)
        product = _products(grad_out, x, weight, stride, padding, dilation, groups)
    else:
        product = _library_products(grad_out, x, weight, stride, padding, dilation, groups)
    # one image's sum at a time: float64 all the way would read the gradient ten times slower
    sums = grad_out.sum((2, 3)).sum(0, dtype=torch.float64).view(-1, 1, 1, 1)
    return product.sub_(sums * weight).to(weight.dtype)


def _products(grad_out, x, weight, stride, padding, dilation, groups) -> torch.Tensor:
    """sum g * x for every tap, as float64 numbers of the weight's shape; float32 operands."""
    flat = _is_pointwise(weight, stride, padding)
    if flat or weight.shape[0] == weight.shape[1] * groups == groups:  # few uses of every pixel: read it in order
        x, grad_out = x.contiguous(), grad_out.contiguous()
    source, target = (_flat(x), _flat(grad_out)) if flat else (x, grad_out)
    walk = _forward_walk(weight, stride, padding, dilation, groups, source, target)
    return weight_products(walk, source, target, flat).reshape(weight.shape)


def _library_products(grad_out, x, weight, stride, padding, dilation, groups) -> torch.Tensor:
    """sum g * x by torch's convolution, float64 operands."""
    if tuple(weight.shape[2:]) == (1, 1) and tuple(stride) != (1, 1):
        # oneDNN in torch 2.13 corrupts the heap for strided 1x1 weight gradients of channels-last tensors.
        x, grad_out = x.contiguous(), grad_out.contiguous()
    return torch.ops.aten.convolution_backward(
        grad_out, x, weight, None, list(stride), list(padding), list(dilation), False, [0, 0], groups,
        [False, True, False],
    )[1]  # fmt: skip


def _check_linear(x: torch.Tensor, weight: torch.Tensor, grad_out: torch.Tensor | None = None) -> None:
    for name, tensor in (("x", x), ("weight", weight)):
        if tensor.dim() != 2:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must have two dimensions.")
    if x.shape[1] != weight.shape[1]:
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, but x has {x.shape[1]} features; the last dimensions must agree."
        )
    if grad_out is not None and tuple(grad_out.shape) != (x.shape[0], weight.shape[0]):
        raise InputError(f"grad_out has shape {tuple(grad_out.shape)}; it must be {(x.shape[0], weight.shape[0])}.")


def _as_image(rows: torch.Tensor) -> torch.Tensor:
    """(N, C) to (1, C, 1, N), a view: the samples become the pixels of one channels-last image."""
    return rows.t()[None, :, None, :]


_POINT = ((1, 1), (0, 0), (1, 1), 1)


def adder_linear_fwd(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """y[n, o] = -sum_c |x[n, c] - w[o, c]| for x (N, C_in) and weight (C_out, C_in); returns (N, C_out)."""
    _check_linear(x, weight)
    if not x.shape[0]:
        return x.new_zeros((0, weight.shape[0]))
    y = adder_conv2d_fwd(_as_image(x), weight[:, :, None, None], *_POINT)
    return y[0, :, 0].t().contiguous()


def adder_linear_bwd_input(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum_o g[n, o] * HardTanh(w[o, c] - x[n, c]); returns (N, C_in)."""
    _check_linear(x, weight, grad_out)
    if not x.shape[0]:
        return torch.zeros_like(x)
    grad_x = adder_conv2d_bwd_input(_as_image(grad_out), _as_image(x), weight[:, :, None, None], *_POINT)
    return grad_x[0, :, 0].t().contiguous()


@_widened
def adder_linear_bwd_weight(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum_n g[n, o] * (x[n, c] - w[o, c]): a matrix product less w times the sum of g; returns (C_out, C_in)."""
    _check_linear(x, weight, grad_out)
    x, weight, _ = _centred(x, weight, (0, 0))
    product = torch.mm(grad_out[:CHAIN_ROWS].t(), x[:CHAIN_ROWS])
    for first in range(CHAIN_ROWS, x.shape[0], CHAIN_ROWS):
        product.addmm_(grad_out[first : first + CHAIN_ROWS].t(), x[first : first + CHAIN_ROWS])
    return product.addcmul_(weight, grad_out.sum(0)[:, None], value=-1)
