"""ACGhostNet: GhostNet whose sixteen blocks each take one of eight module types (ACGhostNet sec. 3.2, table 2).

A type names the primary operation (A adder, C convolution), the cheap operation, and its groups: g1 for N (depthwise)
and g2 for N/2. Both ghost modules of a block share the type; stride, shortcut and SE convolutions stay multiplicative.
The text writes conv3x3 and adder3x3 for the primary operation, but the printed sizes follow only from 1x1.
"""

from __future__ import annotations

from collections.abc import Sequence

from repro.errors import InputError, check_choice
from repro.models.build import OPERATORS, Builder
from repro.models.ghostnet import STAGES, GhostNet, ModuleType, block_settings
from repro.models.registry import register

MODULE_TYPES = ("AAg1", "AAg2", "ACg1", "ACg2", "CAg1", "CAg2", "CCg1", "CCg2")
"""The eight choices in the order of table 2; a choice may be given by name or by its index here."""

NUM_BLOCKS = sum(len(stage) for stage in STAGES)
TOY_BLOCKS = (1, 1, 1, 1, 1, 1)
"""One block per stage: the space of the paper's table 6."""


def choice_name(choice: str | int) -> str:
    """The name of a choice given as name (either case of g) or index."""
    if isinstance(choice, str):
        return check_choice("choice", choice.replace("G", "g"), MODULE_TYPES)
    if isinstance(choice, bool) or not hasattr(choice, "__index__") or not 0 <= int(choice) < len(MODULE_TYPES):
        raise InputError(f"choice={choice!r} is not allowed; it must be 0 to 7 or one of {', '.join(MODULE_TYPES)}.")
    return MODULE_TYPES[int(choice)]


def module_type(choice: str | int, operator: str = "adder") -> ModuleType:
    """The `ModuleType` of a choice, with `operator` in place of A."""
    name = choice_name(choice)
    letters = {"A": check_choice("op", operator, OPERATORS), "C": "conv"}
    return ModuleType(letters[name[0]], letters[name[1]], int(name[3]))


@register("acghostnet", op="adder", keep={"adder": ("*",), "shift": ("*",), "shiftadd": ("*",)}, paper="ACGhostNet")
def acghostnet(
    build: Builder,
    *,
    choices: Sequence[str | int] | str | int = "CCg1",
    num_classes: int = 1000,
    width: float = 1.0,
    form: str = "imagenet",
    blocks: tuple[int, ...] | str | None = None,
    head: int = 1280,
    dropout: float = 0.2,
    in_channels: int = 3,
) -> GhostNet:
    """Any of the 8^16 networks of the search space; `op` is the operator that A stands for.

    Args:
        choices: one module type per block, or a single one for all.
        blocks: blocks per stage, "toy" for one each; None for [1, 2, 2, 4, 2, 5]. `choices` counts these blocks.
    Raises: InputError when the number of choices is not the number of blocks, or a choice is unknown.
    """
    blocks = TOY_BLOCKS if blocks == "toy" else blocks
    number = len(block_settings(width, form, blocks))  # type: ignore[arg-type]
    names = [choices] * number if isinstance(choices, str | int) else list(choices)
    if len(names) != number:
        raise InputError(f"choices has {len(names)} entries; this network has {number} blocks and needs one for each.")
    if not isinstance(build.op, str):
        raise InputError("op of acghostnet must be one operator name (what A stands for); choices say where it goes.")
    return GhostNet(
        build,
        num_classes=num_classes,
        width=width,
        form=form,
        blocks=blocks,  # type: ignore[arg-type]
        head=head,
        dropout=dropout,
        in_channels=in_channels,
        kinds=[module_type(name, build.op) for name in names],
    )
