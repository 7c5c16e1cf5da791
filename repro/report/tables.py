"""Tables for people: published beside ours as text, as HTML (pandas' Styler) and as Markdown (tabulate)."""

from __future__ import annotations

import html
import math
import zlib

import pandas as pd
from pandas.io.formats.style import Styler

from repro.errors import InputError
from repro.report.compare import LONG_COLUMNS, NOTES, shown_number, shown_small
from repro.report.published import printed_decimals

_RULES = [
    {"selector": "th, td", "props": "text-align:left;vertical-align:top;white-space:nowrap;padding:2px 8px"},
    {"selector": ".note", "props": "white-space:normal;min-width:20em"},
    {"selector": ".match", "props": "color:var(--repro-good, #1b7f4d)"},
    {"selector": ".differs", "props": "color:var(--repro-bad, #b3261e)"},
    {"selector": ".absent", "props": "color:var(--repro-quiet, #6b7280)"},
]


class RenderedTable(str):
    """A comparison as HTML (the string itself) and Markdown; a notebook shows it by itself."""

    markdown: str

    def __new__(cls, html_text: str, markdown: str) -> RenderedTable:
        table = super().__new__(cls, html_text)
        table.markdown = markdown
        return table

    @property
    def html(self) -> str:
        """The table as HTML."""
        return str(self)

    def _repr_html_(self) -> str:
        return self.html

    def _repr_markdown_(self) -> str:
        return self.markdown


def harmless(cell: object) -> str:
    """A cell as Markdown that stays text in its cell."""
    return str(cell).replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


def markdown_table(frame: pd.DataFrame) -> str:
    """A data frame as a Markdown table without padding; pipes, tags and line breaks are made harmless."""
    texts = frame.astype(object).map(harmless).rename(columns=harmless)
    return texts.to_markdown(index=False, tablefmt="github", stralign=None, disable_numparse=True)


def html_table(frame: pd.DataFrame, title: str, classes: pd.DataFrame | None = None) -> str:
    """A data frame of texts as HTML in a box that scrolls sideways; everything in it is escaped.

    Args:
        classes: "match", "differs", "absent", "note" or "" per cell, in the shape of `frame`.
    """
    style = Styler(frame, uuid=f"{zlib.crc32(title.encode()):08x}", cell_ids=False, caption=html.escape(title))
    style = style.hide(axis="index").format(escape="html").format_index(escape="html", axis="columns")
    style = style.set_table_styles(_RULES)
    if classes is not None:
        style = style.set_td_classes(classes)
    return f'<div style="overflow-x:auto;max-width:100%" tabindex="0">{style.to_html()}</div>'


def keys_of(compare_frame: pd.DataFrame) -> list[str]:
    """Key columns of a long comparison. Raises: InputError if it is not one."""
    absent = [name for name in LONG_COLUMNS if name not in compare_frame.columns]
    if absent:
        raise InputError(f"compare_frame has no column {absent[0]!r}; it must be the long layout of compare().")
    return [name for name in compare_frame.columns if name not in LONG_COLUMNS]


def run_label(compare_frame: pd.DataFrame) -> str:
    """Preset and data set of a comparison, as far as the frame knows them."""
    known = [str(compare_frame.attrs.get(name) or "") for name in ("preset", "dataset")]
    return ", ".join(part for part in known if part) or "no run"


def heading(compare_frame: pd.DataFrame, label: str) -> str:
    """What stands over a comparison."""
    return f"{compare_frame.attrs.get('table_id', '')}: published and ours ({label})"


def quantity(column: str, unit: str) -> str:
    """A column's name with its unit."""
    return f"{column} ({unit})" if unit else column


def key_text(value: object) -> str:
    """A key as text: whole numbers without a point, an empty cell as nothing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return "" if value is None else str(value)


def spread_text(row: dict) -> str:
    """The spread behind ours, ' ± 0.07', with as many decimals as ours or more; nothing for fewer than two seeds."""
    if math.isnan(row["std"]) or row["n_seeds"] < 2:
        return ""
    decimals = printed_decimals(row["ours_text"])
    shown = shown_number(row["std"], row["published_text"]) if decimals is None else f"{row['std']:z.{decimals}f}"
    return f" ± {shown if float(shown) else shown_small(row['std'], row['published_text'])}"


def relative_text(error: float) -> str:
    """A relative error as a signed percentage, "+0.4 %"; "0.0 %" for what rounds to zero, nothing for NaN."""
    if math.isnan(error):
        return ""
    text = f"{100 * error:+z.1f} %"
    return "0.0 %" if text == "+0.0 %" else text


def ours_text(row: dict) -> str:
    """Ours as shown: the value, 'not run', or a dash for the spread of one seed."""
    return row["ours_text"] or ("–" if row["note"].startswith(NOTES["one seed"]) else NOTES["not run"])


def _cells(row: dict) -> dict[str, str]:
    spread = spread_text(row)
    whole = "." not in row["published_text"] + row["ours_text"]
    difference = shown_number(row["difference"], row["published_text"])
    return {
        "published": row["published_text"],
        "ours": ours_text(row) + (f"{spread} (n = {row['n_seeds']})" if spread else ""),
        "difference": f"{row['difference']:z.0f}" if whole and difference else difference,
        "relative": relative_text(row["relative_error"]),
        "note": "" if row["note"] == NOTES["not run"] else row["note"],
    }


def printable(compare_frame: pd.DataFrame) -> pd.DataFrame:
    """A long comparison (from `compare`) as texts, one row per cell: key, quantity, published, ours, difference, …

    Relative error and note are left out where no row has one.
    """
    keys = keys_of(compare_frame)
    rows = [
        {name: key_text(row[name]) for name in keys} | {"quantity": quantity(row["column"], row["unit"])} | _cells(row)
        for row in compare_frame.to_dict("records")
    ]
    optional = ["relative", "note"]
    frame = pd.DataFrame(rows, columns=[*keys, "quantity", "published", "ours", "difference", *optional], dtype=object)
    return frame.drop(columns=[name for name in optional if not frame[name].any()])


def render_table(compare_frame: pd.DataFrame, label: str = "") -> RenderedTable:
    """A long comparison (from `compare`) as a table for people: published beside ours, with a label that says the run.

    Args:
        compare_frame: what `compare(table_id, ours)` returned.
        label: preset, data set, epochs and seeds (`repro.report.records.provenance_label`); by default what the frame
            knows of itself. Every number says its preset.
    """
    label = label or run_label(compare_frame)
    frame, title = printable(compare_frame).rename(columns={"ours": f"ours ({label})"}), heading(compare_frame, label)
    return RenderedTable(html_table(frame, title), f"**{harmless(title)}**\n\n{markdown_table(frame)}\n")
