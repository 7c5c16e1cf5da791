"""Weights of a model in one safetensors file, written atomically.

The header says which model they belong to, which of its layers are in the form of inference and, where it was trained,
its card: how, and how good it is. It carries a digest of all this that is checked before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from repro.errors import InputError
from repro.models.quantized import TRAINED, quantize_layers, quantized_layers
from repro.models.registry import create
from repro.paths import atomic_path


def save_weights(model: nn.Module, path: str | os.PathLike, *, card: Mapping[str, Any] | None = None) -> Path:
    """Write all parameters and buffers of `model`; its recipe goes into the header as text.

    Args:
        card: what a reader should know of the weights (training, data, accuracy, licence), as plain JSON values.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
    state = model.state_dict()
    if any(value.is_meta for value in state.values()):
        raise InputError(f"{type(model).__name__} lies on the meta device and has no weights to save.")
    # Each tensor gets storage of its own: safetensors refuses views of shared storage.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    recipe = json.dumps(getattr(model, "recipe", {}), default=_plain)
    header = {"format": "2", "recipe": recipe}
    if card is not None:
        try:
            header["card"] = json.dumps(dict(card))
        except (TypeError, ValueError) as error:
            raise InputError(f"card is not allowed ({error}); it must hold plain JSON values.") from error
    if quantized := quantized_layers(model):
        header["quantized"] = json.dumps(quantized)
    header["sha256"] = _digest(header, tensors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))
    return Path(path)


def _plain(value: object) -> object:
    """A dataclass by its fields, which `create` takes in its place; what else JSON does not know as its text."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)  # type: ignore[arg-type]


def _digest(header: Mapping[str, str], tensors: dict[str, Tensor]) -> str:
    told = header.get("recipe", "{}") + header.get("card", "") + header.get("quantized", "")
    digest = hashlib.sha256(told.encode())
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
    path = _named(path)
    header, stored = _read(path)
    here, there = quantized_layers(model), header["quantized"]
    if differing := sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)):
        name = differing[0]
        raise InputError(
            f"weights file {path.name} has layer {name!r} in the form {there.get(name, TRAINED)!r}, the model in "
            f"{here.get(name, TRAINED)!r}; use load_model, or quantise the model as it was."
        )
    _load(model, path, stored, prefix)
    return header["recipe"]


def load_model(path: str | os.PathLike) -> nn.Module:
    """The network of a weights file, built by its recipe and with its weights, in evaluation mode.

    Layers that were quantised when it was saved are quantised again.
    `model.recipe` says how `repro.models.create` builds it, `model.card` what `save_weights` was given ({} if nothing).
    Raises: FileNotFoundError; InputError if the file is damaged or its network is none of `list_models()`.
    """
    path = _named(path)
    header, stored = _read(path)
    recipe = header["recipe"]
    if not recipe:
        raise InputError(
            f"weights file {path.name} holds a network that create() does not build; build it yourself and use "
            "load_weights."
        )
    # A mapping of operators decides every layer; `create` wants no list of those to keep beside it.
    options = {name: value for name, value in recipe.items() if name != "keep" or isinstance(recipe["op"], str)}
    try:
        model = quantize_layers(create(**options), header["quantized"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the network of weights file {path.name} cannot be built from its recipe ({error}); build it yourself and "
            "use load_weights."
        ) from error
    _load(model, path, stored)
    model.card = header["card"]
    return model.eval()


def read_card(path: str | os.PathLike) -> tuple[dict, dict]:
    """Recipe and card of a weights file, {} for what it does not have. Raises: as `load_weights`."""
    header, _ = _read(Path(path))
    return header["recipe"], header["card"]


def _named(path: str | os.PathLike) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path={path!r} is not allowed; name a file.")
    return Path(path)


TOLD = ("recipe", "card", "quantized")
"""What a header may tell, each a JSON object."""


def _read(path: Path) -> tuple[dict[str, dict], dict[str, Tensor]]:
    """What the header tells ({} for what it does not) and the tensors of a file; InputError if it is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}
        told = {name: json.loads(header.get(name, "{}")) for name in TOLD}
        foreign = header.keys() - {"format", "sha256", *TOLD}
        if header.get("format") == "1" and "sha256" not in header:  # written before there were digests
            header["sha256"] = _digest(header, stored)
        if foreign or header.get("sha256") != _digest(header, stored):
            raise ValueError("its content does not have the digest in its header")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(f"weights file {path.name} cannot be read ({error}); save it again.") from error
    return told, stored


def _load(model: nn.Module, path: Path, stored: dict[str, Tensor], prefix: str | tuple[str, ...] = "") -> None:
    given = {name: value for name, value in stored.items() if name.startswith(prefix)}
    own = {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}
    _check_same(path.name, own, given)
    model.load_state_dict(given, strict=False)


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
