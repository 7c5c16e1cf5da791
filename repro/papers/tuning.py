"""Settings of a training, chosen on held-out data by the quality of each plain network.

Every network of a paper's comparison may need other settings, so each takes those with which it does best by itself.
The test data are not looked at, and no comparison between networks enters the choice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.errors import DamagedError, InputError, check_choice
from repro.papers import jobs
from repro.paths import records_root, sealed_json, unsealed_json, write_text
from repro.runs import Engine, RunSpec

QUALITY = "held_out_accuracy_pct"
COLUMNS = ["network", "setting", "seed", QUALITY]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What is tried.

    Attributes:
        jobs: network, or "kind: network" -> the job that the settings change; its data hold images out and are tested
            on them.
        settings: name -> fields of the training recipe, for example {"eta": 0.5}.
        skips: (network, setting) that would repeat another setting of that network, for example a rate of adders in a
            network without any.
        seeds: of the trainings.
        spec: (job, seed) -> the run that trains it; a job is any record with a `train`.
        measure: what a run says of its quality; more is better.
        quality: the record's name of it.
        preset: whose trainings these are, for the record.
    """

    jobs: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    skips: frozenset[tuple[str, str]] = frozenset()
    seeds: Sequence[int] = (0, 1)
    spec: Callable[[Any, int], RunSpec] = jobs.spec
    measure: str = "top1_pct"
    quality: str = QUALITY
    preset: str = "study"

    def candidates(self) -> dict[tuple[str, str], Any]:
        """(network, setting) -> job."""
        return {
            (network, setting): dataclasses.replace(job, train=dataclasses.replace(job.train, **changes))
            for network, job in self.jobs.items()
            for setting, changes in self.settings.items()
            if (network, setting) not in self.skips
        }


def all_but_near(
    networks: Iterable[str], settings: Iterable[str], near: Mapping[str, str]
) -> frozenset[tuple[str, str]]:
    """`Tuning.skips` where a cheaper data set has chosen already: all but its choice and the setting on either side.

    Args:
        networks: names, or "kind: network", as in `Tuning.jobs`.
        settings: in their order.
        near: network or kind -> what was chosen for it; without one, all its settings are tried.
    """
    known = list(settings)
    skips = set()
    for network in networks:
        chosen = near.get(network.partition(": ")[0])
        place = known.index(chosen) if chosen in known else None
        skips |= {(network, known[at]) for at in range(len(known)) if place is not None and abs(at - place) > 1}
    return frozenset(skips)


def tune(tuning: Tuning, run: Engine) -> pd.DataFrame:
    """Train every candidate with every seed.

    Columns: network, setting, seed, and last the quality on held-out data, held_out_accuracy_pct of images (NaN:
    diverged).
    """
    tried = tuning.candidates()
    done = run({(key, seed): tuning.spec(job, seed) for key, job in tried.items() for seed in tuning.seeds})
    rows = [
        (*candidate, seed, jobs.accuracy_of(outcome, tuning.measure)) for (candidate, seed), outcome in done.items()
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS[:-1], tuning.quality])


def best_settings(tuned: pd.DataFrame) -> dict[str, str]:
    """network -> the setting with the highest mean over seeds; a setting that diverged once is out.

    Networks named "kind: network" choose one setting for their kind, that with the highest mean over all of them.
    """
    kind = tuned["network"].str.partition(": ")[0].rename("network")
    # Rounded, so that a tie is one here and in the stored record; of equal settings the first tried is taken.
    mean = tuned.groupby([kind, "setting"], sort=False)[tuned.columns[-1]].mean(skipna=False).dropna().round(3)
    return {network: scores.idxmax()[1] for network, scores in mean.groupby(level="network", sort=False)}


# ------------------------------------------------------------------ the command `repro tune`


def tuned_papers() -> list[str]:
    """Papers that have a `tuning.py`, and "<paper>_<part>" for each `tuning_<part>.py` of theirs."""
    from repro import papers

    folders = [Path(root, module.name) for root in papers.__path__ for module in pkgutil.iter_modules([root])]
    found = [
        (folder.name, file.stem.removeprefix("tuning")) for folder in folders for file in folder.glob("tuning*.py")
    ]
    return sorted(paper + part for paper, part in found)


def tuning_of(paper: str, dataset: str) -> Tuning:
    """What a paper tries on a data set. Raises: InputError if it has no tuning there."""
    check_choice("paper", paper, tuned_papers())
    try:
        folder, joint, part = paper.partition("_")
        return importlib.import_module(f"repro.papers.{folder}.tuning{joint}{part}").tuning(dataset)
    except KeyError:
        raise InputError(f"dataset={dataset!r} is not allowed; {paper} tunes nothing on it.") from None


def keep_tuning(paper: str, dataset: str, tuned: pd.DataFrame, provenance: Mapping[str, Any]) -> Path:
    """Write what `tune` gave beside the records, as <records>/tuning/<paper>-<dataset>.csv and .json.

    The second holds the choice, the provenance, the digest of the first and one of its own.
    """
    path = records_root() / "tuning" / f"{paper}-{dataset}.csv"
    text = tuned.round({tuned.columns[-1]: 4}).to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    document = {"chosen": best_settings(tuned), "csv_sha256": digest, "provenance": dict(provenance)}
    write_text(path, text)
    write_text(path.with_suffix(".json"), sealed_json(document, indent=1) + "\n")
    return path


def kept_tuning(path: Path) -> tuple[pd.DataFrame, dict]:
    """What `keep_tuning` wrote: the rows, and the choice with its provenance. Raises: DamagedError otherwise."""
    document = unsealed_json(path.with_suffix(".json"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != document["csv_sha256"]:
        raise DamagedError(f"{path.name} is damaged: its content does not have the digest that its JSON names.")
    return pd.read_csv(path), document
