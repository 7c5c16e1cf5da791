"""A plotly chart as one widget whose synchronised state is the whole chart.

Plotly's own FigureWidget sends each change as a message and keeps the chart as first made, so that a page that comes
later or is still loading (Voila, a reload) shows an old one; and every such widget carries its own copy of plotly.js,
about 5 MB. Here a change replaces one JSON text, which `Plotly.react` draws, and all charts of a kernel share a script.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import anywidget
import ipywidgets as widgets
import plotly
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

_DRAW = """
const CONFIG = { displaylogo: false, responsive: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

async function load(model) {
  const script = await model.widget_manager.get_model(model.get("script"));
  const known = (globalThis.reproPlotly ??= new Map());
  const version = script.get("version");
  if (!known.has(version)) {
    globalThis.PlotlyConfig ??= { MathJaxConfig: "local" };
    // Notebook pages may define an AMD loader, which plotly.js must not register with.
    const module = { exports: {} };
    new Function("module", "exports", "define", script.get("code"))(module, module.exports, undefined);
    known.set(version, module.exports);
  }
  return known.get(version);
}

async function render({ model, el }) {
  const plotly = await load(model);
  const plot = document.createElement("div");
  el.appendChild(plot);
  let drawn = 0;
  let queue = Promise.resolve();

  function draw() {
    queue = queue.then(async () => {
      const { data, layout } = JSON.parse(model.get("spec"));
      drawn = el.clientWidth;
      // Charts keep their width where there is room and shrink with a narrow page.
      layout.width = Math.min(layout.width, drawn || layout.width);
      await plotly.react(plot, data, layout, CONFIG);
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", (layout.title?.text ?? "chart").replace(/<[^>]*>/g, " "));
    }).catch((error) => console.error(error));
    return queue;
  }

  await draw();
  plot.on("plotly_click", ({ points }) => model.send({ trace: points[0].curveNumber, point: points[0].pointNumber }));
  model.on("change:spec", draw);
  const observer = new ResizeObserver(() => { if (el.clientWidth && el.clientWidth !== drawn) draw(); });
  observer.observe(el);
  return () => { observer.disconnect(); model.off("change:spec", draw); plotly.purge(plot); };
}

export default { render };
"""


class _Script(anywidget.AnyWidget):
    """plotly.js, sent to a page once for all its charts."""

    _esm = "export default {};"
    version = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)


@functools.cache
def _script() -> _Script:
    return _Script(version=plotly.__version__, code=get_plotlyjs())


class Plot(anywidget.AnyWidget):
    """A chart on the page: `chart` is an ordinary plotly figure, changed inside `with plot.change() as chart:`.

    Args:
        chart: with its layout's width and height in pixels; on a narrower page it shrinks to what there is.
    """

    _esm = _DRAW
    script = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Unicode().tag(sync=True)

    def __init__(self, chart: go.Figure):
        self.chart = chart
        size = widgets.Layout(
            width=f"{chart.layout.width}px",
            max_width="100%",
            min_height=f"{chart.layout.height}px",
            overflow="hidden",
            flex="0 1 auto",
        )
        super().__init__(script=_script().model_id, spec=chart.to_json(validate=False), layout=size)

    @contextlib.contextmanager
    def change(self) -> Iterator[go.Figure]:
        """The chart, to be changed inside the block; all changes are drawn together when it ends."""
        yield self.chart
        self.spec = self.chart.to_json(validate=False)

    def on_click(self, action: Callable[[int, int], object]) -> None:
        """Call `action(trace, point)`, both counted from 0, when a mark is clicked."""
        self.on_msg(lambda _, content, buffers: action(int(content["trace"]), int(content["point"])))
