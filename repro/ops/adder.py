"""Adder operators: negative L1 distance forward, the papers' surrogate gradients backward.

Gradients (ACGhostNet sec. 3.1, after AdderNet): dL/dw = sum g * (x - w), full precision;
dL/dx = sum g * HardTanh(w - x).
They are not derivatives of the forward, so a second backward through them has no meaning and raises an error, and so do
forward-mode derivatives. The adaptive learning rate of the same section is an optimiser's business (`repro.train`):
gradients are not rescaled here.

Precision: float16 and bfloat16 tensors are summed in float32 and rounded once. Under autocast the operators run in
float32 and return float32, since a sum of hundreds of absolute differences loses its small changes in half precision.
Deterministic on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from repro.geometry import output_sizes
from repro.ops import dispatch, exported

NO_DOUBLE_BACKWARD = (
    "the gradient of an adder operator is a surrogate and has no derivative of its own: "
    "double backward (create_graph=True followed by another backward) is not defined for it."
)


# --- kernels behind a chosen back end --------------------------------------------------------------------------------


def _kernels(op: str, backend: str, x: Tensor):
    if not x.numel():
        backend = "reference"  # nothing to compute, and no kernel needs to think of it
    return dispatch.kernels(dispatch.choose(backend, x, op), "adder")


def _conv2d_fwd(x, weight, stride, padding, dilation, groups, backend):
    kernels = _kernels("adder_conv2d", backend, x)
    y = kernels.adder_conv2d_fwd(x, weight, tuple(stride), tuple(padding), tuple(dilation), groups)
    return y.contiguous(memory_format=dispatch.memory_format(x))


def _conv2d_bwd_input(grad_out, x, weight, stride, padding, dilation, groups, backend):
    pairs = tuple(stride), tuple(padding), tuple(dilation)
    grad = _kernels("adder_conv2d", backend, x).adder_conv2d_bwd_input(grad_out, x, weight, *pairs, groups)
    return grad.contiguous(memory_format=dispatch.memory_format(x))


def _conv2d_bwd_weight(grad_out, x, weight, stride, padding, dilation, groups, backend):
    pairs = tuple(stride), tuple(padding), tuple(dilation)
    kernels = _kernels("adder_conv2d", backend, x)
    return kernels.adder_conv2d_bwd_weight(grad_out, x, weight, *pairs, groups).contiguous()


def _conv2d_bwd(grad_out, x, weight, stride, padding, dilation, groups, backend):
    """Both gradients: in one call where the back end has it, since they share what they bring into order first."""
    both = getattr(_kernels("adder_conv2d", backend, x), "adder_conv2d_bwd", None)
    if both is None:
        arguments = grad_out, x, weight, stride, padding, dilation, groups, backend
        return _conv2d_bwd_input(*arguments), _conv2d_bwd_weight(*arguments)
    grad_x, grad_weight = both(grad_out, x, weight, tuple(stride), tuple(padding), tuple(dilation), groups)
    return grad_x.contiguous(memory_format=dispatch.memory_format(x)), grad_weight.contiguous()


def _linear_fwd(x, weight, backend):
    return _kernels("adder_linear", backend, x).adder_linear_fwd(x, weight).contiguous()


def _linear_bwd_input(grad_out, x, weight, backend):
    return _kernels("adder_linear", backend, x).adder_linear_bwd_input(grad_out, x, weight).contiguous()


def _linear_bwd_weight(grad_out, x, weight, backend):
    return _kernels("adder_linear", backend, x).adder_linear_bwd_weight(grad_out, x, weight).contiguous()


def _conv2d_plain(x, weight, stride, padding, dilation, groups, _backend):
    return exported.adder_conv2d(x, weight, stride, padding, dilation, groups)


def _linear_plain(x, weight, _backend):
    return exported.adder_linear(x, weight)


# --- eager autograd --------------------------------------------------------------------------------------------------


class AdderConv2dFunction(dispatch.BackwardOnlyFunction):
    """Saves x and weight, nothing else."""

    @staticmethod
    def forward(ctx, x, weight, *settings):
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        return _conv2d_fwd(x, weight, *settings)

    @staticmethod
    def backward(ctx, grad_out):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or not dispatch.eager(grad_out, x, weight):
            return _surrogate(ctx, grad_out, x, weight, *_traced("adder_conv2d"))
        if all(ctx.needs_input_grad[:2]):
            return *_conv2d_bwd(grad_out, x, weight, *ctx.settings), *(None for _ in ctx.settings)
        return _surrogate(ctx, grad_out, x, weight, _conv2d_bwd_input, _conv2d_bwd_weight)


class AdderLinearFunction(dispatch.BackwardOnlyFunction):
    """Saves x and weight, nothing else."""

    @staticmethod
    def forward(ctx, x, weight, *settings):
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        return _linear_fwd(x, weight, *settings)

    @staticmethod
    def backward(ctx, grad_out):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or not dispatch.eager(grad_out, x, weight):
            return _surrogate(ctx, grad_out, x, weight, *_traced("adder_linear"))
        return _surrogate(ctx, grad_out, x, weight, _linear_bwd_input, _linear_bwd_weight)


def _surrogate(ctx, grad_out: Tensor, x: Tensor, weight: Tensor, input_kernel, weight_kernel):
    """Both gradients where needed; the saved tensors come from outside, since checkpointing hands them out once."""
    grad_x = input_kernel(grad_out, x, weight, *ctx.settings) if ctx.needs_input_grad[0] else None
    grad_weight = weight_kernel(grad_out, x, weight, *ctx.settings) if ctx.needs_input_grad[1] else None
    return grad_x, grad_weight, *(None for _ in ctx.settings)


def _traced(name: str):
    """Both gradients' registered operators."""
    return dispatch.traced(f"{name}_bwd_input"), dispatch.traced(f"{name}_bwd_weight")


def _backward_of(name: str):
    """The backward through registered operators: for those who differentiate again, trace or transform."""

    def backward(ctx, grad_out):
        return _surrogate(ctx, grad_out, *ctx.saved_tensors, *_traced(name))

    return backward


_CONV2D_BACKWARD, _LINEAR_BACKWARD = _backward_of("adder_conv2d"), _backward_of("adder_linear")


# --- public functions ------------------------------------------------------------------------------------------------


def _autocast(*tensors: Any):
    """Under autocast, half-precision arguments become float32: an adder network's sums stay in float32."""
    if not dispatch.autocast_enabled(tensors[0].device.type):
        return tensors
    halves = (torch.float16, torch.bfloat16)
    return tuple(t.float() if isinstance(t, Tensor) and t.dtype in halves else t for t in tensors)


@dispatch.overridable
def adder_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Negative L1 distance between every input patch and every filter.

    Args:
        x: activations, (N, C_in, H, W), float16, bfloat16, float32 or float64; NCHW or channels-last; N may be 0.
        weight: filters, (C_out, C_in / groups, K_h, K_w), dtype and device of `x`.
        bias: (C_out,) or None.
        stride, padding, dilation, groups: as in `torch.nn.functional.conv2d`; padding may be "same" or "valid". A
            zero-padded pixel still contributes |0 - w|. groups up to C_in (depthwise).
        backend: "auto" (the compiled kernels of the tensor's device), "reference", "cpu" or "triton".
    Returns: (N, C_out, H_out, W_out) in the dtype of `x`, summed in float32, never positive before the bias;
        channels-last if `x` is. Under autocast: computed and returned in float32.
    Gradient: surrogate, not the derivative: x - w for the weight; w - x clipped to [-1, 1] for the input; the bias'
        is ordinary. Double backward raises an error.
    Raises: InputError on unsupported shapes, dtypes or options; BackendError if a named back end cannot run here.
    Source: ACGhostNet sec. 3.1; Chen et al., AdderNet, 2020. Unlike the authors' release, backward does not rescale.
    """
    if isinstance(x, Tensor):
        x, weight, bias = _autocast(x, weight, bias)
    dispatch.check_backend(backend)
    x, stride, padding, dilation = dispatch.check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    if dispatch.eager(x, weight):
        run = AdderConv2dFunction.apply if dispatch.needs_graph(x, weight) else _conv2d_fwd
    else:
        run = _conv2d_plain if dispatch.exporting_to_onnx() else dispatch.traced("adder_conv2d")
    y = run(x, weight, stride, padding, dilation, groups, backend)
    return y if bias is None else y + bias.view(-1, 1, 1)


@dispatch.overridable
def adder_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Negative L1 distance between every input row and every weight row.

    Args:
        x: (..., C_in), float16, bfloat16, float32 or float64.
        weight: (C_out, C_in), dtype and device of `x`.
        bias: (C_out,) or None.
        backend: as in `adder_conv2d`.
    Returns: (..., C_out) in the dtype of `x`, summed in float32.
    Gradient, autocast, errors, source: as in `adder_conv2d`.
    """
    if isinstance(x, Tensor):
        x, weight, bias = _autocast(x, weight, bias)
    dispatch.check_backend(backend)
    dispatch.check_linear(x, weight, bias)
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if dispatch.eager(rows, weight):
        run = AdderLinearFunction.apply if dispatch.needs_graph(rows, weight) else _linear_fwd
    else:
        run = _linear_plain if dispatch.exporting_to_onnx() else dispatch.traced("adder_linear")
    y = run(rows, weight, backend)
    if x.ndim != 2:
        y = y.reshape(*x.shape[:-1], weight.shape[0])
    return y if bias is None else y + bias


# --- registration: the same kernels for torch.compile and torch.export -----------------------------------------------

_CONV_ARGS = "Tensor x, Tensor weight, int[2] stride, int[2] padding, int[2] dilation, int groups, str backend"


def _conv2d_fake(x, weight, stride, padding, dilation, groups, backend):
    size = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return x.new_empty((x.shape[0], weight.shape[0], *size)).contiguous(memory_format=dispatch.memory_format(x))


def _like_x(grad_out, x, weight, *_settings):
    return torch.empty_like(x, memory_format=dispatch.memory_format(x) if x.ndim == 4 else torch.contiguous_format)


def _like_weight(grad_out, x, weight, *_settings):
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.settings = inputs[2:]


def _refuse(ctx, grad):
    raise RuntimeError(NO_DOUBLE_BACKWARD)


def _register(name: str, arguments: str, kernels, fake, backward) -> None:
    forward, by_input, by_weight = kernels
    dispatch.register(
        f"{name}({arguments}) -> Tensor",
        forward,
        fake=fake,
        backward=backward,
        setup=_save,
        autocast_float32=True,
        rows=1,
    )
    for suffix, kernel, like, rows in (("bwd_input", by_input, _like_x, 2), ("bwd_weight", by_weight, _like_weight, 0)):
        schema = f"{name}_{suffix}(Tensor grad_out, {arguments}) -> Tensor"
        dispatch.register(schema, kernel, fake=like, backward=_refuse, rows=rows)


_register(
    "adder_conv2d", _CONV_ARGS, (_conv2d_fwd, _conv2d_bwd_input, _conv2d_bwd_weight), _conv2d_fake, _CONV2D_BACKWARD
)
_register(
    "adder_linear",
    "Tensor x, Tensor weight, str backend",
    (_linear_fwd, _linear_bwd_input, _linear_bwd_weight),
    lambda x, weight, backend: x.new_empty((x.shape[0], weight.shape[0])),
    _LINEAR_BACKWARD,
)
