"""Compiled kernels in forked and spawned processes, with a damaged or blocked cache, from several Python threads."""

from __future__ import annotations

import multiprocessing
import os
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


def test_a_damaged_cache_is_deleted_with_one_sentence_and_recomputed(tmp_path):
    assert _run(tmp_path).returncode == 0
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".nbc", ".nbi")]
    assert files
    for path in files:
        path.write_bytes(b"\x80not a cache")
    second = _run(tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("kernel cache") == 1 and "was deleted" in second.stderr


def test_the_kernels_run_where_the_cache_folder_cannot_be_made(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    result = _run(blocked, TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
