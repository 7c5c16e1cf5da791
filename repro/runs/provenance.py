"""Where a number came from: revision, versions, device, time. Never a path or a host name."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from repro.revision import git_revision

PACKAGES = ("torch", "numpy", "numba", "triton", "pandas", "scipy", "scikit-learn")


@functools.cache
def versions() -> dict[str, str]:
    """Python and the versions of the packages that can change a number; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def device_name() -> str:
    """The GPU's name if torch can use one, else the processor's name with the number of cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def provenance(**extra: object) -> dict[str, Any]:
    """A JSON-ready record of this moment, with `extra` (seed, recipe, wall time, …) merged in."""
    revision, clean = git_revision()
    return {
        "git_revision": revision,
        "git_clean": clean,
        "versions": versions(),
        "device": device_name(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **extra,
    }
