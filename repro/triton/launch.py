"""What every launcher shares: may these tensors run here, tile shapes, and the memory format of results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch

from repro.errors import BackendError, InputError
from repro.runtime import triton_interpreted, triton_status

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Tile:
    """One way to cut the work: TM x TN outputs a thread, LM x LN threads' places, BK terms a step."""

    TM: int
    TN: int
    LM: int
    LN: int
    BK: int
    num_warps: int = 4

    def meta(self) -> dict[str, int]:
        """Keyword arguments of a launch."""
        return asdict(self)


INTERPRETER_TILE = Tile(2, 2, 16, 8, 8, 4)  # numpy underneath: fewer, larger steps; sizes in the tests do not fill it


def check_available(*tensors: torch.Tensor, dtypes: tuple[torch.dtype, ...] = FLOATS) -> None:
    """Raise BackendError, in one sentence, unless Triton can run these tensors on this machine."""
    usable, reason = triton_status()
    if not usable:
        raise BackendError(f"backend='triton' cannot run here: {reason}.")
    device = tensors[0].device
    for tensor in tensors:
        if tensor.device != device:
            raise InputError(f"tensors lie on {device} and {tensor.device}; a Triton kernel needs them on one device.")
        if tensor.dtype not in dtypes:
            names = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
            raise BackendError(
                f"dtype {str(tensor.dtype).removeprefix('torch.')} is not served by backend='triton'; allowed: {names}."
            )
    if triton_interpreted():
        return
    if device.type != "cuda":
        raise BackendError(f"backend='triton' needs CUDA tensors, got {device}; use backend='cpu' for CPU tensors.")
    capability = torch.cuda.get_device_capability(device)
    needed = (8, 0) if any(tensor.dtype == torch.bfloat16 for tensor in tensors) else (7, 0)
    if capability < needed:
        raise BackendError(
            f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}; "
            f"backend='triton', which \"auto\" takes for CUDA tensors, needs {needed[0]}.{needed[1]} for "
            f"{str(tensors[0].dtype).removeprefix('torch.')}; use another dtype or backend='reference'."
        )


def empty_like_format(like: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialised tensor of `shape`, channels-last where `like` is (as torch's convolutions do)."""
    channels_last = like.ndim == 4 and is_channels_last(like)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=memory_format)


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether the channel is the fastest axis in memory and plain contiguous order does not describe `x` as well."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def cdiv(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def pow2(value: int) -> int:
    """Smallest power of two that is at least `value` (at least 1)."""
    return 1 << max(0, math.ceil(math.log2(max(1, value))))


def is_wide(positions: int) -> bool:
    """Whether position indices need 64 bits; a tile may reach past the last position."""
    return positions >= 2**31 - 2**16


def check_grid(programs: int, what: str) -> int:
    """Return `programs` if one grid axis holds them."""
    if programs >= 2**31:
        raise InputError(f"{what} needs {programs} programs; a GPU grid holds fewer than 2^31, so split the batch.")
    return programs
