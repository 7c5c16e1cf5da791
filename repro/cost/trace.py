"""What a model computes, layer by layer, found by running it once on tensors without data (the meta device).

Every convolution, linear layer, adder and shift layer and every matrix product is recorded with the sizes it really
saw. Operators inside functions (`torch.nn.functional.conv2d`, `a @ b`, einsum) are seen through the dispatcher, those
inside modules through the module, whose own forward is not executed: no kernel runs, whatever back end it uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from repro import layers as operators
from repro.errors import InputError
from repro.geometry import output_sizes

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
        height, width, out_height, out_width: maps without padding; 1 for linear layers.
        bias: adds a bias to each output.
        normed: a normalisation takes the output, unfoldable for an adder layer.
        params: trainable values of this module (0 on a repeated call, and for products).
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

    @property
    def outputs(self) -> int:
        """Output elements."""
        return self.batch * self.out_channels * self.out_height * self.out_width

    @property
    def taps(self) -> int:
        """Kernel taps: multiply-accumulates of a convolution, |x - w| terms of an adder layer."""
        return self.outputs * math.prod(self.kernel) * (self.in_channels // self.groups)

    @property
    def depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.kind == "conv" and self.groups > 1 and self.groups == self.in_channels


def _operator(module: nn.Module) -> str | None:
    """The operator of a layer module, or None for everything else. Subclasses of nn.Conv2d come last."""
    for op, classes in (
        ("adder", (operators.AdderConv2d, operators.AdderLinear)),
        ("shift", (operators.ShiftConv2d, operators.ShiftLinear)),
        ("conv", (nn.Conv1d, nn.Conv2d, nn.Linear)),
    ):
        if isinstance(module, classes):
            return op
    return None


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


def _two(sizes: Sequence[int]) -> tuple[int, int]:
    return (int(sizes[0]), int(sizes[1]) if len(sizes) > 1 else 1)


def _convolution(name: str, op: str, x: Tensor, y: Tensor, kernel: Sequence[int], stride, groups, bias) -> Layer:
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

    def add(self, layer: Layer, output: Tensor, module: nn.Module | None = None) -> None:
        """Append a layer; `module`, or what runs around it, supplies the role, and `module` the parameters."""
        index = len(self.layers)
        layer = replace(layer, role=getattr(module, "cost_role", "") or self.stack[-1][1])
        if module is not None:
            first = id(module) not in self.seen
            self.seen.add(id(module))
            count = sum(p.numel() for p in module.parameters() if p.requires_grad) if first else 0
            normed = bool(getattr(module, "cost_norm", False))
            layer = replace(layer, params=count, normed=normed)
        self.layers.append(layer)
        self.makers[id(output)] = index
        self.alive.append(output)

    def norm_takes(self, tensor: Tensor) -> None:
        """Note that a normalisation reads `tensor`."""
        index = self.makers.get(id(tensor))
        if index is not None:
            self.layers[index] = replace(self.layers[index], normed=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        aten, name = torch.ops.aten, self.stack[-1][0]
        if func is aten.convolution.default:
            x, weight, bias, stride, _, _, _, _, groups = args
            self.add(
                _convolution(name, "conv", x, output, weight.shape[2:], stride[0], groups, bias is not None), output
            )
        elif func in (aten.mm.default, aten.bmm.default):
            self._product(name, args[0], args[1], output, bias=False)
        elif func in (aten.addmm.default, aten.baddbmm.default):
            self._product(name, args[1], args[2], output, bias=True)
        return output

    def _product(self, name: str, a: Tensor, b: Tensor, output: Tensor, *, bias: bool) -> None:
        weighted = isinstance(b, nn.Parameter) or (b._base is not None and isinstance(b._base, nn.Parameter))
        rows = a.shape[:-1].numel()
        kind = "linear" if weighted or bias else "matmul"
        self.add(Layer(name, kind, "conv", "", rows, a.shape[-1], b.shape[-1], bias=bias), output)


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

    def same_shape(x: Tensor) -> Tensor:
        return x.new_empty(x.shape)

    def normed(x: Tensor) -> Tensor:
        recorder.norm_takes(x)
        return x.new_empty(x.shape)

    def replace_forward(module: nn.Module, forward) -> None:
        replaced.append((module, module.__dict__.get("forward")))
        module.forward = forward

    def shape_only(module: nn.Module, name: str, op: str):
        def forward(x: Tensor, *unused, **options) -> Tensor:
            y = _run_shape_only(module, x)
            bias = getattr(module, "bias", None) is not None
            if _is_linear(module):
                rows = x.shape[:-1].numel()
                layer = Layer(name, "linear", op, "", rows, module.in_features, module.out_features, bias=bias)
            else:
                stride, kernel = _pair(module.stride)[0], _pair(module.kernel_size)[: x.ndim - 2]
                layer = _convolution(name, op, x, y, kernel, stride, module.groups, bias)
            recorder.add(layer, y, module)
            return y

        return forward

    try:
        for name, module in model.named_modules(remove_duplicate=True):
            op = _operator(module)
            if op is not None:
                replace_forward(module, shape_only(module, name, op))
            elif isinstance(module, SAME_SHAPE):
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


def trace(model: nn.Module, input_size) -> list[Layer]:
    """Run `model` once without data and list its operators in order of execution.

    Args:
        model: any module; its weights are not touched and may themselves be on the meta device.
        input_size: a side in pixels (three channels), (C, H, W), (N, C, H, W), or example tensor(s), whose data are
            not used.
    Returns: `Layer` records in evaluation mode (auxiliary heads that only training uses do not run).
    Raises: InputError when the sizes do not fit the model.
    """
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
