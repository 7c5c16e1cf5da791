"""Which back end serves a call, the checks every operator makes, and registration with `torch.library`.

Three doors lead to the same kernels. In eager mode the public functions call an `autograd.Function` (about 15 us a
step less than a registered operator's Python autograd). When something traces or intercepts the call (torch.compile,
torch.export, jit.trace, fake or meta tensors, dispatch modes), or a tensor's numbers are not simply in its memory (lazy
negatives, functional tensors), they call the operator registered under `torch.ops.repro`, which has a fake kernel, an
autograd formula, an autocast rule and a vmap rule. Inside transforms of `torch.func` they call a Function around it.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from repro.errors import BackendError, InputError, check_choice, check_int
from repro.runtime import triton_interpreted, triton_status, warn_once

Function = TypeVar("Function", bound=Callable)
BACKENDS = ("auto", "reference", "cpu", "triton")
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PLAIN = (Tensor, torch.nn.Parameter)
_REAL_DEVICES = ("cpu", "cuda")
NO_FORWARD_MODE = (
    "{} has no forward-mode derivative (jvp, dual tensors, jacfwd): its gradient is a surrogate that is defined "
    "backwards only; use backward, torch.func.grad, vjp or jacrev."
)


# --- back ends -------------------------------------------------------------------------------------------------------


def check_backend(backend: str) -> None:
    """Raise InputError, with the nearest name, unless `backend` is one of BACKENDS."""
    if backend not in BACKENDS:
        check_choice("backend", backend, BACKENDS)


@functools.cache
def kernels(backend: str, family: str) -> ModuleType:
    """The module with the kernels of one family ("adder", "shift", "adder_int8"); ImportError if it cannot load."""
    if backend == "reference":
        return importlib.import_module("repro.ops.reference")
    return importlib.import_module(f"repro.{backend}.{family}")


@functools.cache
def optional_kernel(backend: str, family: str, name: str) -> Callable | None:
    """A fused kernel that a back end may or may not have; None when it has not."""
    try:
        return getattr(kernels(backend, family), name, None)
    except ImportError:
        return None


def choose(backend: str, x: Tensor, op: str, family: str = "adder") -> str:
    """The back end that serves `x`: "reference", "cpu" or "triton".

    "auto" takes Triton for CUDA tensors and the compiled CPU kernels for CPU tensors; when those cannot run it falls
    back to the reference and warns once. A back end that was asked for by name is used or refused, never replaced.

    Raises: BackendError when the named back end cannot run `x` here.
    """
    return _choose(backend, x.device.type, op, family)


@functools.cache
def _choose(backend: str, device: str, op: str, family: str) -> str:
    check_backend(backend)
    if backend == "reference":
        return backend
    if backend == "auto":
        wanted = {"cpu": "cpu", "cuda": "triton"}.get(device)
        reason = f"there are no kernels for device {device!r}" if wanted is None else _unusable(wanted, device, family)
        if reason is None:
            return wanted  # type: ignore[return-value]
        warn_once(f"{op} runs on the slow reference for {device} tensors: {reason}.")
        return "reference"
    reason = _unusable(backend, device, family)
    if reason is not None:
        raise BackendError(f"backend={backend!r} cannot run {op} on {device} tensors: {reason}.")
    return backend


def _unusable(backend: str, device: str, family: str) -> str | None:
    if backend == "cpu" and device != "cpu":
        return "it serves CPU tensors only; use backend='triton' or move the tensors"
    if backend == "triton":
        usable, reason = triton_status()
        if not usable:
            return reason
        if device == "cpu" and not triton_interpreted():
            return "Triton serves CUDA tensors (TRITON_INTERPRET=1 interprets kernels on the CPU, slowly)"
    try:
        kernels(backend, family)
    except ImportError as error:
        return f"its kernels do not load ({error})"
    return None


def autocast_enabled(device: str) -> bool:
    """Whether autocast is on for this device type; False for devices that autocast does not know (meta)."""
    return device in _REAL_DEVICES and torch.is_autocast_enabled(device)


# --- checks ----------------------------------------------------------------------------------------------------------


def check_floating(parameter: str, tensor: Tensor) -> None:
    """Raise InputError unless `tensor` is a tensor of a supported floating-point type."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{parameter} is a {type(tensor).__name__}; it must be a torch.Tensor.")
    if tensor.dtype not in FLOAT_DTYPES:
        raise InputError(
            f"{parameter}.dtype={tensor.dtype} is not supported; allowed are float16, bfloat16, float32 and float64."
        )
    if tensor.is_nested:
        raise InputError(f"{parameter} is a nested tensor; give a padded one, {parameter}.to_padded_tensor(0.0).")
    if tensor.layout is not torch.strided:
        raise InputError(f"{parameter}.layout={tensor.layout} is not supported; give {parameter}.to_dense().")


def check_images(x: Tensor, channels: int) -> None:
    """Raise InputError unless `x` is (N, channels, H, W); a proxy of a tracer has no sizes and passes."""
    if isinstance(x, Tensor) and (x.ndim != 4 or x.shape[1] != channels):
        raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, {channels}, H, W).")


def check_same(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise InputError unless weight and bias share dtype and device with x, and bias is one value per filter."""
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not isinstance(tensor, Tensor):
            raise InputError(f"{name} is a {type(tensor).__name__}; it must be a torch.Tensor.")
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, x is {x.dtype} on {x.device}; both must be the same."
            )
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != weight.shape[0]):
        raise InputError(f"bias has shape {tuple(bias.shape)}; it must be ({weight.shape[0]},), one value per filter.")


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels-last activations give channels-last results; everything else is NCHW."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


MAX_EXTENT = 2**20
"""Largest stride, padding or dilation: beyond any image, and below what kernels count in 32 bits."""


def pair(parameter: str, value: int | Sequence[int], minimum: int) -> tuple[int, int]:
    """(int, int) from an int or two ints, each at least `minimum` and at most MAX_EXTENT."""
    if type(value) is int and minimum <= value <= MAX_EXTENT:
        return value, value
    if type(value) is tuple and len(value) == 2 and all(type(v) is int and minimum <= v <= MAX_EXTENT for v in value):
        return value
    bounds = {"minimum": minimum, "maximum": MAX_EXTENT}
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InputError(f"{parameter}={value!r} is not allowed; it must be one whole number or two.")
        return tuple(check_int(f"{parameter}[{i}]", v, **bounds) for i, v in enumerate(value))  # type: ignore[return-value]
    checked = check_int(parameter, value, **bounds)
    return checked, checked


def check_conv2d(x: Tensor, weight: Tensor, bias, stride, padding, dilation, groups):
    """Check the arguments of a 2-d operator and return (x, stride, padding, dilation) with pairs of ints.

    padding may be an int, two ints, "valid" (none) or "same" (stride 1; an odd total puts the extra zero last, as
    torch does, by padding `x` explicitly).
    """
    check_floating("x", x)
    check_floating("weight", weight)
    if x.ndim != 4:
        raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, C, H, W).")
    if weight.ndim != 4 or 0 in weight.shape:
        raise InputError(f"weight has shape {tuple(weight.shape)}; it must be (C_out, C_in/groups, K_h, K_w), none 0.")
    stride, dilation = pair("stride", stride, 1), pair("dilation", dilation, 1)
    if type(groups) is not int or groups < 1:
        groups = check_int("groups", groups, minimum=1)
    if weight.shape[0] % groups or x.shape[1] != weight.shape[1] * groups:
        raise InputError(
            f"groups={groups} does not fit: x has {x.shape[1]} channels and weight has shape {tuple(weight.shape)}; "
            "needed are weight.shape[1] * groups input channels and a multiple of groups output channels."
        )
    check_same(x, weight, bias)
    x, padding = resolve_padding(x, weight.shape[2:], stride, padding, dilation)
    return x, stride, padding, dilation


def resolve_padding(x: Tensor, kernel_size: Sequence[int], stride, padding, dilation) -> tuple[Tensor, tuple[int, int]]:
    """(x, padding as two ints), x being padded here where "same" is uneven; InputError if the filter does not fit."""
    if isinstance(padding, str):
        x, padding = _named_padding(x, kernel_size, padding, stride, dilation)
    else:
        padding = pair("padding", padding, 0)
    for axis in (0, 1):
        if x.shape[2 + axis] + 2 * padding[axis] <= dilation[axis] * (kernel_size[axis] - 1):
            raise InputError(
                f"x of height and width {tuple(x.shape[2:])} with padding={padding} is smaller than the filter, "
                f"{tuple(kernel_size)} with dilation={dilation}."
            )
    return x, padding


def check_padding_name(padding: str, stride: tuple[int, int]) -> str:
    """Return `padding` if it is "valid", or "same" with stride 1, else raise InputError."""
    check_choice("padding", padding, ("same", "valid"))
    if padding == "same" and stride != (1, 1):
        raise InputError(f"padding='same' needs stride=1, not {stride}; give the padding as numbers.")
    return padding


def _named_padding(x: Tensor, kernel_size: Sequence[int], padding: str, stride, dilation):
    if check_padding_name(padding, stride) == "valid":
        return x, (0, 0)
    total = [dilation[axis] * (kernel_size[axis] - 1) for axis in (0, 1)]
    odd = [t % 2 for t in total]
    if any(odd):
        x = torch.nn.functional.pad(x, (0, odd[1], 0, odd[0]))
    return x, (total[0] // 2, total[1] // 2)


def check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Check the arguments of a linear operator: x (..., C_in), weight (C_out, C_in), bias (C_out,)."""
    check_floating("x", x)
    check_floating("weight", weight)
    if weight.ndim != 2 or 0 in weight.shape:
        raise InputError(f"weight has shape {tuple(weight.shape)}; it must be (C_out, C_in), neither 0.")
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise InputError(f"x has shape {tuple(x.shape)}; its last axis must have {weight.shape[1]} entries.")
    check_same(x, weight, bias)


# --- who else wants the call -----------------------------------------------------------------------------------------


def overridable(function: Function) -> Function:
    """A public function that tensor subclasses, torch function modes and `torch.fx` proxies can take over, as torch's.

    So `fx.symbolic_trace` records the call as one node, and a default device does not reach what the kernels allocate.
    """

    @functools.wraps(function)
    def public(*args, **kwargs):
        given = (*args, *kwargs.values())
        if has_torch_function(given):
            return handle_torch_function(public, given, *args, **kwargs)
        return function(*args, **kwargs)

    return public  # type: ignore[return-value]


def eager(*tensors: Tensor) -> bool:
    """Whether plain tensors are computed at once: nothing compiles, traces, transforms or intercepts the call.

    Also false for a tensor whose memory does not hold its numbers (lazy negative, functional, freed) or is empty.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None or torch._C._get_tracing_state() is not None:
        return False
    return all(type(tensor) in _PLAIN and (tensor.is_cpu or tensor.is_cuda) and _holds(tensor) for tensor in tensors)


def _holds(tensor: Tensor) -> bool:
    try:
        return bool(tensor.data_ptr() and tensor.untyped_storage().nbytes()) and not tensor.is_neg()
    except RuntimeError:  # a batch of gradients (torch.autograd.grad with is_grads_batched) has no memory of its own
        return False


def needs_graph(x: Tensor, weight: Tensor) -> bool:
    """Whether autograd must see the call: a gradient may be asked for, or forward-mode differentiation is under way."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return True
    return torch.autograd.forward_ad._current_level >= 0


def exporting_to_onnx() -> bool:
    """Whether `torch.onnx.export` is tracing, which knows torch's own operators only."""
    onnx = sys.modules.get("torch.onnx")
    return onnx is not None and onnx.is_in_onnx_export()


# --- registration ----------------------------------------------------------------------------------------------------

LIBRARY = torch.library.Library("repro", "FRAGMENT")
_TRANSFORMED: dict[str, type[torch.autograd.Function]] = {}


class BackwardOnlyFunction(torch.autograd.Function):
    """A Function that refuses forward-mode derivatives in words."""

    @staticmethod
    def jvp(ctx, *tangents):
        raise NotImplementedError(NO_FORWARD_MODE.format("this operator"))


def traced(name: str) -> Callable:
    """The registered operator `name`; inside a transform of `torch.func`, a Function around it."""
    transform = None if torch.compiler.is_compiling() else torch._C._functorch.peek_interpreter_stack()
    if transform is None or transform.key() == torch._C._functorch.TransformType.Functionalize:
        return getattr(torch.ops.repro, name)
    return transformed(name)


def transformed(name: str) -> Callable:
    """The Function around the registered operator `name`, which refuses in words what the operator does not have."""
    return _TRANSFORMED[name].apply


def register(
    schema: str,
    kernel: Callable,
    *,
    fake: Callable,
    backward: Callable,
    setup: Callable | None = None,
    autocast_float32: bool = False,
    rows: int = 0,
) -> None:
    """Register `torch.ops.repro.<name>` with its fake kernel, autograd formula, autocast rule and vmap rule.

    Args:
        schema: "name(arguments) -> result" in torch's schema language.
        kernel: runs on real tensors of any device.
        fake: result's metadata from the arguments' metadata; also serves the meta device.
        backward, setup: as in `torch.library.register_autograd`.
        autocast_float32: cast floating inputs to float32 under autocast (sums of absolute differences need it).
        rows: the first so many tensors, and the result, are made of rows along their first axis, each computed by
            itself; `vmap` over them then is one call on more rows. Otherwise it calls the operator once per entry.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag))
    LIBRARY.impl(name, _with_memory(name, kernel), "CompositeExplicitAutograd")
    torch.library.register_fake(f"repro::{name}", fake, lib=LIBRARY)
    torch.library.register_autograd(f"repro::{name}", backward, setup_context=setup, lib=LIBRARY)
    operator = getattr(torch.ops.repro, name)
    torch.library.register_vmap(f"repro::{name}", _vmap_rule(operator, rows), lib=LIBRARY)
    if autocast_float32:
        for device in _REAL_DEVICES:
            torch.library.register_autocast(f"repro::{name}", device, torch.float32, lib=LIBRARY)
    _TRANSFORMED[name] = _transformed(name, operator, setup or (lambda ctx, inputs, output: None), backward)


def _with_memory(name: str, kernel: Callable) -> Callable:
    def checked(*args):
        for value in args:
            if isinstance(value, Tensor) and value.numel() and not value.untyped_storage().nbytes():
                raise RuntimeError(
                    f"{name} got a tensor of shape {tuple(value.shape)} whose storage was freed (sharded training does "
                    "that between uses); gather it first."
                )
        return kernel(*args)

    return checked


def _transformed(name: str, operator: Any, setup: Callable, backward: Callable) -> type[torch.autograd.Function]:
    def jvp(ctx, *tangents):
        raise NotImplementedError(NO_FORWARD_MODE.format(name))

    members = {"forward": operator.default, "setup_context": setup, "backward": backward, "jvp": jvp}
    statics = {label: staticmethod(member) for label, member in members.items()}
    return type(f"{name}_transformed", (torch.autograd.Function,), {**statics, "generate_vmap_rule": True})


def _vmap_rule(operator: Callable, rows: int) -> Callable:
    def rule(info, in_dims, *args: Any):
        size = info.batch_size
        batched = [isinstance(a, Tensor) and d is not None for a, d in zip(args, in_dims)]
        args = [a.movedim(d, 0) if b else a for a, d, b in zip(args, in_dims, batched)]  # type: ignore[assignment]
        if rows and not any(batched[rows:]):
            whole = [a if b else a.expand(size, *a.shape) for a, b in zip(args[:rows], batched)]
            y = operator(*(a.reshape(-1, *a.shape[2:]) for a in whole), *args[rows:])
            return y.reshape(size, -1, *y.shape[1:]) if whole[0].ndim > 1 else y, 0
        entries = [[a[i] if b else a for a, b in zip(args, batched)] for i in range(size)]
        return torch.stack([operator(*entry) for entry in entries]), 0

    return rule
