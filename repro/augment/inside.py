"""A tiny network as a part of a given larger one, layer by layer, with its weights (ShiftAddAug Sec. 3.4, figure 4a).

    inside = augment_inside(target, keep, around, op="shift", remap=remapping("laplace"))
    fit_augmented(inside, train, recipe, AugmentRecipe(mutation=Window(0.1, 0.6), depth=Window(0.1, 0.6)), seed=0)
    inside.export_target()

The target takes the first channels of every layer of the network around it. Blocks of that network that the target does
not keep augment it in depth. With op="conv" the widest network is the one around it, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from repro.augment.groups import Group, channel_groups
from repro.augment.layers import WideBatchNorm2d
from repro.augment.network import (
    AugmentedNetwork,
    Deepened,
    Remap,
    Sample,
    _operators,
    multiples,
    refuse_made_remap,
    refuse_no_generator,
)
from repro.errors import InputError, refuse
from repro.layers.replace import replace_layers
from repro.models.build import Builder, Operator
from repro.models.mobile import InvertedResidual, MobileNet, MobileSpec
from repro.models.registry import create


class InsideNetwork(AugmentedNetwork):
    """What `augment_inside` returns: as `AugmentedNetwork`, but each group of channels has multiples of its own."""

    def __init__(
        self,
        model: MobileNet,
        wide: MobileNet,
        names: dict[str, str],
        around: MobileNet,
        op: Operator,
        remap: Remap | None,
    ):
        nn.Module.__init__(self)
        self._template, self._op = [model], op
        self.groups, self._joins = channel_groups(wide)
        self._target = tuple(group.base for group in self.groups)
        given = dict(around.named_modules())
        self._widest = self._target
        self._widest = tuple(
            given[names[group.makers[0]]].weight.shape[0] if group.makers else group.base for group in self.groups
        )
        self._choices = tuple(self._multiples(number) for number in range(len(self.groups)))
        self.network = replace_layers(wide, self._widened(wide, _operators(model, op), self._widest, "conv", remap))
        self.units = self._mutating()
        self._set(self._target)
        self._channels = self._in_order()
        self._take(given, names)

    def _multiples(self, number: int) -> tuple[float, ...]:
        """1, half-way and as wide as the network around; of an expansion beyond what its input widens it by."""
        group = self.groups[number]
        inherited = 1.0
        if group.kind in ("expand", "gate"):
            inherited = self._widest[group.source] / self.groups[group.source].base
        return multiples("multiple", max(1.0, self._widest[number] / (group.base * inherited)))

    @torch.no_grad()
    def _take(self, given: dict[str, nn.Module], names: dict[str, str]) -> None:
        """Start with the weights of the network around."""
        for name, module in self.network.named_modules():
            if name in self._joins:
                source = given[names[name]]
                module.weight.copy_(source.weight)
                if module.bias is not None:
                    module.bias.copy_(source.bias)
            elif isinstance(module, WideBatchNorm2d):
                module.load_state_dict(given[names[name]].state_dict())

    def sizes(self, sample: Sample) -> tuple[int, ...]:
        """As `AugmentedNetwork.sizes`, and never wider than the network around."""
        return tuple(map(min, super().sizes(sample), self._widest))

    def _hidden(self, group: Group, gated: int, multiple: float) -> int:
        """What is hidden in a gate is as wide as in the network around, whose ratio need not be the target's."""
        return round(group.base * multiple * gated / self.groups[group.source].base)

    def sample(self, generator: torch.Generator, *, width: bool = True, expand: bool = True) -> Sample:
        """As `AugmentedNetwork.sample`."""
        refuse_no_generator(generator)
        allowed = {"width": width, "expand": expand, "gate": expand}
        drawn = []
        for group, choices in zip(self.groups, self._choices):
            choices = choices if allowed.get(group.kind, False) else choices[:1]
            drawn.append(choices[int(torch.randint(len(choices), (1,), generator=generator))])
        return Sample(tuple(drawn))

    def export_target(self) -> nn.Module:
        """As `AugmentedNetwork.export_target`."""
        model = super().export_target()
        if all(layer.multiplicative == (layer.op == "conv") for _, layer in self.wide_layers()):
            model.recipe = {**model.recipe, "op": self._op}
        return model


def augment_inside(
    target: MobileSpec,
    keep: Sequence[bool],
    around: MobileNet,
    *,
    op: Operator = "shift",
    remap: Remap | None = None,
) -> InsideNetwork:
    """Put an inverted-residual network into a larger one with the same kernels and strides.

    Args:
        target: channels of the target, with as many blocks as `around` has.
        keep: for each block whether it is deployed; the others leave the target in the course of training.
        around: a network of convolutions; its weights are copied, it is not changed.
        op: operators of the target by name, or by names of its layers, blocks counted among those kept.
        remap: R of equation 5: (layer name, op, layer) -> module or None.
    Raises: InputError for a target that is wider than the network around it or differs in anything but channels, or a
        block that has no shortcut and is not kept.
    """
    if not isinstance(target, MobileSpec):
        raise InputError(f"target is a {type(target).__name__}; it must be a repro.models.mobile.MobileSpec.")
    if not isinstance(around, MobileNet):
        raise InputError(f"around is a {type(around).__name__}; it must be a network of inverted residuals.")
    refuse_made_remap(remap)
    refuse(
        remap is not None and not callable(remap),
        f"remap={remap!r} is not allowed; it must be what repro.augment.remapping(name) returns, or None.",
    )
    _check_inside(target, keep, around.spec)
    kept = [place for place, stays in enumerate(keep) if stays]
    recipe = dict(around.recipe)
    deployed = replace(target, blocks=tuple(target.blocks[place] for place in kept))
    with torch.random.fork_rng(devices=[]):
        model = create(recipe.pop("name"), **{**recipe, "spec": deployed})
        wide = copy.deepcopy(model)
        for number, (first, following) in enumerate(zip(kept, [*kept[1:], len(keep)])):
            if extras := [InvertedResidual(Builder(), target.blocks[place]) for place in range(first + 1, following)]:
                wide.blocks[number] = Deepened(wide.blocks[number], extras)
        names = {name: _name_around(name, kept) for name, _ in wide.named_modules()}
        inside = InsideNetwork(model, wide, names, around, op, remap)
    return inside.to(next(around.parameters()).device)


def _name_around(name: str, kept: list[int]) -> str:
    """Name in the network around of a module of the wide network."""
    parts = name.split(".")
    if parts[0] != "blocks" or len(parts) < 2:
        return name
    place, rest = kept[int(parts[1])], parts[2:]
    if rest[:1] == ["block_of_target"]:
        rest = rest[1:]
    elif rest[:1] == ["blocks_of_depth"] and len(rest) > 1:
        place, rest = place + 1 + int(rest[1]), rest[2:]
    return ".".join(["blocks", str(place), *rest])


_CHANNELS = ("in_channels", "mid", "out")


def _check_inside(target: MobileSpec, keep: Sequence[bool], around: MobileSpec) -> None:
    if not len(target.blocks) == len(keep) == len(around.blocks):
        raise InputError(
            f"target has {len(target.blocks)} blocks and keep {len(keep)} entries; the network around has "
            f"{len(around.blocks)} blocks."
        )
    mine: Any
    other: Any
    pairs = [("stem", target.stem, around.stem), ("head", target.head, around.head)]
    pairs.append(("hidden layer", target.hidden, around.hidden))
    for number, (mine, other) in enumerate(zip(target.blocks, around.blocks)):
        if replace(mine, **{name: getattr(other, name) for name in (*_CHANNELS, "se")}) != other:
            raise InputError(
                f"block {number} of the target differs from that of the network around in more than width."
            )
        if not keep[number] and not mine.residual:
            raise InputError(f"keep leaves out block {number}, which has no shortcut; a target cannot do without it.")
        pairs += [
            (f"block {number} ({name})", getattr(mine, name), getattr(other, name)) for name in (*_CHANNELS, "se")
        ]
    for what, mine, most in pairs:
        if mine > most:
            raise InputError(f"the target's {what} has {mine} channels, more than the {most} of the network around it.")
