"""What notebooks display: thin wrappers that put tables, figures, verdicts and provenance on the page.

`page(id)` does what most tables need: run, keep the record, compare with the printed numbers and with the committed
record, draw. The rest is for pages that say more.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from IPython.display import HTML, SVG, Markdown, display
from pandas.io.formats.style import Styler

from repro import papers, report
from repro.errors import check_choice
from repro.papers.table import ARCHITECTURE, Drawing
from repro.report import wide
from repro.report.reference import compare_with_reference
from repro.report.verdicts import Judge, with_note

VERDICT_COLOURS = {
    "reproduced": "var(--repro-good, #1b7f4d)",
    "not reproduced": "var(--repro-bad, #b3261e)",
    "undecided": "var(--repro-open, #8a6d00)",
    "not informative at this preset": "var(--repro-quiet, #6b7280)",
    "agrees (the printed numbers fail too)": "var(--repro-good, #1b7f4d)",
    "printed arithmetic": "var(--repro-quiet, #6b7280)",
    "not run": "var(--repro-quiet, #6b7280)",
}


def _plain(text: object) -> str:
    """Text for Markdown in which nothing is taken for HTML."""
    return html.escape(str(text), quote=False)


def _literal(text: object) -> str:
    """Text of messages and of other machines for Markdown: every character stands for itself."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", _plain(" ".join(str(text).split())))


def page(table_id: str, *, layout: str | None = None, shown: Sequence[str] | None = None, **request) -> pd.DataFrame:
    """Regenerate one table or figure and show it: label, comparison, standing against the reference, pictures.

    Args:
        layout, shown: as in `comparison`; by default the entry's own.
        request: what `repro.papers.run_table` takes.
    Returns: the frame, for what the page says next. Its record is kept.
    """
    table = papers.entry(table_id)
    frame = papers.run_table(table_id, **request)
    keep(frame)
    if table_id in report.published_tables():
        comparison(frame, layout=layout or table.layout, columns=shown or table.shown, notes=layout != "wide")
    else:
        label(frame)
    against_reference(frame)
    pictures(frame)
    return frame


def label(frame: pd.DataFrame) -> None:
    """What the numbers of a frame are from: preset, data set, seeds, and how that differs from the paper."""
    facts = frame.attrs
    if facts.get("dataset") != ARCHITECTURE:
        seeds = ", ".join(map(str, facts["seeds"]))
        scale = _plain(facts["scale"])
        text = f"**Ours:** preset `{facts['preset']}`, data set `{facts['dataset']}`, seeds {seeds}. {scale}"
    else:
        text = (
            f"**Ours:** computed from the architecture, nothing was trained. Convention: {_plain(facts['convention'])}."
        )
    failed = facts.get("failed", [])
    if failed:
        text += f"\n\n**{len(failed)} runs failed:** " + "; ".join(map(_literal, failed[:5]))
    display(Markdown(text))


def comparison(
    frame: pd.DataFrame, *, layout: str = "long", columns: Sequence[str] | None = None, notes: bool = True
) -> None:
    """Published numbers beside ours, with the label of ours.

    Args:
        layout: "long" (one row per cell) or "wide" (one row per key, a pair of columns per metric).
        columns: metrics of the wide layout (default: all).
        notes: whether the wide layout ends with the rows' notes.
    """
    check_choice("layout", layout, ("long", "wide"))
    label(frame)
    compared = report.compare(frame.attrs["table_id"], frame)
    chosen = [name for name in columns or () if name in set(compared["column"])] or None
    display(
        HTML(wide.render_wide(compared, chosen, notes=notes) if layout == "wide" else report.render_table(compared))
    )


def against_reference(frame: pd.DataFrame) -> None:
    """Yours against the committed record of the same table, preset and data set: a line, and the cells that differ."""
    cells, summary = compare_with_reference(frame)
    display(Markdown(f"*{_plain(summary)}*"))
    differing = cells[cells["result"] == "different"] if len(cells) else cells
    if len(differing):
        table(differing.drop(columns="result"))


def pictures(frame: pd.DataFrame) -> None:
    """The entry's pictures of a frame."""
    for name, drawing in papers.drawings_of(frame).items():
        figure(drawing, name)


def figure(drawing: Drawing, name: str) -> None:
    """Save a drawing as SVG and show it with its caption."""
    path = report.save_figure(drawing.figure, name, drawing.caption)
    display(SVG(filename=str(path)))
    display(Markdown(f"*{_plain(drawing.caption)}*"))


def dataset(name: str, number: int = 10) -> None:
    """Some training images of a data set, under their classes or masks, and where they come from."""
    from repro.datasets import load
    from repro.datasets.registry import SEGMENTATION, info
    from repro.report.pictures import image_grid, mask_grid

    entry, data = info(name), load(name, "train", limit=number)
    names = entry.class_names or [str(label) for label in range(entry.num_classes)]
    if entry.task == SEGMENTATION:
        shown = mask_grid(data.images, {"mask": data.labels}, names)
    else:
        shown = image_grid(data.images, data.labels, names)
    caption = f"{entry.title}: {number} training images ({data.provenance['source']})."
    figure(Drawing(shown, caption), f"data_{name}")


def agreement(*frames: pd.DataFrame) -> None:
    """How many printed cells of each analytic column ours reproduces, over several tables."""
    found = {frame.attrs["table_id"]: report.compare(frame.attrs["table_id"], frame) for frame in frames}
    parts = [wide.agreement(compared).assign(table=table_id) for table_id, compared in found.items()]
    rows = pd.concat(parts, ignore_index=True)
    table(rows[["table", *rows.columns[:-1]]], digits=1)


def mismatches(*frames: pd.DataFrame) -> None:
    """Analytic cells that do not round to the printed value, with what explains them, over several tables."""
    for frame in frames:
        differing = wide.mismatches(report.compare(frame.attrs["table_id"], frame))
        if len(differing):
            display(Markdown(f"`{frame.attrs['table_id']}`: {len(differing)} cells differ from the printed digits."))
            table(differing, digits=1)
        else:
            display(Markdown(f"`{frame.attrs['table_id']}`: every computed cell equals the printed one."))


def errors(paper: str, *frames: pd.DataFrame) -> None:
    """Relative error of every analytic cell of a paper's tables, as a picture."""
    from repro.report.charts import errors_of, relative_errors

    found = {frame.attrs["table_id"]: report.compare(frame.attrs["table_id"], frame) for frame in frames}
    caption = "Relative error of every cell that follows from a published architecture and could be computed."
    figure(Drawing(relative_errors(errors_of(found)), caption), f"{paper}_errors-paper-architecture")


def table(frame: pd.DataFrame, digits: int = 3) -> None:
    """A small frame without its index."""
    numbers = frame.select_dtypes("float").columns
    style = frame.style.hide(axis="index").format(escape="html").format_index(escape="html", axis="columns")
    style = style.format(f"{{:z.{digits}f}}", subset=numbers, na_rep="–")
    display(_left(style))


def _left(style: Styler) -> Styler:
    """Cells and their headers begin at the same place."""
    left = [("text-align", "left"), ("vertical-align", "top")]
    whole = [("white-space", "nowrap")]  # ids and names would break at their hyphens
    rules = [("th, td", left), ("td:first-child", whole)]
    return style.set_table_styles([{"selector": where, "props": props} for where, props in rules])


def say(*sentences: str) -> None:
    """Sentences computed from numbers, as a list."""
    display(Markdown("\n".join(f"- {_plain(sentence)}" for sentence in sentences)))


def keep(frame: pd.DataFrame) -> None:
    """Write a regenerated table to the records folder with its provenance, and the frames that its pictures need."""
    papers.keep(frame)


def _about(table_ids: Iterable[str]) -> pd.DataFrame:
    known, wanted = report.claims(), set(table_ids)
    return known[known["table_or_figure"].map(lambda places: bool(set(places.split(";")) & wanted))]


def claims_under_test(*table_ids: str) -> None:
    """The claims that bear on these tables and figures, with what the printed numbers say of them."""
    view = _about(table_ids)[["claim_id", "claim", "origin", "published_verdict"]]
    table(view.rename(columns={"claim_id": "id", "published_verdict": "printed numbers agree"}))


def verdicts(tables: Mapping[str, pd.DataFrame]) -> None:
    """One line per claim on these tables: our verdict, the evidence and what the criterion notes."""
    from repro.papers.status import offers_of

    rows, judged = [], Judge(offers_of)
    for claim in _about(tables).itertuples():
        verdict = judged(claim.claim_id, tables)
        rows.append((claim.claim_id, claim.claim, verdict.status, with_note(claim.claim_id, verdict.evidence)))
    display(in_colour(pd.DataFrame(rows, columns=["id", "claim", "verdict", "evidence"])))


def in_colour(frame: pd.DataFrame) -> Styler:
    """A frame without its index whose column `verdict` is coloured."""
    style = _left(frame.style.hide(axis="index").format(escape="html"))
    colour = {status: f"color: {code}; font-weight: 600" for status, code in VERDICT_COLOURS.items()}
    return style.map(lambda status: colour.get(status, ""), subset=["verdict"])


def provenance(*frames: pd.DataFrame) -> None:
    """Revision, versions, device, seeds and time of each table on this page."""
    rows = []
    for frame in frames:
        facts = frame.attrs.get("provenance", {})
        versions = facts.get("versions", {})
        rows.append(
            {
                "table": frame.attrs.get("table_id", ""),
                "preset": facts.get("preset", ""),
                "data set": facts.get("dataset", ""),
                "seeds": ", ".join(map(str, facts.get("seeds", []))),
                "revision": facts.get("git_revision", "") + ("" if facts.get("git_clean") else " (changed)"),
                "code": ", ".join(f"{kind} {digest}" for kind, digest in facts.get("code", {}).items()),
                "device": facts.get("device", ""),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "compute (s)": facts.get("compute_s", float("nan")),
                "runs": facts.get("runs", 0),
            }
        )
    table(pd.DataFrame(rows), digits=0)


def board() -> None:
    """The status board of the committed records."""
    from repro.papers.status import status_board

    table(status_board().drop(columns=["paper", "caption"]).rename(columns=lambda name: name.replace("_", " ")))


def environment() -> None:
    """Revision, versions and device of this moment."""
    from repro.runs import provenance as now

    facts = now()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    changed = "" if facts["git_clean"] else " (changed)"
    display(
        Markdown(f"Revision `{facts['git_revision']}`{changed}; {_literal(facts['device'])}; {_literal(versions)}.")
    )


def reading_order() -> None:
    """All notebooks with their question and the tables they cover, as links."""
    from repro.pages.execute import list_notebooks, list_titles

    titles = list_titles()
    rows = [
        f"| [{name}]({name}.ipynb) | {_literal(titles[name])} | {', '.join(covers)} |"
        for name, covers in list_notebooks().items()
    ]
    display(Markdown("\n".join(["| notebook | question | tables and figures |", "|---|---|---|", *rows])))
