"""Which function does a kind of run, and its recipe: records name the kind, so that either may move.

A record's provenance holds a fingerprint of the code for every label: the kind of a run and the model families that it
names, for example "network+ghostnet".
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import typing

from repro.models.registry import family_of
from repro.papers.data import data_fingerprint
from repro.runs import RunSpec, code_fingerprint

KINDS = {
    "network": ("repro.papers.jobs:train_network", "Job"),
    "segmentation": ("repro.papers.segmentation_jobs:train_segmentation", "SegmentationJob"),
    "weights": ("repro.papers.weight_distributions:train_and_fit", "WeightsRecipe"),
    "acghostnet_search": ("repro.papers.acghostnet.found:search", "SearchRun"),
    "acghostnet_supernet": ("repro.papers.acghostnet.ranking:train_shared", "SharedRun"),
    "tiny_segmentation": ("repro.papers.shiftaddaug.segmentation_training:train_segmenter", "SegmenterJob"),
    "tiny": ("repro.papers.shiftaddaug.training:train_tiny", "TinyJob"),
    "shiftaddaug_search": ("repro.papers.shiftaddaug.found:search", "TwoStageRun"),
    "shiftaddaug_found": ("repro.papers.shiftaddaug.found:train_found", "FoundJob"),
    "shiftaddaug_channels": ("repro.papers.shiftaddaug.channels:watch", "TinyJob"),
    "autoshiftnet_network": ("repro.papers.autoshiftnet.training:train_network", "NetworkJob"),
    "autoshiftnet_search": ("repro.papers.autoshiftnet.found:search", "CellRun"),
    "translation": ("repro.papers.shiftaddnas.translating:train_translation", "TranslationJob"),
    "translation_search": ("repro.papers.shiftaddnas.translation_search:search", "SearchRun"),
    "acghostnet_pair": ("repro.papers.acghostnet.t03:train_pair", "PairJob"),
    "shiftaddnas_supernet": ("repro.papers.shiftaddnas.sharing:train_supernet", "SupernetRun"),
    "shiftaddnas_fbnet": ("repro.papers.shiftaddnas.fbnet_space:search", "FBNetRun"),
    "shiftaddnas_hybrid": ("repro.papers.shiftaddnas.hybrid_jobs:train_hybrid", "HybridJob"),
    "shiftaddnas_path": ("repro.papers.shiftaddnas.sharing:train_path", "PathRun"),
}
"""Kind -> (run function, name of its recipe's class in the same module)."""


def spec_of(kind: str, recipe, seed: int, *, model: str | None = None, parallel: bool = False) -> RunSpec:
    """The spec of one run of a kind.

    Args:
        recipe: the kind's; its `data` says which images it sees.
        model: name of the model that it builds by name, whose family then belongs to the run's code.
        parallel: whether several processes may share it (engine "torchrun").
    """
    return RunSpec(
        kind=kind,
        function=KINDS[kind][0],
        recipe=recipe,
        seed=seed,
        data=data_fingerprint(recipe.data),
        uses=(family_of(model),) if model else (),
        parallel=parallel,
    )


def label_of(spec: RunSpec) -> str:
    """Kind and model families of a run."""
    return "+".join([spec.kind, *(module.rpartition(".")[2] for module in spec.uses)])


def code_of(label: str) -> str | None:
    """Fingerprint of the code behind a label as it is now; None for a kind that is no more."""
    kind, *families = label.split("+")
    if kind not in KINDS:
        return None
    function, recipe = KINDS[kind]
    uses = tuple(f"repro.models.{family}" for family in families)
    return code_fingerprint(function, uses=uses, recipe_classes=_classes(function.split(":")[0], recipe))


@functools.cache
def _classes(module: str, name: str) -> tuple[str, ...]:
    """The recipe's class and the dataclasses that its fields may hold, as "module:Name"."""
    found: dict[type, None] = {}
    waiting = [getattr(importlib.import_module(module), name)]
    while waiting:
        cls = waiting.pop()
        if dataclasses.is_dataclass(cls) and cls not in found:
            found[cls] = None
            for hint in typing.get_type_hints(cls).values():
                waiting += [hint, *typing.get_args(hint)]
    return tuple(sorted(f"{cls.__module__}:{cls.__qualname__}" for cls in found))
