"""Errors that a person can act on: one sentence naming the parameter, the value and what is allowed."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from types import ModuleType
from typing import Any


class InputError(ValueError):
    """A value that the caller gave is not usable; the message is one complete sentence."""


class DamagedError(InputError):
    """A stored file does not hold what was written into it; the message says which and why."""


class MissingDataError(FileNotFoundError):
    """A data set is absent or damaged; the message says where it was looked for and what to do."""


class BackendError(RuntimeError):
    """The asked-for back end cannot run these tensors on this machine; the message says why."""


class ClusterError(InputError, BackendError):
    """No run can be done on the cluster that was asked for, whichever is asked next; the message says why."""


def refuse(when: object, sentence: str) -> None:
    """Raise InputError with `sentence` if `when` is true.

    As a statement of its own this, or any function whose name begins with `refuse`, does not count in the fingerprint
    of code: such a function does nothing but raise, and a finished run met no refusal.
    """
    if when:
        raise InputError(sentence)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint (Did you mean 'x'?) naming the allowed option nearest to `name`, or an empty string."""
    folded = {option.lower(): option for option in map(str, allowed)}
    match = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    return f" Did you mean '{folded[match[0]]}'?" if match else ""


def check_choice(parameter: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`, else raise InputError suggesting the nearest name."""
    options = [str(option) for option in allowed]
    if value in options:
        return str(value)
    shown = ", ".join(options) if len(options) <= 12 else ", ".join(options[:12]) + f", … ({len(options)} in all)"
    raise InputError(f"{parameter}={value!r} is not known; allowed are: {shown}.{nearest(str(value), options)}")


def check_int(parameter: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return `value` as an int if it is a whole number within the bounds, else raise InputError."""
    bounds = " and ".join(
        text
        for text in (
            f"at least {minimum}" if minimum is not None else "",
            f"at most {maximum}" if maximum is not None else "",
        )
        if text
    )
    allowed = f"a whole number{' ' + bounds if bounds else ''}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{parameter}={_shown(value)} is not allowed; it must be {allowed}.")
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):  # type: ignore[operator]
        raise InputError(f"{parameter}={_shown(value)} is not allowed; it must be {allowed}.")
    return int(value)


MAX_SEED = 2**63 - 1
"""Random generators take 64 bits; half of them leaves room for seeds that are counted on from one."""


def check_seed(value: object, parameter: str = "seed") -> int:
    """Return `value` as an int if it is a whole number from 0 to `MAX_SEED`, else raise InputError."""
    return check_int(parameter, value, minimum=0, maximum=MAX_SEED)


def check_number(
    parameter: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    above: float | None = None,
) -> float:
    """Return `value` as a float if it is a finite number within the bounds, else raise InputError.

    `minimum` and `maximum` are allowed themselves, `below` and `above` are not.
    """
    bounds = {"at least": minimum, "above": above, "at most": maximum, "below": below}
    text = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
    is_number = isinstance(value, Real) and not isinstance(value, bool) and _fits_a_float(value)
    if not is_number or not (
        (minimum is None or value >= minimum)
        and (maximum is None or value <= maximum)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        raise InputError(
            f"{parameter}={_shown(value)} is not allowed; it must be a finite number{text and ' ' + text}."
        )
    return float(value)


def _fits_a_float(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _shown(value: object) -> str:
    """`value` in a sentence; Python refuses to write whole numbers of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


def check_flag(parameter: str, value: object) -> bool:
    """Return `value` if it is True or False, else raise InputError; text such as "false" would count as true."""
    if not isinstance(value, bool):
        raise InputError(f"{parameter}={value!r} is not allowed; it must be True or False.")
    return value


def check_texts(parameter: str, value: Any) -> Sequence[str]:
    """Return `value` if it is a list of texts, else raise InputError; one text alone would count letter by letter."""
    if isinstance(value, str):
        raise InputError(f"{parameter}={value[:40]!r} is not allowed; it must be a list of sentences, each a text.")
    if isinstance(value, Mapping) or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise InputError(f"{parameter} is a {type(value).__name__}; it must be a list of sentences, each a text.")
    if odd := [type(text).__name__ for text in value if not isinstance(text, str)]:
        raise InputError(f"{parameter} holds a {odd[0]}; it must be a list of sentences, each a text.")
    return value


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package, or raise InputError naming the extra of this package that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module.partition('.')[0]} is not installed; it comes with the extra [{extra}]: "
            f"in a checkout pip install -e '.[{extra}]', else pip install '<the wheel>[{extra}]'."
        ) from error
