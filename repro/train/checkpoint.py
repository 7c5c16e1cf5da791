"""Checkpoints of a training in one file of `torch.save`, written atomically.

Reading runs no code (`weights_only`), and checks names and shapes first, so an incompatible file changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from repro.errors import InputError
from repro.paths import atomic_path


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
    """
    document = {
        "model": dict(model.state_dict()),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "progress": progress or {},
        "identity": identity or {},
    }
    with atomic_path(path) as temporary:
        torch.save(document, temporary)
    return Path(path)


def load_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    identity: dict | None = None,
) -> dict:
    """Restore model (and optimiser) from `path` and return its `progress`.

    Raises InputError, with nothing changed, if the file is damaged, was written for another network, or differs in one
    of the entries of `identity`.
    """
    path = Path(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        weights, state, progress = stored["model"], stored["optimizer"], stored["progress"]
        _check_identity(path, stored["identity"], identity or {})
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # torch has no common class for what a damaged file raises
        raise InputError(f"checkpoint {path.name} cannot be read; delete it and start the run again.") from error
    _check_fits(path, model, weights)
    if optimizer is not None and state is None:
        raise InputError(f"checkpoint {path.name} holds no optimiser state; training cannot continue from it.")
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(state)
    return progress


def _check_identity(path: Path, stored: dict, wanted: dict) -> None:
    differing = [name for name, value in wanted.items() if stored.get(name) != value]
    if differing:
        raise InputError(
            f"checkpoint {path.name} was written with another {' and another '.join(differing)}; "
            "give a new place, or delete it to start again."
        )


def _check_fits(path: Path, model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
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
