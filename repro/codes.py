"""Power-of-two weights as packed 4- or 5-bit codes: one layout for every back end, in plain torch; fixed-point ranges.

A weight is 0 or s * 2^p with s = +-1 and p_min <= p <= p_min + levels - 1, where levels = 2^(weight_bits - 1) - 1.
With the default p_min the largest weight is 1: p is in -14..0 for 5 bits and in -6..0 for 4 bits.

Code of one weight: a sign bit (1 = negative) and a magnitude m of weight_bits - 1 bits. m = 0 is the weight zero (its
sign bit is 0), m >= 1 means p = p_min + m - 1.

A weight of shape (C_out, ...) is a matrix of C_out rows and K = prod(...) columns in memory order (c_in, k_h, k_w).
K is padded with zero codes to Kp, the next multiple of 32. Row r is Kp * weight_bits / 32 words of int32:

    words [0, Kp/8):            word j holds the nibbles of columns 8j .. 8j+7; column 8j+i at bits 4i .. 4i+3
    words [Kp/8, Kp/8 + Kp/32): 5 bits only; word j holds the signs of columns 32j .. 32j+31; column 32j+i at bit i

A nibble is (sign << 3) | m for 4 bits and m for 5 bits, so both formats decode nibbles alike and only the place of the
sign differs. No code straddles a word.
"""

from __future__ import annotations

import functools
import math

import torch

from repro.errors import InputError

GROUP = 32  # columns per padding group: the smallest count that fills whole words in both planes


@functools.cache
def fixed_point_bounds(dtype: torch.dtype, integer_bits: int, fraction_bits: int) -> tuple[float, float]:
    """Ends of the range [-2^(i-1), 2^(i-1) - 2^-f], as the outermost numbers of `dtype` that do not exceed them."""
    bound, largest = 2.0 ** (integer_bits - 1), torch.finfo(dtype).max
    ulp = bound / 2 * torch.finfo(dtype).eps  # spacing of `dtype` just below the bound
    return max(-bound, -largest), min(bound - max(2.0**-fraction_bits, ulp), largest)


def check_shift_format(weight_bits: int, p_min: int | None) -> tuple[int, int]:
    """Return (weight_bits, p_min) with the default p_min filled in, or raise InputError."""
    if weight_bits not in (4, 5):
        raise InputError(f"weight_bits={weight_bits!r} is not allowed; packed shift weights have 4 or 5 bits.")
    levels = 2 ** (weight_bits - 1) - 1
    if p_min is None:
        p_min = 1 - levels
    if isinstance(p_min, bool) or not isinstance(p_min, int) or not -40 <= p_min <= 15 - levels + 1:
        raise InputError(
            f"p_min={p_min!r} is not allowed; it must be a whole number from -40 to {16 - levels} "
            f"for weight_bits={weight_bits}."
        )
    return weight_bits, p_min


def words_per_row(columns: int, weight_bits: int) -> int:
    """int32 words that hold one row of `columns` codes."""
    return -(-columns // GROUP) * weight_bits


def pack_shift_weight(weight: torch.Tensor, weight_bits: int = 5, p_min: int | None = None) -> torch.Tensor:
    """Codes of a weight whose values are all 0 or +-2^p; exact.

    Args:
        weight: (C_out, ...) floating point; every value zero or a power of two within the range above.
        weight_bits: 4 or 5.
        p_min: smallest exponent; None means -6 for 4 bits and -14 for 5 bits.
    Returns:
        (C_out, words) int32 on the device of `weight`, in the layout of this module's docstring.
    Raises: InputError if a value is not a power of two in range.
    """
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    if weight.ndim < 2 or not weight.is_floating_point():
        raise InputError(
            f"weight has shape {tuple(weight.shape)} and dtype {weight.dtype}; "
            "it must be floating point with at least two dimensions, (C_out, ...)."
        )
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    values = weight.detach().reshape(rows, columns).to(torch.float64)
    mantissa, exponent = torch.frexp(values)  # a power of two is 0.5 * 2^e
    magnitude = (exponent - p_min).to(torch.int64)
    levels = 2 ** (weight_bits - 1) - 1
    allowed = (values == 0) | ((mantissa.abs() == 0.5) & (magnitude >= 1) & (magnitude <= levels))
    if not bool(allowed.all()):
        worst = values[~allowed][0].item()
        raise InputError(
            f"weight holds {worst!r}; with weight_bits={weight_bits} every weight must be 0 or "
            f"+-2^p with p from {p_min} to {p_min + levels - 1}."
        )
    magnitude = torch.where(values == 0, 0, magnitude)
    sign = (values < 0).to(torch.int64)
    padded = -(-columns // GROUP) * GROUP
    nibble = magnitude | (sign << 3) if weight_bits == 4 else magnitude
    planes = [_to_words(_pad(nibble, padded).reshape(rows, padded // 8, 8), 4)]
    if weight_bits == 5:
        planes.append(_to_words(_pad(sign, padded).reshape(rows, padded // 32, 32), 1))
    return torch.cat(planes, dim=1)


def unpack_shift_weight(
    packed: torch.Tensor,
    shape: tuple[int, ...],
    weight_bits: int = 5,
    p_min: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The weight of `shape` that was packed; exact in `dtype` (zeros come back as +0).

    Raises: InputError if `packed` does not have the size that `shape` and `weight_bits` ask for.
    """
    weight_bits, p_min = check_shift_format(weight_bits, p_min)
    rows, columns = shape[0], math.prod(shape[1:])
    check_packed(packed, rows, columns, weight_bits)
    padded = -(-columns // GROUP) * GROUP
    nibble = _from_words(packed[:, : padded // 8], 4)[:, :columns]
    if weight_bits == 4:
        magnitude, sign = nibble & 7, nibble >> 3
    else:
        magnitude, sign = nibble, _from_words(packed[:, padded // 8 :], 1)[:, :columns]
    one = torch.ones(magnitude.shape, dtype=torch.float64, device=packed.device)
    value = torch.ldexp(one, magnitude + (p_min - 1)) * (1 - 2 * sign)
    return torch.where(magnitude == 0, 0.0, value).to(dtype).reshape(shape)


def check_packed(packed: torch.Tensor, rows: int, columns: int, weight_bits: int) -> None:
    """Raise InputError unless `packed` is the int32 matrix that rows x columns codes take."""
    expected = (rows, words_per_row(columns, weight_bits))
    if packed.dtype != torch.int32 or tuple(packed.shape) != expected:
        raise InputError(
            f"packed has shape {tuple(packed.shape)} and dtype {packed.dtype}; {rows} x {columns} weights of "
            f"{weight_bits} bits take an int32 matrix of shape {expected}."
        )


def _pad(codes: torch.Tensor, columns: int) -> torch.Tensor:
    return torch.nn.functional.pad(codes, (0, columns - codes.shape[1]))


def _to_words(fields: torch.Tensor, bits: int) -> torch.Tensor:
    """(rows, words, 32 / bits) int64 fields to (rows, words) int32, field i at bit bits * i."""
    place = torch.arange(fields.shape[-1], device=fields.device) * bits
    word = (fields << place).sum(-1)
    return torch.where(word >= 2**31, word - 2**32, word).to(torch.int32)


def _from_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Inverse of `_to_words`, fields in column order."""
    place = torch.arange(32 // bits, device=words.device) * bits
    fields = (words.to(torch.int64).unsqueeze(-1) >> place) & (2**bits - 1)
    return fields.reshape(words.shape[0], -1)
