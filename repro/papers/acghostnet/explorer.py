"""Editing one of the 8^16 networks of ACGhostNet: changes with undo, budgets, files and the command that trains it."""

from __future__ import annotations

import functools
import json
import shlex

import numpy as np
import pandas as pd

from repro.errors import InputError, check_choice, check_int
from repro.models.acghostnet import MODULE_TYPES, choice_name
from repro.models.ghostnet import block_settings
from repro.papers.acghostnet.energy import EnergyLookup

KIND = "acghostnet"
SAMPLES = 20_000
INPUTS = {"CIFAR-10, 32 pixels": (32, 10), "ImageNet, 224 pixels": (224, 1000)}
PROXY = (
    "No accuracy is known here. 'Best' is the network with the most multiplications (the convolution share that the "
    "paper's more accurate models have) among the sampled ones that keep the budget."
)


@functools.lru_cache(maxsize=4)
def lookup(inputs: str) -> EnergyLookup:
    """Counts and energies of the space for one of `INPUTS`."""
    return EnergyLookup(*INPUTS[check_choice("inputs", inputs, INPUTS)])


@functools.cache
def stage_of_blocks() -> tuple[int, ...]:
    """The stage, 0 to 5 as the paper counts, of each of the sixteen blocks."""
    counts = (1, 2, 2, 4, 2, 5)
    assert sum(counts) == len(block_settings())
    return tuple(stage for stage, number in enumerate(counts) for _ in range(number))


NUM_BLOCKS = len(stage_of_blocks())


def check_choices(choices) -> tuple[str, ...]:
    """Sixteen module types, given by name or index.

    Raises: InputError when it is no list, has another length, or names an unknown type.
    """
    if isinstance(choices, str) or not hasattr(choices, "__iter__"):
        raise InputError(f"choices={choices!r} is not allowed; it must be a list of {NUM_BLOCKS} module types.")
    names = tuple(choice_name(choice) for choice in choices)
    if len(names) != NUM_BLOCKS:
        raise InputError(f"choices has {len(names)} entries; an ACGhostNet has {NUM_BLOCKS} blocks, one type for each.")
    return names


class GhostEditor:
    """An architecture that can be changed, and every change taken back. `choices` are sixteen module types."""

    def __init__(self, choices=("CCg1",) * NUM_BLOCKS, *, seed: int = 0):
        self._history = [check_choices(choices)]
        self._random = np.random.default_rng(check_int("seed", seed, minimum=0))

    @property
    def choices(self) -> tuple[str, ...]:
        """The present architecture."""
        return self._history[-1]

    @property
    def steps(self) -> int:
        """How many changes can be taken back."""
        return len(self._history) - 1

    def set(self, choices) -> None:
        """Replace the whole architecture."""
        choices = check_choices(choices)
        if choices != self.choices:
            self._history.append(choices)

    def set_block(self, block: int, choice: str | int) -> None:
        """Choose the module type of one block, counted from 0."""
        check_int("block", block, minimum=0, maximum=NUM_BLOCKS - 1)
        changed = list(self.choices)
        changed[block] = choice_name(choice)
        self.set(changed)

    def undo(self) -> bool:
        """Take the last change back; False when there is none."""
        if self.steps:
            self._history.pop()
            return True
        return False

    def mutate(self, blocks: int = 1) -> None:
        """Give `blocks` blocks, drawn at random, another type."""
        check_int("blocks", blocks, minimum=1, maximum=NUM_BLOCKS)
        changed = list(self.choices)
        for block in self._random.choice(NUM_BLOCKS, blocks, replace=False):
            others = [name for name in MODULE_TYPES if name != changed[block]]
            changed[block] = others[self._random.integers(len(others))]
        self.set(changed)

    def random(self) -> None:
        """Draw every block anew."""
        self.set(self._random.integers(len(MODULE_TYPES), size=NUM_BLOCKS).tolist())

    def best_under(self, budget_mj: float, inputs: str, samples: int = SAMPLES) -> pd.Series:
        """The sampled network with most multiplications whose energy is at most `budget_mj`; ties: fewer additions.

        Samples are drawn with all shares of convolutions equally likely: drawn block by block, nearly all would lie in
        the middle of the range.
        Raises: InputError when no network of the space keeps the budget, or none of the sampled ones does.
        """
        table = lookup(inputs)
        low, high = (energy * 1e-9 for energy in table.energy_range_pj())
        if not isinstance(budget_mj, int | float) or not np.isfinite(budget_mj) or budget_mj < low:
            raise InputError(
                f"budget={budget_mj!r} mJ is not allowed; networks of this space need {low:.4f} to {high:.4f} mJ."
            )
        share = self._random.random((samples, 2, 1))
        primary = self._random.random((samples, NUM_BLOCKS)) < share[:, 0]
        cheap = self._random.random((samples, NUM_BLOCKS)) < share[:, 1]
        wide = self._random.random((samples, NUM_BLOCKS)) < self._random.random((samples, 1))
        drawn = np.concatenate([4 * primary + 2 * cheap + wide, self._cheapest(table)[None]])
        scores = table.score(drawn.astype(np.int64))
        fitting = scores[scores["energy_pj"] <= budget_mj * 1e9]
        if fitting.empty:
            raise InputError(f"none of {samples} sampled networks keeps budget={budget_mj!r} mJ; allow a little more.")
        best = fitting.sort_values(["fmul", "fadd"], ascending=[False, True], kind="stable").index[0]
        self.set(drawn[best].tolist())
        return scores.loc[best]

    @staticmethod
    def _cheapest(table: EnergyLookup) -> np.ndarray:
        energy = table.table.pivot(index="block", columns="module_type", values="energy_pj")[list(MODULE_TYPES)]
        return energy.to_numpy().argmin(axis=1)


def block_frame(choices, inputs: str) -> pd.DataFrame:
    """One row per block: block and stage (both from 0), module_type, fmul_m, fadd_m (million), energy_mj."""
    choices = check_choices(choices)
    table = lookup(inputs).table.set_index(["block", "module_type"])
    rows = table.loc[[(block, choice) for block, choice in enumerate(choices)]].reset_index()
    return pd.DataFrame(
        {
            "block": rows["block"],
            "stage": stage_of_blocks(),
            "module_type": rows["module_type"],
            "fmul_m": rows["fmul"] / 1e6,
            "fadd_m": rows["fadd"] / 1e6,
            "energy_mj": rows["energy_pj"] * 1e-9,
        }
    )


def to_json(choices, inputs: str) -> str:
    """The architecture as text to keep."""
    resolution, classes = INPUTS[check_choice("inputs", inputs, INPUTS)]
    document = {
        "model": KIND,
        "choices": list(check_choices(choices)),
        "resolution": resolution,
        "num_classes": classes,
    }
    return json.dumps(document, indent=1)


def from_json(text: str) -> tuple[str, ...]:
    """The choices in a text that `to_json` wrote, or a plain list of sixteen types.

    Raises: InputError when the text is not JSON or not a well-formed architecture.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"the architecture is not valid JSON ({error}).") from error
    if isinstance(document, dict):
        if document.get("model", KIND) != KIND or "choices" not in document:
            raise InputError(
                f"the architecture must be an object with model={KIND!r} and choices, "
                f"but it has model={document.get('model')!r} and the entries {', '.join(map(str, document)) or 'none'}."
            )
        document = document["choices"]
    return check_choices(document)


def training_command(choices, dataset: str = "cifar10", epochs: int = 100) -> str:
    """The shell command that trains the architecture from scratch, with the settings of Sec. 4.2 but for the epochs."""
    check_int("epochs", epochs, minimum=1)
    names = ",".join(check_choices(choices))
    form = f"--set form=cifar --dataset {shlex.quote(dataset)} --epochs {epochs} --adaptive all"
    return f"python -m repro train acghostnet --set choices={names} {form}"
