"""Warnings, and which kernels this machine can run. Imports nothing of ours."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings


@functools.cache
def warn_once(message: str) -> None:
    """Warn about `message` the first time it occurs in this process."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def triton_interpreted() -> bool:
    """Whether Triton kernels run in the interpreter on the CPU (read when kernels are decorated)."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def triton_status() -> tuple[bool, str]:
    """Whether Triton kernels can run here, and the reason in words."""
    if importlib.util.find_spec("triton") is None:
        return False, "Triton is not installed (the extra [triton] brings it on Linux x86-64)"
    if triton_interpreted():
        return True, "Triton's interpreter on the CPU (TRITON_INTERPRET=1): checks logic, slow"
    import torch

    if not torch.cuda.is_available():
        return False, "no CUDA device; the CPU back end serves (TRITON_INTERPRET=1 runs kernels slowly on the CPU)"
    major, minor = torch.cuda.get_device_capability()
    if major < 7:
        return (
            False,
            f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}; Triton needs 7.0 or newer",
        )
    return True, torch.cuda.get_device_name()
