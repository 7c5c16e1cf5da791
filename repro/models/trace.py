"""What a model computes, layer by layer, found by running it once on tensors without data (the meta device).

Every convolution, linear layer, adder and shift layer and every matrix product is recorded with the sizes it really
saw. Operators inside functions (`torch.nn.functional.conv2d`, `a @ b`, einsum, `repro.ops.adder_conv2d`) are seen
through the dispatcher, those of known modules through the module, whose own forward is not executed: no kernel runs,
whatever back end it uses. A subclass with a forward of its own runs it, so what it adds is counted too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from repro import layers as operators
from repro.errors import InputError
from repro.geometry import output_sizes

InputSize: TypeAlias = int | Sequence[int] | Tensor | Sequence[Tensor]
"""A side in pixels, (C, H, W), (N, C, H, W), or example tensor(s)."""

OPERATORS = ("conv", "shift", "adder")
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
# Modules that keep the shape: on the meta device their real forwards cost more time than all convolutions together.
SAME_SHAPE = (*NORMS, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Sigmoid, nn.Hardsigmoid, nn.GELU, nn.Dropout)


@dataclass(frozen=True)
class Layer:
    """One operator as it ran, for the whole batch of the trace.

    Attributes:
        name: path of the module that ran it.
        kind: "conv", "linear" or "matmul" (a product of two activations).
        op: "conv" (multiplies), "shift" or "adder".
        role: what it is for, from the model's `cost_role`, else derived from its place and sizes.
        batch: images; tokens or rows for linear layers and products.
        in_channels, out_channels, groups, kernel, stride: as in `nn.Conv2d`; kernel is (height, width).
        height, width, out_height, out_width: maps without padding; 1 for linear layers. Of a map of three axes the
            first two are multiplied into the height, and so are those of its kernel.
        bias: adds a bias to each output.
        normed: a normalisation takes the output, unfoldable for an adder layer.
        params: trainable values of this module (0 on a repeated call, and for products); packed layers count the
            weights that their codes stand for.
        transposed: each input, not each output, meets all taps of the kernel.
    """

    name: str
    kind: str
    op: str
    role: str
    batch: int
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    groups: int = 1
    height: int = 1
    width: int = 1
    out_height: int = 1
    out_width: int = 1
    bias: bool = False
    normed: bool = False
    params: int = 0
    transposed: bool = False

    @property
    def outputs(self) -> int:
        """Output elements."""
        return self.batch * self.out_channels * self.out_height * self.out_width

    @property
    def taps(self) -> int:
        """Kernel taps: multiply-accumulates of a convolution, |x - w| terms of an adder layer."""
        if self.transposed:
            inputs = self.batch * self.in_channels * self.height * self.width
            return inputs * math.prod(self.kernel) * (self.out_channels // self.groups)
        return self.outputs * math.prod(self.kernel) * (self.in_channels // self.groups)

    @property
    def depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.kind == "conv" and self.groups > 1 and self.groups == self.in_channels


PACKED = (
    operators.QuantizedAdderConv2d,
    operators.QuantizedAdderLinear,
    operators.PackedShiftConv2d,
    operators.PackedShiftLinear,
)
"""Forms of inference; they compute what the layer computed from which they were made."""
_MODULES = {
    "adder": (operators.AdderConv2d, operators.AdderLinear, *PACKED[:2]),
    "shift": (operators.ShiftConv2d, operators.ShiftLinear, *PACKED[2:]),
    "conv": (nn.Conv1d, nn.Conv2d, nn.Linear),
}


def _is_plain(module: nn.Module, classes: Sequence[Any]) -> bool:
    """Whether `module` is of one of the classes and computes what the class does."""
    if "forward" in vars(module):  # somebody's own, on this one layer
        return False
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in classes)


def _operator(module: nn.Module) -> str | None:
    """The operator of a layer module, or None for everything else, subclasses with a forward of their own included."""
    return next((op for op, classes in _MODULES.items() if _is_plain(module, classes)), None)


def weights_of(module: nn.Module) -> int:
    """Trainable values of a module and its parts; for packed layers the weights and biases that they stand for."""
    packed = [part for part in module.modules() if isinstance(part, PACKED)]
    held = sum(math.prod(part.weight_shape) + (0 if part.bias is None else part.bias.numel()) for part in packed)
    return held + sum(p.numel() for p in module.parameters() if p.requires_grad)


def _is_linear(module: nn.Module) -> bool:
    return hasattr(module, "in_features")


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _run_shape_only(module: nn.Module, x: Tensor) -> Tensor:
    """The output of an operator module by its sizes alone."""
    if _is_linear(module):
        if x.shape[-1] != module.in_features:
            raise InputError(
                f"a linear layer takes {module.in_features} features but receives {x.shape[-1]}; check input_size."
            )
        return x.new_empty((*x.shape[:-1], module.out_features))
    spatial = x.ndim - 2
    if spatial < 1 or x.shape[1] != module.in_channels:
        raise InputError(
            f"a convolution takes {module.in_channels} channels but receives a tensor of shape {tuple(x.shape)}; "
            "check input_size."
        )
    if module.padding == "same":
        sizes = x.shape[2:]
    else:
        padding = 0 if module.padding == "valid" else module.padding
        geometry = (module.kernel_size, module.stride, padding, module.dilation)
        sizes = output_sizes(x.shape[2:], *(_pair(value)[:spatial] for value in geometry))
    if min(sizes) < 1:
        raise InputError(
            f"a map of {tuple(x.shape[2:])} is too small for a layer with kernel {tuple(_pair(module.kernel_size))}; "
            "use a larger input_size."
        )
    return x.new_empty((x.shape[0], module.out_channels, *sizes))


def _only_input(args: tuple, options: dict) -> Tensor:
    """The tensor that a layer was called with, by place or by keyword (input=x)."""
    return args[0] if args else next(iter(options.values()))


def _two(sizes: Sequence[int]) -> tuple[int, int]:
    return (int(sizes[0]), 1) if len(sizes) == 1 else (math.prod(map(int, sizes[:-1])), int(sizes[-1]))


def _convolution(
    name: str, op: str, x: Tensor, y: Tensor, kernel: Sequence[int], stride, groups, bias, transposed=False
) -> Layer:
    height, width = _two(x.shape[2:])
    out_height, out_width = _two(y.shape[2:])
    return Layer(
        name,
        "conv",
        op,
        "",
        x.shape[0],
        x.shape[1],
        y.shape[1],
        _two(kernel),
        int(stride),
        int(groups),
        height,
        width,
        out_height,
        out_width,
        bias,
        transposed=transposed,
    )


_OURS = torch.ops.repro
# Operator, and the places of weight (or its shape), stride and groups among the arguments.
_OUR_CONVOLUTIONS = {
    _OURS.adder_conv2d.default: ("adder", 1, 2, 5),
    _OURS.adder_conv2d_int8.default: ("adder", 1, 3, 6),
    _OURS.packed_shift_conv2d.default: ("shift", 3, 4, 7),
}
_OUR_LINEARS = {
    _OURS.adder_linear.default: "adder",
    _OURS.adder_linear_int8.default: "adder",
    _OURS.packed_shift_linear.default: "shift",
}
_NORM_OPERATORS = (
    torch.ops.aten.native_batch_norm.default,
    torch.ops.aten._native_batch_norm_legit_no_training.default,
    torch.ops.aten.native_layer_norm.default,
    torch.ops.aten.native_group_norm.default,
)


class _Recorder(TorchDispatchMode):
    """Collects layers; `stack` holds name and role of the modules that are running."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.stack: list[tuple[str, str]] = [("", "")]
        self.makers: dict[int, int] = {}  # id of an output -> its layer
        self.alive: list[Tensor] = []  # keeps ids unique
        self.seen: set[int] = set()
        self.powers: set[int] = set()  # ids of weights that were rounded to powers of two

    def add(self, layer: Layer, output: Tensor, module: nn.Module | None = None, values: int = 0) -> None:
        """Append a layer; `module` (with `values` trainable values), or what runs around it, supplies the role."""
        index = len(self.layers)
        layer = replace(layer, role=getattr(module, "cost_role", "") or self.stack[-1][1])
        if module is not None:
            first = id(module) not in self.seen
            self.seen.add(id(module))
            normed = bool(getattr(module, "cost_norm", False))
            layer = replace(layer, params=values if first else 0, normed=normed)
        self.layers.append(layer)
        self.makers[id(output)] = index
        self.alive.append(output)

    def norm_takes(self, tensor: Tensor) -> None:
        """Note that a normalisation reads `tensor`."""
        index = self.makers.get(id(tensor))
        if index is not None:
            self.layers[index] = replace(self.layers[index], normed=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        sizes: tuple
        output = func(*args, **(kwargs or {}))
        aten, name = torch.ops.aten, self.stack[-1][0]
        if func is aten.convolution.default:
            x, weight, bias, stride, _, _, transposed, _, groups = args
            op = "shift" if id(weight) in self.powers else "conv"
            sizes = weight.shape[2:], stride[0], groups, bias is not None, transposed
            self.add(_convolution(name, op, x, output, *sizes), output)
        elif func in (aten.mm.default, aten.bmm.default, aten.mv.default):
            self._product(name, args[0], args[1], output, bias=False)
        elif func in (aten.addmm.default, aten.baddbmm.default, aten.addmv.default):
            self._product(name, args[1], args[2], output, bias=True)
        elif func is aten._trilinear.default:  # nn.Bilinear: x1 (weight x2), the inner product first
            (rows, first), (outputs, _, second) = args[0].shape, args[1].shape
            self.add(Layer(name, "linear", "conv", "", rows, first * (second + 1), outputs), output)
        elif func in _NORM_OPERATORS:
            self.norm_takes(args[0])
        elif func in (_OURS.round_to_power_of_two.default, _OURS.shift_sign.default):
            self._is_power(output)
        elif func in _OUR_CONVOLUTIONS:
            op, weight, stride, groups = _OUR_CONVOLUTIONS[func]
            shape = args[weight].shape if isinstance(args[weight], Tensor) else args[weight]
            sizes = shape[2:], args[stride][0], args[groups], False
            self.add(_convolution(name, op, args[0], output, *sizes), output)
        elif func in _OUR_LINEARS:
            rows, features = args[0].shape
            self.add(Layer(name, "linear", _OUR_LINEARS[func], "", rows, features, output.shape[1]), output)
        elif self._copies_power(args, output):
            self._is_power(output)
        return output

    def _is_power(self, weight: Tensor) -> None:
        self.powers.add(id(weight))
        self.alive.append(weight)

    def _copies_power(self, args: tuple, output) -> bool:
        """Whether `output` is a view or copy of a weight that was rounded to powers of two."""
        tensors = [value for value in args if isinstance(value, Tensor)]
        alone = len(tensors) == 1 and isinstance(output, Tensor) and id(tensors[0]) in self.powers
        return alone and output.numel() == tensors[0].numel()

    def _product(self, name: str, a: Tensor, b: Tensor, output: Tensor, *, bias: bool) -> None:
        power = id(b) in self.powers
        weighted = power or isinstance(b, nn.Parameter) or (b._base is not None and isinstance(b._base, nn.Parameter))
        rows, outputs = a.shape[:-1].numel(), b.shape[-1] if b.ndim > 1 else 1
        kind = "linear" if weighted or bias else "matmul"
        self.add(Layer(name, kind, "shift" if power else "conv", "", rows, a.shape[-1], outputs, bias=bias), output)


@contextmanager
def _watched(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Hooks that follow the running module, and shape-only forwards for operator modules; removed afterwards."""
    handles, replaced = [], []

    def enter(name: str):
        def hook(module, args):
            recorder.stack.append((name, getattr(module, "cost_role", "") or recorder.stack[-1][1]))

        return hook

    def leave(module, args, output):
        recorder.stack.pop()

    def same_shape(*args, **options) -> Tensor:
        x = _only_input(args, options)
        return x.new_empty(x.shape)

    def normed(*args, **options) -> Tensor:
        recorder.norm_takes(_only_input(args, options))
        return same_shape(*args, **options)

    def replace_forward(module: nn.Module, forward) -> None:
        replaced.append((module, module.__dict__.get("forward")))
        module.forward = forward

    def shape_only(module: nn.Module, name: str, op: str):
        values = weights_of(module)  # here: the run itself is on stand-ins without gradients

        def forward(*args, **options) -> Tensor:
            x = _only_input(args, options)
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and x.ndim == len(module.kernel_size) + 1:
                return forward(x[None])[0]  # one image without a batch
            y = _run_shape_only(module, x)
            bias = getattr(module, "bias", None) is not None
            if _is_linear(module):
                rows = x.shape[:-1].numel()
                layer = Layer(name, "linear", op, "", rows, module.in_features, module.out_features, bias=bias)
            else:
                stride, kernel = _pair(module.stride)[0], _pair(module.kernel_size)[: x.ndim - 2]
                layer = _convolution(name, op, x, y, kernel, stride, module.groups, bias)
            recorder.add(layer, y, module, values)
            return y

        return forward

    try:
        for name, module in model.named_modules(remove_duplicate=True):
            op = _operator(module)
            if op is not None:
                replace_forward(module, shape_only(module, name, op))
            elif _is_plain(module, SAME_SHAPE):
                replace_forward(module, normed if isinstance(module, NORMS) else same_shape)
            else:
                handles.append(module.register_forward_pre_hook(enter(name)))
                handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, forward in replaced:
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def _with_roles(layers: list[Layer]) -> list[Layer]:
    """Fill in the roles that the model did not state: stem, depthwise, se, classifier, pointwise, conv, linear."""
    last_linear = max((i for i, layer in enumerate(layers) if layer.kind == "linear"), default=None)
    filled = []
    for i, layer in enumerate(layers):
        role = layer.role
        if not role and layer.kind == "matmul":
            role = "matmul"
        elif not role and layer.kind == "linear":
            role = "classifier" if i == last_linear else "linear"
        elif not role:
            pooled = layer.height == layer.width == 1
            pointwise = layer.kernel == (1, 1)
            role = (
                "stem"
                if i == 0
                else "depthwise"
                if layer.depthwise
                else "se"
                if pooled and pointwise and layer.bias
                else "pointwise"
                if pointwise
                else "conv"
            )
        filled.append(replace(layer, role=role))
    return filled


def _inputs(input_size) -> tuple[Tensor, ...]:
    if isinstance(input_size, Tensor):
        return (input_size.to("meta"),)
    if isinstance(input_size, tuple | list) and input_size and all(isinstance(item, Tensor) for item in input_size):
        return tuple(item.to("meta") for item in input_size)
    if isinstance(input_size, int) and not isinstance(input_size, bool):
        input_size = (3, input_size, input_size)
    if not isinstance(input_size, tuple | list) or len(input_size) not in (3, 4):
        raise InputError(
            f"input_size={input_size!r} is not allowed; give a side in pixels, (channels, height, width), "
            "(batch, channels, height, width), or example tensors."
        )
    size = tuple(input_size) if len(input_size) == 4 else (1, *input_size)
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size):
        raise InputError(f"input_size={input_size!r} is not allowed; all sizes must be whole numbers of at least 1.")
    return (torch.empty(size, device="meta"),)


def _without_data(value: Tensor) -> Tensor:
    empty = torch.empty(value.shape, dtype=value.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty


def trace(model: nn.Module, input_size: InputSize) -> list[Layer]:
    """Run `model` once without data and list its operators in order of execution.

    Args:
        model: any module; its weights are not touched and may themselves be on the meta device.
        input_size: a side in pixels (three channels), (C, H, W), (N, C, H, W), or example tensor(s), whose data are
            not used.
    Returns: `Layer` records in evaluation mode (auxiliary heads that only training uses do not run).
    Raises: InputError when the sizes do not fit the model.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
    inputs = _inputs(input_size)
    values = [*model.named_parameters(), *model.named_buffers()]
    state = {name: _without_data(value) for name, value in values if value.device.type != "meta"}
    recorder = _Recorder()
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with _watched(model, recorder), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            functional_call(model, state, inputs)
    finally:
        for module, training in modes.items():
            module.training = training
    if not recorder.layers:
        raise InputError(f"{type(model).__name__} runs no convolution, linear layer or matrix product to count.")
    return _with_roles(recorder.layers)
