"""Under the interpreter the kernels run on the CPU; with a driver, `make test-gpu` runs them on the GPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture
def device(request) -> torch.device:
    from repro.runtime import triton_interpreted, triton_status

    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("real sizes take the interpreter minutes each: no CUDA device")
    usable, reason = triton_status()
    if not usable:
        pytest.skip(reason)
    return torch.device("cpu" if triton_interpreted() else "cuda")


@pytest.fixture(autouse=True)
def poisoned_buffers(monkeypatch):
    """Fresh buffers hold NaN (or a large integer), so a corner that no program writes fails the comparison."""
    plain = torch.empty

    def empty(*args, **kwargs):
        buffer = plain(*args, **kwargs)
        return buffer.fill_(float("nan")) if buffer.is_floating_point() else buffer.fill_(-99)

    monkeypatch.setattr(torch, "empty", empty)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Tuned tiles of a test go to its own folder."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
