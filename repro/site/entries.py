"""A page for every published table and figure: what is printed beside what was regenerated, with downloads.

Everything follows from the printed numbers and the committed records, pictures too; nothing is computed anew.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from repro import papers, report
from repro.report import wide
from repro.report.board import Judged
from repro.report.claims import places
from repro.report.records import ARCHITECTURE, Record
from repro.report.tables import key_text
from repro.report.verdicts import with_note
from repro.site import parts

SHOWN_ROWS = 60
"""Rows of a figure's data that its page shows; the download has all."""
_PLACE = re.compile(r"([tf])(\d+)$")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a record: its file's name, the SVG, and what it shows."""

    file: str
    svg: str
    caption: str


@dataclasses.dataclass
class Entry:
    """One published id with all that its page needs; `files` are downloads by name."""

    name: str
    paper: str
    caption: str
    state: str
    code: str
    records: list[Record]
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """'ShiftAddAug, table 3'."""
        return f"{self.paper}, {place_words(self.name)}"


def place_words(name: str) -> str:
    """'table 3' or 'figure 1' of an id."""
    found = _PLACE.search(name)
    return f"{'table' if found[1] == 't' else 'figure'} {int(found[2])}"  # type: ignore[index]


def entries(board: pd.DataFrame) -> list[Entry]:
    """Every published id in the board's order, with its records and pictures."""
    found = []
    for row in board.itertuples():
        entry = Entry(row.id, row.paper, row.caption, row.state, row.code, report.load_records(row.id))
        entry.pictures = pictures(row.id)
        found.append(entry)
    return found


def pictures(name: str) -> list[Picture]:
    """The pictures of an id's latest record, drawn from it; none without record or drawing.

    They are written into the figures folder, as by a command that draws them.
    """
    record = report.latest(name)
    if record is None or papers.file_of(name) is None:
        return []
    found = []
    for file, drawing in papers.drawings_of(record.frame).items():
        path = report.save_figure(drawing.figure, file, drawing.caption)
        found.append(Picture(path.name, path.read_text(encoding="utf-8"), drawing.caption))
    return found


def page(entry: Entry, judged: Mapping[str, Judged], claims: pd.DataFrame) -> str:
    """The Markdown of an entry's page; fills `entry.files` with what it links to."""
    file = papers.file_of(entry.name)
    how = f"`python -m repro table {entry.name}` regenerates it (`{file}`)." if file else "Nothing regenerates it yet."
    since = f"; {entry.code}" if entry.code else ""
    parts_of_page = [
        f"# {entry.title}",
        parts.raw(f"<p>{parts.plain(entry.caption)}</p>"),
        f"**{entry.state[:1].upper()}{entry.state[1:]}**{since}. {how}",
        *(["## Pictures", *picture_gallery(entry)] if entry.pictures else []),
        *_numbers(entry),
        *(["## Claims", table] if (table := claims_table(entry.name, [entry.name], judged, claims)) else []),
        *_downloads(entry),
        *_provenance(entry),
    ]
    return "\n\n".join(parts_of_page) + "\n"


def picture_gallery(entry: Entry) -> Iterable[str]:
    """Markdown of the entry's pictures, if it has any, for a page one folder below the top."""
    if entry.pictures:
        yield parts.raw("\n".join(parts.figure(f"../figures/{p.file}", p.caption) for p in entry.pictures))


def _numbers(entry: Entry) -> Iterable[str]:
    name = entry.name
    if name in report.published_tables():
        text = report.published_text(name)
        entry.files[f"{name}-published.csv"] = text.to_csv(index=False, lineterminator="\n")
        if not entry.records:
            yield "## Published"
            yield parts.raw(parts.frame_table(text, f"{name}: published"))
    for record in entry.records:
        yield f"## {'Published and ours' if name in report.published_tables() else 'Ours'}: {record.label}"
        if record.provenance.get("convention"):
            yield parts.raw(f"<p>Convention: {parts.plain(record.provenance['convention'])}.</p>")
        scale = papers.entry(name).scale.get(record.preset, "") if papers.file_of(name) else ""
        if scale and record.dataset != ARCHITECTURE:
            yield parts.raw(f"<p>{parts.plain(scale)}</p>")
        yield parts.raw(record_table(entry, record))


def record_table(entry: Entry, record: Record) -> str:
    """HTML of a record beside the printed numbers, or of a figure's data; adds its downloads to `entry.files`."""
    stem = f"{entry.name}-{record.preset}-{record.dataset}"
    entry.files[f"{stem}-ours.csv"] = record.frame.to_csv(index=False, lineterminator="\n")
    if entry.name not in report.published_tables():
        return _data(record.frame, f"{entry.name}: {record.label}")
    compared, table = report.compare(entry.name, record.frame), papers.entry(entry.name)
    entry.files[f"{stem}-compared.csv"] = compared.to_csv(index=False, lineterminator="\n")
    entry.files[f"{stem}-compared.tex"] = report.printable(compared).to_latex(index=False, escape=True)
    chosen = [column for column in table.shown if column in set(compared["column"])] or None
    drawn = wide.render_wide(compared, chosen) if table.layout == "wide" else report.render_table(compared)
    return parts.boxed(str(drawn), f"{entry.name}: published and ours ({record.label})")


def _data(frame: pd.DataFrame, label: str) -> str:
    shown = frame.head(SHOWN_ROWS).astype(object).map(key_text)
    table = parts.frame_table(shown, label)
    if len(frame) == len(shown):
        return table
    return f"{table}<p>The first {SHOWN_ROWS} of {len(frame)} rows; the download has all.</p>"


def claims_table(name: str, ids: Sequence[str], judged: Mapping[str, Judged], claims: pd.DataFrame) -> str:
    """Markdown of the claims on some tables and figures with our verdicts, "" without any; `name` labels it."""
    rows = []
    for claim in claims.itertuples():
        if set(ids) & set(places(claim.claim_id)):
            found = judged[claim.claim_id]
            rows.append(
                f"<tr><th scope='row'>{parts.link(claim.claim_id, f'../claims.html#{claim.claim_id}')}</th>"
                f"<td>{parts.plain(claim.claim)}</td><td>{parts.status(found.status)}</td>"
                f"<td>{parts.plain(with_note(claim.claim_id, found.evidence))}</td></tr>"
            )
    head = "<thead><tr>" + "".join(f"<th scope='col'>{h}</th>" for h in ("id", "claim", "ours", "evidence"))
    box = f'<div class="wide" role="region" tabindex="0" aria-label="Claims on {name}"><table class="words">'
    return parts.raw(f"{box}{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>") if rows else ""


def _downloads(entry: Entry) -> Iterable[str]:
    links = [parts.link(name, f"../downloads/{name}", download=True) for name in entry.files]
    links += [parts.link(p.file, f"../figures/{p.file}", download=True) for p in entry.pictures]
    if links:
        yield "## Downloads"
        yield parts.raw(parts.listed(links))


def _provenance(entry: Entry) -> Iterable[str]:
    if not entry.records:
        return
    rows = []
    for record in entry.records:
        facts = record.provenance
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        rows.append(
            {
                "run": record.label,
                "revision": facts["git_revision"][:12] + ("" if facts["git_clean"] else " (changed)"),
                "device": facts["device"],
                "versions": versions,
                "runs": str(facts.get("runs", "")),
                "compute (s)": f"{facts['compute_s']:.0f}" if "compute_s" in facts else "",
            }
        )
    yield "## Provenance"
    yield parts.raw(parts.frame_table(pd.DataFrame(rows), f"{entry.name}: provenance"))
