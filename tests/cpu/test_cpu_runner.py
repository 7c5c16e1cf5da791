"""Compiled kernels in forked and spawned processes, with a damaged or blocked cache, from several Python threads."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.cpu import adder, runner

OPTIONS = ((1, 1), (1, 1), (1, 1), 1)
PROGRAM = """
import torch
from repro.cpu import adder
x, w = torch.ones(1, 2, 4, 4), torch.zeros(3, 2, 1, 1)
assert (adder.adder_conv2d_fwd(x, w, (1, 1), (0, 0), (1, 1), 1) == -2).all()
"""


def _layer():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 16, 32, 32, generator=generator), torch.randn(16, 16, 3, 3, generator=generator)


def _total(y):
    """Sum by NumPy: torch's own parallel operators hang in a forked child whose parent used OpenMP."""
    return float(y.numpy().sum(dtype=np.float64))


def _child(queue):
    queue.put(_total(adder.adder_conv2d_fwd(*_layer(), *OPTIONS)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_compute_the_same_as_their_parent(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} does not exist on this system")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = _total(adder.adder_conv2d_fwd(*_layer(), *OPTIONS))  # the parent has used its OpenMP threads
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        workers = [context.Process(target=_child, args=(queue,), daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        results = [queue.get(timeout=120) for _ in workers]
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
    finally:
        torch.set_num_threads(before)
    assert results == [expected] * 2


def test_several_python_threads_may_run_kernels_at_once():
    layer = _layer()
    expected = adder.adder_conv2d_fwd(*layer, *OPTIONS)
    wrong = []

    def work():
        for _ in range(5):
            if not torch.equal(adder.adder_conv2d_fwd(*layer, *OPTIONS), expected):
                wrong.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_kernels_run_on_torchs_openmp_runtime_and_small_problems_on_one_thread():
    assert runner.thread_count(100) == 1
    if sys.platform == "linux":
        assert runner.openmp_entry() is not None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert runner.thread_count(10**12) == 1
    finally:
        torch.set_num_threads(before)


def _run(cache: Path, **variables):
    environment = {**os.environ, "REPRO_CACHE": str(cache), "OMP_NUM_THREADS": "1", **variables}
    environment.pop("NUMBA_CACHE_DIR", None)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=240, env=environment, check=False
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A cache that holds the compiled kernels."""
    folder = tmp_path_factory.mktemp("compiled") / "cache"
    assert _run(folder).returncode == 0
    return folder


@pytest.mark.parametrize("damage", ["one byte", "a command"])
def test_a_damaged_kernel_is_told_in_one_sentence_and_compiled_anew(compiled, tmp_path, damage):
    tmp_path = shutil.copytree(compiled, tmp_path / "cache")
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".nbc", ".nbi")]
    assert files and all(path.parents[1].stat().st_mode & 0o777 == 0o700 for path in files)
    for path in files:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw if damage == "one byte" else pickle.dumps(Command(str(tmp_path / "made"))))
    second = _run(tmp_path)
    assert second.returncode == 0 and "was damaged and is compiled anew" in second.stderr, second.stderr
    assert not (tmp_path / "made").exists()
    third = _run(tmp_path)
    assert third.returncode == 0 and not third.stderr


class Command:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("change", ["others may write", "a link"])
def test_kernels_are_kept_only_in_a_folder_that_is_ours_alone(tmp_path, monkeypatch, change):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    find = runner.kernel_cache_folder.__wrapped__
    folder = find()
    assert folder.parent == tmp_path / "numba" and folder.stat().st_mode & 0o777 == 0o700
    if change == "a link":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.chmod(0o770)
    runner.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="the folder must be yours, with mode 0700"):
        assert find() is None


def test_torchs_library_is_found_under_a_path_with_spaces(monkeypatch, tmp_path):
    maps = (
        "7f0000000000-7f0000001000 r-xp 00000000 08:01 42    /home/me/my papers/torch/lib/libgomp.so.1\n"
        "7f0000001000-7f0000002000 r-xp 00000000 08:01 43    /usr/lib/libm.so.6\n"
        "7f0000002000-7f0000003000 rw-p 00000000 00:00 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda path: maps)
    assert runner._loaded_libraries() == ["/home/me/my papers/torch/lib/libgomp.so.1"]


def test_the_kernels_run_where_the_cache_folder_cannot_be_made(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    result = _run(blocked, TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
