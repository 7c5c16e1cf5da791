"""Servers, a headless Chromium and what it can measure, for the browser tests of explorers and pages."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


FAINT = """() => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parts = text => text.match(/[0-9.]+/g).map(Number);
  const over = (top, ground) => {
    const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map(i => a * top[i] + (1 - a) * ground[i]);
  };
  const ground = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parts(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const words = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
    if (!words || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(e), behind = ground(e), ink = over(parts(style.color), behind);
    const [dark, bright] = [light(ink), light(behind)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if ((bright + 0.05) / (dark + 0.05) < (large ? 3 : 4.5)) found.push([e.className, style.color, words.slice(0, 40)]);
  }
  return [light(ground(document.body)), found];
}"""
"""Luminance of a page's ground, and what is written on it with less contrast than WCAG 2 (AA) asks for."""

FITS = "document.documentElement.scrollWidth <= innerWidth"
"""Whether a page is no wider than its window."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command: list[str], probe: str, folder: Path, timeout_s: float = 180) -> Iterator[int]:
    """Run a server, wait until `probe` answers and give its process id; its whole process group ends with the block."""
    log = folder / "server.log"
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "REPRO_FIGURES": str(folder)}
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | own,
        )
    try:
        deadline = time.monotonic() + timeout_s
        while not _answers(probe):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], sentence: str, timeout_s: float = 120) -> None:
    """Ask until it holds; fails with `sentence`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, sentence
        time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def page(width: int = 1280, height: int = 900, scheme: str = "light"):
    """A page of a headless Chromium, asking for light or dark; what its scripts fail with is in its list `problems`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        try:
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            # Without a network the pages' own addresses of fonts and formulas would only delay them.
            tab.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
            tab.problems = []
            tab.on("pageerror", lambda error: tab.problems.append(str(error)))
            yield tab
        finally:
            browser.close()
