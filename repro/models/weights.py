"""Weights of a model in one safetensors file, written atomically.

The header says which model they belong to, and carries a digest of recipe and tensors that is checked before anything
is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from repro.errors import InputError
from repro.paths import atomic_path


def save_weights(model: nn.Module, path: str | os.PathLike) -> Path:
    """Write all parameters and buffers of `model`; its recipe goes into the header as text."""
    state = model.state_dict()
    if any(value.is_meta for value in state.values()):
        raise InputError(f"{type(model).__name__} lies on the meta device and has no weights to save.")
    # Each tensor gets storage of its own: safetensors refuses views of shared storage.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    recipe = json.dumps(getattr(model, "recipe", {}), default=str)
    header = {"format": "2", "recipe": recipe, "sha256": _digest(recipe, tensors)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)
    return Path(path)


def _digest(recipe: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(recipe.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_weights(model: nn.Module, path: str | os.PathLike, *, prefix: str | tuple[str, ...] = "") -> dict:
    """Read weights into `model` and return the recipe they were saved with.

    Args:
        prefix: read only tensors whose name starts so, e.g. ("stem.", "blocks.") for another head; "" reads all.
    Raises: FileNotFoundError; InputError, with nothing changed, if the file is damaged or names or shapes differ.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}
        text = header.get("recipe", "{}")
        recipe = json.loads(text)
        foreign = header.keys() - {"format", "recipe", "sha256"}
        if header.get("format") == "1" and "sha256" not in header:  # written before there were digests
            header["sha256"] = _digest(text, stored)
        if foreign or header.get("sha256") != _digest(text, stored):
            raise ValueError("its content does not have the digest in its header")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(f"weights file {path.name} cannot be read ({error}); save it again.") from error
    given = {name: value for name, value in stored.items() if name.startswith(prefix)}
    own = {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}
    _check_same(path.name, own, given)
    model.load_state_dict(given, strict=False)
    return recipe


def _check_same(file: str, own: dict, given: dict) -> None:
    """Refuse missing or unknown names and other shapes."""
    absent, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    differing = [name for name in own if name in given and own[name].shape != given[name].shape]
    if absent or extra:
        what = f"lacks {absent[0]}" if absent else f"has {extra[0]}, which the model does not"
        others = len(absent) + len(extra) - 1
        more = f" ({others} more names differ)" if others else ""
    elif differing:
        name = differing[0]
        what = f"has {name} of shape {tuple(given[name].shape)}, the model needs {tuple(own[name].shape)}"
        more = f" ({len(differing) - 1} more shapes differ)" if len(differing) > 1 else ""
    else:
        return
    raise InputError(f"weights file {file} {what}{more}; create the model with the options it was saved with.")
