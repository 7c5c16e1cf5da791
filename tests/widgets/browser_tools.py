"""Servers and a headless Chromium for the browser tests of the explorers."""

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
def page(width: int = 1280, height: int = 900):
    """A page of a headless Chromium; what its scripts fail with is in its list `problems`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        try:
            tab = browser.new_page(viewport={"width": width, "height": height})
            # Without a network the pages' own addresses of fonts and formulas would only delay them.
            tab.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
            tab.problems = []
            tab.on("pageerror", lambda error: tab.problems.append(str(error)))
            yield tab
        finally:
            browser.close()
