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

import contextlib
import ctypes
import functools
import hashlib
import os
import pickle
import shutil
import stat
import sys
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch
from numba.core import config, types
from numba.core.caching import IndexDataCacheFile
from numba.core.ccallback import CFunc

from repro.errors import DamagedError, InputError
from repro.paths import cache_root, read_sealed, write_sealed
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
        lines = (line.split(maxsplit=5) for line in maps.read_text().splitlines() if ".so" in line)
        paths = dict.fromkeys(words[5] for words in lines if len(words) == 6)  # which may hold spaces
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
    """Where compiled kernels are kept: in $NUMBA_CACHE_DIR, the cache folder, or nowhere.

    Loading a kernel runs what the file says, so the folder must be this user's alone (mode 0700). Its name carries a
    digest of these sources, because Numba looks only at the file that holds the kernel itself (it does key by CPU and
    version).
    """
    name = f"kernels-{_source_digest()}"
    candidates = [Path(os.environ["NUMBA_CACHE_DIR"])] if os.environ.get("NUMBA_CACHE_DIR") else []
    for place in [*candidates, cache_root() / "numba"]:
        folder = place / name
        try:
            place.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(folder):
                warn_once(f"compiled kernels in {folder} are not used: the folder must be yours, with mode 0700.")
                continue
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    warn_once(
        "no private folder to keep compiled kernels in is writable; they are compiled anew in every process "
        "(REPRO_CACHE names another place)."
    )
    return None


def _is_private(folder: Path) -> bool:
    found = folder.lstat()  # a link leads elsewhere
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and own and (os.name != "posix" or not found.st_mode & 0o077)


class _SealedFiles(IndexDataCacheFile):
    """Numba's files of one kernel, each behind a digest that is checked before anything is unpickled."""

    def _open(self, path: str) -> object:
        try:
            return pickle.loads(read_sealed(path))
        except DamagedError:
            warn_once(f"compiled kernel {Path(path).name} in the kernel cache was damaged and is compiled anew.")
            Path(path).unlink(missing_ok=True)
            raise FileNotFoundError(path) from None

    def _keep(self, path: str, content: bytes) -> None:
        with contextlib.suppress(InputError):  # a full disk costs the next process the compilation, not this one
            write_sealed(path, content)

    def _load_index(self) -> dict:
        try:
            version, stamp, overloads = self._open(self._index_path)
        except FileNotFoundError:
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict) -> None:
        self._keep(self._index_path, self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> object:
        return self._open(self._data_path(name))

    def _save_data(self, name: str, data: object) -> None:
        self._keep(self._data_path(name), self._dump(data))


def _compile(function: Callable, folder: Path | None):
    kernel = CFunc(function, ((types.int64,), types.void), locals={}, options={"nopython": True})
    if folder is not None:
        before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            kernel.enable_caching()
        finally:
            config.CACHE_DIR = before
        files = kernel._cache._cache_file
        names = files._cache_path, files._index_name.removesuffix(".nbi"), files._source_stamp
        kernel._cache._cache_file = _SealedFiles(*names)
    kernel.compile()
    return kernel, ctypes.CFUNCTYPE(None, ctypes.c_int64)(kernel.address)


@functools.cache
def compiled(function: Callable) -> tuple[object, Callable]:
    """The kernel `function(parameters_address)`, compiled or read from disk, and its plain entry point."""
    folder = kernel_cache_folder()
    try:
        return _compile(function, folder)
    except Exception as error:
        if folder is None:
            raise
        # A cache file that another Numba wrote must not stop the program; a real compile error will show again below.
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
