"""Claims judged on our results, by criteria that data/published/criteria.csv fixed before any run.

Kinds of criteria:

    text       arithmetic on stated constants: decided at once, the same for everyone.
    printed    the papers' own bookkeeping (a gap is a difference, a row is quoted unchanged): nothing of ours enters.
    analytic   counts, modelled energy, definitions: exact, decided by one value, at any preset.
    direction  an order or a sign of measured quantities: decided at the presets listed, on whatever data set was run.
    magnitude  a measured number: decided only at the paper's preset on the paper's data set.
    figure     numbers that the paper only draws: decided on a table of ours for that figure, if `check` is given.

Measured cells are resampled over seeds (each cell by itself, no pairing is assumed; a mean with a deviation is drawn
from Student's t), or over test examples where these are given (the same examples for every row). The predicate is
evaluated on the means of each resample; its share of true decides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from repro.errors import InputError, check_choice
from repro.report.claims import as_cells, places, published_cells
from repro.report.conform import Cell, Conformed, conform, folded
from repro.report.predicate import (
    Evaluator,
    NoValuesError,
    PredicateError,
    Ref,
    parse,
    references,
    select,
    subset_tables,
)
from repro.report.published import _listing, claim, is_figure, table_index, table_spec

STATUSES = ("reproduced", "not reproduced", "undecided", "not run", "not applicable at this preset")
KINDS = ("text", "printed", "analytic", "direction", "magnitude", "figure")
CRITERIA_COLUMNS = ("claim_id", "kind", "presets", "check", "note")
RESAMPLES = 1000
REPRODUCED_AT = 0.975
_SEED = 20240229


@dataclass(frozen=True)
class Verdict:
    """What our results say about one claim.

    status: one of STATUSES.  evidence: one or two sentences with our numbers.  criterion: what was asked, fixed before.
    share: part of the resamples in which the predicate holds (1 or 0 where nothing is resampled), None if not judged.
    """

    claim_id: str
    status: str
    evidence: str
    criterion: str
    share: float | None = None


def criteria() -> pd.DataFrame:
    """One row per claim: kind, presets at which it is judged ('any', 'none' or a list), own predicate, note."""
    frame = _listing("criteria.csv", CRITERIA_COLUMNS, "claim_id").copy()
    wrong = frame.loc[~frame["kind"].isin(KINDS), "claim_id"]
    if len(wrong):
        raise InputError(f"criteria.csv has an unknown kind at {wrong.iloc[0]}; allowed are {', '.join(KINDS)}.")
    return frame


@functools.cache
def _criterion(claim_id: str) -> tuple[str, str, str, str]:
    row = criteria().set_index("claim_id").loc[claim_id]
    check = row["check"] or claim(claim_id)["check"]
    return row["kind"], row["presets"], check, row["note"]


# ------------------------------------------------------------------ our tables as columns of cells


def front_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Height of each energy-accuracy curve: the mean of 'best accuracy within an energy' over a common energy grid.

    Args:
        frame: long table with panel, setting, energy_uj, accuracy_pct and optionally seed.
    Returns:
        panel, setting, seed, front_score: one row per curve. The grid of a panel holds the energies (of any curve)
        from which on every curve has a point, so that all curves are judged at the same energies.
    """
    rows = []
    points = frame.assign(seed=frame["seed"] if "seed" in frame else 0).dropna(subset=["energy_uj", "accuracy_pct"])
    for panel, group in points.groupby("panel"):
        curves = dict(list(group.groupby(["setting", "seed"])))
        start = max(curve["energy_uj"].min() for curve in curves.values())
        grid = np.unique(group.loc[group["energy_uj"] >= start, "energy_uj"])
        for (setting, seed), curve in curves.items():
            best = [curve.loc[curve["energy_uj"] <= energy, "accuracy_pct"].max() for energy in grid]
            rows.append({"panel": panel, "setting": setting, "seed": seed, "front_score": float(np.mean(best))})
    return pd.DataFrame(rows, columns=["panel", "setting", "seed", "front_score"])


def _figure_columns(figure_id: str, frame: pd.DataFrame) -> dict[str, list]:
    """A figure's table as cells: rows that differ only in `seed` become one row whose numbers are Cells."""
    if figure_id == "acghostnet_f03" and "front_score" not in frame:
        frame = front_scores(frame)
    if "seed" not in frame:
        return as_cells(frame)
    measured = [c for c in frame.columns if c != "seed" and pd.api.types.is_float_dtype(frame[c])]
    key = [c for c in frame.columns if c not in (*measured, "seed")]
    groups = frame.groupby(key, sort=False, dropna=False) if key else [((), frame)]
    rows = [group for _, group in groups]
    columns = as_cells(pd.DataFrame([group[key].iloc[0] for group in rows], columns=key)) if key else {}
    for name in measured:
        columns[name] = [Cell(values=[float(v) for v in group[name].dropna()]) for group in rows]
    return columns


def _table_columns(conformed: Conformed) -> dict[str, list]:
    """A conformed table: what a row is comes from the paper, what was computed or measured from us (as Cells)."""
    spec, printed = conformed.spec, published_cells(conformed.spec.table_id)
    columns = {name: list(printed[name]) for name in spec.named("key", "descriptor", "note")}
    for name in spec.metrics:
        cells = conformed.cells[name][: conformed.n_published]
        columns[name] = [cell.text for cell in cells] if not spec.columns[name].numeric else cells
    return columns


@dataclass
class _Ours:
    """Tables of ours by id: columns with Cells where numbers are ours, and what is known of the runs."""

    columns: dict[str, dict[str, list]]
    preset: dict[str, str | None]
    dataset: dict[str, str | None]
    conformed: dict[str, Conformed] = field(default_factory=dict)

    def means(self) -> dict[str, dict[str, list]]:
        """Every Cell replaced by its mean over seeds, dependent columns recomputed."""
        return {t: _dependents(t, {n: [_mean(c) for c in v] for n, v in cs.items()}) for t, cs in self.columns.items()}


def _mean(cell: object) -> object:
    if not isinstance(cell, Cell):
        return cell
    return cell.mean if cell.values else None


def _dependents(table_id: str, columns: dict[str, list]) -> dict[str, list]:
    """Recompute ranks and differences from the means, where all they depend on is there."""
    if is_figure(table_id):
        return columns
    for name, column in table_spec(table_id).columns.items():
        if column.rank_of and None not in columns[column.rank_of]:
            of, within = columns[column.rank_of], columns[column.within]
            columns[name] = [
                1.0 + sum(o > value for o, w in zip(of, within) if w == family) for value, family in zip(of, within)
            ]
        elif column.difference and not any(None in columns[part] for part in column.difference):
            first, second = (columns[part] for part in column.difference)
            columns[name] = [a - b for a, b in zip(first, second)]
    return columns


def _load(tables: Mapping[str, pd.DataFrame], needed: list[str]) -> _Ours:
    ours = _Ours({}, {}, {})
    for name in needed:
        if name not in tables:
            continue
        frame = tables[name]
        if is_figure(name):
            ours.columns[name] = _figure_columns(name, frame)
            ours.preset[name], ours.dataset[name] = frame.attrs.get("preset"), frame.attrs.get("dataset")
        else:
            conformed = conform(name, frame)
            ours.columns[name] = _table_columns(conformed)
            ours.conformed[name] = conformed
            ours.preset[name], ours.dataset[name] = conformed.preset, conformed.dataset
    return ours


# ------------------------------------------------------------------ what is missing, what applies


def _missing(evaluator: Evaluator, tree: object, default: str | None) -> list[str]:
    """Cells that the paper has and we have not, in words; a run of ours that diverged does not count as missing."""
    missing = []
    for ref in references(tree):
        name = ref.table or default
        table = evaluator.tables[name]
        spec = None if is_figure(name) else table_spec(name)
        if ref.column not in table or any(s.column not in table for s in ref.selectors):
            missing.append(f"{ref} (no such column)")
            continue
        looked_at = [(ref.column, ref.selectors)]
        looked_at += [(s.column, ()) for s in ref.selectors if spec and spec.columns[s.column].role == "definition"]
        for column, selectors in looked_at:
            rows = select(table, selectors, name)
            printed = published_cells(name)[column] if spec else [1.0] * len(table[column])
            status = table.get("status", [None] * len(printed))
            empty = [r for r in rows if table[column][r] is None and printed[r] is not None and status[r] != "diverged"]
            if empty or not rows:
                missing.append(f"{ref} ({len(empty)} of {len(rows)} cells empty)" if rows else f"{ref} (no rows)")
    return missing


def _papers_datasets(table_id: str) -> set[str]:
    listed = table_index().set_index("table_id")["dataset"].get(table_id, "")
    return {folded(name) for name in listed.split(";") if name}


def _why_not_applicable(kind: str, presets: str, ours: _Ours) -> str:
    """Why a criterion does not apply to these runs, or ''."""
    for name in ours.columns:
        preset, dataset = ours.preset[name], ours.dataset[name]
        if presets != "any" and preset is not None and preset not in presets.split(";"):
            return (
                f"{name} was run at preset {preset}; this {kind} criterion is judged at {presets.replace(';', ' or ')}"
            )
        if kind == "magnitude" and preset is None:
            return f"the preset of {name} is not known; this magnitude is judged at {presets} only"
        papers = _papers_datasets(name)
        if kind == "magnitude" and dataset and papers and folded(dataset) not in papers:
            return f"{name} was run on {dataset}; the number is one for {', '.join(sorted(papers))}"
    return ""


def _measured(ours: _Ours, refs: list[Ref], default: str | None) -> bool:
    """Whether the outcome hangs on cells that vary from seed to seed."""
    for ref in refs:
        name = ref.table or default
        if is_figure(name):
            return True
        if table_spec(name).columns[ref.column].role in ("empirical", "cost", "status"):
            return True
    return False


def _command(name: str, presets: str) -> str:
    preset = "paper" if presets == "paper" else "quick"
    return f"python -m repro table {name} --preset {preset}"


def _advice(ours: _Ours, name: str, presets: str) -> str:
    """How to get what is missing: by training, unless what is missing is missing although it was trained."""
    if ours.dataset.get(name) in (None, "architecture") or (presets == "paper" and ours.preset.get(name) != "paper"):
        return f"Run: {_command(name, presets)}"
    return (
        f"These rows are absent although {name} was run: networks that nothing here trains, or runs that failed "
        "(python -m repro status)."
    )


# ------------------------------------------------------------------ resampling


def _draw(cell: Cell, generator: np.random.Generator) -> float | None:
    """One resampled mean of a cell."""
    if not cell.values:
        return None
    if len(cell.values) > 1:
        return float(np.mean(generator.choice(cell.values, size=len(cell.values))))
    if cell.given_std is not None and cell.n > 1:
        return float(cell.mean + cell.given_std / math.sqrt(cell.n) * generator.standard_t(cell.n - 1))
    return cell.mean


def _spread_known(ours: _Ours, refs: list[Ref], default: str | None) -> bool:
    """Whether every measured cell in play comes with at least two seeds."""
    for ref in refs:
        name = ref.table or default
        cells = ours.columns[name][ref.column]
        if not is_figure(name):
            role = table_spec(name).columns[ref.column].role
            if role not in ("empirical", "cost", "status"):
                continue
            cells = ours.conformed[name].cells[ref.column]
        rows = select(_means_of(ours, name), ref.selectors, name)
        for cell in (cells[row] for row in rows):
            if isinstance(cell, Cell) and cell.filled and cell.n < 2:
                return False
    return True


def _means_of(ours: _Ours, name: str) -> dict[str, list]:
    return {column: [_mean(cell) for cell in cells] for column, cells in ours.columns[name].items()}


class _Examples:
    """Scores per test example for some columns; one resample takes the same examples for every row."""

    def __init__(self, table_id: str, frame: pd.DataFrame):
        spec = table_spec(table_id)
        self.scores: dict[str, np.ndarray] = {}
        for name in (name for name in spec.named("empirical") if name in frame.columns):
            rows = []
            for _, group in frame.groupby("example"):
                one = group.groupby(list(spec.key), dropna=False, as_index=False)[name].mean()
                rows.append([_mean(cell) for cell in conform(table_id, one).cells[name]])
            self.scores[name] = np.array(rows, dtype=float)

    def draw(self, columns: dict[str, list], generator: np.random.Generator) -> None:
        """Replace the columns that have scores by their means over resampled examples."""
        for name, scores in self.scores.items():
            picked = scores[generator.integers(len(scores), size=len(scores))].mean(axis=0)
            columns[name] = [None if math.isnan(value) else float(value) for value in picked]


def _share(ours: _Ours, tree: object, default: str | None, examples: dict[str, _Examples]) -> float | None:
    """Part of the resamples in which the predicate holds; None if it could not be evaluated in most of them."""
    generator = np.random.default_rng(_SEED)
    read = {(ref.table or default, ref.column) for ref in references(tree)}
    means = ours.means()
    evaluator = Evaluator(means, default)
    held = decided = 0
    for _ in range(RESAMPLES):
        for name, columns in ours.columns.items():
            drawn = {
                column: [_draw(cell, generator) if isinstance(cell, Cell) else cell for cell in cells]
                for column, cells in columns.items()
                if (name, column) in read or _feeds(name, column, read)
            }
            means[name].update(drawn)
            if name in examples:
                examples[name].draw(means[name], generator)
            _dependents(name, means[name])
        try:
            held += evaluator.truth(tree)
            decided += 1
        except NoValuesError:
            continue
    return held / decided if decided >= RESAMPLES / 2 else None


def _feeds(name: str, column: str, read: set[tuple[str, str]]) -> bool:
    """Whether a column is what a column that is read is computed from."""
    if is_figure(name):
        return False
    specs = table_spec(name).columns
    return any(
        (specs[c].rank_of == column or column in specs[c].difference)
        for table, c in read
        if table == name and c in specs
    )


# ------------------------------------------------------------------ the verdict


def _numbers(values: object) -> str:
    cells = values if isinstance(values, list) else [values]
    shown = ["-" if c is None else c if isinstance(c, str) else f"{c:.4g}" for c in cells[:8]]
    return ", ".join(shown) + (f", … ({len(cells)} values)" if len(cells) > 8 else "")


def _evidence(evaluator: Evaluator, tree: object, ours: _Ours) -> str:
    parts = [f"{ref}: {_numbers(evaluator.lookup(ref))}" for ref in references(tree)[:6]]
    runs = sorted({f"{ours.preset[n] or 'own'} on {ours.dataset[n] or 'no data set'}" for n in ours.columns})
    return f"Ours ({'; '.join(runs)}): " + "; ".join(parts) + "."


def judge(
    claim_id: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    examples: Mapping[str, pd.DataFrame] | None = None,
) -> Verdict:
    """What our results say about one claim.

    Args:
        claim_id: for example 'acghostnet-c33'.
        tables: table or figure id -> our data frame. Tables in the published schema (several rows per key with `seed`;
            `attrs` preset and dataset); figures as data/published/README.md describes.
        examples: table id -> long frame with the table's key, `example` and scores per test example (0 or 100 for an
            accuracy in percent). Given, the resampling of these columns is over examples instead of seeds.
    Returns: a Verdict; see the module's docstring for what each kind of criterion asks.
    Raises: InputError for an unknown claim or for tables that do not fit their schema.
    """
    row = claim(claim_id)
    kind, presets, check, note = _criterion(claim_id)
    criterion = f"{kind}: {check}" + (f" ({note})" if note else "")

    def verdict(status: str, evidence: str, share: float | None = None) -> Verdict:
        return Verdict(claim_id, status, evidence, criterion, share)

    if kind == "printed":
        return verdict(
            "not applicable at this preset",
            f"A check of the papers' own printing; the published numbers give {row['published_verdict']}.",
        )
    wanted = places(claim_id)
    if kind == "figure" and check == row["check"]:
        return verdict("not run", "The paper only draws this, and no criterion on numbers of ours is declared.")
    tree = parse(check)
    if kind == "text":
        held = Evaluator({}, None).truth(tree)
        return verdict(
            "reproduced" if held else "not reproduced", f"Arithmetic on stated constants: {check}.", float(held)
        )
    default = wanted[0]
    needed = list(dict.fromkeys([ref.table or default for ref in references(tree)] + subset_tables(tree)))
    absent = [name for name in needed if name not in tables]
    if absent:
        return verdict("not run", f"No results for {', '.join(absent)}; run: {_command(absent[0], presets)}")
    ours = _load(tables, needed)
    reason = _why_not_applicable(kind, presets, ours)
    if reason:
        return verdict("not applicable at this preset", reason[0].upper() + reason[1:] + ".")
    return _judge_loaded(ours, tree, default, presets, verdict, examples or {})


def _judge_loaded(ours: _Ours, tree, default: str, presets: str, verdict, examples) -> Verdict:
    evaluator = Evaluator(ours.means(), default)
    missing = _missing(evaluator, tree, default)
    name = next(iter(ours.columns))
    if missing:
        partly = _partial(evaluator, tree)
        return verdict("not run", f"Missing: {'; '.join(missing[:4])}.{partly} {_advice(ours, name, presets)}")
    try:
        held = evaluator.truth(tree)
    except NoValuesError as error:
        return verdict("undecided", f"Nothing to compare ({error}) {_evidence(evaluator, tree, ours)}")
    evidence = _evidence(evaluator, tree, ours)
    refs = references(tree)
    if not _measured(ours, refs, default):
        return verdict("reproduced" if held else "not reproduced", evidence, float(held))
    given = {
        t: _Examples(check_choice("examples", t, ours.columns), frame)
        for t, frame in examples.items()
        if t in ours.columns
    }
    if not given and not _spread_known(ours, refs, default):
        outcome = "holds" if held else "does not hold"
        return verdict("undecided", f"{evidence} One seed, so no spread: the criterion {outcome} for this one.", None)
    share = _share(ours, tree, default, given)
    if share is None:
        return verdict("undecided", f"{evidence} Most resamples have nothing to compare.")
    status = "undecided"
    if share >= REPRODUCED_AT:
        status = "reproduced"
    elif share <= 1 - REPRODUCED_AT:
        status = "not reproduced"
    over = "test examples" if given else "seeds"
    return verdict(status, f"{evidence} The criterion holds in {share:.1%} of {RESAMPLES} resamples of {over}.", share)


def _partial(evaluator: Evaluator, tree: object) -> str:
    """What the rows that were run say, where that can be evaluated at all."""
    try:
        held = evaluator.truth(tree)
    except PredicateError:
        return ""
    return f" On what was run the criterion {'holds' if held else 'does not hold'}."


def judge_all(tables: Mapping[str, pd.DataFrame], paper: str | None = None) -> pd.DataFrame:
    """Verdicts on all claims (of one paper) as a data frame: the Verdict's fields, claim in words, origin, place."""
    from repro.report.published import claims

    listed = claims()
    if paper is not None:
        check_choice("paper", paper, listed["paper"].unique())
        listed = listed[listed["paper"] == paper]
    rows = []
    for row in listed.itertuples():
        found = judge(row.claim_id, tables)
        rows.append(
            {"paper": row.paper, "place": row.table_or_figure, "claim": row.claim, "origin": row.origin}
            | {"published": row.published_verdict}
            | vars(found)
        )
    return pd.DataFrame(rows)
