"""A tiny network inside a wider and deeper one (ShiftAddAug Sec. 3; NetAug).

    network = augment(create("mobilenet_v2"), width=2.2, expand=2.2, op="shift")
    network(x)                                   the target
    network(x, network.sample(generator))        a network around it, drawn anew at every step
    network.export_target()                      what is deployed

The target's channels are the first ones of every wide layer; see `repro.augment.layers` for how the two parts compute.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from repro.augment.groups import channel_groups
from repro.augment.layers import WideBatchNorm2d, WideConv2d, WideLinear, permute
from repro.augment.remapping import remapping
from repro.errors import InputError, check_choice, check_int, check_number
from repro.layers import AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear, convert
from repro.layers.replace import replace_layers

OPS = ("conv", "shift", "adder")
Multiples = float | Sequence[float]
Remap = Callable[[str, str, nn.Module], "nn.Module | None"]


@dataclass(frozen=True)
class Sample:
    """One network around the target: a multiple for each group of channels (1.0: as wide as the target)."""

    multiples: tuple[float, ...]


class Deepened(nn.Module):
    """A residual block and the extra blocks behind it, of which the first `active` are computed."""

    def __init__(self, block: nn.Module, extras: Sequence[nn.Module]):
        super().__init__()
        self.block_of_target, self.blocks_of_depth = block, nn.ModuleList(extras)
        self.active = len(extras)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block_of_target(x)
        for extra in self.blocks_of_depth[: self.active]:
            x = extra(x)
        return x


class AugmentedNetwork(nn.Module):
    """What `augment` returns.

    Attributes:
        network: the wide network; its layers have the target's names.
        groups: channels that are widened together (`repro.augment.groups.Group`).
        units: names of the parts that mutate one after the other, from shallow to deep.
    State dict: `network.*`, every weight of the widest network.
    """

    def __init__(
        self, model: nn.Module, ops: dict[str, str], lists: dict[str, tuple[float, ...]], depth: int, around, remap
    ):
        super().__init__()
        self._template = [model]  # a list, so that its weights are none of this module's
        wide = _deepened(model, depth) if depth else copy.deepcopy(model)
        self.groups, self._joins = channel_groups(wide)
        self._lists = lists
        self._target = tuple(group.base for group in self.groups)
        widest = self.sizes(Sample(tuple(lists.get(group.kind, (1.0,))[-1] for group in self.groups)))
        self.network = replace_layers(wide, self._widened(wide, ops, widest, around, remap))
        self.units = list(dict.fromkeys(_unit(model, _target_name(name)) for name in self._joins))
        self._set(self._target)

    def _widened(self, wide: nn.Module, ops, widest, around, remap) -> dict[nn.Module, nn.Module]:
        new: dict[nn.Module, nn.Module] = {}
        modules = dict(wide.named_modules())
        for name, (read, made) in self._joins.items():
            layer, op = modules[name], "conv" if _is_extra(name) else ops[_target_name(name)]
            kind = WideConv2d if isinstance(layer, nn.Conv2d) else WideLinear
            mapped = None if remap is None or op == "conv" else remap(_target_name(name), op, layer)
            beside = op if around == "same" else "conv"
            new[layer] = kind(layer, op, (widest[read], widest[made]), around=beside, remap=mapped)
        for number, group in enumerate(self.groups):
            for name in group.others:
                if isinstance(modules[name], nn.BatchNorm2d):
                    new[modules[name]] = WideBatchNorm2d(modules[name], widest[number])
        return new

    # ------------------------------------------------------------------ which network

    def sizes(self, sample: Sample) -> tuple[int, ...]:
        """Channels of every group in a sample; expansion and gates keep their ratio to what they are made from."""
        if len(sample.multiples) != len(self.groups):
            raise InputError(
                f"sample has {len(sample.multiples)} multiples; this network has {len(self.groups)} groups of channels."
            )
        sizes: list[int] = []
        for group, multiple in zip(self.groups, sample.multiples):
            ratio = sizes[group.source] / self._base(group.source) if group.kind in ("expand", "gate") else 1.0
            sizes.append(max(1, round(group.base * multiple * ratio)))
        return tuple(sizes)

    def _base(self, number: int) -> int:
        return self.groups[number].base

    def sample(self, generator: torch.Generator, *, width: bool = True, expand: bool = True) -> Sample:
        """Draw one network around the target: every group's multiple by itself, each of its list alike likely.

        `width` or `expand` False keeps that kind as wide as the target (NetAug ends width augmentation half-way).
        """
        drawn = []
        for group in self.groups:
            allowed = {"width": width, "expand": expand}.get(group.kind, False)
            choices = self._lists[group.kind] if allowed else (1.0,)
            place = int(torch.randint(len(choices), (1,), generator=generator)) if len(choices) > 1 else 0
            drawn.append(choices[place])
        return Sample(tuple(drawn))

    @property
    def full(self) -> Sample:
        """The widest network."""
        return Sample(tuple(self._lists.get(group.kind, (1.0,))[-1] for group in self.groups))

    def _set(self, sizes: Sequence[int]) -> None:
        modules = dict(self.network.named_modules())
        for name, (_, made) in self._joins.items():
            modules[name].active = sizes[made]

    def forward(self, x: Tensor, part: str | Sample = "target") -> Tensor:
        """(N, C, H, W) to what the target gives.

        Args:
            part: "target", "full" (the widest network), or a sample.
        """
        if isinstance(part, Sample):
            sizes, deep = self.sizes(part), True
        else:
            deep = check_choice("part", part, ("target", "full")) == "full"
            sizes = self.sizes(self.full) if deep else self._target
        self._set(sizes)
        for number, block in enumerate(self._deepened()):
            block.active = len(block.blocks_of_depth) if deep else self._kept[number]
        return self.network(x)

    def _deepened(self) -> list[Deepened]:
        return [module for module in self.network.modules() if isinstance(module, Deepened)]

    # ------------------------------------------------------------------ mutation and depth

    @property
    def _kept(self) -> list[int]:
        """How many extra blocks the target still has behind each deepened block: the deepest are dropped first."""
        left, kept = self.extra_blocks_of_target, []
        for block in self._deepened():
            kept.append(min(left, len(block.blocks_of_depth)))
            left -= kept[-1]
        return kept

    extra_blocks_of_target = 0

    @property
    def extra_blocks(self) -> int:
        """Extra blocks in all."""
        return sum(len(block.blocks_of_depth) for block in self._deepened())

    def set_depth(self, count: int) -> None:
        """Let the target keep its first `count` extra blocks; from deep to shallow they leave it."""
        self.extra_blocks_of_target = check_int("count", count, minimum=0, maximum=self.extra_blocks)

    def set_mutation(self, count: int) -> None:
        """Make the first `count` units of the target multiplication-free; the others compute convolutions (still)."""
        check_int("count", count, minimum=0, maximum=len(self.units))
        mutated = set(self.units[:count])
        for name, layer in self.wide_layers():
            unit = _unit(self._template[0], _target_name(name))
            layer.multiplicative = layer.op == "conv" or unit not in mutated

    def wide_layers(self) -> Iterator[tuple[str, WideConv2d | WideLinear]]:
        """(name, layer) of every wide convolution and linear layer, in the order of execution."""
        modules = dict(self.network.named_modules())
        return ((name, modules[name]) for name in self._joins)

    # ------------------------------------------------------------------ important channels into the target

    @torch.no_grad()
    def reorder_(self, optimizer: torch.optim.Optimizer | None = None) -> dict[str, int]:
        """Exchange channels inside inverted residuals, the important ones into the target (Sec. 3.3).

        Importance is the L1 norm of the raw weights with which a channel is read, over all rows of the projection.
        Whatever belongs to a channel goes along: filters, norms with their statistics, gates, and the optimiser's
        momentum. With convolutions everywhere the widest network computes the same as before.

        Returns: how many channels came into the target, by the name of the layer that makes them.
        """
        modules, moved = dict(self.network.named_modules()), {}
        for number, group in enumerate(self.groups):
            if group.kind not in ("expand", "gate"):
                continue
            readers = [modules[name] for name in group.readers if self._joins[name][1] not in self._gates(number)]
            weights = [reader.weight for reader in readers]
            importance = sum(weight.abs().sum([d for d in range(weight.ndim) if d != 1]) for weight in weights)
            if len(importance) == group.base:
                continue
            order = importance.argsort(descending=True, stable=True)
            moved[group.makers[0]] = int((order[: group.base] >= group.base).sum())
            for tensor, rows, columns in self._belonging(number, modules):
                permute(tensor, order, rows=rows, columns=columns)
                for state in (optimizer.state.get(tensor, {}) if optimizer is not None else {}).values():
                    if isinstance(state, Tensor) and state.shape == tensor.shape:
                        permute(state, order, rows=rows, columns=columns)
        return moved

    def _gates(self, number: int) -> set[int]:
        """Groups hidden in the channel attention of a group."""
        return {place for place, group in enumerate(self.groups) if group.kind == "gate" and group.source == number}

    def _belonging(self, number: int, modules) -> Iterator[tuple[Tensor, bool, bool]]:
        """(tensor, whether its rows, whether its columns are channels of a group)."""
        for name in {*self.groups[number].makers, *self.groups[number].readers}:
            read, made = self._joins[name]
            yield modules[name].weight, made == number, read == number
            if made == number and modules[name].bias is not None:
                yield modules[name].bias, True, False
        for name in self.groups[number].others:
            module = modules[name]
            tensors = module.state_dict(keep_vars=True).values() if isinstance(module, WideBatchNorm2d) else ()
            for tensor in (module.weight, module.bias) if not isinstance(module, WideBatchNorm2d) else tensors:
                if tensor is not None and tensor.ndim:
                    yield tensor, True, False

    # ------------------------------------------------------------------ the deployed network

    @torch.no_grad()
    def export_target(self) -> nn.Module:
        """The target as a network of its own, with R(W) written out; computes what `forward(x)` computes, bit for bit.

        Raises: InputError while the target still has extra blocks.
        """
        if self.extra_blocks_of_target:
            raise InputError(
                f"the target still has {self.extra_blocks_of_target} extra blocks; set_depth(0) before it is exported."
            )
        model = copy.deepcopy(self._template[0])
        modules, wide = dict(model.named_modules()), dict(self.network.named_modules())
        new = {}
        for name in (*self._joins, *(name for group in self.groups for name in group.others)):
            if not _is_extra(name):
                new[modules[_target_name(name)]] = wide[name].deployed()
        model = replace_layers(model, new)
        ops = {layer.op for name, layer in self.wide_layers() if not layer.multiplicative}
        if hasattr(model, "recipe") and len(ops) == 1:
            model.recipe = {**model.recipe, "op": ops.pop()}
        return model.train(self.training)

    def parameter_counts(self) -> dict[str, int]:
        """{"deployed", "training"}: parameters of the target and of the widest network."""
        training = sum(parameter.numel() for parameter in self.network.parameters())
        return {"deployed": sum(p.numel() for p in self._template[0].parameters()), "training": training}


# ------------------------------------------------------------------ building


def multiples(name: str, value: Multiples) -> tuple[float, ...]:
    """A list of multiples that begins with 1: m stands for 1, (1 + m) / 2, m, as NetAug spaces its lists.

    Raises: InputError for multiples below 1 or a list without 1.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        found = tuple(sorted({check_number(name, each, minimum=1) for each in value}))
        if not found or found[0] != 1:
            raise InputError(f"{name}={value!r} is not allowed; a list of multiples holds 1.0, the target itself.")
        return tuple(map(float, found))
    top = float(check_number(name, value, minimum=1))
    return (1.0,) if top == 1 else (1.0, (1 + top) / 2, top)


def augment(
    model: nn.Module,
    *,
    width: Multiples = 1.0,
    expand: Multiples = 1.0,
    depth: int = 0,
    op: str = "shift",
    remap: str | Remap | None = None,
    around: str = "conv",
) -> AugmentedNetwork:
    """Put a network of convolutions, with another operator in their place, into a wider and deeper one.

    Args:
        model: the target's structure: one of `repro.models`, or any module of dense and depthwise `Conv2d`,
            `BatchNorm2d`, `Linear`, activations, pooling, additions and gates. Its weights are not used.
        width: largest multiple of all channels but those inside inverted residuals, or a list with 1.0 in it.
        expand: the same for the channels inside inverted residuals; both multiply there.
        depth: extra residual blocks behind the last one of each stage.
        op: operator of the target: "conv" (NetAug), "shift" or "adder". Layers that the model's published form keeps
            multiplicative stay so; of other models all layers are converted (`repro.layers.convert`).
        remap: R of equation 5: a name of `repro.augment.REMAPPINGS`, or (layer name, op, layer) -> module or None.
        around: operator of the augmented part: "conv", or "same" as the target's (ShiftAddAug table 7).
    Raises: InputError for a model that cannot be followed, an unknown op, multiples below 1, or depth without a block
        that could be repeated.
    """
    check_choice("op", op, OPS)
    check_choice("around", around, ("conv", "same"))
    check_int("depth", depth, minimum=0)
    remap = remapping(remap) if isinstance(remap, str) else remap
    lists = {"width": multiples("width", width), "expand": multiples("expand", expand)}
    return AugmentedNetwork(copy.deepcopy(model), _operators(model, op), lists, depth, around, remap)


def _operators(model: nn.Module, op: str) -> dict[str, str]:
    """Layer name -> operator in the deployed network."""
    if op == "conv":
        deployed = model
    elif hasattr(model, "recipe"):
        from repro.models import create

        recipe = dict(model.recipe)
        name = recipe.pop("name")
        with torch.device("meta"):
            deployed = create(name, **{**recipe, "op": op, "keep": model.recipe["keep"] or None})
    else:
        deployed = convert(model, op)
    kinds = {ShiftConv2d: "shift", ShiftLinear: "shift", AdderConv2d: "adder", AdderLinear: "adder"}
    return {name: kinds.get(type(module), "conv") for name, module in deployed.named_modules()}


def _is_residual(block: nn.Module) -> bool:
    """Whether a block computes x + f(x)."""
    try:
        traced = fx.symbolic_trace(block)
    except Exception:  # whatever a block that cannot be traced raises: it cannot be repeated
        return False
    nodes = list(traced.graph.nodes)
    image, last = nodes[0], nodes[-1].args[0]
    if last.op != "call_function" or getattr(last.target, "__name__", "") not in ("add", "iadd"):
        return False

    def plain(node):
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        return plain(node.args[0]) if isinstance(module, nn.Identity) else node

    return image in [plain(node) for node in last.all_input_nodes]


def _width_of(block: nn.Module) -> int:
    return [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features


def _deepened(model: nn.Module, depth: int) -> nn.Module:
    """A copy with `depth` more blocks behind the last residual block of each run of equal ones."""
    wide, found = copy.deepcopy(model), False
    for module in list(wide.modules()):
        if type(module) is not nn.Sequential:
            continue
        residual = [_is_residual(block) for block in module]
        for place, block in enumerate(list(module)):
            follows = (
                place + 1 < len(module) and residual[place + 1] and _width_of(module[place + 1]) == _width_of(block)
            )
            if residual[place] and not follows:
                module[place] = Deepened(block, [copy.deepcopy(block) for _ in range(depth)])
                found = True
    if not found:
        raise InputError(f"depth={depth} is not allowed; {type(model).__name__} has no residual block to repeat.")
    return wide


def _target_name(name: str) -> str:
    """Name in the target network of a wide layer, or of the one that an extra block's layer is a copy of."""
    parts, kept = iter(name.split(".")), []
    for part in parts:
        if part == "blocks_of_depth":
            next(parts)  # its number
        elif part != "block_of_target":
            kept.append(part)
    return ".".join(kept)


def _is_extra(name: str) -> bool:
    return "blocks_of_depth" in name.split(".")


def _unit(model: nn.Module, name: str) -> str:
    """The part of the network that a layer mutates with: a block of a sequence, or a child of the network."""
    parts = name.split(".")
    first = model.get_submodule(parts[0])
    nested = isinstance(first, nn.Sequential) and len(parts) > 2
    return ".".join(parts[:2]) if nested else parts[0]
