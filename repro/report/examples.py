"""Which test examples a run got right, packed as text: 2,000 answers take 336 characters."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from repro.errors import InputError, check_int


def pack(correct) -> str:
    """Base64 text of an array of 0/1 or truth values (N,), eight to the byte, in the order given."""
    array = np.asarray(correct)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise InputError(f"correct has the shape {array.shape}; it must be one row of 0 and 1.")
    return base64.b64encode(np.packbits(array.astype(bool)).tobytes()).decode("ascii")


def unpack(text: str, examples: int) -> np.ndarray:
    """The array of bools (examples,) that `pack` made a text of. Raises: InputError if it holds others."""
    check_int("examples", examples, minimum=1)
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError, TypeError):
        raise InputError("correct is not base64 text; the record was edited.") from None
    if len(packed) != -(-examples // 8):
        raise InputError(f"correct holds {8 * len(packed)} answers; {examples} test examples are named.")
    return np.unpackbits(packed, count=examples).astype(bool)
