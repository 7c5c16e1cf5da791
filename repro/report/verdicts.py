"""Claims judged on our results, by criteria that data/published/criteria.csv fixed before any run.

Kinds of criteria:

    text       arithmetic on stated constants: decided at once, the same for everyone.
    printed    the papers' own bookkeeping (a gap is a difference, a row is quoted unchanged): nothing of ours enters.
    analytic   counts, modelled energy, definitions: exact, decided by one value, at any preset.
    direction  an order or a sign of measured quantities: decided at the presets listed, on whatever data set was run.
    magnitude  a measured number: decided only at the paper's preset on the paper's data set.
    figure     numbers that the paper only draws: decided on a table of ours for that figure, if `check` is given.

Measured cells are resampled over seeds (each cell by itself, no pairing is assumed; a mean with a deviation is drawn
from Student's t). The expression is evaluated once on the means of all resamples; its share of true decides.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from repro.errors import check_choice
from repro.report.claims import places, published_table
from repro.report.conform import Cell, conform, folded
from repro.report.expressions import (
    Evaluator,
    ExpressionError,
    NoValuesError,
    Reference,
    Table,
    as_array,
    parse,
    references,
    tables_read,
)
from repro.report.published import claim, claims, is_figure, listing, table_index, table_spec

STATUSES = ("reproduced", "not reproduced", "undecided", "not run", "not applicable at this preset")
KINDS = ("text", "printed", "analytic", "direction", "magnitude", "figure")
MEASURED = ("empirical", "cost", "status")
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
    """One row per claim: kind, presets at which it is judged ('any', 'none' or a list), own expression, note."""
    return listing("criteria.csv").copy()


@functools.cache
def _criterion(claim_id: str) -> tuple[str, str, str, str]:
    row = listing("criteria.csv").set_index("claim_id").loc[claim_id]
    check = row["check"] or claim(claim_id)["check"]
    return row["kind"], row["presets"], check, row["note"]


# ------------------------------------------------------------------ our tables


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


@dataclass
class _Ours:
    """One table or figure of ours.

    fixed: columns that are the same in every run, as arrays.  cells: column -> one Cell per row.
    key, descriptors: see `expressions.Table`.  preset, dataset: of the run, where known.
    """

    table_id: str
    fixed: dict[str, np.ndarray]
    cells: dict[str, list[Cell]]
    key: tuple[str, ...]
    descriptors: tuple[str, ...]
    preset: str | None
    dataset: str | None

    def table(self, draw: Callable[[Cell], np.ndarray]) -> Table:
        """The table with `draw(cell)`, of shape (resamples or 1,), for every cell that holds numbers."""
        columns = dict(self.fixed)
        for name, cells in self.cells.items():
            if self.is_text(name):
                columns[name] = as_array(pd.Series([cell.text for cell in cells], dtype=object))
            else:
                columns[name] = np.column_stack(np.broadcast_arrays(*map(draw, cells)))
        if not is_figure(self.table_id):
            _recompute(self.table_id, columns)
        return Table(columns, self.key, self.descriptors)

    def is_text(self, column: str) -> bool:
        """Whether a column of cells holds texts."""
        return not is_figure(self.table_id) and not table_spec(self.table_id).columns[column].numeric

    def is_measured(self, column: str) -> bool:
        """Whether a column varies from seed to seed."""
        return is_figure(self.table_id) or table_spec(self.table_id).columns[column].role in MEASURED


def _figure(figure_id: str, frame: pd.DataFrame) -> _Ours:
    """A figure's table: rows that differ only in `seed` become one row whose float columns are Cells."""
    preset, dataset = frame.attrs.get("preset"), frame.attrs.get("dataset")
    if figure_id == "acghostnet_f03" and "front_score" not in frame:
        frame = front_scores(frame)
    measured = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name])]
    key = [name for name in frame.columns if name not in (*measured, "seed")]
    if "seed" not in frame:
        fixed, cells = {name: as_array(_numbers_if_all(frame[name])) for name in frame.columns}, {}
    else:
        groups = [group for _, group in frame.groupby(key, sort=False, dropna=False)] if key else [frame]
        firsts = pd.DataFrame([group[key].iloc[0] for group in groups], columns=key)
        fixed = {name: as_array(_numbers_if_all(firsts[name])) for name in key}
        cells = {name: [Cell([float(v) for v in group[name].dropna()]) for group in groups] for name in measured}
    return _Ours(figure_id, fixed, cells, tuple(key), (), preset, dataset)


def _numbers_if_all(column: pd.Series) -> pd.Series:
    """Texts that are all numbers as numbers: a stage is '2' in a run and 2 in a record."""
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _table(table_id: str, frame: pd.DataFrame) -> _Ours:
    """A table of ours: what a row is comes from the paper, what was computed or measured from us."""
    conformed, printed = conform(table_id, frame), published_table(table_id)
    spec = conformed.spec
    fixed = {name: printed.columns[name] for name in spec.named("key", "descriptor", "note")}
    cells = {name: conformed.cells[name][: conformed.n_published] for name in spec.metrics}
    return _Ours(table_id, fixed, cells, printed.key, printed.descriptors, conformed.preset, conformed.dataset)


def _recompute(table_id: str, columns: dict[str, np.ndarray]) -> None:
    """Ranks and differences from the means, where all they depend on is there."""
    for name, column in table_spec(table_id).columns.items():
        if column.rank_of and not np.isnan(columns[column.rank_of]).any():
            of, family = columns[column.rank_of], columns[column.within][0]
            better = of[:, None, :] > of[:, :, None]
            columns[name] = 1.0 + (better & (family[:, None] == family)).sum(2)
        elif column.difference:
            difference = columns[column.difference[0]] - columns[column.difference[1]]
            if not np.isnan(difference).any():
                columns[name] = difference


def _means(ours: Mapping[str, _Ours]) -> dict[str, Table]:
    return {name: mine.table(lambda cell: np.array([cell.mean])) for name, mine in ours.items()}


# ------------------------------------------------------------------ what is missing, what applies


def _missing(evaluator: Evaluator, refs: list[Reference]) -> list[str]:
    """Cells that the paper has and we have not, in words; a run of ours that diverged does not count as missing."""
    missing = []
    for ref in refs:
        table = evaluator.tables[ref.table]
        if any(column not in table.columns for column in (ref.column, *ref.selects_by)):
            missing.append(f"{ref} (no such column)")
            continue
        rows = evaluator.rows(ref.table, ref.where)
        empty = _empty_rows(ref.table, table, ref.column) & set(rows)
        if not is_figure(ref.table):
            roles = table_spec(ref.table).columns
            defining = [column for column in ref.selects_by if roles[column].role == "definition"]
            empty = empty.union(*(_empty_rows(ref.table, table, column) for column in defining))
        if not rows:
            missing.append(f"{ref} (no rows)")
        elif empty:
            missing.append(f"{ref} ({len(empty)} of {len(rows)} cells empty)")
    return missing


def _empty_rows(table_id: str, table: Table, column: str) -> set[int]:
    """Rows that we leave empty in a column although the paper fills them and no run diverged."""
    empty = pd.isna(table.columns[column][0])
    if not is_figure(table_id):
        empty &= ~pd.isna(published_table(table_id).columns[column][0])
    if "status" in table.columns:
        empty &= table.columns["status"][0] != "diverged"
    return set(np.flatnonzero(empty).tolist())


def _papers_datasets(table_id: str) -> set[str]:
    listed = table_index().set_index("table_id")["dataset"].get(table_id, "")
    return {folded(name) for name in listed.split(";") if name}


def _why_not_applicable(kind: str, presets: str, ours: Mapping[str, _Ours]) -> str:
    """Why a criterion does not apply to these runs, or ''."""
    for name, mine in ours.items():
        preset, dataset = mine.preset, mine.dataset
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


def _command(name: str, presets: str) -> str:
    preset = "paper" if presets == "paper" else "quick"
    return f"python -m repro table {name} --preset {preset}"


def _advice(mine: _Ours, presets: str) -> str:
    """How to get what is missing: by training, unless what is missing is missing although it was trained."""
    name = mine.table_id
    if mine.dataset in (None, "architecture") or (presets == "paper" and mine.preset != "paper"):
        return f"Run: {_command(name, presets)}"
    return (
        f"These rows are absent although {name} was run: networks that nothing here trains, or runs that failed "
        "(python -m repro status)."
    )


# ------------------------------------------------------------------ resampling


def _draw(cell: Cell, generator: np.random.Generator) -> np.ndarray:
    """Resampled means of a cell, (RESAMPLES,), or its mean, (1,), where it has no spread."""
    if len(cell.values) > 1:
        return generator.choice(cell.values, size=(RESAMPLES, len(cell.values))).mean(axis=1)
    if cell.values and cell.given_std is not None and cell.n > 1:
        return cell.mean + cell.given_std / math.sqrt(cell.n) * generator.standard_t(cell.n - 1, size=RESAMPLES)
    return np.array([cell.mean])


def _spread_known(ours: Mapping[str, _Ours], evaluator: Evaluator, refs: list[Reference]) -> bool:
    """Whether every measured cell in play comes with at least two seeds."""
    for ref in refs:
        mine = ours[ref.table]
        if ref.column in mine.cells and mine.is_measured(ref.column):
            cells = [mine.cells[ref.column][row] for row in evaluator.rows(ref.table, ref.where)]
            if any(cell.filled and cell.n < 2 for cell in cells):
                return False
    return True


def _share(ours: Mapping[str, _Ours], tree: ast.expr, default: str) -> float | None:
    """Part of the resamples in which the claim holds; None if most of them have nothing to compare."""
    generator = np.random.default_rng(_SEED)
    tables = {name: mine.table(lambda cell: _draw(cell, generator)) for name, mine in ours.items()}
    outcome = Evaluator(tables, default).truth(tree)
    decided = ~np.isnan(outcome)
    return float(outcome[decided].mean()) if decided.mean() >= 0.5 else None


# ------------------------------------------------------------------ the verdict


def _shown(cells: np.ndarray) -> str:
    shown = ["-" if pd.isna(c) else c if isinstance(c, str) else f"{c:.4g}" for c in cells[:8]]
    return ", ".join(shown) + (f", … ({len(cells)} values)" if len(cells) > 8 else "")


def _evidence(evaluator: Evaluator, refs: list[Reference], ours: Mapping[str, _Ours]) -> str:
    parts = []
    for ref in refs[:6]:
        place = "" if ref.table == evaluator.default else f" in {ref.table}"
        parts.append(f"{ref}{place}: {_shown(evaluator.column(ref).cells[0])}")
    runs = sorted({f"{mine.preset or 'own'} on {mine.dataset or 'no data set'}" for mine in ours.values()})
    return f"Ours ({'; '.join(runs)}): " + "; ".join(parts) + "."


def judge(claim_id: str, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    """What our results say about one claim.

    Args:
        claim_id: for example 'acghostnet-c33'.
        tables: table or figure id -> our data frame. Tables in the published schema (several rows per key with `seed`;
            `attrs` preset and dataset); figures as data/published/README.md describes.
    Returns: a Verdict; see the module's docstring for what each kind of criterion asks.
    Raises: InputError for an unknown claim or for tables that do not fit their schema.
    """
    row = claim(claim_id)
    kind, presets, check, note = _criterion(claim_id)
    verdict = functools.partial(Verdict, claim_id, criterion=f"{kind}: {check}" + (f" ({note})" if note else ""))
    if kind == "printed":
        why = f"A check of the papers' own printing; the published numbers give {row['published_verdict']}."
        return verdict("not applicable at this preset", why)
    if kind == "figure" and check == row["check"]:
        return verdict("not run", "The paper only draws this, and no criterion on numbers of ours is declared.")
    tree, default = parse(check), next(iter(places(claim_id)), None)
    if kind == "text":
        held = Evaluator({}, None).holds(tree)
        why = f"Arithmetic on stated constants: {check}."
        return verdict("reproduced" if held else "not reproduced", why, share=float(held))
    needed = tables_read(tree, default)
    absent = [name for name in needed if name not in tables]
    if absent:
        return verdict("not run", f"No results for {', '.join(absent)}; run: {_command(absent[0], presets)}")
    ours = {name: (_figure if is_figure(name) else _table)(name, tables[name]) for name in needed}
    reason = _why_not_applicable(kind, presets, ours)
    if reason:
        return verdict("not applicable at this preset", reason[0].upper() + reason[1:] + ".")
    return _judge_loaded(ours, tree, default, presets, verdict)


def _judge_loaded(
    ours: Mapping[str, _Ours], tree: ast.expr, default: str, presets: str, verdict: Callable[..., Verdict]
) -> Verdict:
    evaluator, refs = Evaluator(_means(ours), default), references(tree, default)
    missing = _missing(evaluator, refs)
    if missing:
        advice = _advice(next(iter(ours.values())), presets)
        return verdict("not run", f"Missing: {'; '.join(missing[:4])}.{_partial(evaluator, tree)} {advice}")
    evidence = _evidence(evaluator, refs, ours)
    try:
        held = evaluator.holds(tree)
    except NoValuesError as error:
        return verdict("undecided", f"Nothing to compare ({error}) {evidence}")
    if not any(ours[ref.table].is_measured(ref.column) for ref in refs):
        return verdict("reproduced" if held else "not reproduced", evidence, share=float(held))
    if not _spread_known(ours, evaluator, refs):
        outcome = "holds" if held else "does not hold"
        return verdict("undecided", f"{evidence} One seed, so no spread: the criterion {outcome} for this one.")
    share = _share(ours, tree, default)
    if share is None:
        return verdict("undecided", f"{evidence} Most resamples have nothing to compare.")
    status = "undecided"
    if share >= REPRODUCED_AT:
        status = "reproduced"
    elif share <= 1 - REPRODUCED_AT:
        status = "not reproduced"
    evidence = f"{evidence} The criterion holds in {share:.1%} of {RESAMPLES} resamples of seeds."
    return verdict(status, evidence, share=share)


def _partial(evaluator: Evaluator, tree: ast.expr) -> str:
    """What the rows that were run say, where that can be evaluated at all."""
    try:
        held = evaluator.holds(tree)
    except ExpressionError:
        return ""
    return f" On what was run the criterion {'holds' if held else 'does not hold'}."


def judge_all(tables: Mapping[str, pd.DataFrame], paper: str | None = None) -> pd.DataFrame:
    """Verdicts on all claims (of one paper) as a data frame: the Verdict's fields, claim in words, origin, place."""
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
