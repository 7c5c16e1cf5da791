"""Checkpoints in one safetensors file, written atomically: tensors in the body, everything else as JSON in its header.

No pickle is read or written. Loading checks names and shapes first, so an incompatible file changes nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from repro.errors import InputError
from repro.paths import atomic_path

_FORMAT = "1"


def save_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    progress: dict | None = None,
    identity: dict | None = None,
) -> Path:
    """Write model, optimiser, `progress` (plain JSON values: epoch, history, outcome) and `identity` to `path`.

    `identity` says what is trained (seed, recipe, …); `load_checkpoint` compares it.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    header = {
        "format": _FORMAT,
        "progress": json.dumps(progress or {}),
        "identity": json.dumps(identity or {}),
    }
    if optimizer is not None:
        state = optimizer.state_dict()
        scalars: dict[str, dict] = {}
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
                else:
                    scalars.setdefault(str(index), {})[key] = value
        header["optimizer"] = json.dumps({"groups": state["param_groups"], "scalars": scalars})
    # Each tensor gets storage of its own: safetensors refuses views of shared storage.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)
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
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        progress = json.loads(header["progress"])
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(
            f"checkpoint {path.name} cannot be read ({error}); delete it and start the run again."
        ) from error
    _check_identity(path, json.loads(header.get("identity", "{}")), json.loads(json.dumps(identity or {})))
    weights = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
    _check_fits(path, model, weights)
    if optimizer is not None and "optimizer" not in header:
        raise InputError(f"checkpoint {path.name} holds no optimiser state; training cannot continue from it.")
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(_optimizer_state(json.loads(header["optimizer"]), tensors))
    return progress


def _check_identity(path: Path, stored: dict, wanted: dict) -> None:
    differing = [name for name, value in wanted.items() if stored.get(name) != value]
    if differing:
        raise InputError(
            f"checkpoint {path.name} was written with another {' and another '.join(differing)}; "
            "give a new place, or delete it to start again."
        )


def _optimizer_state(stored: dict, tensors: dict[str, torch.Tensor]) -> dict:
    state: dict[int, dict] = {int(index): dict(entries) for index, entries in stored["scalars"].items()}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": stored["groups"]}


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
