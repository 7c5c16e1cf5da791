"""Settings that must stand before torch, Numba or a Triton kernel is imported."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd


def _cuda_driver_present() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


# Triton reads the variable when a kernel is decorated, so it is set here, before any test module is imported.
if not _cuda_driver_present():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# One xdist worker per core is the usual call; threads inside the workers would only compete with one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, str(max(1, cores // workers)))


@pytest.fixture(scope="session", autouse=True)
def own_output(tmp_path_factory) -> Iterator[None]:
    """Tests write records, figures and pages to a folder of their own, not to the checkout's output/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_OUTPUT", str(tmp_path_factory.mktemp("output")))
        yield


@pytest.fixture(scope="session")
def cxx_compiler() -> str | None:
    """The C++ compiler that torch.compile's inductor would call, or None."""
    found = (shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
    return next((path for path in found if path), None)


@pytest.fixture(scope="session")
def shared_smoke_runs(tmp_path_factory) -> Path:
    """One runs folder for every test that regenerates tables at smoke, in whatever worker: a network trains once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke_runs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smoke_table(shared_smoke_runs) -> Callable[[str], pd.DataFrame]:
    """`run_table` at smoke by id, its runs in this very process: a worker takes longer to start than it would train."""
    import torch

    from repro.papers import run_table

    def regenerate(table_id: str) -> pd.DataFrame:
        threads = torch.get_num_threads()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REPRO_RUNS", str(shared_smoke_runs))
            try:
                return run_table(table_id, preset="smoke", engine="torchrun")
            finally:
                torch.set_num_threads(threads)

    return regenerate


TRAINING = ("::test_smoke_fills_the_table", "acghostnet/test_f03.py", "acghostnet/test_search_tables.py")
LONG = (
    "::test_every_program_compiles",
    "test_cpu_runner.py",
    "test_browser.py",
    "::test_the_figures_of_the_records",
    "cli/test_tables.py",
    "cli/test_main.py",
    "::test_notebook_runs_at_smoke",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no worker is left alone with it at the end.

    xdist (`--dist worksteal`) gives each worker an equal stretch of the list. The first begins with the trainings, the
    second with what needs none of them; it comes to the notebooks, which show the same runs, when those are there.
    """

    def place(item: pytest.Item, patterns: tuple[str, ...]) -> int | None:
        return next((number for number, pattern in enumerate(patterns) if pattern in item.nodeid), None)

    training = [item for item in items if place(item, TRAINING) is not None]
    long = sorted((item for item in items if place(item, LONG) is not None), key=lambda item: place(item, LONG))
    others = [item for item in items if place(item, (*TRAINING, *LONG)) is None]
    half = max(0, len(items) // 2 - len(training))
    items[:] = [*training, *others[:half], *long, *others[half:]]
