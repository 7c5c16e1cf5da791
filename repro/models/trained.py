"""Networks with trained weights: of a file of `save_weights`, or of the name of one that comes with the package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repro.errors import InputError, check_choice, nearest
from repro.models import registry
from repro.models.build import Operator
from repro.models.weights import load_model
from repro.paths import weights_root

SUFFIX = ".safetensors"


def list_weights() -> list[str]:
    """Names of the trained weights that come with the package, each with its card beside it (data/weights)."""
    return sorted(path.name.removesuffix(SUFFIX) for path in weights_root().glob(f"*{SUFFIX}"))


def create(
    name: str,
    *,
    num_classes: int | None = None,
    width: float | None = None,
    op: Operator | None = None,
    keep: Iterable[str] | None = None,
    op_options: Mapping[str, Mapping] | None = None,
    weights: str | os.PathLike | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model by name, initialised from torch's global generator or with trained weights.

    Args:
        name: one of `list_models()`.
        num_classes, width: as in the model's own defaults when left out.
        op: operator name for all layers, or a mapping or function per layer (see `repro.models.build`).
        keep: roles or name patterns that stay multiplicative; by default the family's published convention.
        op_options: options of the layers per operator, e.g. {"shift": {"mode": "ps"}}.
        weights: one of `list_weights()`, or a .safetensors file of `save_weights`. Options that are left out are those
            that the weights were saved with; the model comes in evaluation mode, with `model.card` (see `load_model`).
        options: what `describe(name)` lists.
    Returns: the module; `model.recipe` holds the name and every option, for records and weight files.
    Raises: InputError on an unknown model, option or name of weights (with the nearest name), impossible sizes, and
        weights of another network.
    """
    named = {"num_classes": num_classes, "width": width, "op": op, "keep": keep, "op_options": op_options}
    asked = {option: value for option, value in named.items() if value is not None} | options
    if weights is None:
        return registry.create(name, **asked)
    check_choice("name", name, registry.list_models())
    model = load_model(_file(weights))
    _check_same(weights, name, asked, model.recipe)
    return model


def _file(weights: str | os.PathLike) -> Path:
    path = Path(weights)
    if path.suffix == SUFFIX:
        return path
    name, known = os.fspath(weights), list_weights()
    if name not in known:
        raise InputError(
            f"weights={name!r} are not known; allowed are {', '.join(known)} or a file that ends in {SUFFIX}."
            f"{nearest(name, known)}"
        )
    return weights_root() / f"{name}{SUFFIX}"


def _check_same(weights, name: str, asked: Mapping, saved: Mapping) -> None:
    """Refuse a name or options other than those of the weights."""
    if saved["name"] != name:
        raise InputError(f"weights={os.fspath(weights)!r} are not allowed; they belong to {saved['name']}, not {name}.")
    known = {option: value for option, value in saved.items() if option != "keep" or isinstance(saved["op"], str)}
    with torch.device("meta"):
        wanted = registry.create(**(known | asked)).recipe  # type: ignore[operator]
    for option, value in wanted.items():
        if value != saved[option]:
            raise InputError(
                f"{option}={value!r} is not allowed with weights={os.fspath(weights)!r}; "
                f"they were saved with {option}={saved[option]!r}."
            )
