"""Which channels of a network belong together: what one wide layer makes, all layers that read it must be able to take.

A network is traced with `torch.fx` and its channels are followed from layer to layer. A dense layer's outputs open a
group; additions and gates make two groups one; depthwise layers, norms, activations and pooling keep the group.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import fx, nn
from torch.nn import functional

from repro.errors import InputError

KEEPING = (
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh,
    nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, nn.Upsample,
    nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
"""Modules that give as many channels as they take."""
_KEEPING_FUNCTIONS = {
    torch.relu, torch.sigmoid, torch.tanh, torch.flatten, torch.mean, torch.clone,
    functional.relu, functional.relu6, functional.hardswish, functional.hardsigmoid, functional.silu, functional.gelu,
    functional.dropout, functional.interpolate, functional.avg_pool2d, functional.max_pool2d,
    functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d,
}  # fmt: skip
_KEEPING_METHODS = {"mean", "flatten", "relu", "relu_", "sigmoid", "contiguous", "clone", "float", "squeeze"}
_SUMS = {operator.add, operator.iadd, torch.add, operator.sub, torch.sub, "add", "add_"}
_PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}


@dataclass
class Group:
    """Channels that must be widened together.

    Attributes:
        base: channels in the target network.
        makers: dense layers whose outputs they are.  readers: dense layers whose inputs they are.
        others: depthwise layers and norms that keep them.
        kind: "width"; "expand", inside an inverted residual; "gate", hidden in a channel attention; "fixed".
        source: number of the group that the (first) maker reads: a fixed ratio to it is kept by "expand" and "gate".
    """

    base: int
    makers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    kind: str = "width"
    source: int = -1


class _Union:
    """Groups under construction; two that are added or multiplied become one, under the older number."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.base: list[int] = []

    def open(self, base: int) -> int:
        self.parent.append(len(self.parent))
        self.base.append(base)
        return len(self.parent) - 1

    def find(self, number: int) -> int:
        while self.parent[number] != number:
            number = self.parent[number]
        return number

    def join(self, numbers: Iterable[int], what: str) -> int:
        roots = sorted({self.find(number) for number in numbers})
        if len({self.base[root] for root in roots}) > 1:
            sizes = " and ".join(str(self.base[root]) for root in roots)
            raise InputError(f"{what} combines {sizes} channels; augmentation can follow equal numbers only.")
        for root in roots[1:]:
            self.parent[root] = roots[0]
        return roots[0]


def channel_groups(model: nn.Module) -> tuple[list[Group], dict[str, tuple[int, int]]]:
    """The groups of a network of convolutions, in the order of execution, and what joins them.

    Returns: groups; {name of a dense or depthwise layer: (group it reads, group it makes)}.
    Raises: InputError naming what cannot be followed (concatenation, reshaping, unknown modules), or a model that
        cannot be traced.
    """
    try:
        graph = fx.Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, ValueError) as error:
        raise InputError(
            f"model {type(model).__name__} cannot be traced by torch.fx ({error}); augmentation follows its channels "
            "through layers, additions and products."
        ) from error
    union, layers, norms, gated = _Union(), {}, {}, []
    of: dict[fx.Node, int] = {}
    fixed: list[int] = []
    modules = dict(model.named_modules())
    for node in graph.nodes:
        known = [of[each] for each in node.all_input_nodes if each in of]
        if node.op == "placeholder":
            of[node] = -1  # the image: its channels are found at the first layer
        elif node.op == "output":
            fixed += [number for number in known if number >= 0]
        elif node.op == "call_module":
            of[node] = _through_module(node.target, modules[node.target], known, union, layers, norms)
        elif not known or node.target in (getattr, operator.getitem) or node.target == "size":
            continue  # sizes and constants
        elif node.target in _SUMS or node.target in _PRODUCTS:
            of[node] = known[0] if len(known) == 1 else union.join(known, f"'{node}'")
            if node.target in _PRODUCTS and len(known) == 2:
                gated.append(tuple(known))
        elif node.target in _KEEPING_FUNCTIONS or node.target in _KEEPING_METHODS:
            of[node] = known[0]
        else:
            name = getattr(node.target, "__name__", node.target)
            raise InputError(f"'{name}' in the forward of {type(model).__name__} cannot be followed by augmentation.")
    return _finished(union, layers, norms, fixed, gated, modules)


def _through_module(name, module, known, union, layers, norms) -> int:
    if not known:
        raise InputError(f"module {name!r} takes no tensor that augmentation has followed.")
    group = known[0]
    if type(module) in (nn.Conv2d, nn.Linear):
        inputs, outputs = (
            (module.in_channels, module.out_channels)
            if isinstance(module, nn.Conv2d)
            else (module.in_features, module.out_features)
        )
        if group == -1:
            group = union.open(inputs)
            made = union.open(outputs)
            layers[name] = (group, made, True)
            return made
        if inputs != union.base[union.find(group)]:
            raise InputError(
                f"module {name!r} takes {inputs} features of {union.base[union.find(group)]} channels; augmentation "
                "needs one feature a channel there (pool to one pixel before the linear layer)."
            )
        groups = getattr(module, "groups", 1)
        if groups > 1:
            if not groups == inputs == outputs:
                raise InputError(
                    f"module {name!r} has groups={groups} of {inputs} channels, which is neither dense nor depthwise; "
                    "augmentation widens only these two."
                )
            layers[name] = (group, group, False)
            return group
        made = union.open(outputs)
        layers[name] = (group, made, False)
        return made
    if type(module) is nn.BatchNorm2d:
        norms[name] = group
        return group
    if isinstance(module, KEEPING):
        return group
    raise InputError(f"module {name!r} is a {type(module).__name__}; augmentation cannot follow channels through it.")


def _finished(union, layers, norms, fixed, gated, modules):
    roots = sorted({union.find(number) for number in range(len(union.parent))})
    number = {root: place for place, root in enumerate(roots)}
    place = {each: number[union.find(each)] for each in range(len(union.parent))}
    groups = [Group(union.base[root]) for root in roots]
    joins = {}
    for name, (read, made, first) in layers.items():
        read, made = place[read], place[made]
        joins[name] = read, made
        if first:
            groups[read].kind = "fixed"
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
    for name, (_, made, _) in layers.items():
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
        pointwise = [getattr(modules[name], "kernel_size", None) == (1, 1) for name in makers]
        depthwise = any(isinstance(modules[name], nn.Conv2d) for name in group.others)
        if len(makers) == len(readers) == 1 and pointwise == [True] and depthwise:
            group.kind = "expand"
