"""Counts and energy of any ACGhostNet architecture by table lookup, for search and for widgets.

The counts of a network are a fixed part (stem, head, classifier) plus one entry per block that depends only on the
block's own module type. The table is filled from the real model: eight networks, each with one type everywhere, are
traced without data and their layers summed by block. Operation counts are integers, so that a sum over the table is
exactly the count of the full model.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import nn

from repro.cost.counting import CONVENTIONS, layer_operations, operation_energy_pj
from repro.cost.skeleton import skeleton
from repro.errors import InputError, check_choice, check_int
from repro.models.acghostnet import MODULE_TYPES
from repro.models.trace import trace

COUNTS = ("params", "fadd", "fmul")


def _block_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else None


class EnergyLookup:
    """Scores architectures of the ACGhostNet space; see the module's text.

    Args:
        resolution: side of the input in pixels.
        num_classes, width: of the network.
        form: "cifar" or "imagenet"; by default "cifar" for images of up to 64 pixels.
        blocks: blocks per stage or "toy", as in `repro.models.create("acghostnet")`; None for all sixteen.
        op: the operator that A stands for.
        in_channels, head: channels of the input and before the classifier.
    Attributes:
        table: one row per block and module type: block, module_type, params, fadd, fmul, energy_pj.
        base: counts of stem, head and classifier, a dict of params, fadd, fmul.
        num_blocks: entries of an architecture.
    Raises: InputError on options that the model refuses.
    """

    def __init__(
        self,
        resolution: int = 32,
        num_classes: int = 10,
        width: float = 1.0,
        *,
        form: str | None = None,
        blocks: tuple[int, ...] | str | None = None,
        op: str = "adder",
        in_channels: int = 3,
        head: int = 1280,
    ):
        check_int("resolution", resolution, minimum=1)
        check_int("in_channels", in_channels, minimum=1)
        input_size = (in_channels, resolution, resolution)
        form = form or ("cifar" if resolution <= 64 else "imagenet")
        counts = []
        for module_type in MODULE_TYPES:
            model = skeleton(
                "acghostnet",
                choices=module_type,
                num_classes=num_classes,
                width=width,
                form=form,
                blocks=blocks,
                op=op,
                in_channels=in_channels,
                head=head,
            )
            counts.append(self._count(model, input_size))
        if any((base != counts[0][0]).any() for base, _ in counts):
            raise InputError(
                "the network outside the blocks depends on the module type; the lookup cannot describe it."
            )
        self._base = counts[0][0]
        self._counts = np.stack([blocks for _, blocks in counts], axis=1)  # (blocks, 8, 3), int64
        self.num_blocks = len(self._counts)
        self.base = dict(zip(COUNTS, self._base.tolist()))
        self.table = self._as_table()

    @staticmethod
    def _count(model: nn.Module, input_size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Counts outside the blocks, (3,), and of each block, (blocks, 3)."""
        blocks = np.zeros((len(model.blocks), 3), dtype=np.int64)
        base = np.zeros(3, dtype=np.int64)
        for name, parameter in model.named_parameters():
            block = _block_of(name)
            (base if block is None else blocks[block])[0] += parameter.numel()
        for layer in trace(model, input_size):
            block, operations = _block_of(layer.name), layer_operations(layer, CONVENTIONS["acghostnet"])
            (base if block is None else blocks[block])[1:] += (operations["adds"], operations["mults"])
        return base, blocks

    def _as_table(self) -> pd.DataFrame:
        index = pd.MultiIndex.from_product([range(self.num_blocks), MODULE_TYPES], names=["block", "module_type"])
        table = pd.DataFrame(self._counts.reshape(-1, 3), index=index, columns=list(COUNTS)).reset_index()
        table["energy_pj"] = operation_energy_pj(table["fadd"], table["fmul"])
        return table

    def score(self, choices) -> pd.DataFrame:
        """Counts and energy of architectures.

        Args:
            choices: (n, num_blocks) whole numbers 0 to 7, in the order of `MODULE_TYPES`; one architecture may be
                given flat, and names ("CAg2") instead of numbers.
        Returns: one row per architecture: params, fadd, fmul (operations), energy_pj.
        Raises: InputError on a wrong number of entries or an unknown choice.
        """
        indices = self._indices(choices)
        counts = self._counts[np.arange(self.num_blocks), indices].sum(axis=1) + self._base
        frame = pd.DataFrame(counts, columns=list(COUNTS))
        frame["energy_pj"] = operation_energy_pj(frame["fadd"], frame["fmul"])
        return frame

    def _indices(self, choices) -> np.ndarray:
        array = np.atleast_2d(np.asarray(choices))
        if array.dtype.kind in "UO":
            names = {name.lower(): index for index, name in enumerate(MODULE_TYPES)}
            for name in np.unique(array.astype(str)):
                check_choice("choice", "".join((name[:2], name[2:].lower())), MODULE_TYPES)
            array = np.vectorize(lambda name: names[str(name).lower()])(array)
        if array.ndim != 2 or array.shape[1] != self.num_blocks:
            raise InputError(
                f"choices has the shape {np.shape(choices)}; it must be (architectures, {self.num_blocks})."
            )
        if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() >= len(MODULE_TYPES))):
            raise InputError(f"choices must be whole numbers from 0 to {len(MODULE_TYPES) - 1}.")
        return array

    def energy_range_pj(self) -> tuple[float, float]:
        """Energy of the cheapest and of the dearest architecture."""
        energy = operation_energy_pj(self._counts[..., 1], self._counts[..., 2])
        ends = [self.score(choice(energy, axis=1))["energy_pj"].item() for choice in (np.argmin, np.argmax)]
        return ends[0], ends[1]
