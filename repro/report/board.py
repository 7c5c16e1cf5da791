"""The status board: what has been regenerated, and how the claims stand; generated from the result records only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from repro.errors import InputError, check_choice
from repro.paths import repo_root, results_root, write_text
from repro.report.claims import places
from repro.report.conform import conform, folded
from repro.report.joining import join
from repro.report.published import PAPERS, claims, figure_ids, figure_index, table_ids, table_index, table_spec
from repro.report.records import ARCHITECTURE, Record, freshness, latest, load_records
from repro.report.tables import markdown_table
from repro.report.verdicts import (
    AGREES,
    NOT_INFORMATIVE,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    STATUSES,
    Criterion,
    Judge,
    OffersOf,
    Verdict,
    criterion,
    tables_of,
    with_note,
)

BEGIN, END = "<!-- status-board:begin -->", "<!-- status-board:end -->"
STATUSES_ON_BOARD = (*STATUSES, "mixed")
_DECIDED = {REPRODUCED: True, NOT_REPRODUCED: False, AGREES: False}
_FILLABLE = ("definition", "analytic", "empirical", "cost")

CodeOf = Callable[[Record], Mapping[str, str] | None]
"""Record -> today's code fingerprint by kind of run, None if it cannot be told."""
FileOf = Callable[[str], str | None]
"""id -> the file that regenerates it, relative to the repository, None if nothing does."""


def _state(record: Record | None, content: str) -> str:
    if record is None:
        return "not yet"
    if content == "definitions" and record.dataset == ARCHITECTURE:
        return "transcribed"
    if record.table_id in figure_ids():
        return "regenerated"
    spec = table_spec(record.table_id)
    cells = conform(record.table_id, record.frame).cells
    filled = {spec.columns[name].role for name, column in cells.items() if any(cell.filled for cell in column)}
    trained = set(spec.named("empirical", "cost"))
    if trained and not filled & {"empirical", "cost"}:
        return "analytic only"
    return "regenerated" if filled & set(_FILLABLE) else "not yet"


@dataclass(frozen=True)
class Judged:
    """A claim judged on our records: one verdict a run ("cifar10 (study)"), and the one that counts.

    The one that counts is that of the first data set, in the criterion's order, that was run at a preset the criterion
    allows; its status is "mixed" if two data sets give different decided answers. A claim about several data sets, of
    which no run has all rows, is judged on the runs of one preset together ("food101 + pets (paper)").
    """

    runs: dict[str, Verdict]
    status: str
    evidence: str


def judge_records(offers_of: OffersOf | None = None) -> dict[str, Judged]:
    """Every claim judged on the committed records, by its id."""
    records = {name: load_records(name) for name in [*table_ids(), *figure_ids()]}
    judged = Judge(offers_of)

    def judge(claim_id: str) -> Judged:
        try:
            return _judge_claim(claim_id, records, judged)
        except InputError as problem:  # a damaged criterion leaves the other claims to be judged
            return Judged({}, NOT_RUN, f"Its criterion cannot be judged: {problem}")

    return {claim_id: judge(claim_id) for claim_id in claims()["claim_id"]}


def _judge_claim(claim_id: str, records: Mapping[str, list[Record]], judged: Judge) -> Judged:
    asked, names = criterion(claim_id), tables_of(claim_id)
    found, candidates = {}, _candidates(asked, records[names[0]] if names else [])
    for record in candidates:
        frames = {name: _beside(record, name, records[name]) for name in names}
        known = {name: frame for name, frame in frames.items() if frame is not None}
        found[f"{record.dataset} ({record.preset})"] = judged(claim_id, known)
    if len(names) == 1 and all(verdict.status == NOT_RUN for verdict in found.values()):
        together = join(candidates)
        if together is not None:
            run = f"{together.attrs['dataset']} ({candidates[0].preset})"
            found = {run: judged(claim_id, {names[0]: together})}
    if not found:
        verdict = judged(claim_id, {})
        return Judged({}, verdict.status, verdict.evidence)
    silent = {NOT_RUN}
    if asked.kind == "analytic":  # networks that a record does not count at the paper's size say nothing
        silent.add(NOT_INFORMATIVE)
    ran = {run: verdict for run, verdict in found.items() if verdict.status not in silent}
    if not ran and asked.kind == "analytic" and candidates[0].dataset == ARCHITECTURE:
        ran = dict(list(found.items())[:1])  # it says what is missing; runs say only that their networks are smaller
    ran = ran or {run: verdict for run, verdict in found.items() if verdict.status != NOT_RUN} or found
    answers = {_DECIDED[verdict.status] for verdict in ran.values() if verdict.status in _DECIDED}
    first = next(iter(ran.values()))
    if len(answers) == 1 or len(ran) == 1:
        return Judged(ran, first.status, first.evidence)
    told = "; ".join(f"{run}: {verdict.status}" for run, verdict in ran.items()) + "."
    return Judged(ran, "mixed" if len(answers) == 2 else first.status, told)


def _candidates(asked: Criterion, records: list[Record]) -> list[Record]:
    """Per data set the record to judge on: the highest preset that the criterion allows; in the criterion's order.

    Data sets that the criterion does not name, and presets it does not allow, stand in only where there is no other.
    """
    order = [folded(name) for name in asked.datasets]
    allowed = [r for r in records if asked.presets == "any" or r.preset in asked.presets.split(";")]
    if asked.kind == "analytic":
        order = [folded(ARCHITECTURE), *order]
    else:
        allowed = [r for r in allowed if r.dataset != ARCHITECTURE] or allowed
    chosen: dict[str, Record] = {}
    for record in allowed or records:  # the highest preset comes first
        chosen.setdefault(folded(record.dataset), record)
    if asked.kind != "analytic" and chosen:  # a few seeds of one data set do not stand beside a study of another
        highest = next(iter(chosen.values())).preset
        chosen = {name: record for name, record in chosen.items() if record.preset == highest}
    listed = [name for name in order if name in chosen]
    if asked.kind == "analytic" or not order:
        listed += [name for name in chosen if name not in listed]
    return [chosen[name] for name in listed or list(chosen)[:1]]


def _beside(record: Record, name: str, records: list[Record]) -> pd.DataFrame | None:
    """The frame of another table that goes with a record: of the same run, else the same data set, else the first."""
    if name == record.table_id:
        return record.frame
    same = [r for r in records if r.dataset == record.dataset]
    run = [r for r in same if r.preset == record.preset]
    return next((r.frame for r in (*run, *same, *records)), None)


def _code(record: Record | None, code_of: CodeOf | None) -> str:
    if record is None:
        return ""
    return freshness(record, code_of(record) if code_of else None)


def status_board(code_of: CodeOf | None = None, judged: Mapping[str, Judged] | None = None) -> pd.DataFrame:
    """One row per table and figure: paper, id, caption, state, preset, data set, code, and how its claims stand.

    State is 'regenerated' (a record of ours: trained, computed from formulas and the architecture, or measured),
    'analytic only' (the computed columns of a table with trained ones), 'transcribed' (definitions and constants of the
    paper) or 'not yet'; code says whether the record is of today's code (`repro.report.records.freshness`), which only
    the caller's `code_of` can tell. A claim about several places stands at the first one. `judged`: `judge_records()`,
    where it is at hand.
    """
    judged = judge_records() if judged is None else judged
    index = pd.concat(
        [table_index().rename(columns={"table_id": "id"}), figure_index().rename(columns={"figure_id": "id"})]
    )
    index = index.set_index("id")
    standing: dict[str, list[str]] = {name: [] for name in index.index}
    for claim_id, found in judged.items():
        if place := next(iter(places(claim_id)), None):
            standing[place].append(found.status)
    rows = []
    for paper in PAPERS:
        for name in index.index[index["paper"] == paper]:
            record = latest(name)
            counts = Counter(standing[name])
            rows.append(
                {
                    "paper": PAPERS[paper],
                    "id": name,
                    "caption": index.loc[name, "caption"],
                    "state": _state(record, index.loc[name].get("content", "results")),
                    "preset": record.preset if record else "",
                    "dataset": record.dataset if record else "",
                    "code": _code(record, code_of),
                    "claims": ", ".join(f"{counts[s]} {_short(s)}" for s in STATUSES_ON_BOARD if counts[s]),
                }
            )
    return pd.DataFrame(rows)


def _short(status: str) -> str:
    return status.partition(" (")[0].removesuffix(" at this preset")


def _basis(claim_id: str) -> str:
    try:
        return "computed" if criterion(claim_id).kind in ("text", "printed", "analytic") else "measured"
    except InputError:  # its criterion is damaged
        return "measured"


def verdict_counts(
    by: Sequence[str] = ("paper", "origin", "basis"), judged: Mapping[str, Judged] | None = None
) -> pd.DataFrame:
    """How many claims have which status; every count of verdicts that is shown anywhere is a sum of these.

    Args:
        by: any of paper, origin (`stated` by the authors, `implied` by us) and basis (`measured`; `computed` from
            architectures and printed numbers).
        judged: `judge_records()`, where it is at hand.
    Returns: the columns `by`, one per status of the board, and claims, their sum.
    """
    for name in by:
        check_choice("by", name, ("paper", "origin", "basis"))
    judged = judge_records() if judged is None else judged
    found = claims()[["claim_id", "paper", "origin"]]
    found = found.assign(
        status=[judged[name].status for name in found["claim_id"]],
        basis=[_basis(name) for name in found["claim_id"]],
        paper=[PAPERS.get(paper, "between the papers") for paper in found["paper"]],
        order=[[*PAPERS, "cross"].index(paper) for paper in found["paper"]],
    )
    sort = [name if name != "paper" else "order" for name in by]
    ascending = [name == "paper" for name in by]  # measured before computed, stated before implied
    counts = found.sort_values(sort, ascending=ascending, kind="stable").groupby([*by, "status"], sort=False).size()
    counts = counts.unstack(fill_value=0).reindex(columns=list(STATUSES_ON_BOARD), fill_value=0)
    return counts.assign(claims=counts.sum(axis=1)).rename_axis(columns=None).reset_index()


def _counts_markdown(judged: Mapping[str, Judged]) -> str:
    counts = verdict_counts(("basis", "origin"), judged)
    total = counts.sum(numeric_only=True).to_dict()
    counts = pd.concat([counts, pd.DataFrame([{"basis": "all", "origin": "", **total}])], ignore_index=True)
    used = [name for name in STATUSES_ON_BOARD if counts[name].any()]
    whole = counts[["basis", "origin", *used, "claims"]].astype(dict.fromkeys([*used, "claims"], int))
    return markdown_table(whole.rename(columns={name: _short(name) for name in used}))


def board_markdown(
    code_of: CodeOf | None = None,
    file_of: FileOf | None = None,
    judged: Mapping[str, Judged] | None = None,
) -> str:
    """The board as Markdown: counts, then one table whose ids link to the files that regenerate them."""
    judged = judge_records() if judged is None else judged
    board = status_board(code_of, judged)
    state = board["state"].value_counts()
    told = ", ".join(
        f"{state.get(name, 0)} {name}" for name in ("regenerated", "analytic only", "transcribed", "not yet")
    )
    shown = board.drop(columns=["paper", "caption"])
    shown["id"] = [_link(name, file_of(name) if file_of else None) for name in shown["id"]]
    shown = shown.rename(columns={"id": "table or figure", "dataset": "data set"})
    return (
        f"{len(board)} tables and figures: {told}. Claims:\n\n{_counts_markdown(judged)}\n\n{markdown_table(shown)}\n"
    )


def _link(name: str, file: str | None) -> str:
    return f"[{name}]({file})" if file else name


def _split(text: str, name: str) -> tuple[str, str, str]:
    head, begin, rest = text.partition(BEGIN)
    body, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(
            f"{name} has no status board markers; put the lines {BEGIN} and {END} where the board belongs."
        )
    return head, body, tail


def _readme(path: Path | None) -> tuple[Path, str]:
    path = path or repo_root() / "README.md"
    try:
        return path, path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read ({error.strerror}); the status board is written into it."
        ) from error


def update_readme(
    path: Path | None = None,
    *,
    code_of: CodeOf | None = None,
    file_of: FileOf | None = None,
    offers_of: OffersOf | None = None,
) -> Path:
    """Write the board between the markers of README.md and the verdicts to VERDICTS.md beside the records."""
    path, text = _readme(path)
    head, _, tail = _split(text, path.name)
    judged = judge_records(offers_of)
    write_text(path, f"{head}{BEGIN}\n{board_markdown(code_of, file_of, judged)}{END}{tail}")
    write_text(results_root() / "VERDICTS.md", verdicts_markdown(judged))
    return path


def board_is_current(
    path: Path | None = None,
    *,
    code_of: CodeOf | None = None,
    file_of: FileOf | None = None,
    offers_of: OffersOf | None = None,
) -> bool:
    """Whether README.md and VERDICTS.md hold exactly what the records give now."""
    path, text = _readme(path)
    judged, verdicts = judge_records(offers_of), results_root() / "VERDICTS.md"
    same = _split(text, path.name)[1] == f"\n{board_markdown(code_of, file_of, judged)}"
    return same and verdicts.is_file() and verdicts.read_text(encoding="utf-8") == verdicts_markdown(judged)


def verdicts_markdown(judged: Mapping[str, Judged] | None = None) -> str:
    """Every claim with its verdict, per paper; where several runs were judged, the one that counts and then each.

    The first line of a claim has its criterion's note.
    """
    judged = judge_records() if judged is None else judged
    listed = claims()
    head = "# Verdicts\n\nGenerated from the result records; do not edit. Criteria: data/published/criteria.csv."
    head += " ± is half of a 95 % interval."
    sections = [head, _counts_markdown(judged)]
    for paper in listed["paper"].unique():
        rows = []
        for row in listed[listed["paper"] == paper].itertuples():
            found = judged[row.claim_id]
            several = len(found.runs) > 1
            runs = {"all": found} | found.runs if several else {next(iter(found.runs), ""): found}
            first = next(iter(runs.values()))
            rows += [
                {
                    "claim": row.claim_id,
                    "says": row.claim if run in ("all", "") or not several else "",
                    "published": row.published_verdict,
                    "run": run,
                    "ours": verdict.status,
                    "evidence": with_note(row.claim_id, verdict.evidence) if verdict is first else verdict.evidence,
                }
                for run, verdict in runs.items()
            ]
        sections.append(f"## {PAPERS.get(paper, 'Between the papers')}\n\n{markdown_table(pd.DataFrame(rows))}")
    return "\n\n".join(sections) + "\n"
