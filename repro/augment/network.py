"""A tiny network inside a wider and deeper one (ShiftAddAug Sec. 3; NetAug).

    network = augment(create("mobilenet_v2"), width=2.2, expand=2.2, op="shift")
    network(x)                                   the target
    network(x, network.sample(generator))        a network around it, drawn anew at every step
    network.export_target()                      what is deployed

The target's channels are the first ones of every wide layer; see `repro.augment.layers` for how the two parts compute.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from repro.augment.groups import ACTIVATING, ACTIVATIONS, SUMS, Group, channel_groups
from repro.augment.layers import WideBatchNorm2d, WideConv2d, WideLinear, drawn_apart, permute
from repro.augment.remapping import REMAPPINGS, remapping
from repro.errors import InputError, check_choice, check_int, check_number, refuse
from repro.layers import (
    AdderConv2d,
    AdderLinear,
    ShiftAddConv2d,
    ShiftAddLinear,
    ShiftConv2d,
    ShiftLinear,
    convert,
)
from repro.layers.replace import replace_layers
from repro.models.build import Builder, Operator
from repro.models.mobile import KEEP
from repro.models.registry import create
from repro.train.evaluate import reestimate_batch_norm

OPS = ("conv", "shift", "adder", "shiftadd")
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


class _Part(nn.Module):
    """A part of an augmented network as a network."""

    def __init__(self, whole: nn.Module, part: str | Sample):
        super().__init__()
        self.whole, self.part = whole, part

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(x, self.part)


class AugmentedNetwork(nn.Module):
    """What `augment` returns.

    Attributes:
        network: the wide network; its layers have the target's names.
        groups: channels that are widened together (`repro.augment.groups.Group`).
        units: names of the parts that mutate one after the other, from shallow to deep: stem, blocks, head, classifier,
            as far as they have something that does not multiply in the end.
    State dict: `network.*`, every weight of the widest network; `_extra_state`, how many units have mutated, how many
        extra blocks the target still has, and which channels are in which places.
    """

    def __init__(
        self,
        model: nn.Module,
        ops: dict[str, str],
        lists: dict[str, tuple[float, ...]],
        depth: int | tuple[int, ...],
        around: str,
        remap: Remap | None,
    ):
        super().__init__()
        self._template = [model]  # a list, so that its weights are none of this module's
        wide = copy.deepcopy(model) if depth == 0 else _deepened(model, depth)
        self.groups, self._joins = channel_groups(wide, getattr(model, "unwidened", ()))
        self._target = tuple(group.base for group in self.groups)
        self._choices = tuple(lists.get(group.kind, (1.0,)) for group in self.groups)
        widest = self.sizes(self.full)
        self.network = replace_layers(wide, self._widened(wide, ops, widest, around, remap))
        self.units = self._mutating()
        self._set(self._target)
        self._channels = self._in_order()

    def _widened(self, wide: nn.Module, ops, widest, around, remap) -> dict[nn.Module, nn.Module]:
        new: dict[nn.Module, nn.Module] = {}
        modules = dict(wide.named_modules())
        # Extra blocks come last, so that the weights of all others are those of the same seed without any.
        for name in sorted(self._joins, key=is_extra):
            read, made = self._joins[name]
            layer, op = modules[name], "conv" if is_extra(name) else ops[_target_name(name)]
            kind = WideConv2d if isinstance(layer, nn.Conv2d) else WideLinear
            with drawn_apart():
                mapped = None if remap is None or op == "conv" else remap(_target_name(name), op, layer)
            if not isinstance(mapped, nn.Module | None):
                raise InputError(f"remap gave {mapped!r} for layer {name}; it must give a module or None.")
            refuse(
                mapped is not None and not callable(getattr(mapped, "deviation", None)),
                f"remap gave a {type(mapped).__name__} for layer {name}, which has no method deviation(std); training "
                "takes from it how wide the remapped weights are (repro.augment.remapping).",
            )
            beside = op if around == "same" else "conv"
            features = layer.weight.shape[1] // self.groups[read].base if kind is WideLinear else 1  # of each channel
            new[layer] = kind(layer, op, (features * widest[read], widest[made]), around=beside, remap=mapped)
        for number, group in enumerate(self.groups):
            for name in group.others:
                if isinstance(modules[name], nn.BatchNorm2d):
                    new[modules[name]] = WideBatchNorm2d(modules[name], widest[number])
        return new

    # ------------------------------------------------------------------ which network

    def sizes(self, sample: Sample) -> tuple[int, ...]:
        """Channels of every group in a sample.

        An expansion keeps its ratio to what it is made from, so its multiple and that of its input multiply. What is
        hidden in a gate is a part of what it gates, but never less than in the target (`_hidden`).
        Raises: InputError for another number of multiples, or one below 1: the target would be wider than the sample.
        """
        if len(sample.multiples) != len(self.groups):
            raise InputError(
                f"sample has {len(sample.multiples)} multiples; this network has {len(self.groups)} groups of channels."
            )
        sizes: list[int] = []
        for group, multiple in zip(self.groups, sample.multiples):
            if not isinstance(multiple, (int, float)) or not 1 <= multiple < math.inf:
                raise InputError(
                    f"multiple {multiple!r} of the channels of {group.name} is not allowed; it must be a number of at "
                    "least 1, or the target would be wider than the network around it."
                )
            if group.kind == "gate":
                sizes.append(self._hidden(group, sizes[group.source], multiple))
            else:
                ratio = sizes[group.source] / self.groups[group.source].base if group.kind == "expand" else 1.0
                sizes.append(round(group.base * multiple * ratio))
        return tuple(sizes)

    def _hidden(self, group: Group, gated: int, multiple: float) -> int:
        """Channels hidden in a gate of `gated` channels.

        NetAug: gated / reduction, at least 16; here at least what the target has. The reduction is that of the target,
        or 4 where its own floor hides it (24 channels behind 16 hidden ones were not meant to be 1.5).
        """
        reduction = max(4.0, self.groups[group.source].base / group.base)
        return max(group.base, round(multiple * gated / reduction))

    def sample(self, generator: torch.Generator, *, width: bool = True, expand: bool = True) -> Sample:
        """Draw one network around the target: every group's multiple by itself, each of its list alike likely.

        `width` or `expand` False keeps that kind as wide as the target (NetAug ends width augmentation half-way).
        """
        refuse_no_generator(generator)
        allowed, drawn = {"width": width, "expand": expand}, []
        for group, choices in zip(self.groups, self._choices):
            choices = choices if allowed.get(group.kind, False) else choices[:1]
            place = int(torch.randint(len(choices), (1,), generator=generator)) if len(choices) > 1 else 0
            drawn.append(choices[place])
        return Sample(tuple(drawn))

    @property
    def full(self) -> Sample:
        """The widest network."""
        return Sample(tuple(choices[-1] for choices in self._choices))

    def widens(self, *kinds: str) -> bool:
        """Whether a sample may be wider than the target in groups of these kinds ("width", "expand")."""
        return any(group.kind in kinds and len(choices) > 1 for group, choices in zip(self.groups, self._choices))

    def _set(self, sizes: Sequence[int]) -> None:
        for name, layer in self.wide_layers():
            layer.active = sizes[self._joins[name][1]]

    def forward(self, x: Tensor, part: str | Sample = "target") -> Tensor:
        """(N, C, H, W) to what the target gives.

        Args:
            part: "target", "full" (the widest network), or a sample.
        Raises: InputError for another part, or a sample that does not lie between target and widest network.
        """
        if isinstance(part, Sample):
            sizes, deep = self._within(self.sizes(part)), True
        else:
            deep = check_choice("part", part, ("target", "full")) == "full"
            sizes = self.sizes(self.full) if deep else self._target
        self._set(sizes)
        for number, block in enumerate(self._deepened):
            block.active = len(block.blocks_of_depth) if deep else self._kept[number]
        return self.network(x)

    def _within(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        for group, size, most in zip(self.groups, sizes, self.sizes(self.full)):
            if size > most:
                raise InputError(
                    f"the sample has {size} channels of {group.name}; the widest network has {most}, so it must have "
                    "no more."
                )
        return sizes

    # Looked up once: both are asked for at every step.

    @cached_property
    def _wide(self) -> tuple[tuple[str, WideConv2d | WideLinear], ...]:
        return tuple((name, self.network.get_submodule(name)) for name in self._joins)

    @cached_property
    def _deepened(self) -> tuple[Deepened, ...]:
        return tuple(module for module in self.network.modules() if isinstance(module, Deepened))

    # ------------------------------------------------------------------ batch norm

    def reestimate_(self, batches: Iterable[Tensor], part: str | Sample = "target") -> int:
        """Set batch norm to what a part of the network has on `batches` (`repro.train.reestimate_batch_norm`).

        Every pass moves the shared statistics, so in training they are right for no part. Channels beyond the part
        lose theirs. Returns: number of batches.
        """
        return reestimate_batch_norm(_Part(self, part), batches)

    # ------------------------------------------------------------------ mutation and depth

    @property
    def _kept(self) -> list[int]:
        """How many extra blocks the target still has behind each deepened block: the deepest are dropped first."""
        left, kept = self.extra_blocks_of_target, []
        for block in self._deepened:
            kept.append(min(left, len(block.blocks_of_depth)))
            left -= kept[-1]
        return kept

    extra_blocks_of_target = 0

    @property
    def extra_blocks(self) -> int:
        """Extra blocks in all."""
        return sum(len(block.blocks_of_depth) for block in self._deepened)

    def set_depth(self, count: int) -> None:
        """Let the target keep its first `count` extra blocks; from deep to shallow they leave it."""
        self.extra_blocks_of_target = check_int("count", count, minimum=0, maximum=self.extra_blocks)

    def _mutating(self) -> list[str]:
        layers = (_target_name(name) for name, layer in self.wide_layers() if layer.op != "conv")
        return list(dict.fromkeys(_unit(self._template[0], name) for name in layers))

    @property
    def mutated(self) -> int:
        """How many units are multiplication-free now."""
        layers = [(name, layer) for name, layer in self.wide_layers() if layer.op != "conv"]
        left = {_unit(self._template[0], _target_name(name)) for name, layer in layers if layer.multiplicative}
        return sum(unit not in left for unit in self.units)

    def set_mutation(self, count: int) -> None:
        """Make the first `count` units of the target multiplication-free; the others compute convolutions (still)."""
        check_int("count", count, minimum=0, maximum=len(self.units))
        mutated = set(self.units[:count])
        for name, layer in self.wide_layers():
            unit = _unit(self._template[0], _target_name(name))
            layer.multiplicative = layer.op == "conv" or unit not in mutated

    def get_extra_state(self) -> Tensor:
        """int64: mutated units, extra blocks of the target, and the order of its channels, which no weight tells."""
        return torch.cat([torch.tensor([self.mutated, self.extra_blocks_of_target]), *self._channels.values()])

    def set_extra_state(self, state: Tensor) -> None:
        """Mutated units, extra blocks and order of channels as they were."""
        (mutated, extra), orders = state[:2].tolist(), state[2:].cpu()
        self.set_mutation(mutated)
        self.set_depth(extra)
        self._channels = self._in_order()
        lengths = [len(order) for order in self._channels.values()]
        if len(orders) == sum(lengths):  # files of before say nothing of it
            self._channels = dict(zip(self._channels, orders.split(lengths), strict=True))

    def wide_layers(self) -> Iterator[tuple[str, WideConv2d | WideLinear]]:
        """(name, layer) of every wide convolution and linear layer, in the order of execution."""
        return iter(self._wide)

    # ------------------------------------------------------------------ important channels into the target

    def _in_order(self) -> dict[int, Tensor]:
        """For each group whose channels may change places: their numbers by place, as at the start."""
        widest = self.sizes(self.full)
        return {
            number: torch.arange(widest[number])
            for number, group in enumerate(self.groups)
            if group.kind in ("expand", "gate") and widest[number] > group.base
        }

    def channels_of(self, name: str) -> tuple[Tensor, Tensor]:
        """(rows, columns) of a wide layer's weight: which channel, by its number at the start, is in each place now.

        A layer that reads several features of a channel has none of its own inside inverted residuals, and a depthwise
        layer has one column.
        """
        layer = self.network.get_submodule(name)
        numbers = [self._channels.get(number) for number in self._joins[name]]
        columns, rows = (
            torch.arange(size) if order is None or len(order) != size else order
            for order, size in zip(numbers, layer.weight.shape[1::-1], strict=True)
        )
        return rows, columns

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
            self._channels[number] = self._channels[number][order.cpu()]
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

    # ------------------------------------------------------------------ the target by itself

    @torch.no_grad()
    def alone(self) -> AugmentedNetwork:
        """The target with its R and no network around it, from the weights that it has now.

        In memory are its own weights alone, by whose mean and deviation R goes: beside weights that no step trains it
        would go by the start. R is shared with this network. Extra blocks are left out, all units have mutated.
        """
        layers = {name: layer for name, layer in self.wide_layers() if not is_extra(name)}
        ops = {_target_name(name): layer.op for name, layer in layers.items()}
        network = AugmentedNetwork(copy.deepcopy(self._template[0]), ops, {}, 0, "conv", None)
        new = dict(network.network.named_modules())
        for name, layer in layers.items():
            mine = new[_target_name(name)]
            mine.weight.copy_(layer.raw_target_weight())
            if layer.bias is not None:
                mine.bias.copy_(layer.bias[: layer.target[1]])
            if layer.add is not None:
                mine.add.load_state_dict(layer.add.state_dict())
            mine.remap = layer.remap
        for name, module in self.network.named_modules():
            if isinstance(module, WideBatchNorm2d) and not is_extra(name):
                new[_target_name(name)].load_state_dict(module.deployed().state_dict())
        self._hand_over(network.network)
        network.set_mutation(len(network.units))
        return network.to(next(self.parameters()).device).train(self.training)

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
            if not is_extra(name):
                new[modules[_target_name(name)]] = wide[name].deployed()
        model = replace_layers(model, new)
        self._hand_over(model)
        if _has_recipe(model):
            model.recipe = {**model.recipe, **self._asked()}
        return model.train(self.training)

    def _hand_over(self, model: nn.Module) -> None:
        """Give the target in `model` the parameters and buffers that belong to no wide layer, as they are now."""
        wide = tuple(f"{name}." for name, module in self.network.named_modules() if isinstance(module, _WIDE))
        for name, tensor in (*self.network.named_parameters(), *self.network.named_buffers()):
            if not name.startswith(wide) and not is_extra(name):
                module, _, attribute = _target_name(name).rpartition(".")
                new = tensor.detach().clone()
                if isinstance(tensor, nn.Parameter):
                    new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                setattr(model.get_submodule(module), attribute, new)

    def _asked(self) -> dict:
        """Those options that make `repro.models.create` build what is deployed now: op and keep."""
        layers = {_target_name(name): layer for name, layer in self.wide_layers() if not is_extra(name)}
        ops = {name: layer.op for name, layer in layers.items() if not layer.multiplicative}
        if len(set(ops.values())) == 1:
            op = next(iter(ops.values()))
            published = _published(self._template[0], op)
            if ops == {name: kind for name, kind in _kinds(published).items() if kind != "conv" and name in layers}:
                return {"op": op, "keep": published.recipe["keep"]}
        return {"op": ops or "conv", "keep": None}

    def parameter_counts(self) -> dict[str, int]:
        """{"deployed", "training"}: parameters of the target and of the widest network."""
        training = sum(parameter.numel() for parameter in self.network.parameters())
        target = sum(parameter.numel() for parameter in self._template[0].parameters())
        second = [layer.add.weight.numel() for _, layer in self.wide_layers() if layer.add is not None]
        return {"deployed": target + sum(second), "training": training}


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
    depth: int | Sequence[int] = 0,
    op: Operator = "shift",
    remap: str | Remap | None = None,
    around: str = "conv",
) -> AugmentedNetwork:
    """Put a network of convolutions, with another operator in their place, into a wider and deeper one.

    Args:
        model: the target's structure: one of `repro.models`, or any module of dense and depthwise `Conv2d`,
            `BatchNorm2d`, `Linear`, activations, pooling, additions and gates. Its weights are not used. Outputs of
            the layers named by its attribute `unwidened` are not widened, nor are those of the network.
        width: largest multiple of all channels but those inside inverted residuals, or a list with 1.0 in it.
        expand: the same for the channels inside inverted residuals; both multiply there.
        depth: extra residual blocks behind the last one of each stage (a run of them in a Sequential), or a number for
            each stage.
        op: operator of the target: "conv" (NetAug), "shift", "adder" or "shiftadd". Layers that the model's published
            form keeps multiplicative stay so; of other models all layers are converted (`repro.layers.convert`). Or
            operators by role or layer name, as `repro.models.create` takes them.
        remap: R of equation 5: a name of `repro.augment.REMAPPINGS`, or (layer name, op, layer) -> module or None.
        around: operator of the augmented part: "conv", or "same" as the target's (ShiftAddAug table 7), without R.
    Raises: InputError for a model that cannot be followed, an unknown op or remap, multiples below 1, depth without a
        block that could be repeated, or a remap with the same operator around.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={model!r} is not allowed; it must be a module, such as repro.models.create makes.")
    refuse_other_operators(model)
    if isinstance(op, str):
        check_choice("op", op, OPS)
    elif not isinstance(op, Mapping) and not callable(op):
        raise InputError(f"op={op!r} is not allowed; it must be the name of an operator, or operators by layer.")
    check_choice("around", around, ("conv", "same"))
    if isinstance(depth, Sequence) and not isinstance(depth, str):
        depth = tuple(check_int(f"depth[{stage}]", number, minimum=0) for stage, number in enumerate(depth))
    else:
        depth = check_int("depth", depth, minimum=0)
    refuse_made_remap(remap)
    remap = remapping(check_choice("remap", remap, REMAPPINGS)) if isinstance(remap, str) else remap
    if remap is not None and not _takes(remap, "conv1", "shift", model):
        raise InputError(
            f"remap={remap!r} is not allowed; it must be a name ({', '.join(REMAPPINGS)}), a function that makes a "
            "module of (layer name, operator, layer), or None."
        )
    lists = {"width": multiples("width", width), "expand": multiples("expand", expand)}
    return AugmentedNetwork(copy.deepcopy(model), _operators(model, op), lists, depth, around, remap)


def refuse_no_generator(generator: object) -> None:
    """InputError for what draws no sample."""
    refuse(
        not isinstance(generator, torch.Generator),
        f"generator={generator!r} is not allowed; it must be a torch.Generator, from which the sample is drawn.",
    )


def refuse_other_operators(model: nn.Module) -> None:
    """InputError for a network that shifts or adds already."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        refuse(
            type(module) in _KINDS,
            f"module {name!r} is a {kind} already; give the network with its convolutions, op names the target's "
            "operator.",
        )


def refuse_made_remap(remap: object) -> None:
    """InputError for one module where each layer needs its own."""
    kind = type(remap).__name__
    refuse(
        isinstance(remap, nn.Module),
        f"remap is one {kind}; every layer needs its own, so give a function that makes them, as "
        f"lambda name, op, layer: {kind}(), or a name.",
    )


def _takes(function: object, *arguments: object) -> bool:
    """Whether something can be called with these arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    return True


def _has_recipe(model: nn.Module) -> bool:
    """Whether it is a network of `repro.models`; a model of the user's own may have another kind of `recipe`."""
    recipe = getattr(model, "recipe", None)
    return isinstance(recipe, Mapping) and {"name", "op", "keep"} <= recipe.keys()


_WIDE = (WideConv2d, WideLinear, WideBatchNorm2d)
_KINDS = {
    **{ShiftConv2d: "shift", ShiftLinear: "shift", AdderConv2d: "adder", AdderLinear: "adder"},
    **{ShiftAddConv2d: "shiftadd", ShiftAddLinear: "shiftadd"},
}


def _kinds(model: nn.Module) -> dict[str, str]:
    """Module name -> operator in a network as it is deployed."""
    return {name: _KINDS.get(type(module), "conv") for name, module in model.named_modules()}


def _published(model: nn.Module, op: Operator) -> nn.Module:
    """A network of `repro.models`, by its recipe, with another operator; on the meta device."""
    recipe = dict(model.recipe)
    name = recipe.pop("name")
    with torch.device("meta"):
        return create(name, **{**recipe, "op": op, "keep": recipe["keep"] or None})


def _operators(model: nn.Module, op: Operator) -> dict[str, str]:
    """Layer name -> operator in the deployed network."""
    roles = {name: module.cost_role for name, module in model.named_modules() if hasattr(module, "cost_role")}
    if _has_recipe(model):
        return _kinds(_published(model, op))
    if isinstance(op, str) and not roles:
        return _kinds(model if op == "conv" else convert(model, op))
    build = Builder(op, keep=KEEP.get(op) if isinstance(op, str) else None)
    return {name: build.operator(name, roles.get(name, "conv")) for name, _ in model.named_modules()}


def _is_residual(block: nn.Module) -> bool:
    """Whether a block computes x + f(x), or an activation of it."""
    if not list(block.children()):
        return False
    try:
        graph = fx.Tracer().trace(block)
    except Exception:  # whatever a block that cannot be traced raises: it cannot be repeated
        return False
    modules, nodes = dict(block.named_modules()), list(graph.nodes)
    images = [node for node in nodes if node.op == "placeholder"]

    def behind(node: fx.Node, passing: tuple[type, ...]) -> fx.Node:
        """What a node gives, without modules of some kinds (and activations by function) in between."""
        while (node.op == "call_module" and isinstance(modules[node.target], passing)) or (
            passing is ACTIVATIONS and node.target in ACTIVATING
        ):
            node = node.args[0]
        return node

    last = nodes[-1].args[0]
    if len(images) != 1 or not isinstance(last, fx.Node):
        return False
    added = behind(last, ACTIVATIONS)
    shortcuts = [behind(node, (nn.Identity,)) for node in added.all_input_nodes]
    return added.target in SUMS and len(shortcuts) == 2 and images[0] in shortcuts


def _deepened(model: nn.Module, depth: int | Sequence[int]) -> nn.Module:
    """A copy with more blocks at the end of each stage: behind the last of a run of residual blocks in a Sequential."""
    wide, ends = copy.deepcopy(model), []
    for module in list(wide.modules()):
        if type(module) is nn.Sequential:
            residual = [_is_residual(block) for block in module] + [False]
            ends += [(module, at) for at in range(len(module)) if residual[at] and not residual[at + 1]]
    if not ends:
        raise InputError(
            f"depth={depth} is not allowed; {type(model).__name__} has no residual block in a Sequential to repeat."
        )
    numbers = [depth] * len(ends) if isinstance(depth, int) else list(depth)
    if len(numbers) != len(ends):
        raise InputError(
            f"depth has {len(numbers)} numbers; {type(model).__name__} has {len(ends)} stages with a residual block."
        )
    for (module, at), number in zip(ends, numbers):
        if number:
            module[at] = Deepened(module[at], [copy.deepcopy(module[at]) for _ in range(number)])
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


def is_extra(name: str) -> bool:
    """Whether a layer of this name belongs to an extra block, which the deployed network does not have."""
    return "blocks_of_depth" in name.split(".")


def _unit(model: nn.Module, name: str) -> str:
    """The part of the network that a layer mutates with: a block of a sequence, or a child of the network."""
    parts = name.split(".")
    first = model.get_submodule(parts[0])
    nested = isinstance(first, nn.Sequential) and len(parts) > 2
    return ".".join(parts[:2]) if nested else parts[0]
