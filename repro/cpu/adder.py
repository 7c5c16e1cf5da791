"""Adder convolution and adder linear on the CPU: y = -sum |x - w|, and AdderNet's two surrogate gradients.

Float32 and float64 are computed in their own type; float16 and bfloat16 inputs are widened to float32, summed there
and rounded once at the end. Tensors may be NCHW, channels-last or strided in any way; outputs keep the memory format
of their input. Every output element is summed by one thread in one order, so results are the same on any number of
threads. Source: Chen et al., AdderNet, 2020, equations 2, 5 and 6 (input gradient clipped, weight gradient full).

Which kernels run: 1x1 filters over channels-last pixels, and over images of one pixel, are rows against rows
(`repro.cpu.linear`); depthwise layers have their own (`repro.cpu.depthwise`); everything else is the dense walk
(`repro.cpu.dense`), for which channels-last tensors with larger filters are brought into NCHW order and back.
"""

from __future__ import annotations

import functools
import math

import torch

from repro.cpu import dense, depthwise, linear, simd
from repro.cpu.checks import WIDENED, check_linear, check_shapes, check_tensors
from repro.cpu.layout import to_channels_last, to_nchw
from repro.cpu.weight_gradient import weight_products

__all__ = [
    "adder_conv2d_bwd",
    "adder_conv2d_bwd_input",
    "adder_conv2d_bwd_weight",
    "adder_conv2d_fwd",
    "adder_linear_bwd_input",
    "adder_linear_bwd_weight",
    "adder_linear_fwd",
    "forward_form",
]

_Pair = tuple[int, int]
FAR = 30  # channels' offsets over the weights' spread, from which the float32 product would lose digits that count
CHAIN_ROWS = 256  # rows that a matrix product may add up in one line before the result joins the total


def _widened(function):
    """Compute half precision in float32 and round the result once."""

    @functools.wraps(function)
    def wrapper(*args):
        dtype = args[0].dtype
        if dtype not in WIDENED or any(a.dtype != dtype for a in args if isinstance(a, torch.Tensor)):
            return function(*args)
        wide = [a.to(WIDENED[dtype]) if isinstance(a, torch.Tensor) else a for a in args]
        return function(*wide).to(dtype)

    return wrapper


def _is_channels_last(x: torch.Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    return torch.channels_last if _is_channels_last(x) else torch.contiguous_format


def _are_rows(x: torch.Tensor, weight: torch.Tensor, stride: _Pair, padding: _Pair, groups: int) -> bool:
    """Whether the layer is rows of channels against rows of weights: a 1x1 filter where channels are neighbours."""
    if groups != 1 or not dense.is_pointwise(weight.shape, stride, padding):
        return False
    if x.shape[2] == x.shape[3] == 1:
        return x.is_contiguous()
    return _is_channels_last(x)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), channels-last or of one pixel, to (N * H * W, C), a view."""
    n, channels, rows, cols = x.shape
    return x.as_strided((n * rows * cols, channels), (channels, 1))


def _is_depthwise(x: torch.Tensor, weight: torch.Tensor, groups: int) -> bool:
    return weight.shape[1] == 1 and weight.shape[0] == groups == x.shape[1]


@functools.lru_cache(maxsize=2048)
def _output_shape(x_shape, weight_shape, stride, padding, dilation, groups, grad_shape=None):
    return check_shapes(x_shape, weight_shape, stride, padding, dilation, groups, grad_shape)


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
    check_tensors(x, weight)
    shape = _output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    weight = weight.contiguous()
    if _are_rows(x, weight, stride, padding, groups):
        y = torch.empty(shape, dtype=x.dtype, memory_format=_memory_format(x), device="cpu")
        if y.numel():
            linear.forward(_rows(x), weight.view(weight.shape[:2]), _rows(y))
        return y
    if _is_channels_last(x):
        y = adder_conv2d_fwd(to_nchw(x), weight, stride, padding, dilation, groups)
        return to_channels_last(y)
    y = torch.empty(shape, dtype=x.dtype, device="cpu")
    if y.numel() == 0:
        return y
    if _is_depthwise(x, weight, groups) and depthwise.serves_forward(x, y, stride, padding):
        depthwise.forward(x, weight, y, stride, padding, dilation)
        return y
    call = dense.forward_call(
        x.shape, x.stride(), weight.shape, shape, y.stride(), x.element_size(), stride, padding, dilation, groups
    )
    call(x.data_ptr(), y.data_ptr(), weight.data_ptr())
    return y


def forward_form(x: torch.Tensor, weight: torch.Tensor, stride: _Pair, padding: _Pair, groups: int) -> str:
    """How `adder_conv2d_fwd` forms and adds up the terms of a layer: "max+add", "sub+and+add", or either with "fma".

    Well conditioned sums of float32 take the maximum (`repro.cpu.l1`); which sum is `repro.cpu.simd.SUM`.
    """
    rows = _are_rows(x, weight, stride, padding, groups)
    plain = rows or _is_depthwise(x, weight, groups) or x.dtype == torch.float64
    return f"{'sub+and' if plain else 'max'}+{simd.SUM}"


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
    check_tensors(x, weight, grad_out)
    _output_shape(x.shape, weight.shape, stride, padding, dilation, groups, grad_out.shape)
    weight = weight.contiguous()
    if _are_rows(x, weight, stride, padding, groups):
        grad_x = torch.empty(x.shape, dtype=x.dtype, memory_format=_memory_format(x), device="cpu")
        if grad_x.numel():
            rows = _rows(to_channels_last(grad_out) if _is_channels_last(x) else grad_out.contiguous())
            linear.backward_input(rows, _rows(x), weight.view(weight.shape[:2]), _rows(grad_x))
        return grad_x
    if _is_channels_last(x):
        grad_x = adder_conv2d_bwd_input(to_nchw(grad_out), to_nchw(x), weight, stride, padding, dilation, groups)
        return to_channels_last(grad_x)
    grad_x = torch.empty(x.shape, dtype=x.dtype, device="cpu")
    if grad_x.numel() == 0:
        return grad_x
    if _is_channels_last(grad_out):
        grad_out = to_nchw(grad_out)
    if _is_depthwise(x, weight, groups) and _depthwise_may_spread(weight, stride, dilation):
        if depthwise.serves_backward(grad_out, x, grad_x, weight, stride, padding, dilation):
            depthwise.backward_input(grad_out, x, weight, grad_x, stride, padding, dilation)
            return grad_x
    calls, empty = dense.input_gradient_calls(
        grad_out.shape, grad_out.stride(), x.shape, x.stride(), weight.shape, grad_x.stride(), x.element_size(),
        stride, padding, dilation, groups,
    )  # fmt: skip
    for part in empty:
        grad_x[part] = 0
    for call in calls:
        call(grad_out.data_ptr(), grad_x.data_ptr(), weight.data_ptr(), x.data_ptr())
    return grad_x


def adder_conv2d_bwd(
    grad_out: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    groups: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both gradients, `adder_conv2d_bwd_input` and `adder_conv2d_bwd_weight`; channels-last tensors converted once."""
    geometry = stride, padding, dilation, groups
    if not _is_channels_last(x) or _are_rows(x, weight, stride, padding, groups):
        arguments = grad_out, x, weight, *geometry
        return adder_conv2d_bwd_input(*arguments), adder_conv2d_bwd_weight(*arguments)
    arguments = to_nchw(grad_out), to_nchw(x), weight, *geometry
    return to_channels_last(adder_conv2d_bwd_input(*arguments)), adder_conv2d_bwd_weight(*arguments)


def _depthwise_may_spread(weight: torch.Tensor, stride: _Pair, dilation: _Pair) -> bool:
    """With a stride the zeros between gradients meet x; a NaN there must not reach pixels that no tap reaches."""
    if stride == (1, 1):
        return True
    reached = all(weight.shape[2 + i] >= stride[i] and dilation[i] == 1 for i in range(2))
    return reached and bool(torch.isfinite(weight).all())


def _centred(
    x: torch.Tensor, weight: torch.Tensor, padding: _Pair, groups: int = 1
) -> tuple[torch.Tensor, torch.Tensor, _Pair]:
    """(x - c, w - c, padding) with c the mean weight where that outweighs the weights' spread, else unchanged.

    x - w does not change, but a common offset, which the product and its correction would each carry and then cancel,
    is gone. c is one number, or one a channel where the channels' means lie far further apart than each one's weights.
    Padding is done here then: a zero becomes -c.
    """
    spread, mean = torch.std_mean(weight.detach(), correction=0)
    centre = float(mean)
    by_channel = _channel_means(weight.detach(), groups)
    if by_channel is not None:
        in_x, in_weight = by_channel
    elif abs(centre) > float(spread) and math.isfinite(centre):
        in_x = in_weight = centre
    else:
        return x, weight, padding
    margins = (padding[1], padding[1], padding[0], padding[0])
    padded = torch.nn.functional.pad(x, margins) if any(padding) else x
    return padded - in_x, weight - in_weight, (0, 0)


def _channel_means(weight: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean weight of each input channel, shaped for x and for the weight, if they are FAR times the spread in one."""
    channels, rest = weight.shape[1], weight.shape[2:]
    by_group = weight.reshape(groups, -1, channels, math.prod(rest))
    if by_group.shape[1] * by_group.shape[3] < 2:
        return None
    if by_group.shape[1] > 1:  # most weights are told by two filters, which would then be nearly equal
        first, second = by_group[0, 0], by_group[0, 1]
        if not float(torch.dist(first, second)) * FAR < 4 * float(first.norm()):
            return None
    variance, means = torch.var_mean(by_group, dim=(1, 3), correction=0)
    if not bool(means.square().mean() > FAR**2 * variance.mean()):  # so also with NaN
        return None
    in_weight = means[:, None].expand(groups, weight.shape[0] // groups, channels).reshape(-1, channels)
    ones = (1,) * len(rest)
    return means.reshape(1, -1, *ones), in_weight.reshape(*in_weight.shape, *ones)


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
    check_tensors(x, weight, grad_out)
    _output_shape(x.shape, weight.shape, stride, padding, dilation, groups, grad_out.shape)
    if grad_out.numel() == 0:
        return torch.zeros_like(weight)
    if x.shape[2] == x.shape[3] == 1 and _are_rows(x, weight, stride, padding, groups):
        rows = _rows(grad_out.contiguous()), _rows(x)
        return adder_linear_bwd_weight(*rows, weight.flatten(1)).view(weight.shape)
    if _is_channels_last(x):
        x, grad_out = to_nchw(x), to_nchw(grad_out)
    if x.dtype == torch.float32:
        x, weight, padding = _centred(x, weight, padding, groups)
        product = _products(grad_out, x, weight, stride, padding, dilation, groups)
    else:
        product = _library_products(grad_out, x, weight, stride, padding, dilation, groups)
    # one image's sum at a time: float64 all the way would read the gradient ten times slower
    sums = grad_out.sum((2, 3)).sum(0, dtype=torch.float64).view(-1, 1, 1, 1)
    return product.sub_(sums * weight).to(weight.dtype)


def _products(grad_out, x, weight, stride, padding, dilation, groups) -> torch.Tensor:
    """sum g * x for every tap, as float64 numbers of the weight's shape; float32 operands."""
    flat = dense.is_pointwise(weight.shape, stride, padding)
    if flat or weight.shape[0] == weight.shape[1] * groups == groups:  # few uses of every pixel: read it in order
        x, grad_out = to_nchw(x), to_nchw(grad_out)
    source, target = (_flat(x), _flat(grad_out)) if flat else (x, grad_out)
    walk = dense.forward_walk(
        weight.shape, stride, padding, dilation, groups, x.shape[0], source.shape[2:], target.shape[2:]
    )
    return weight_products(walk, source, target, flat).reshape(weight.shape)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous (N, C, H, W) to (N, C, 1, H*W), a view."""
    return tensor.view(*tensor.shape[:2], 1, -1)


def _library_products(grad_out, x, weight, stride, padding, dilation, groups) -> torch.Tensor:
    """sum g * x by torch's convolution, float64 operands."""
    if tuple(weight.shape[2:]) == (1, 1) and tuple(stride) != (1, 1):
        # oneDNN in torch 2.13 corrupts the heap for strided 1x1 weight gradients of channels-last tensors.
        x, grad_out = x.contiguous(), grad_out.contiguous()
    return torch.ops.aten.convolution_backward(
        grad_out, x, weight, None, list(stride), list(padding), list(dilation), False, [0, 0], groups,
        [False, True, False],
    )[1]  # fmt: skip


def _features_together(rows: torch.Tensor) -> torch.Tensor:
    return rows if rows.stride(1) == 1 else rows.contiguous()


@_widened
def adder_linear_fwd(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """y[n, o] = -sum_c |x[n, c] - w[o, c]| for x (N, C_in) and weight (C_out, C_in); returns (N, C_out)."""
    check_linear(x, weight)
    y = torch.empty((x.shape[0], weight.shape[0]), dtype=x.dtype, device="cpu")
    if y.numel():
        linear.forward(_features_together(x), _features_together(weight), y)
    return y


@_widened
def adder_linear_bwd_input(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum_o g[n, o] * HardTanh(w[o, c] - x[n, c]); returns (N, C_in)."""
    check_linear(x, weight, grad_out)
    grad_x = torch.empty(x.shape, dtype=x.dtype, device="cpu")
    if grad_x.numel():
        linear.backward_input(grad_out, _features_together(x), _features_together(weight), grad_x)
    return grad_x


@_widened
def adder_linear_bwd_weight(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum_n g[n, o] * (x[n, c] - w[o, c]): a matrix product less w times the sum of g; returns (C_out, C_in)."""
    check_linear(x, weight, grad_out)
    if 0 < x.shape[0] <= CHAIN_ROWS:  # each difference as it is: nothing cancels, and no product needs the library
        grad_weight = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
        linear.backward_weight(grad_out, _features_together(x), _features_together(weight), grad_weight)
        return grad_weight
    x, weight, _ = _centred(x, weight, (0, 0))
    product = torch.mm(grad_out[:CHAIN_ROWS].t(), x[:CHAIN_ROWS])
    for first in range(CHAIN_ROWS, x.shape[0], CHAIN_ROWS):
        product.addmm_(grad_out[first : first + CHAIN_ROWS].t(), x[first : first + CHAIN_ROWS])
    return product.addcmul_(weight, grad_out.sum(0)[:, None], value=-1)
