"""Warnings, where tensors lie, and which kernels this machine can run. Imports nothing of ours."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def beside(tensor: torch.Tensor, other: torch.Tensor | torch.nn.Module) -> torch.Tensor:
    """The tensor on the device of `other`, of whose weights the first counts; as it is if there are none.

    It changes where a thing is computed and not what: to the fingerprint of code a call counts as its first argument.
    """
    if isinstance(getattr(other, "device", None), type(tensor.device)):
        return tensor.to(other.device)
    weight = next(other.parameters(), None)
    return tensor if weight is None else tensor.to(weight.device)


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
