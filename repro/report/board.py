"""The status board: what has been regenerated, and how the claims stand; generated from the result records only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from repro.errors import InputError
from repro.paths import repo_root, results_root, write_text
from repro.report.claims import places
from repro.report.conform import conform
from repro.report.published import PAPERS, claims, figure_ids, figure_index, table_ids, table_index, table_spec
from repro.report.records import Record, freshness, latest, load_records
from repro.report.verdicts import STATUSES, Verdict, criteria, judge

BEGIN, END = "<!-- status-board:begin -->", "<!-- status-board:end -->"
COUNTED = {
    "reproduced": "reproduced",
    "not reproduced": "not_reproduced",
    "undecided": "undecided",
    "not run": "not_run",
}
_FILLABLE = ("definition", "analytic", "empirical", "cost")

CodeOf = Callable[[str, str, str], Mapping[str, str] | None]
"""(id, preset, dataset) -> today's code fingerprint by kind of run, None if it has none."""
FileOf = Callable[[str], str | None]
"""id -> the file that regenerates it, relative to the repository, None if nothing does."""


def _state(record: Record | None) -> str:
    if record is None:
        return "not yet"
    if record.table_id in figure_ids():
        return "regenerated"
    spec = table_spec(record.table_id)
    cells = conform(record.table_id, record.frame).cells
    filled = {spec.columns[name].role for name, column in cells.items() if any(cell.filled for cell in column)}
    trained = set(spec.named("empirical", "cost"))
    if trained and not filled & {"empirical", "cost"}:
        return "analytic only"
    return "regenerated" if filled & set(_FILLABLE) else "not yet"


def _best_frames(*, trained: bool) -> dict[str, pd.DataFrame]:
    found = {name: latest(name, trained=trained) for name in [*table_ids(), *figure_ids()]}
    return {name: record.frame for name, record in found.items() if record is not None}


def _verdicts() -> dict[str, Verdict]:
    """Every claim judged on the best records: analytic ones on what the architecture gives, measured ones on runs."""
    frames = {trained: _best_frames(trained=trained) for trained in (True, False)}
    kinds = dict(criteria()[["claim_id", "kind"]].values)
    return {name: judge(name, frames[kinds[name] != "analytic"]) for name in claims()["claim_id"]}


def _code(record: Record | None, code_of: CodeOf | None) -> str:
    if record is None:
        return ""
    return freshness(record, code_of(record.table_id, record.preset, record.dataset) if code_of else None)


def status_board(code_of: CodeOf | None = None) -> pd.DataFrame:
    """One row per table and figure: paper, id, caption, state, preset, data set, code, and counts of its claims.

    State is 'regenerated', 'analytic only' or 'not yet'; code says whether the record is of today's code
    (`repro.report.records.freshness`), which only the caller's `code_of` can tell. A claim about several places is
    counted at the first one; the rest of the claims on its row (printed checks, wrong preset) are not applicable.
    """
    ids = [*table_ids(), *figure_ids()]
    records = {name: latest(name) for name in ids}
    found = _verdicts()
    counts: dict[str, dict[str, int]] = {name: dict.fromkeys([*COUNTED.values(), "not_applicable"], 0) for name in ids}
    for claim_id in claims()["claim_id"]:
        place = next(iter(places(claim_id)), None)
        if place is not None:
            counts[place][COUNTED.get(found[claim_id].status, "not_applicable")] += 1
    captions = dict(table_index()[["table_id", "caption"]].values) | dict(
        figure_index()[["figure_id", "caption"]].values
    )
    papers = dict(table_index()[["table_id", "paper"]].values) | dict(figure_index()[["figure_id", "paper"]].values)
    rows = []
    for paper in PAPERS:
        for name in (name for name in ids if papers[name] == paper):
            record = records[name]
            rows.append(
                {
                    "paper": PAPERS[paper],
                    "id": name,
                    "caption": captions[name],
                    "state": _state(record),
                    "preset": record.preset if record else "",
                    "dataset": record.dataset if record else "",
                    "code": _code(record, code_of),
                    **counts[name],
                }
            )
    return pd.DataFrame(rows)


def verdict_counts() -> pd.DataFrame:
    """Per paper, how many claims have which verdict, from the best record of every table and figure."""
    verdicts = _verdicts()
    found = claims()[["claim_id", "paper"]].assign(status=lambda f: [verdicts[name].status for name in f["claim_id"]])
    counts = (
        found.groupby(["paper", "status"]).size().unstack(fill_value=0).reindex(columns=list(STATUSES), fill_value=0)
    )
    counts.index = [PAPERS.get(paper, "between the papers") for paper in counts.index]
    return counts.rename_axis(index="paper", columns=None).reset_index()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def markdown_table(frame: pd.DataFrame) -> str:
    """A data frame as a Markdown table; pipes and line breaks in cells are made harmless."""
    lines = [[_cell(name) for name in frame.columns], ["---"] * len(frame.columns)]
    lines += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def board_markdown(code_of: CodeOf | None = None, file_of: FileOf | None = None) -> str:
    """The board as Markdown: a summary line, then one table whose ids link to the files that regenerate them."""
    board = status_board(code_of)
    state = board["state"].value_counts()
    totals = board[[*COUNTED.values(), "not_applicable"]].sum()
    summary = (
        f"{len(board)} tables and figures: {state.get('regenerated', 0)} regenerated, "
        f"{state.get('analytic only', 0)} analytic only, {state.get('not yet', 0)} not yet. "
        f"Claims: {totals['reproduced']} reproduced, {totals['not_reproduced']} not reproduced, "
        f"{totals['undecided']} undecided, {totals['not_run']} not run, {totals['not_applicable']} not applicable "
        "(the papers' own printing, or numbers that only the paper preset can test)."
    )
    shown = board.drop(columns=["paper", "caption"])
    shown["id"] = [_link(name, file_of(name) if file_of else None) for name in shown["id"]]
    shown = shown.rename(
        columns={
            "id": "table or figure",
            "dataset": "data set",
            "not_reproduced": "not reproduced",
            "not_run": "not run",
        }
    )
    return f"{summary}\n\n{markdown_table(shown.rename(columns={'not_applicable': 'not applicable'}))}\n"


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


def update_readme(path: Path | None = None, *, code_of: CodeOf | None = None, file_of: FileOf | None = None) -> Path:
    """Write the board between the markers of README.md and the verdicts to VERDICTS.md beside the records."""
    path, text = _readme(path)
    head, _, tail = _split(text, path.name)
    write_text(path, f"{head}{BEGIN}\n{board_markdown(code_of, file_of)}{END}{tail}")
    write_text(results_root() / "VERDICTS.md", verdicts_markdown())
    return path


def board_is_current(path: Path | None = None, *, code_of: CodeOf | None = None, file_of: FileOf | None = None) -> bool:
    """Whether README.md holds exactly the board that the records give now."""
    path, text = _readme(path)
    return _split(text, path.name)[1] == f"\n{board_markdown(code_of, file_of)}"


def verdicts_markdown() -> str:
    """Every claim with its verdict, per paper; claims that could be judged on several data sets once per data set."""
    ids = [*table_ids(), *figure_ids()]
    all_records = {name: load_records(name) for name in ids}
    best = _best_frames(trained=True)
    runs = sorted({(r.preset, r.dataset) for records in all_records.values() for r in records})
    listed = claims()
    sections = ["# Verdicts\n\nGenerated from the result records; do not edit. Criteria: data/published/criteria.csv."]
    for paper in listed["paper"].unique():
        rows = []
        for row in listed[listed["paper"] == paper].itertuples():
            for frames in _frames_by_run(places(row.claim_id), all_records, best, runs):
                found = judge(row.claim_id, frames)
                rows.append(
                    {
                        "claim": row.claim_id,
                        "says": row.claim,
                        "published": row.published_verdict,
                        "ours": found.status,
                        "evidence": found.evidence,
                    }
                )
        sections.append(f"## {PAPERS.get(paper, 'Between the papers')}\n\n{markdown_table(pd.DataFrame(rows))}")
    return "\n\n".join(sections) + "\n"


def _frames_by_run(
    wanted: list[str],
    all_records: dict[str, list[Record]],
    best: dict[str, pd.DataFrame],
    runs: list[tuple[str, str]],
) -> list[dict[str, pd.DataFrame]]:
    """One set of tables per (preset, data set) that the claim's first table was run with; other tables follow suit."""
    first = next((name for name in wanted if all_records[name]), None)
    if first is None:
        return [best]
    sets = []
    for preset, dataset in runs:
        if not any((r.preset, r.dataset) == (preset, dataset) for r in all_records[first]):
            continue
        same = {n: r.frame for n in wanted for r in all_records[n] if (r.preset, r.dataset) == (preset, dataset)}
        sets.append(best | same)
    return sets
