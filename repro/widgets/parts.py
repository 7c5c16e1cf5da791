"""What all views share: labelled controls, messages beside them, figures in one style, the guard around callbacks."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Mapping

import ipywidgets as widgets
import plotly.graph_objects as go

from repro.errors import InputError
from repro.report.palette import COLOURS
from repro.widgets.plot import Plot

STALE = "repro-stale"
_FADED = f"<style>.{STALE} {{ opacity: 0.2; }}</style>"
LABEL_WIDTH = "150px"
CONTROL_WIDTH = "400px"


def control(kind: type, label: str, tooltip: str = "", *, width: str = CONTROL_WIDTH, **options) -> widgets.Widget:
    """A control with a visible label (which names its unit) and a tooltip; keyboard focus is the browser's own."""
    if issubclass(kind, widgets.widget_int._BoundedInt | widgets.widget_float._BoundedFloat) and "Slider" in str(kind):
        options.setdefault("continuous_update", False)
    if issubclass(kind, widgets.Text | widgets.BoundedIntText | widgets.BoundedFloatText | widgets.IntText):
        options.setdefault("continuous_update", False)
    made = kind(
        description=label,
        style={"description_width": LABEL_WIDTH},
        layout=widgets.Layout(width=width, max_width="calc(100% - 4px)"),
        **options,
    )
    made.tooltip = tooltip or label
    return made


def button(label: str, tooltip: str, action: Callable[[], object] | None = None, **options) -> widgets.Button:
    """A push button; `action` is called without arguments."""
    options.setdefault("layout", widgets.Layout(width="auto"))
    made = widgets.Button(description=label, tooltip=tooltip, **options)
    if action is not None:
        made.on_click(lambda _: action())
    return made


class Message(widgets.HTML):
    """One sentence beside a control: an error in red, a note in grey, or nothing; `width` is a CSS length."""

    def __init__(self, width: str = CONTROL_WIDTH):
        super().__init__()
        self.width = width

    def error(self, text: object, labels: Mapping[str, str] | None = None) -> None:
        """Show what is wrong with the value of the control; `labels` say how a name in the sentence is labelled."""
        for name, label in (labels or {}).items():
            text = re.sub(rf"\b{name}=", f"{label} = ", str(text), count=1)
        style = f"color:{COLOURS['chosen']};max-width:{self.width};line-height:1.35"
        self.value = f'<div role="alert" class="repro-error" style="{style}">{html.escape(str(text))}</div>{_FADED}'

    @property
    def failed(self) -> bool:
        """Whether it shows an error."""
        return 'role="alert"' in self.value

    def note(self, text: str) -> None:
        """Show a remark."""
        self.value = (
            f'<div role="status" style="color:#5f6368;max-width:{self.width};line-height:1.35">'
            f"{html.escape(text)}</div>"
        )

    def clear(self) -> None:
        """Show nothing."""
        self.value = ""


def fade(box: widgets.DOMWidget, faded: bool) -> None:
    """Fade what shows an older state than the controls do, beside the error that says why, or show it again."""
    box.add_class(STALE) if faded else box.remove_class(STALE)


def guarded(message: Message, *shown: widgets.DOMWidget):
    """Decorator for callbacks: an InputError is shown at `message`, and `shown`, which is older then, fades."""

    def around(callback):
        @functools.wraps(callback)
        def run(*arguments, **options):
            try:
                result = callback(*arguments, **options)
            except InputError as error:
                message.error(error)
                result = None
            for each in shown:
                fade(each, bool(message.failed))
            return result

        return run

    return around


def figure(*, title: str = "", x: str = "", y: str = "", width: int = 460, height: int = 320, **layout) -> Plot:
    """An empty chart in the house style; `x` and `y` name the axes with their unit."""
    made = go.Figure()
    made.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 14}, "x": 0.02, "xanchor": "left"},
        font={"size": 12, "color": COLOURS["ink"]},
        margin={"l": 60, "r": 20, "t": 44, "b": 46},
        width=width,
        height=height,
        xaxis_title=x,
        yaxis_title=y,
        legend={"orientation": "h", "y": -0.24, "x": 0, "font": {"size": 11}},
        hovermode="closest",
    )
    made.update_layout(**layout)
    return Plot(made)


def row(*children: widgets.Widget, gap: str = "12px") -> widgets.Box:
    """Children side by side; they wrap on a narrow page."""
    return widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap=gap))


def beside(controls: widgets.Widget, charts: widgets.Widget) -> widgets.Box:
    """Controls left of the charts that they change; long lists of controls scroll by themselves.

    Both shrink, side by side from a page of 900 pixels on; on a narrower one the charts follow below.
    """
    controls.layout.flex = "none"  # else rows of buttons shrink to nothing before the box begins to scroll
    scrolled = widgets.VBox([controls])
    scrolled.layout.flex, scrolled.layout.min_width = "0 1 440px", "min(100%, 320px)"
    scrolled.layout.max_width, scrolled.layout.max_height = "100%", "88vh"
    scrolled.layout.overflow = "hidden auto"
    charts.layout.flex, charts.layout.min_width = "1 1 320px", "0"
    return row(scrolled, charts, gap="16px")


def column(*children: widgets.Widget) -> widgets.Box:
    """Children below one another."""
    return widgets.VBox(children, layout=widgets.Layout(grid_gap="4px"))


def heading(text: str) -> widgets.HTML:
    """A small heading above a group of controls."""
    return widgets.HTML(f'<div style="font-weight:600;margin:6px 0 0">{html.escape(text)}</div>')


def table_html(rows: list[tuple[str, str]]) -> str:
    """Two columns, name and value, as HTML."""
    cells = "".join(
        f'<tr><td style="padding:1px 14px 1px 0;color:#5f6368">{html.escape(name)}</td>'
        f'<td style="padding:1px 0;text-align:right;font-variant-numeric:tabular-nums">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table style="border-collapse:collapse;line-height:1.4">{cells}</table>'
