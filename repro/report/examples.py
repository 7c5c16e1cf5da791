"""What a run made of each test example, packed as text: 2,000 right or wrong answers take 336 characters."""

from __future__ import annotations

import base64
import binascii
import math
import zlib

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


def pack_counts(counts) -> str:
    """Base64 text of an array of whole numbers of any shape, zero or more and below 2**31, compressed."""
    array = np.asarray(counts)
    if not np.issubdtype(array.dtype, np.integer) or (array.size and not 0 <= array.min() <= array.max() < 2**31):
        raise InputError("counts holds other numbers than whole ones from 0 to 2**31 - 1.")
    return base64.b64encode(zlib.compress(array.astype("<i4").tobytes(), 9)).decode("ascii")


def unpack_counts(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The int64 array of that shape that `pack_counts` made a text of. Raises: InputError if it holds another."""
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 4 * math.prod(shape) + 1)
    except (binascii.Error, zlib.error, ValueError, TypeError):
        raise InputError("counts is not packed text; the record was edited.") from None
    if len(raw) != 4 * math.prod(shape):
        raise InputError(f"counts does not hold {' x '.join(map(str, shape))} numbers.")
    return np.frombuffer(raw, dtype="<i4").reshape(shape).astype(np.int64)
