"""What cannot run says why in one sentence; importing never fails."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from repro import runtime
from repro.errors import BackendError
from repro.ops import dispatch
from repro.triton import adder, launch

HIDE_TRITON = """
import importlib.abc, importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find_spec(name, *rest)
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "triton":
            raise ImportError("hidden")
sys.meta_path.insert(0, Hidden())
"""
CALL = """
import repro, torch
import repro.triton.adder, repro.triton.adder_int8, repro.triton.shift, repro.triton.tuning
assert "triton" not in sys.modules
try:
    repro.triton.adder.adder_linear_fwd(torch.zeros(1, 2), torch.zeros(3, 2))
except repro.errors.BackendError as error:
    print(error)
"""


def run(code, **environment):
    import os

    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment}, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_without_triton_imports_work_and_calls_say_so():
    message = run(HIDE_TRITON + CALL, TRITON_INTERPRET="1")
    assert message.startswith("backend='triton' cannot run here: Triton is not installed") and message.endswith(".")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_imports_work_and_calls_say_so():
    assert "no CUDA device" in run("import sys\n" + CALL)


def test_an_unsupported_dtype_is_named(device):
    with pytest.raises(BackendError, match=r"dtype float64 is not served .* float32, float16, bfloat16"):
        adder.adder_linear_fwd(torch.zeros(1, 2, device=device).double(), torch.zeros(1, 2, device=device))


@pytest.mark.parametrize(
    ("capability", "dtype", "needed"), [((7, 5), torch.bfloat16, "8.0"), ((6, 1), torch.float32, "7.0")]
)
def test_a_gpu_that_is_too_old_is_refused(capability, dtype, needed, monkeypatch):
    monkeypatch.setattr(launch, "triton_status", lambda: (True, "a GPU"))
    monkeypatch.setattr(launch, "triton_interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Old GPU")

    class OnGpu:
        device, dtype = torch.device("cuda"), None

    tensor = OnGpu()
    tensor.dtype = dtype
    with pytest.raises(BackendError, match=f"Old GPU has compute capability .* needs {needed}"):
        launch.check_available(tensor)


def test_beside_a_gpu_that_is_too_old_work_goes_on(monkeypatch):
    """The reference serves its tensors, and the compiled kernels those of the processor."""
    monkeypatch.setattr(runtime, "triton_interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Old GPU")
    runtime.warn_once.cache_clear()
    choose = dispatch._choose.__wrapped__
    sentence = r"Old GPU has compute capability 6\.1; Triton needs 7\.0 or newer"
    with pytest.warns(RuntimeWarning, match=f"adder_conv2d runs on the slow reference for cuda tensors: {sentence}"):
        assert choose("auto", "cuda", "adder_conv2d", "adder") == "reference"
    with pytest.raises(BackendError, match=f"backend='triton' cannot run adder_conv2d on cuda tensors: {sentence}"):
        choose("triton", "cuda", "adder_conv2d", "adder")
    assert choose("auto", "cpu", "adder_conv2d", "adder") == "cpu"


def test_a_grid_that_is_too_large_is_refused():
    from repro.errors import InputError

    assert launch.check_grid(2**31 - 1, "op") == 2**31 - 1
    with pytest.raises(InputError, match="split the batch"):
        launch.check_grid(2**31, "op")
