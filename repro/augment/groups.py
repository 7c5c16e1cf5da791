"""Which channels of a network belong together: what one wide layer makes, all layers that read it must be able to take.

A network is traced with `torch.fx` and its channels are followed from layer to layer. A dense layer's outputs open a
group; additions and gates make two groups one; depthwise layers, norms, activations and pooling keep the group.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from repro.errors import InputError

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
KEEPING = (
    *ACTIVATIONS, nn.Flatten, nn.Upsample,
    nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
"""Modules that give as many channels as they take."""
ACTIVATING = {
    torch.relu, torch.sigmoid, torch.tanh, torch.clamp, functional.relu, functional.relu6, functional.hardswish,
    functional.hardsigmoid, functional.silu, functional.gelu, functional.dropout,
    "relu", "relu_", "sigmoid", "tanh", "clamp",
}  # fmt: skip
"""Functions and methods that act on every number by itself."""
_KEEPING_FUNCTIONS = ACTIVATING | {
    torch.clone, operator.neg, functional.interpolate, functional.avg_pool2d, functional.max_pool2d,
    functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d, "contiguous", "clone", "float",
}  # fmt: skip
_MEANS, _FLATTENINGS, _VIEWS = {torch.mean, "mean"}, {torch.flatten, "flatten"}, {"view", "reshape"}
_SPATIAL = {2, 3, -1, -2}
SUMS = {operator.add, operator.iadd, torch.add, operator.sub, torch.sub, "add", "add_"}
_PRODUCTS = {operator.mul, operator.imul, operator.truediv, torch.mul, torch.div, "mul", "mul_", "div", "div_"}


@dataclass
class Group:
    """Channels that must be widened together.

    Attributes:
        base: channels in the target network.
        makers: dense layers whose outputs they are.  readers: dense layers whose inputs they are.
        others: depthwise layers and norms that keep them.
        kind: "width"; "expand", inside an inverted residual (a 1x1 layer makes them, depthwise layers and one 1x1
            projection read them, and they are more than on either side); "gate", hidden in a channel attention; or
            "fixed".
        source: number of the group that the (first) maker reads: a fixed ratio to it is kept by "expand" and "gate".
    """

    base: int
    makers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    kind: str = "width"
    source: int = -1

    @property
    def name(self) -> str:
        """The layer that makes them, or that reads them first."""
        return [*self.makers, *self.readers, *self.others, "nothing"][0]


class _Union:
    """Groups under construction; two that are added or multiplied become one, under the older number.

    The image's group has no size until a layer reads it.
    """

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.base: list[int | None] = []

    def open(self, base: int | None) -> int:
        self.parent.append(len(self.parent))
        self.base.append(base)
        return len(self.parent) - 1

    def size(self, number: int, read: int) -> int:
        """Channels of a group of which a layer reads `read` features."""
        root = self.find(number)
        if self.base[root] is None:
            self.base[root] = read
        return self.base[root]  # type: ignore[return-value]

    def find(self, number: int) -> int:
        while self.parent[number] != number:
            number = self.parent[number]
        return number

    def join(self, numbers: Iterable[int], what: str) -> int:
        roots = sorted({self.find(number) for number in numbers})
        known = [self.base[root] for root in roots if self.base[root] is not None]
        if len(set(known)) > 1:
            raise InputError(
                f"{what} combines {' and '.join(map(str, known))} channels; augmentation can follow equal numbers only."
            )
        for root in roots[1:]:
            self.parent[root] = roots[0]
        self.base[roots[0]] = known[0] if known else None
        return roots[0]


def channel_groups(model: nn.Module, unwidened: Iterable[str] = ()) -> tuple[list[Group], dict[str, tuple[int, int]]]:
    """The groups of a network of convolutions, in the order of execution, and what joins them.

    Args:
        unwidened: names of layers whose outputs stay as they are.
    Returns: groups; {name of a dense or depthwise layer: (group it reads, group it makes)}.
    Raises: InputError naming what cannot be followed (concatenation, reshaping, unknown modules), or a model that
        cannot be traced.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # whatever its own code raises where it gets no numbers
        raise InputError(
            f"model {type(model).__name__} cannot be traced by torch.fx ({error}); augmentation follows its channels "
            "through layers, additions and products."
        ) from error
    layers: dict[Any, Any]
    norms: dict[Any, Any]
    union, layers, norms, gated = _Union(), {}, {}, []
    of: dict[fx.Node, int] = {}
    fixed: list[int] = []
    modules = dict(model.named_modules())
    for node in graph.nodes:
        if node.op == "get_attr":
            _check_own_tensor(model, str(node.target))
        known = [of[each] for each in node.all_input_nodes if each in of]
        if node.op == "placeholder":
            of[node] = union.open(None)
            fixed.append(of[node])
        elif node.op == "output":
            fixed += known
        elif node.op == "call_module":
            of[node] = _through_module(node.target, modules[node.target], known, union, layers, norms)
        elif not known or node.target in (getattr, "size"):
            continue  # constants, sizes and what is computed of them
        elif node.target in SUMS or node.target in _PRODUCTS:
            of[node] = known[0] if len(known) == 1 else union.join(known, f"'{node}'{_where(node)}")
            if node.target in _PRODUCTS and len(known) == 2:
                gated.append(tuple(known))
        elif _keeps_channels(node):
            of[node] = known[0]
        else:
            name = getattr(node.target, "__name__", node.target)
            raise InputError(
                f"'{name}' in the forward of {type(model).__name__}{_where(node)} cannot be followed by augmentation."
            )
    fixed += [layers[name][1] for name in unwidened]
    return _finished(union, layers, norms, fixed, gated, modules)


def _check_own_tensor(model: nn.Module, name: str) -> None:
    """Refuse a parameter or buffer that is no layer's and may have a number for each channel: nothing widens it."""
    module, _, attribute = name.rpartition(".")
    shape = tuple(getattr(model.get_submodule(module), attribute).shape)
    channels = shape[-3] if len(shape) > 2 else max(shape, default=1)
    if channels > 1:
        raise InputError(
            f"{name!r} has the shape {shape}, with numbers for single channels; augmentation widens convolutions, "
            "linear layers and batch norms only, so any other tensor must be the same for all channels."
        )


def _where(node: fx.Node) -> str:
    """' (module 'blocks.1')': the innermost module whose forward does it, '' for the network's own."""
    stack = node.meta.get("nn_module_stack")
    inner = next(reversed(stack.values()))[0] if stack else ""
    return f" (module {inner!r})" if inner else ""


def _keeps_channels(node: fx.Node) -> bool:
    """Whether a function gives its argument's channels, in their order, as dimension 1."""
    target, rest = node.target, [*node.args[1:], *node.kwargs.values()]
    if target in _MEANS:
        dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
        return bool(dims) and set(dims if isinstance(dims, Sequence) else (dims,)) <= _SPATIAL
    if target in _FLATTENINGS:
        return rest[:1] == [1] and set(rest[1:]) <= {-1}
    if target in _VIEWS:
        return len(rest) == 2 and rest[1] == -1
    if target == "squeeze":
        return {axis for axis in rest if isinstance(axis, int)} <= _SPATIAL
    return target in _KEEPING_FUNCTIONS


def _through_module(name, module, known, union, layers, norms) -> int:
    if not known:
        raise InputError(f"module {name!r} takes no tensor that augmentation has followed.")
    group = known[0]
    if type(module) in (nn.Conv2d, nn.Linear):
        convolves = isinstance(module, nn.Conv2d)
        inputs, outputs = (
            (module.in_channels, module.out_channels) if convolves else (module.in_features, module.out_features)
        )
        size = union.size(group, inputs)
        if inputs != size and (convolves or inputs % size):
            raise InputError(
                f"module {name!r} takes {inputs} features of {size} channels; augmentation needs as many features of "
                "every channel."
            )
        groups = getattr(module, "groups", 1)
        if groups > 1 and not groups == inputs == outputs:
            raise InputError(
                f"module {name!r} has groups={groups} of {inputs} channels, which is neither dense nor depthwise; "
                "augmentation widens only these two."
            )
        if name in layers:  # called once more: what it reads there and here is one group
            read, made = layers[name]
            union.join((read, group), f"module {name!r}")
            return made
        made = group if groups > 1 else union.open(outputs)
        layers[name] = (group, made)
        return made
    if type(module) is nn.BatchNorm2d:
        union.size(group, module.num_features)
        norms[name] = group
        return group
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise InputError(f"module {name!r} flattens from dimension {module.start_dim}; augmentation can follow 1 only.")
    if isinstance(module, KEEPING):
        return group
    raise InputError(f"module {name!r} is a {type(module).__name__}; augmentation cannot follow channels through it.")


def _finished(union, layers, norms, fixed, gated, modules):
    roots = sorted({union.find(number) for number in range(len(union.parent))})
    number = {root: place for place, root in enumerate(roots)}
    place = {each: number[union.find(each)] for each in range(len(union.parent))}
    groups = [Group(union.base[root] or 0) for root in roots]
    joins = {}
    for name, (read, made) in layers.items():
        read, made = place[read], place[made]
        joins[name] = read, made
        if read == made and getattr(modules[name], "groups", 1) > 1:
            groups[made].others.append(name)
        else:
            groups[read].readers.append(name)
            groups[made].makers.append(name)
            if groups[made].source < 0:
                groups[made].source = read
    for name, group in norms.items():
        groups[place[group]].others.append(name)
    for each in fixed:
        groups[place[each]].kind = "fixed"
    products = {each for pair in gated for each in pair}
    for name, (_, made) in layers.items():
        hidden = groups[joins[name][0]]
        closed = len(hidden.makers) == 1 and hidden.source == place[made]
        if made in products and closed and hidden.kind == "width":
            hidden.kind = "gate"  # read from a map and, through this layer, multiplied onto it
    _name_expansions(groups, joins, modules)
    return groups, joins


def _name_expansions(groups: list[Group], joins: dict[str, tuple[int, int]], modules: dict[str, nn.Module]) -> None:
    for place, group in enumerate(groups):
        if group.kind != "width":
            continue
        gates = {number for number, other in enumerate(groups) if other.kind == "gate" and other.source == place}
        makers = [name for name in group.makers if joins[name][0] not in gates]
        readers = [name for name in group.readers if joins[name][1] not in gates]
        pointwise = all(getattr(modules[name], "kernel_size", None) == (1, 1) for name in (*makers, *readers))
        depthwise = any(isinstance(modules[name], nn.Conv2d) for name in group.others)
        if len(makers) == len(readers) == 1 and pointwise and depthwise:
            source, out = (groups[joins[name][end]] for name, end in ((makers[0], 0), (readers[0], 1)))
            # Separable convolutions in a row look alike, but their widths are not inside anything.
            if source.kind != "expand" and group.base > max(source.base, out.base):
                group.kind = "expand"
