"""Claims judged on our results, by the criteria of data/published/criteria.csv.

They were fixed before any run, but where a note or the changelog says otherwise.

Kinds of criteria:

    text       arithmetic on stated constants, and
    printed    the papers' own bookkeeping (a gap is a difference, a row is quoted unchanged): nothing of ours enters.
    analytic   counts, modelled energy, definitions: exact, judged on networks of the paper's size only.
    direction  an order or a sign of measured quantities: judged at the presets and on the data sets listed.
    magnitude  a measured number: judged only at the paper's preset on the paper's data set.
    figure     numbers that the paper only draws: judged on a table of ours for that figure, if `check` is given.

A measured claim is compiled into comparisons (`repro.report.compiler`). It is reproduced if every comparison it needs
is proven at a one-sided level of 2.5 %, not reproduced if some comparison is reversed at that level shared among them,
else undecided. Cells near chance and comparisons at the ceiling decide nothing. Where cells are missing nothing is
decided, but that an exact part of a conjunction refutes it by itself.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from repro.errors import InputError, check_choice
from repro.report.cell_words import cells_text
from repro.report.claims import places, published_table
from repro.report.compiler import Compiler
from repro.report.conform import folded
from repro.report.decide import (
    ALPHA,
    MIN_SEEDS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    And,
    prove,
    refute,
    seeds_needed,
)
from repro.report.evidence import JOINED, SEARCHED_UNITS, Ours, is_accuracy, load, reads_scores
from repro.report.expressions import (
    Evaluator,
    ExpressionError,
    Reference,
    Table,
    parse,
    references,
    tables_read,
)
from repro.report.formulas import Exact, Given, Leaf, Sampled, leaves
from repro.report.functions import BY_ROW
from repro.report.published import claim, claims, is_figure, listing, table_index, table_spec

NOT_INFORMATIVE, AGREES = "not informative at this preset", "agrees (the printed numbers fail too)"
PRINTED, NOT_RUN = "printed arithmetic", "not run"
STATUSES = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_INFORMATIVE, AGREES, PRINTED, NOT_RUN)
KINDS = ("text", "printed", "analytic", "direction", "magnitude", "figure")


@dataclass(frozen=True)
class Offer:
    """A run that can be asked for: preset, data set, the printed rows that it fills (None: all).

    stands_for: data set of ours -> the printed one in whose rows it is read.
    """

    preset: str
    dataset: str
    rows: frozenset[int] | None = None
    stands_for: Mapping[str, str] = field(default_factory=dict)


OffersOf = Callable[[str], Sequence[Offer]]
"""id -> the runs of its entry; empty if nothing regenerates it or nothing is trained for it."""


@dataclass(frozen=True)
class Verdict:
    """What our results say about one claim.

    status: one of STATUSES.  evidence: a few sentences with our numbers.  criterion: what was asked.
    intervals: two-sided 95 % intervals (low, high) in the claim's units, one a comparison.
    seeds: how many seeds the thinnest cell has; 0 if nothing was measured.
    """

    claim_id: str
    status: str
    evidence: str
    criterion: str
    intervals: list[tuple[float, float]] = field(default_factory=list)
    seeds: int = 0


@dataclass(frozen=True)
class Criterion:
    """One row of criteria.csv; check is the claim's own where none is given, datasets an order of preference."""

    kind: str
    presets: str
    datasets: tuple[str, ...]
    check: str
    note: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.check}" + (f" ({self.note})" if self.note else "")


def criteria() -> pd.DataFrame:
    """One row per claim: kind, presets ('any', 'none' or a list), data sets by preference, own expression, note."""
    return listing("criteria.csv").copy()


@functools.cache
def criterion(claim_id: str) -> Criterion:
    """How a claim is judged. Raises: InputError for an unknown id, or one without its row of criteria.csv."""
    own = claim(claim_id)["check"]
    rows = listing("criteria.csv").set_index("claim_id")
    if list(rows.index).count(claim_id) != 1:
        raise InputError(f"criteria.csv has {list(rows.index).count(claim_id)} rows of {claim_id}; it must have one.")
    row = rows.loc[claim_id]
    datasets = tuple(filter(None, row.get("datasets", "").split(";")))
    return Criterion(row["kind"], row["presets"], datasets, row["check"] or own, row["note"])


def with_note(claim_id: str, evidence: str) -> str:
    """Evidence as it is shown: with the note of the claim's criterion, where it has one, on what is left open."""
    try:
        note = criterion(claim_id).note
    except InputError:  # a damaged criterion, which the evidence tells
        note = ""
    return f"{evidence} Note: {note}." if note else evidence


def tables_of(claim_id: str) -> list[str]:
    """Ids of the tables and figures that a claim's criterion reads, the first one first."""
    asked = criterion(claim_id)
    if asked.kind in ("text", "printed") or (asked.kind == "figure" and asked.check == claim(claim_id)["check"]):
        return []
    return tables_read(parse(asked.check), next(iter(places(claim_id)), None))


# ------------------------------------------------------------------ what is missing, what applies


def _missing(ours: Mapping[str, Ours], refs: list[Reference]) -> list[tuple[str, str]]:
    """Cells that the paper has and we have not: table, and in words; one that diverged does not count as missing."""
    means = Evaluator({name: mine.means for name, mine in ours.items()}, None)
    exact = Evaluator({name: next(iter(mine.by_seed.values())) for name, mine in ours.items()}, None)
    missing = []
    for ref in refs:
        evaluator = means if ours[ref.table].is_measured(ref.column) else exact
        table = evaluator.tables[ref.table]
        if any(column not in table.columns for column in (ref.column, *ref.selects_by)):
            missing.append((ref.table, f"{_shown(ref)} (no such column)"))
            continue
        rows = evaluator.rows(ref.table, ref.where)
        empty = _empty_rows(ref.table, table, ref.column) & set(rows)
        if not is_figure(ref.table):
            roles = table_spec(ref.table).columns
            defining = [column for column in ref.selects_by if roles[column].role == "definition"]
            empty = empty.union(*(_empty_rows(ref.table, table, column) for column in defining))
        if not rows:
            missing.append((ref.table, f"{_shown(ref)} (no rows)"))
        elif empty:
            missing.append((ref.table, f"{_shown(ref)} ({len(empty)} of {len(rows)} cells empty)"))
    return missing


def _empty_rows(table_id: str, table: Table, column: str) -> set[int]:
    """Rows that we leave empty in a column although the paper fills them and no run diverged."""
    empty = pd.isna(table.columns[column][0])
    if not is_figure(table_id):
        empty &= ~pd.isna(published_table(table_id).columns[column][0])
    if "status" in table.columns:
        empty &= table.columns["status"][0] != "diverged"
    return set(np.flatnonzero(empty).tolist())


def _lost(mine: Ours, ref: Reference) -> str:
    """Why a measured cell in play has no value at all although it was run, or ''."""
    if not mine.is_measured(ref.column):
        return ""
    rows = Evaluator({mine.table_id: mine.means}, None).rows(mine.table_id, ref.where)
    cells = [mine.quantities.get((ref.column, row)) for row in rows]
    return next((cell.gate for cell in cells if cell is not None and not cell.seeds), "")


def _papers_datasets(table_id: str) -> set[str]:
    """Data sets of a printed table, none where it states none; language pairs ("WMT14 En-De") by their corpus too."""
    listed = table_index().set_index("table_id")["dataset"].get(table_id, "")
    names = [name for name in listed.split(";") if name and not name.startswith("not stated")]
    return {folded(part) for name in names for part in (name, name.split()[0])}


def _why_not_applicable(
    asked: Criterion, name: str, preset: str | None, dataset: str | None, stands_for: Mapping[str, str]
) -> str:
    """Why a measured criterion does not apply to a run, or ''."""
    if asked.presets != "any" and preset is not None and preset not in asked.presets.split(";"):
        return f"{name} was run at preset {preset}; this is judged at {asked.presets.replace(';', ' or ')}"
    if dataset in (None, "architecture"):
        unknown = asked.kind == "magnitude" and preset is None
        return f"the preset of {name} is not known; this number is judged at {asked.presets} only" if unknown else ""
    parts, papers = {folded(part) for part in dataset.split(JOINED)}, _papers_datasets(name)
    if asked.datasets and not parts <= set(map(folded, asked.datasets)):
        return f"{name} was run on {dataset}; this is judged on {' or '.join(asked.datasets)}"
    printed = {folded(stands_for.get(part, part)) for part in dataset.split(JOINED)}
    if asked.kind == "magnitude" and papers and not printed <= papers:
        return f"{name} was run on {dataset}; the number is one for {', '.join(sorted(papers))}"
    return ""


def _advice_to_run(names: Sequence[str], asked: Criterion, refs: Sequence[Reference], offers_of: OffersOf) -> str:
    """' Run: ...' with the commands that fill what a claim reads of some tables at a preset that judges it, or ''."""
    for preset in (preset for preset in ("study", "paper") if preset in asked.presets.split(";")):
        offers = {name: [offer for offer in offers_of(name) if offer.preset == preset] for name in names}
        chosen = {name: _covering(name, asked, refs, offers[name]) for name in names}
        if all(chosen.values()):
            commands = [
                f"python -m repro table {name} --preset {preset} --dataset {offer.dataset}"
                for name, offers in chosen.items()
                for offer in offers
            ]
            return f" Run: {'; '.join(commands)}."
    return ""


def _covering(name: str, asked: Criterion, refs: Sequence[Reference], offers: Sequence[Offer]) -> list[Offer]:
    """Of some runs at one preset one that fills all rows that a claim reads of a table, or several that together do.

    The data sets of the criterion are taken in its order. Empty where the runs leave a row out.
    """
    order = [folded(dataset) for dataset in asked.datasets]
    able = [o for o in offers if not _why_not_applicable(asked, name, o.preset, o.dataset, o.stands_for)]
    able = sorted(able, key=lambda offer: order.index(folded(offer.dataset)) if order else 0)
    needed = _rows_read(name, refs)
    if whole := [offer for offer in able if offer.rows is None or needed <= offer.rows]:
        return whole[:1]
    chosen = []
    for offer in able:
        if needed & offer.rows:
            chosen.append(offer)
            needed -= offer.rows
    return [] if needed else chosen


def _rows_read(name: str, refs: Sequence[Reference]) -> frozenset[int]:
    """Rows of a printed table whose filled cells a claim reads; none of a figure, which has no printed rows."""
    if is_figure(name):
        return frozenset()
    evaluator = Evaluator({name: published_table(name)}, name)
    read = [(ref, row) for ref in refs if ref.table == name for row in evaluator.rows(name, ref.where)]
    columns = evaluator.tables[name].columns
    return frozenset(row for ref, row in read if ref.column in columns and not pd.isna(columns[ref.column][0, row]))


# ------------------------------------------------------------------ words


def _shown(ref: Reference | str) -> str:
    """A column with its condition; `ours` in a published table marks the networks that the paper proposes."""
    shown = str(ref).replace("ours == 1", "proposed").replace("ours == 0", "not proposed")
    return re.sub(
        r"(?:method|group) (==|!=) '[Oo]urs'", lambda m: "proposed" if m[1] == "==" else "not proposed", shown
    )


def _runs(ours: Mapping[str, Ours]) -> str:
    def told(mine: Ours) -> str:
        if mine.dataset == "architecture":
            return "computed from the architecture"
        if mine.all_exact and mine.preset not in (None, "paper"):
            return f"found at {mine.preset} on {mine.dataset}, counted at the paper's size"
        return f"{mine.preset or 'a run of its own'}{f' on {mine.dataset}' if mine.dataset else ''}"

    return "; ".join(dict.fromkeys(told(mine) for mine in ours.values()))


def _sentence(leaf: Leaf) -> str:
    low, high = leaf.interval
    label = f"{_shown(leaf.label)} =" if "[" in leaf.label else leaf.label
    found = f"{label} {leaf.estimate:.3g}{f' {leaf.unit}' if leaf.unit else ''}"
    return found if np.isnan(low) else f"{found}, 95 % interval {low:.3g} to {high:.3g}"


def _reversed(rows: Sequence) -> int:
    """How many rows of a mean gain are proven to be reversed, at the level shared by all."""
    return sum(row.refutes(ALPHA / len(rows)) for row in rows if isinstance(row, Leaf))


def _gains(compiler: Compiler) -> str:
    """How many rows of a mean gain hold by themselves, after Holm."""
    told = []
    for _, rows in compiler.gains:
        left, found = [row for row in rows if isinstance(row, Leaf)], 0
        while (holds := next((row for row in left if row.proves(ALPHA / len(left))), None)) is not None:
            left.remove(holds)
            found += 1
        against = _reversed(rows)
        against = f", {against} are reversed" if against else ""
        told.append(f"{found} of {len(rows)} rows hold by themselves (Holm){against}")
    return f" Judged by the mean over rows: {'; '.join(told)}." if told else ""


# ------------------------------------------------------------------ the verdict


class Judge:
    """Judges claims on given frames; a frame is read once however many claims it serves.

    Args:
        offers_of: which runs an entry offers, for advice on what to run; without it there is none.
    """

    def __init__(self, offers_of: OffersOf | None = None):
        self.offers_of = offers_of or (lambda table_id: ())
        self._kept: dict[tuple[int, bool, bool], tuple[pd.DataFrame, Ours | None]] = {}

    def _loaded(self, name: str, frame: pd.DataFrame, analytic: bool, scores: bool) -> Ours | None:
        key = (id(frame), analytic, scores)
        if key not in self._kept:
            self._kept[key] = (
                frame,
                load(name, frame, analytic=analytic, scores=scores),
            )  # the frame is held, so its id stays its own
        return self._kept[key][1]

    def __call__(self, claim_id: str, tables: Mapping[str, pd.DataFrame]) -> Verdict:
        """`judge` with what this object has read before."""
        row, asked = claim(claim_id), criterion(claim_id)
        verdict = functools.partial(Verdict, claim_id, criterion=str(asked))
        if asked.kind == "printed":
            held = {"true": "satisfy it", "false": "do not satisfy it"}.get(
                row["published_verdict"], "do not settle it"
            )
            return verdict(PRINTED, f"A check of the papers' own printing; the printed numbers {held}.")
        if asked.kind == "text":
            held = Evaluator({}, None).holds(parse(asked.check))
            return verdict(PRINTED, f"Arithmetic on stated constants, which {'holds' if held else 'does not hold'}.")
        if asked.kind == "figure" and asked.check == row["check"]:
            return verdict(NOT_RUN, "The paper only draws this, and no criterion on numbers of ours is declared.")
        tree, default = parse(asked.check), next(iter(places(claim_id)), None)
        needed = tables_read(tree, default)
        refs = references(tree, default)

        def advice(names: Sequence[str]) -> str:
            return _advice_to_run(names, asked, refs, self.offers_of)

        absent = [name for name in needed if name not in tables]
        if absent:
            return verdict(NOT_RUN, f"No record of {', '.join(absent)}.{advice(absent)}")
        read = {
            name: {part for ref in refs if ref.table == name for part in (ref.column, *ref.selects_by)}
            for name in needed
        }
        ours = {
            name: self._loaded(
                name, tables[name], asked.kind == "analytic", reads_scores(name, tables[name], read[name])
            )
            for name in needed
        }
        small = [name for name, mine in ours.items() if mine is None]
        if small:
            why = f"{small[0]} was run with smaller networks; counts and energies are judged at the paper's size."
            return verdict(NOT_INFORMATIVE, why)
        if asked.kind != "analytic":
            reasons = {}
            for name in needed:
                known = tables[name].attrs
                about = (known.get("preset"), known.get("dataset"), known.get("stands_for", {}))
                if reason := _why_not_applicable(asked, name, *about):
                    reasons[name] = reason
            if reasons:
                return verdict(NOT_INFORMATIVE, f"{next(iter(reasons.values()))}.{advice(list(reasons))}")
        if missing := _missing(ours, refs):
            told = f"Missing: {'; '.join(text for _, text in missing[:4])}."
            found = _refuted_by_a_part(ours, tree, default, verdict)
            if found is None:
                lacking = dict.fromkeys(name for name, _ in missing if ours[name].dataset == "architecture")
                more = _partial(ours, tree, default) + (advice(list(lacking)) if lacking else "")
                return verdict(NOT_RUN, f"{told}{more}")
            found = replace(found, evidence=f"{found.evidence} This alone refutes the claim. {told}")
        else:
            for ref in refs:
                lost = _lost(ours[ref.table], ref)
                if lost:
                    return verdict(NOT_INFORMATIVE, f"{lost}.")
            found = _decided(ours, tree, default, verdict)
        agrees = found.status == NOT_REPRODUCED and row["published_verdict"] == "false"
        if (
            agrees
            and _printed_fail(asked, row, needed)
            and not _fails_beyond_print(ours, tree, default, row["claim_id"])
        ):
            return verdict(AGREES, found.evidence, intervals=found.intervals, seeds=found.seeds)
        return found


def _printed_fail(asked: Criterion, row: Mapping, needed: Sequence[str]) -> bool:
    """Whether the printed numbers of a claim that they do not bear out fail its criterion, too."""
    if asked.check == row["check"]:
        return True
    if any(map(is_figure, needed)):  # the paper prints no numbers of it
        return False
    printed = Evaluator({name: published_table(name) for name in needed}, next(iter(places(row["claim_id"])), None))
    try:
        return not printed.holds(parse(asked.check))
    except ExpressionError:  # it reads columns of ours that the paper does not print
        return True


def _fails_beyond_print(ours: Mapping[str, Ours], tree: ast.expr, default: str, claim_id: str) -> bool:
    """Whether ours refute some comparison of a claim that the printed numbers bear out."""
    if any(map(is_figure, ours)):
        return False
    try:
        with np.errstate(all="ignore"):
            parts = Compiler(ours, tree, default).comparisons(tree, default)
    except ExpressionError:  # parts of ours are missing; what is there was judged
        return False
    printed = Evaluator({name: published_table(name) for name in ours}, next(iter(places(claim_id)), None))
    for node, row, formula in parts:
        if formula is None or not refute(formula, ALPHA / len(parts)):
            continue
        try:
            value = printed.value(node, default)
        except ExpressionError:  # it reads columns of ours that the paper does not print
            continue
        rows = [None] if row is None or value.rows is None else value.rows[1]
        cells = dict(zip(rows, value.need("truth", "the outcome")[0].tolist()))
        if cells.get(None if None in cells else row) is True:
            return True
    return False


def _refuted_by_a_part(
    ours: Mapping[str, Ours], tree: ast.expr, default: str, verdict: Callable[..., Verdict]
) -> Verdict | None:
    """The verdict on the first part of a conjunction that exact cells refute, whatever else is missing, or None."""
    for part in _conjuncts(tree):
        refs = references(part, default)
        if not refs or any(ours[ref.table].is_measured(ref.column) for ref in refs):
            continue
        if _missing(ours, refs) and not _row_by_row(part):
            continue
        try:
            found = _decided(ours, part, default, verdict)
        except ExpressionError:  # rows or columns that it joins are not there
            continue
        if found.status == NOT_REPRODUCED:
            return found
    return None


def _conjuncts(tree: ast.expr) -> Iterator[ast.expr]:
    """The parts that must all hold."""
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        for part in tree.values:
            yield from _conjuncts(part)
    else:
        yield tree


def _row_by_row(part: ast.expr) -> bool:
    """Whether a part is an `all()` in which no row's outcome depends on another row, so that one can refute it."""
    if not (isinstance(part, ast.Call) and part.func.id == "all"):
        return False
    calls = {node.func.id for node in ast.walk(part.args[0]) if isinstance(node, ast.Call)}
    return not calls - {"startswith", *BY_ROW}


def _decided(ours: Mapping[str, Ours], tree: ast.expr, default: str, verdict: Callable[..., Verdict]) -> Verdict:
    """The verdict where every cell is there."""
    with np.errstate(all="ignore"):  # a ratio to nothing is an empty cell
        compiler = Compiler(ours, tree, default)
    formula = compiler.formula
    refs = references(tree, default)
    numbers = "; ".join(
        f"{_shown(ref)}{'' if ref.table == default else f' in {ref.table}'} {cells_text(ours, compiler, ref)}"
        for ref in refs[:6]
    )
    evidence = f"{numbers} ({_runs(ours)})."
    if formula is None:
        return verdict(UNDECIDED, f"Nothing to compare: {evidence}")
    tests = [leaf for leaf in leaves(formula) if isinstance(leaf, Leaf)]
    cells = list(dict.fromkeys(quantity for leaf in tests for quantity in leaf.quantities))
    seeds = min([*(quantity.seeds for quantity in cells), *compiler.seeds_seen], default=0)
    units = {ours[ref.table].unit_of(row) for ref in refs for row in compiler.numbers.rows(ref.table, ref.where)}
    intervals = [(float(low), float(high)) for low, high in (leaf.interval for leaf in tests if not leaf.gate)]
    verdict = functools.partial(verdict, intervals=intervals, seeds=seeds)
    status, why = _status(formula)
    if why:
        return verdict(status, f"{why}. {evidence}")
    if tests:
        worst = min(tests, key=lambda leaf: np.nan_to_num(leaf.distance, nan=-np.inf))
        more = f" (of {len(tests)} comparisons the one least in favour)" if len(tests) > 1 else ""
        evidence += f" {_sentence(worst)}{more}, {_basis(units, cells, seeds)}."
    elif seeds:
        evidence += f" {_seeds(units, seeds)}."
    if status == REPRODUCED and any(_reversed(rows) for _, rows in compiler.gains):
        status = UNDECIDED  # "on every row" cannot hold by its mean alone where a row is proven reversed
    return verdict(status, f"{evidence}{_gains(compiler)}{_advice(units, formula, tests, status)}")


def _status(formula) -> tuple[str, str]:
    """Status, and why nothing could be decided where that is the reason."""
    if prove(formula):
        return REPRODUCED, ""
    if refute(formula):
        return NOT_REPRODUCED, ""
    gates = list(dict.fromkeys(leaf.gate for leaf in leaves(formula) if leaf.gate))
    if gates:
        return NOT_INFORMATIVE, "; ".join(gates[:2])
    if any(not prove(part.condition) and _settled(part.condition) for part in _conditions(formula)):
        return NOT_INFORMATIVE, "The condition under which this claim means anything is not met"
    return UNDECIDED, ""


def _conditions(formula) -> list[Given]:
    if isinstance(formula, Given):
        return [formula]
    parts = getattr(formula, "parts", ()) or ((formula.part,) if hasattr(formula, "part") else ())
    return [found for part in parts for found in _conditions(part)]


def _enough(formula) -> bool:
    """Whether every leaf has the seeds that a decision needs."""
    return all(
        len(leaf.outcomes) >= leaf.needed if isinstance(leaf, Exact) else not np.isnan(leaf.interval[0])
        for leaf in leaves(formula)
    )


def _settled(condition) -> bool:
    """Whether no further seed can prove a condition: seeds are enough, or one of ours has failed what all must meet."""
    match condition:
        case And(parts=parts):
            return _enough(condition) or any(isinstance(part, Exact) and False in part.outcomes for part in parts)
        case Exact(outcomes=outcomes):
            return _enough(condition) or False in outcomes
    return _enough(condition)


def _mixed(formula) -> bool:
    """Whether seeds disagree on an outcome that all must share, so that no further one can decide it."""
    exact = [leaf for leaf in leaves(formula) if isinstance(leaf, Exact) and len(leaf.outcomes) < leaf.needed]
    return any(len(set(leaf.outcomes)) > 1 for leaf in exact)


def _seeds(units: Collection[str], seeds: int) -> str:
    """'3 seeds'; '3 searches' where each row of the claim was searched, '3 seeds or searches' where some were.

    Args: units: what a seed repeats in the rows of the claim (`Ours.unit_of`).
    """
    searched = [unit for unit in SEARCHED_UNITS if unit in units]
    words = searched if len(units) == 1 and searched else ["seed", *(["search"] if searched == ["search"] else [])]
    ending = {"search": "es"}
    return f"{seeds} {' or '.join(word + ('' if seeds == 1 else ending.get(word, 's')) for word in words)}"


def _basis(units: Collection[str], cells: Sequence, seeds: int) -> str:
    """Seeds and test images behind a measured verdict."""
    counts = {quantity.examples for quantity in cells if quantity.draws is None} - {0}
    parts = [_seeds(units, seeds)]
    if counts:
        parts.append(" and ".join(map(str, sorted(counts))) + " test images")
    accuracies = [q for q in cells if q.draws is None and is_accuracy(*q.pool)]
    if any(not quantity.examples for quantity in accuracies):
        parts.append("test images' sampling not included")
    return ", ".join(parts)


def _advice(units: Collection[str], formula, tests: Sequence[Leaf], status: str) -> str:
    """For an open verdict: how many seeds would decide it."""
    if status != UNDECIDED:
        return ""
    if _mixed(formula):
        return " The seeds do not agree."
    if not _enough(formula):
        outcomes = [leaf.needed for leaf in leaves(formula) if isinstance(leaf, Exact)]
        return f" At least {_seeds(units, max([MIN_SEEDS, *outcomes]))} are needed."
    if not tests:
        return " The seeds do not agree."
    if any(isinstance(leaf, Sampled) for leaf in tests):
        return ""
    needed = seeds_needed(formula)
    if needed is None:
        return " At these differences more seeds alone would not decide it."
    return f" {_seeds(units, needed)} would decide it if the differences stay as they are."


def judge(claim_id: str, tables: Mapping[str, pd.DataFrame], offers_of: OffersOf | None = None) -> Verdict:
    """What our results say about one claim.

    Args:
        claim_id: for example 'acghostnet-c33'.
        tables: table or figure id -> our data frame. Tables in the published schema (several rows per key with `seed`;
            `attrs` preset, dataset and extra frames); figures as data/published/README.md describes.
        offers_of: which runs an entry offers, so that a command is named only where it helps.
    Returns: a Verdict; see the module's docstring for what each kind of criterion asks.
    Raises: InputError for an unknown claim or for tables that do not fit their schema.
    """
    return Judge(offers_of)(claim_id, tables)


def _partial(ours: Mapping[str, Ours], tree: ast.expr, default: str) -> str:
    """What the rows that were run say, where that can be evaluated at all."""
    try:
        held = Evaluator({name: mine.means for name, mine in ours.items()}, default).holds(tree)
    except ExpressionError:
        return ""
    return f" On the means of what was run the criterion {'holds' if held else 'does not hold'}."


def judge_all(
    tables: Mapping[str, pd.DataFrame], paper: str | None = None, offers_of: OffersOf | None = None
) -> pd.DataFrame:
    """Verdicts on all claims (of one paper) as a data frame: the Verdict's fields, claim in words, origin, place."""
    listed = claims()
    if paper is not None:
        check_choice("paper", paper, listed["paper"].unique())
        listed = listed[listed["paper"] == paper]
    rows, judged = [], Judge(offers_of)
    for row in listed.itertuples():
        found = judged(row.claim_id, tables)
        rows.append(
            {"paper": row.paper, "place": row.table_or_figure, "claim": row.claim, "origin": row.origin}
            | {"published": row.published_verdict}
            | vars(found)
        )
    return pd.DataFrame(rows)
