"""Settings that must stand before torch, Numba or a Triton kernel is imported."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


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
