"""Checkpoints of a training in one file, written atomically behind a digest of its content.

Reading runs no code (`weights_only`), and checks digest, names, shapes and optimiser state first, so a file that does
not fit changes nothing.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repro.errors import DamagedError, InputError
from repro.paths import read_sealed, write_sealed

_PLAIN = (type(None), bool, int, float, str, bytes, torch.Size, torch.dtype, torch.device)


def save_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    progress: dict | None = None,
    identity: dict | None = None,
) -> Path:
    """Write model, optimiser, `progress` (plain values: epoch, history, outcome) and `identity` to `path`.

    `identity` says what is trained (seed, recipe, …); `load_checkpoint` compares it.
    Raises: InputError naming a value that is neither a tensor nor plain: it could be written but not read again.
    """
    document = {
        "model": dict(model.state_dict()),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "progress": progress or {},
        "identity": identity or {},
    }
    _check_plain(document)
    body = io.BytesIO()
    torch.save(document, body)
    return write_sealed(path, body.getvalue())


def _check_plain(value: Any, place: str = "") -> None:
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_plain(key, place)
            _check_plain(item, f"{place}.{key}" if place else str(key))
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{place}.{index}")
    elif not isinstance(value, torch.Tensor) and type(value) not in _PLAIN:
        raise InputError(
            f"{place} is a {type(value).__name__}, which a checkpoint cannot hold; allowed are tensors, numbers, text, "
            "and lists, tuples and dicts of them."
        )


def load_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    identity: dict | None = None,
) -> dict:
    """Restore model (and optimiser) from `path` and return its `progress`.

    Raises, with nothing changed: DamagedError if the file cannot be read, FileNotFoundError if there is none, and
    InputError if it was written for another network or optimiser or differs in one of the entries of `identity`.
    """
    path = Path(path)
    try:
        stored = torch.load(io.BytesIO(read_sealed(path)), map_location="cpu", weights_only=True)
        weights, state, progress, known = (stored[name] for name in ("model", "optimizer", "progress", "identity"))
        whole = isinstance(weights, dict) and isinstance(progress, dict) and isinstance(known, dict)
    except OSError:
        raise
    except Exception as error:  # torch has no common class for what a foreign file raises
        raise DamagedError(f"checkpoint {path.name} cannot be read: it is damaged or no checkpoint.") from error
    if not whole:
        raise DamagedError(f"checkpoint {path.name} cannot be read: it does not hold a training.")
    _check_identity(path, known, identity or {})
    _check_fits(path, model, weights)
    if optimizer is not None:
        _check_optimizer(path, optimizer, state)
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(state)
    return progress


def _check_identity(path: Path, stored: dict, wanted: dict) -> None:
    unsaid = [name for name in wanted if name not in stored]
    if unsaid:
        raise InputError(
            f"checkpoint {path.name} does not say with which {' and which '.join(unsaid)} it was written; an earlier "
            "version wrote it. Give a new place, or delete it to start again."
        )
    differing = [name for name, value in wanted.items() if stored[name] != value]
    if differing:
        raise InputError(
            f"checkpoint {path.name} was written with another {' and another '.join(differing)}; "
            "give a new place, or delete it to start again."
        )


def _form(value: object) -> object:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _check_fits(path: Path, model: nn.Module, weights: dict[str, object]) -> None:
    own = {name: _form(value) for name, value in model.state_dict().items()}
    given = {name: _form(value) for name, value in weights.items()}
    if own == given:
        return
    absent, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if absent or extra:
        reason = f"it {'lacks ' + absent[0] if absent else 'has an unknown ' + extra[0]}"
    else:
        name = next(name for name in own if own[name] != given[name])
        reason = f"{name} has shape {given[name]} instead of {own[name]}"
    raise InputError(
        f"checkpoint {path.name} does not fit this network ({reason}); use the settings it was written with, "
        "or delete it and start again."
    )


def _check_optimizer(path: Path, optimizer: torch.optim.Optimizer, stored: object) -> None:
    if stored is None:
        raise InputError(f"checkpoint {path.name} holds no optimiser state; training cannot continue from it.")
    reason = _misfit(optimizer, stored)
    if reason:
        raise InputError(
            f"checkpoint {path.name} does not fit this optimiser ({reason}); use the settings it was written with, "
            "or delete it and start again."
        )


def _misfit(optimizer: torch.optim.Optimizer, stored: object) -> str:
    """What keeps `stored` from being the state of this optimiser, '' if nothing does."""
    groups = stored.get("param_groups") if isinstance(stored, dict) else None
    entries = stored.get("state") if isinstance(stored, dict) else None
    if not isinstance(groups, list) or not isinstance(entries, dict) or len(groups) != len(optimizer.param_groups):
        return "it has other groups of parameters"
    parameters: dict[int, torch.Tensor] = {}
    for own, group in zip(optimizer.param_groups, groups):
        if not isinstance(group, dict) or own.keys() - group.keys() or len(own["params"]) != len(group["params"]):
            return "a group has other settings or another number of parameters"
        parameters.update(zip(group["params"], own["params"]))
    for index, entry in entries.items():
        if index not in parameters or not isinstance(entry, dict):
            return f"it has an unknown parameter {index}"
        for name, value in entry.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameters[index].shape:
                return f"{name} of parameter {index} has shape {tuple(value.shape)}"
    return ""
