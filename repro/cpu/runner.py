"""Compiling kernels, keeping them on disk, and running them on torch's own threads.

A kernel is a compiled function of one int64: the address of an array of int64 parameters. Word 0 counts the tasks
handed out and word 1 the threads that joined, so work is shared out as threads come free while every output element
is still summed by one thread in one order: results do not depend on the number of threads.

Threads: the kernel is handed to the OpenMP runtime that torch has loaded (`GOMP_parallel`, which libgomp, libomp and
Intel's runtime all offer). It therefore runs on the very threads torch's own operators use: no second pool, no
oversubscription, no second OpenMP runtime, and `torch.set_num_threads` is obeyed. A process that was forked runs
kernels on its one thread, because an OpenMP pool does not survive a fork; where no such runtime is found the kernel
runs on one thread too, after a warning.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch
from numba.core import config, types

from repro.paths import cache_root
from repro.runtime import warn_once

WORK_PER_THREAD = 400_000  # terms; waking a thread costs about ten microseconds
TICKET, THREADS = 0, 1  # words of the parameter array that the runner owns

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _loaded_libraries() -> list[str]:
    """Paths of OpenMP runtimes already in this process (torch's first), else those beside torch."""
    names = ("libgomp", "libomp", "libiomp5")
    found = []
    maps = Path("/proc/self/maps")
    if maps.exists():
        paths = dict.fromkeys(line.split()[-1] for line in maps.read_text().splitlines() if ".so" in line)
        found = [path for path in paths if Path(path).name.startswith(names)]
    folder = Path(torch.__file__).parent / "lib"
    if not found and folder.is_dir():
        found = [str(path) for path in sorted(folder.iterdir()) if path.name.startswith(names)]
    return sorted(found, key=lambda path: str(folder) not in path)


@functools.cache
def openmp_entry() -> Callable | None:
    """torch's `GOMP_parallel(function, data, threads, flags)`, or None where it cannot be found."""
    for path in _loaded_libraries():
        try:
            entry = ctypes.CDLL(path).GOMP_parallel
        except (OSError, AttributeError):
            continue
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
        return entry
    return None


def thread_count(work: int) -> int:
    """Threads worth waking for `work` terms: at most torch's, one for small problems and in forked processes."""
    if _forked:
        return 1
    wanted = min(torch.get_num_threads(), max(1, work // WORK_PER_THREAD))
    if wanted > 1 and openmp_entry() is None:
        warn_once("torch's OpenMP runtime was not found; the CPU kernels run on one thread.")
        return 1
    return wanted


def _source_digest() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:2]}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def kernel_cache_folder() -> Path | None:
    """Where compiled kernels are kept: $NUMBA_CACHE_DIR, the cache folder, a temporary one, or nowhere.

    The name carries a digest of these sources, because Numba looks only at the file that holds the kernel itself
    (it does key by CPU and version).
    """
    name = f"kernels-{_source_digest()}"
    candidates = [Path(os.environ["NUMBA_CACHE_DIR"])] if os.environ.get("NUMBA_CACHE_DIR") else []
    user = os.getuid() if hasattr(os, "getuid") else "user"
    candidates += [cache_root() / "numba", Path(tempfile.gettempdir()) / f"repro-kernels-{user}"]
    for folder in candidates:
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder / name):
                return folder / name
        except OSError:
            continue
    warn_once("no folder to keep compiled kernels in is writable; they are compiled anew in every process.")
    return None


def _compile(function: Callable, folder: Path | None):
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder) if folder else ""
    try:
        compiled = numba.cfunc(types.void(types.int64), nopython=True, cache=folder is not None)(function)
        return compiled, ctypes.CFUNCTYPE(None, ctypes.c_int64)(compiled.address)
    finally:
        config.CACHE_DIR = before


@functools.cache
def compiled(function: Callable) -> tuple[object, Callable]:
    """The kernel `function(parameters_address)`, compiled or read from disk, and its plain entry point."""
    folder = kernel_cache_folder()
    try:
        return _compile(function, folder)
    except Exception as error:
        if folder is None:
            raise
        # A truncated or foreign cache file must not stop the program; a real compile error will show again below.
        shutil.rmtree(folder, ignore_errors=True)
        result = _compile(function, None)
        warn_once(f"the kernel cache in {folder} could not be read ({type(error).__name__}) and was deleted.")
        return result


def launch(function: Callable, parameters: np.ndarray, threads: int) -> None:
    """Run the kernel on `threads` threads over the tasks that `parameters` (int64) describe."""
    kernel, plain = compiled(function)
    parameters[TICKET] = parameters[THREADS] = 0
    address = parameters.ctypes.data
    if threads > 1:
        openmp_entry()(kernel.address, address, threads, 0)
    else:
        plain(address)


def run(function: Callable, parameters: array, threads: int) -> None:
    """`launch` for parameters in an `array("q")`, which costs a microsecond less than NumPy to fill and to pass."""
    kernel, plain = compiled(function)
    parameters[TICKET] = parameters[THREADS] = 0
    address = parameters.buffer_info()[0]
    if threads > 1:
        openmp_entry()(kernel.address, address, threads, 0)
    else:
        plain(address)
