"""The ACGhostNet supernet: a GhostNet in which every ghost module holds the operations of all eight module types.

What is shared (ACGhostNet, figure 2 right: "2 x 4 = 8 choices in each block"): a ghost module holds two primary
operations (A, C) and four cheap ones (Ag1, Ag2, Cg1, Cg2), each followed by its own batch norm; a module type picks one
of each, and both ghost modules of a block follow the same type. So AAg1 and ACg1 share their adder primary, and a block
stores six operations per module rather than sixteen. Stem, strided and shortcut convolutions, SE, head and classifier
are common to all paths.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from repro.errors import InputError, check_choice
from repro.models.acghostnet import MODULE_TYPES, NUM_BLOCKS
from repro.search.space import SearchSpace
from repro.search.supernet import ChoiceBlock, SinglePathSupernet, Slot


def ghost_space(options: Sequence[str] = MODULE_TYPES, blocks: int = NUM_BLOCKS) -> SearchSpace:
    """The paper's space, 8 module types in 16 blocks (8^16 paths), or a smaller one of the same kind."""
    return SearchSpace([[check_choice("options", option, MODULE_TYPES) for option in options]] * blocks)


def ghost_supernet(options: Sequence[str] = MODULE_TYPES, **model_options) -> SinglePathSupernet:
    """A supernet over `options` in every block of `repro.models.create("acghostnet", **model_options)`.

    A subnet has structure and state-dict names of `create("acghostnet", choices=path, **model_options)`. The full space
    is 8 options in 16 blocks; fewer options, `blocks` per stage, `width` and input size make it smaller.
    """
    from repro.models.registry import create

    options = tuple(check_choice("options", option, MODULE_TYPES) for option in options)
    if not options or len(set(options)) != len(options):
        raise InputError(f"options={options!r} is not allowed; it must name at least one module type, each once.")
    # One ordinary network per option; its operations become candidates, the first one keeps the common layers.
    donors = {option: create("acghostnet", choices=option, **model_options) for option in options}
    network = donors[options[0]]
    slots = []
    for index, block in enumerate(network.blocks):
        parts: dict[str, list[tuple[ChoiceBlock, str]]] = {option: [] for option in options}
        for name in ("ghost1", "ghost2"):
            modules = {option: getattr(donor.blocks[index], name) for option, donor in donors.items()}
            primary = _choice({option[0]: module.primary for option, module in reversed(modules.items())})
            cheap = _choice({option[1:]: module.cheap for option, module in reversed(modules.items())})
            for option in options:
                parts[option] += [(primary, option[0]), (cheap, option[1:])]
            module = getattr(block, name)
            module.primary, module.cheap = primary, cheap
        slots.append(Slot(parts))
    return SinglePathSupernet(network, slots)


def _choice(candidates: dict[str, nn.Module]) -> ChoiceBlock:
    return ChoiceBlock(dict(sorted(candidates.items())))
