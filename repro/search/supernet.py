"""Single-path supernets: one network that holds the weights of every candidate and runs one path at a time.

A `ChoiceBlock` holds alternative modules for one place. A `Slot` is what a search decides: it has named options, and
each option names one candidate in one or more choice blocks (a ghost block's type sets four). A path is one option per
slot. `subnet` copies a path out as the ordinary network it stands for, equal in every output.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_choice

Path = tuple[str, ...]
"""One option name per slot, in the network's order."""


def checked_path(path: Sequence[str], options: Sequence[Sequence[str]]) -> Path:
    """Return `path` as a tuple if it names one option of each block, else raise InputError."""
    if isinstance(path, str) or len(path) != len(options):
        raise InputError(f"path={path!r} is not allowed; it must name {len(options)} options, one per block.")
    return tuple(check_choice(f"path[{i}]", name, known) for i, (name, known) in enumerate(zip(path, options)))


class ChoiceBlock(nn.Module):
    """Alternative modules for one place; `active` names the one that runs. Each brings its own batch norm."""

    def __init__(self, candidates: Mapping[str, nn.Module]):
        super().__init__()
        if not candidates:
            raise InputError("candidates is empty; a choice block needs at least one module.")
        self.candidates = nn.ModuleDict(candidates)
        self.active = next(iter(candidates))

    def choose(self, name: str) -> None:
        """Make `name` the candidate that runs."""
        self.active = name

    def forward(self, x: Tensor) -> Tensor:
        return self.candidates[self.active](x)


class Slot:
    """One decision: `options` maps each option's name to (choice block, candidate) pairs it activates."""

    def __init__(self, options: Mapping[str, Sequence[tuple[ChoiceBlock, str]]]):
        self.options = dict(options)

    @classmethod
    def of(cls, block: ChoiceBlock) -> Slot:
        """The slot that decides this one block."""
        return cls({name: [(block, name)] for name in block.candidates})

    def choose(self, option: str) -> None:
        """Activate the candidates of `option`."""
        for block, candidate in self.options[check_choice("option", option, self.options)]:
            block.choose(candidate)


class SinglePathSupernet(nn.Module):
    """A network with choice blocks and the slots that decide them.

    Args:
        network: any module that contains the choice blocks.
        slots: one per decision, in the order in which paths name them.
    """

    def __init__(self, network: nn.Module, slots: Sequence[Slot]):
        super().__init__()
        if not slots:
            raise InputError("slots is empty; a supernet needs at least one decision.")
        self.network = network
        self._slots = tuple(slots)
        self.set_path([next(iter(slot.options)) for slot in slots])

    @property
    def options(self) -> tuple[tuple[str, ...], ...]:
        """The option names of every slot."""
        return tuple(tuple(slot.options) for slot in self._slots)

    def check_path(self, path: Sequence[str]) -> Path:
        """Return `path` as a tuple if every slot has its option, else raise InputError."""
        return checked_path(path, self.options)

    def set_path(self, path: Sequence[str]) -> Path:
        """Make `path` the one that runs from now on."""
        self.path = self.check_path(path)
        for slot, option in zip(self._slots, self.path):
            slot.choose(option)
        return self.path

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def subnet(self, path: Sequence[str]) -> nn.Module:
        """A copy of the network that `path` stands for, choice blocks replaced by the chosen candidates.

        Weights and batch-norm statistics are copies: training the subnet leaves the supernet alone, and the other way
        round. Its state dict has the names of the standalone network. The active path stays what it was.
        """
        chosen = {
            block: name
            for slot, option in zip(self._slots, self.check_path(path))
            for block, name in slot.options[option]
        }
        return _extract(self.network, chosen)

    def __deepcopy__(self, memo: dict) -> SinglePathSupernet:
        """Slots refer to modules inside the network, so both are copied with one memo."""
        clone = object.__new__(type(self))
        memo[id(self)] = clone
        clone.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return clone


def _extract(module: nn.Module, chosen: Mapping[ChoiceBlock, str]) -> nn.Module:
    """Copy `module` with each choice block replaced; the candidates that were not chosen are never copied."""
    if isinstance(module, ChoiceBlock):
        return _extract(module.candidates[chosen.get(module, module.active)], chosen)
    if not any(isinstance(child, ChoiceBlock) for child in module.modules()):
        return copy.deepcopy(module)
    clone = copy.copy(module)
    clone._modules = {
        name: None if child is None else _extract(child, chosen) for name, child in module._modules.items()
    }
    clone._parameters = copy.deepcopy(module._parameters)
    clone._buffers = copy.deepcopy(module._buffers)
    return clone


def random_path(options: Sequence[Sequence[str]], generator: torch.Generator) -> Path:
    """A path drawn uniformly: every option of every slot equally likely, slots independent."""
    draws = torch.rand(len(options), generator=generator, dtype=torch.float64).tolist()
    return tuple(names[int(draw * len(names))] for names, draw in zip(options, draws))


def first_letters(path: Path) -> str:
    """A short name for a path, "CAACAC": the first letter of each option."""
    return "".join(option[0] for option in path)
