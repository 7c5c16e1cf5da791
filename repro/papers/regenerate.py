"""`run_table`: regenerate one table or figure by its id, and say what its numbers came from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.errors import InputError, check_choice, check_seed
from repro.papers.registry import entry, list_ids
from repro.papers.table import ARCHITECTURE, PRESETS, Table
from repro.paths import reference_mode


def check_request(preset: str, dataset: str = "") -> None:
    """Refuse an unknown preset or data set before anything is computed."""
    from repro.datasets import REGISTRY
    from repro.papers.data import IMAGENET
    from repro.papers.text_data import CORPORA

    check_choice("preset", preset, PRESETS)
    if dataset:
        check_choice("dataset", dataset, [*REGISTRY, *CORPORA, IMAGENET])


def check_seeds(seeds: Iterable[int] | None, default: Sequence[int]) -> list[int]:
    """Seeds as a list of distinct whole numbers."""
    if isinstance(seeds, str | int):
        raise InputError(f"seeds={seeds!r} is not allowed; give a list of whole numbers, for example [0, 1, 2].")
    chosen = [check_seed(seed, "seeds") for seed in (default if seeds is None else seeds)]
    if not chosen or len(set(chosen)) != len(chosen):
        raise InputError(f"seeds={list(chosen)!r} is not allowed; give at least one seed, each once.")
    return chosen


def run_table(
    table_id: str,
    *,
    preset: str = "quick",
    dataset: str | None = None,
    seeds: Iterable[int] | None = None,
    columns: str = "all",
    engine: str = "local",
    workers: int | None = None,
    fresh: bool = False,
    progress: bool | None = None,
    time_limit_s: float | None = None,
    gpus: float = 0,
) -> pd.DataFrame:
    """Regenerate one table or figure; finished runs are reused.

    Args:
        table_id: for example "acghostnet_t06".
        preset: "smoke" (seconds), "quick" (minutes on two cores), "study" (hours on two cores; what the committed
            reference is made with) or "paper" (the paper's settings, for GPUs).
        dataset: a data set the preset has a recipe for (default: the preset's).
        seeds: whole numbers (default: the preset's).
        columns: "all", or "analytic" for those that follow from the architecture and need no training.
        engine, workers, fresh, progress, time_limit_s, gpus: see `repro.runs.engine`.
    Returns:
        a frame in the schema of the published CSV, one row per key and seed. `attrs` holds table_id, preset, dataset,
        seeds, scale, provenance, failed and, where the entry has more to show, `extra` frames.
    Raises: InputError for an unknown table, preset, data set or seed; MissingDataError when the data are absent.
    """
    check_choice("columns", columns, ("all", "analytic"))
    table = entry(table_id)
    if columns == "analytic" or table.trained is None:
        return computed(table_id)
    recipe, chosen = table.recipe(table_id, preset, dataset)
    return _trained(
        table_id,
        table,
        recipe,
        preset,
        chosen,
        check_seeds(seeds, table.seeds[preset]),
        engine=engine,
        workers=workers,
        fresh=fresh,
        progress=progress,
        time_limit_s=time_limit_s,
        gpus=gpus,
    )


def _trained(table_id: str, table: Table, recipe, preset: str, dataset: str, seeds: list[int], **options):
    from repro import runs
    from repro.papers.earlier import codes_of, may_take
    from repro.report.records import latest
    from repro.report.rounding import DIGITS, DIGITS_OF_DRAWS, tidy
    from repro.runs.spec import to_plain

    started = time.perf_counter()
    name = options.pop("engine")
    run = runs.engine(name, known=_seconds_of_records(table_id, preset, dataset), **options)
    former = latest(table_id, preset, dataset)
    if name != "torchrun" and not options.get("fresh"):  # there one process decides what is finished
        run.instead = may_take(former)
    frame = table.trained(recipe, seeds, run)
    parts = frame.attrs.get("extra", {})
    extra = {name: tidy(part, DIGITS_OF_DRAWS if name == "draws" else DIGITS) for name, part in parts.items()}
    stands_for = frame.attrs.get("stands_for", {})
    frame.attrs = {"table_id": table_id}
    frame = tidy(frame)
    failed = [outcome for outcome in run.outcomes if not outcome.ok]
    codes = codes_of(run.outcomes, former)
    codes["code"][TRAINED] = trained_code(table_id)
    frame.attrs = {
        "table_id": table_id,
        "preset": preset,
        "dataset": dataset,
        "seeds": seeds,
        "scale": table.scale.get(preset, ""),
        "extra": extra,
        "stands_for": stands_for,
        "failed": [f"{o.spec.kind} seed {o.spec.seed}: {o.state}, {o.message}" for o in failed],
        "provenance": runs.provenance(
            preset=preset,
            dataset=dataset,
            seeds=seeds,
            unit=table.unit,
            **({"stands_for": stands_for} if stands_for else {}),
            data=_sources_of(run.outcomes),
            recipe=to_plain(recipe),
            recipe_digest=_digest(table_id, recipe),
            **codes,
            run_seconds=_run_seconds(run.outcomes),
            runs=len(run.outcomes),
            runs_failed=len(failed),
            runs_diverged=sum(outcome.state == "diverged" for outcome in run.outcomes),
            compute_s=round(sum(outcome.provenance.get("wall_s", 0.0) for outcome in run.outcomes), 1),
            wall_s=round(time.perf_counter() - started, 1),
        ),
    }
    return frame


def _digest(table_id: str, recipe) -> str:
    """Digest of a recipe's values; what is computed has none."""
    from repro.runs import RunSpec

    return RunSpec(table_id, f"{__name__}:run_table", recipe, 0).recipe_digest


def _sources_of(outcomes) -> list[dict[str, str]]:
    """Images that the runs saw, each part of a data set once."""
    from repro.papers.data import data_source

    recipes = {outcome.spec.data: outcome.spec.recipe.data for outcome in outcomes if outcome.spec.data}
    return [data_source(recipe) for recipe in recipes.values()]


def _run_seconds(outcomes) -> dict[str, float]:
    """Median wall seconds by recipe digest and by kind: what a later forecast goes by."""
    seen: dict[str, list[float]] = {}
    for outcome in outcomes:
        if "wall_s" in outcome.provenance:
            for key in (outcome.spec.recipe_digest, outcome.spec.kind):
                seen.setdefault(key, []).append(outcome.provenance["wall_s"])
    return {key: round(statistics.median(values), 2) for key, values in seen.items()}


def _seconds_of_records(table_id: str, preset: str, dataset: str) -> dict[str, float]:
    """`run_seconds` of the table's committed records on this data set.

    Those of this preset go before others, of which only recipes count: a kind of run may be ten times longer there.
    """
    from repro.papers.kinds import KINDS
    from repro.report import load_records

    records = [record for record in load_records(table_id) if record.dataset == dataset]
    known: dict[str, float] = {}
    for record in sorted(records, key=lambda record: record.preset == preset):
        seconds = record.provenance.get("run_seconds", {})
        known |= {what: s for what, s in seconds.items() if record.preset == preset or what not in KINDS}
    return known


def computed(table_id: str) -> pd.DataFrame:
    """The columns of a table that follow from the architecture, stamped like a trained one.

    Raises: InputError if it has none.
    """
    from repro.report.rounding import tidy
    from repro.runs import provenance

    table = entry(table_id)
    if table.computed is None:
        raise InputError(f"columns='analytic' is not allowed for {table_id}: it has no analytic columns.")
    frame = table.computed()
    frame.attrs["table_id"] = table_id
    extra = {name: tidy(part) for name, part in frame.attrs.get("extra", {}).items()}
    frame = tidy(frame)
    frame.attrs["extra"] = extra
    about = {"preset": "paper", "dataset": ARCHITECTURE, "seeds": []}
    about["convention"] = frame.attrs.setdefault("convention", "")
    made_by = {"recipe_digest": _digest(table_id, {}), "code": {COMPUTED: computed_code(table_id)}}
    # A table made of other records (the benchmark's) brings its own attributes.
    known = {"scale": "", "failed": [], "extra": {}, "provenance": provenance(**about)} | about | frame.attrs
    frame.attrs = {**known, "provenance": known["provenance"] | made_by}
    return frame


def keep(frame: pd.DataFrame) -> None:
    """Write the record of a frame that `run_table` gave, with the extra frames that its pictures need.

    Raises: InputError where it would be committed and runs behind it failed; divergence is an outcome, no failure.
    """
    from repro.report import save_record

    about = frame.attrs["provenance"]
    failed = about.get("runs_failed", 0)
    if reference_mode() and failed:
        raise InputError(
            f"{failed} of {about['runs']} runs of {frame.attrs['table_id']} failed ({frame.attrs['failed'][0]}); a "
            "committed record needs them all, so none was written. Finished runs are kept: mend the cause, run again."
        )

    table_id, kept = frame.attrs["table_id"], entry(frame.attrs["table_id"]).keeps
    extra = {name: part for name, part in frame.attrs.get("extra", {}).items() if name in kept}
    save_record(table_id, frame, frame.attrs["provenance"], extra)


# ------------------------------------------------------------------ whether a record is fresh

COMPUTED, TRAINED = "computed", "entry"
"""Labels of the entry's own code in a record's provenance, beside those of kinds of runs."""


def computed_code(table_id: str) -> str:
    """Fingerprint of the code behind the computed columns of an entry."""
    from repro.models.registry import family_of
    from repro.runs import code_fingerprint

    table = entry(table_id)
    families = tuple(sorted({family_of(model) for model in table.models}))
    return code_fingerprint(f"{table.computed.__module__}:{table.computed.__name__}", uses=families)


def trained_code(table_id: str) -> str:
    """Fingerprint of the code that asks for the runs of an entry and makes its numbers of them."""
    from repro.runs import code_fingerprint

    function = entry(table_id).trained
    return code_fingerprint(f"{function.__module__}:{function.__qualname__}")


def code_now(table_id: str, provenance: Mapping[str, Any]) -> dict[str, str | None]:
    """Fingerprints that the code has today, under the labels of a record's provenance.

    A record of other settings than its recipe has now gets an entry more, so that it does not pass as fresh.
    """
    from repro.papers.kinds import code_of
    from repro.runs import agrees

    own = {COMPUTED: computed_code, TRAINED: trained_code}
    labels = provenance.get("code", {})
    now = {label: own[label](table_id) if label in own else code_of(label) for label in labels}
    recipe = entry(table_id).recipes.get((provenance["preset"], provenance["dataset"]))
    if recipe is not None and not agrees(provenance.get("recipe"), recipe):
        now["recipe"] = "changed"
    return now


# ------------------------------------------------------------------ pictures


def drawings_of(frame: pd.DataFrame) -> dict[str, Any]:
    """{file name: drawing} of a frame that `run_table` gave or a record holds."""
    table_id, draw = frame.attrs["table_id"], entry(frame.attrs["table_id"]).draw
    ending = f"-{frame.attrs['preset']}-{frame.attrs['dataset']}"
    drawings = draw(frame) if draw is not None and len(frame) else []
    return {"_".join(filter(None, [table_id, drawing.part])) + ending: drawing for drawing in drawings}


def draw_figures() -> list[str]:
    """Draw every figure of the committed records, and of what needs no record, into the figures folder.

    Returns: the files' names. A record that cannot be read is told and left out.
    """
    from repro.papers.accountings.comparison import drawings
    from repro.report import load_records, save_figure

    names = []
    found = dict(drawings())
    for table_id in list_ids():
        table = entry(table_id)
        if table.draw is None:
            continue
        frames = [record.frame for record in load_records(table_id) if record.dataset != ARCHITECTURE]
        frames += [computed(table_id)] if table.computed is not None else []
        for frame in frames:
            found |= drawings_of(frame)
    for name, drawing in found.items():
        save_figure(drawing.figure, name, drawing.caption)
        names.append(name)
    return names
