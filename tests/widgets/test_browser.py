"""The explorers in a real headless Chromium: move a control, read the changed figure."""

import re
import shutil

import psutil
import pytest

from repro.paths import repo_root
from tests.widgets.browser_tools import CHROMIUM, free_port, page, server, wait_until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest.importorskip("voila", reason="the notebooks extra is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]
PATIENCE_MS = 120_000
# One change reaches a page as several messages: every reading below waits for its own.
expect.set_options(timeout=PATIENCE_MS)
# A hidden tab keeps its charts; offsetParent tells the visible ones.
CHARTS = "[...document.querySelectorAll('.js-plotly-plot')].filter(e => e.offsetParent)"
TITLES = f"{CHARTS}.map(e => e.querySelector('.gtitle')?.textContent ?? '')"
TOO_WIDE = f"{CHARTS}.filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"


def shows(tab, *texts):
    """Wait until the title of some visible figure contains each text."""
    for text in texts:
        tab.wait_for_function(f"{TITLES}.some(t => t.includes({text!r}))")


def outlines(chart):
    """The expression that gives the drawn bars of a visible chart, as outlines."""
    return f"[...{CHARTS}[{chart}].querySelectorAll('.point path')].map(e => e.getAttribute('d')).join()"


def says(tab, text):
    """Wait for the sentence beside a control that says what is wrong."""
    tab.locator(".repro-error:visible", has_text=text).wait_for()


def enter(tab, label, value):
    box = tab.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")


def design_tab(tab):
    shows(tab, "2.345 mJ in all")
    before = [tab.evaluate(outlines(chart)) for chart in (0, 1)]
    tab.get_by_label("operators", exact=True).select_option("adder")
    shows(tab, "1.091 mJ in all")
    for chart, drawn in enumerate(before):
        tab.wait_for_function(f"{outlines(chart)} !== {drawn!r}")
    tab.locator("table", has_text="energy on the modelled chip").filter(has_text="1.091 mJ").first.wait_for()

    enter(tab, "PEs, fewer than", "4")
    says(tab, "does not fit the modelled accelerator")
    enter(tab, "PEs, fewer than", "192")
    tab.wait_for_selector(".repro-error", state="detached")
    enter(tab, "image side (pixels)", "-1")
    says(tab, "image side (pixels) = -1")
    tab.get_by_label("model", exact=True).select_option("mobilenet_v3_large")
    shows(tab, "1.726 mJ in all", "layers of mobilenet_v3_large")

    # Rows of buttons keep their height where the controls scroll.
    shift = tab.get_by_role("button", name="shift", exact=True)
    assert shift.evaluate("button => button.parentElement.clientHeight >= button.offsetHeight")

    # By keyboard alone: from the operators to the single layers, the first of which becomes a shift layer.
    tab.get_by_label("layers", exact=True).focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.wait_for_function("document.activeElement.textContent === 'shift'")
    tab.keyboard.press("Enter")
    tab.wait_for_function(f"!{TITLES}.some(t => t.includes('1.726 mJ in all'))")
    expect(tab.get_by_label("layers", exact=True).locator("option").first).to_have_text(re.compile("^shift"))


def ghost_tab(tab):
    tab.get_by_role("tab", name="ACGhostNet").click()
    shows(tab, "the whole network 0.1963 mJ")
    tab.get_by_role("button", name="all AAg1").focus()
    tab.keyboard.press("Enter")
    shows(tab, "the whole network 0.1010 mJ")
    tab.get_by_label("block 7", exact=True).select_option("CAg2")
    tab.wait_for_function("[...document.querySelectorAll('.bartext')].some(e => e.textContent.includes('CA'))")
    expect(tab.get_by_label("train")).to_have_value(re.compile("CAg2"))
    tab.get_by_role("button", name="undo", exact=True).click()
    shows(tab, "the whole network 0.1010 mJ")
    tab.locator(".js-plotly-plot:visible .point path").nth(2).click(force=True)
    tab.wait_for_function(f"!{TITLES}.some(t => t.includes('network 0.1010 mJ'))")
    expect(tab.get_by_label("block 2", exact=True)).not_to_have_value("AAg1")
    enter(tab, "energy budget (mJ)", "0.01")
    tab.get_by_role("button", name="best under budget").click()
    says(tab, "0.1010 to 0.2099 mJ")


def weights_tab(tab):
    tab.get_by_role("tab", name="Weights").click()
    shows(tab, "b = 0.0501", "After rounding, 26 different values", "200 pieces")
    for slider, gone in ((1, "b = 0.0501"), (2, "26 different values")):
        tab.locator(".widget-slider:visible .noUi-handle").nth(slider).focus()
        tab.keyboard.press("ArrowLeft")
        tab.wait_for_function(f"!{TITLES}.some(t => t.includes({gone!r}))")
    tab.locator(".widget-slider:visible .noUi-handle").last.focus()
    tab.keyboard.press("PageDown")
    tab.wait_for_function(f"!{TITLES}.some(t => t.includes('200 pieces'))")


def test_every_tab_of_the_app_follows_its_controls(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setenv("REPRO_APP_TOKEN", "secret")
    address = f"http://127.0.0.1:{port}"
    with server(["-m", "repro", "app", "--port", str(port)], f"{address}/login", tmp_path), page() as tab:
        tab.set_default_timeout(PATIENCE_MS)
        tab.goto(f"{address}/", wait_until="commit")
        assert "/login" in tab.url, "without the token the page must not open"
        for file in ("03_explore.ipynb", "made.png"):
            assert tab.request.get(f"{address}/voila/files/{file}?token=secret").status == 403
        tab.goto(f"{address}/?token=secret", wait_until="commit")
        design_tab(tab)
        ghost_tab(tab)
        weights_tab(tab)
        tab.set_viewport_size({"width": 700, "height": 900})
        tab.wait_for_function(f"{TOO_WIDE}.length === 0")
        assert not tab.problems


BESIDE = f"""() => {{
    const charts = {CHARTS}.map(e => e.getBoundingClientRect());
    const controls = [...document.querySelectorAll('.widget-dropdown, .widget-text, .widget-slider')]
        .filter(e => e.offsetParent).map(e => e.getBoundingClientRect());
    const first = charts.find(c => c.height > 0);
    return charts.length && controls.length && first.bottom <= innerHeight &&
        controls.some(c => c.right <= first.left && c.top < first.bottom && c.bottom > first.top);
}}"""


def test_controls_stand_beside_plots_and_kernels_of_closed_pages_end(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setenv("REPRO_APP_TOKEN", "secret")
    address = f"http://127.0.0.1:{port}"
    quick = f"from repro.cli import app; app.IDLE_S, app.CHECK_S = 2, 1; app.serve({port})"
    with server(["-c", quick], f"{address}/login", tmp_path) as pid, page(900, 700) as tab:
        tab.set_default_timeout(PATIENCE_MS)
        tab.goto(f"{address}/?token=secret", wait_until="commit")
        shows(tab, "2.345 mJ in all")
        tab.wait_for_function(BESIDE)
        for name, title in (("ACGhostNet", "the whole network 0.1963 mJ"), ("Weights", "b = 0.0501")):
            tab.get_by_role("tab", name=name).click()
            shows(tab, title)
            tab.wait_for_function(BESIDE)
        assert kernels_of(pid)
        tab.goto("about:blank")
        wait_until(lambda: not kernels_of(pid), "kernels of closed pages are still there")


def kernels_of(pid: int) -> list[psutil.Process]:
    """The kernels that a server started and that still run."""
    return [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def test_the_explorer_notebook_in_jupyterlab(tmp_path):
    shutil.copy(repo_root() / "notebooks" / "03_explore.ipynb", tmp_path / "w.ipynb")
    port = free_port()
    options = [f"--port={port}", "--ip=127.0.0.1", "--no-browser", "--allow-root", "--IdentityProvider.token=secret"]
    lab = ["-m", "jupyterlab", *options, f"--ServerApp.root_dir={tmp_path}", "--ServerApp.port_retries=0"]
    with server(lab, f"http://127.0.0.1:{port}/api", tmp_path), page() as tab:
        tab.set_default_timeout(PATIENCE_MS)
        tab.goto(f"http://127.0.0.1:{port}/lab/tree/w.ipynb?token=secret&reset", wait_until="commit")
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell")
        tab.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        shows(tab, "2.345 mJ in all")
        tab.get_by_label("operators", exact=True).select_option("shift")
        shows(tab, "0.740 mJ in all")
