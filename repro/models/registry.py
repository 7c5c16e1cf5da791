"""The register of models: `create` builds one by name, `list_models` and `describe` say what there is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from repro.errors import InputError, check_choice, check_int, nearest
from repro.models.build import Builder, Operator, init_weights
from repro.models.families import FAMILIES


@dataclass(frozen=True)
class Entry:
    """One registered model: its factory and what stays multiplicative under each operator."""

    factory: Callable[..., nn.Module]
    op: Operator
    keep: Mapping[str, tuple[str, ...]]
    paper: str

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Options of the factory by name, without the builder."""
        parameters = list(inspect.signature(self.factory).parameters.values())
        return {parameter.name: parameter for parameter in parameters[1:]}


_ENTRIES: dict[str, Entry] = {}


class _NoInit(TorchFunctionMode):
    """Skip `torch.nn.init`: on the meta device it draws nothing but costs most of the time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def register(
    name: str, *, op: Operator = "conv", keep: Mapping[str, Iterable[str]] | None = None, paper: str = ""
) -> Callable[[Callable], Callable]:
    """Decorator: `factory(build, *, ...)` becomes `create(name, ...)`.

    Args:
        op: the operator when the caller names none.
        keep: roles that stay multiplicative, per operator, in the published form of this family.
        paper: where the form comes from, shown by `describe`.
    """

    def add(factory: Callable) -> Callable:
        kept = {operator: tuple(roles) for operator, roles in (keep or {}).items()}
        _ENTRIES[name] = Entry(factory, op, kept, paper)
        return factory

    return add


def list_models() -> list[str]:
    """Names of all models, sorted."""
    return sorted(FAMILIES.keys() | _ENTRIES.keys())


def family_of(name: str) -> str:
    """The module that builds the model, for `RunSpec.uses`: "repro.models.ghostnet"."""
    check_choice("name", name, list_models())
    return FAMILIES.get(name) or _ENTRIES[name].factory.__module__


def _entry(name: str) -> Entry:
    importlib.import_module(family_of(name))
    return _ENTRIES[name]


def describe(name: str) -> pd.DataFrame:
    """Options of one model with their defaults, and the roles that stay multiplicative per operator."""
    entry = _entry(name)
    rows = [{"option": key, "default": value.default} for key, value in entry.options.items()]
    rows.append({"option": "op", "default": entry.op})
    rows += [{"option": f"keep (op={op!r})", "default": roles} for op, roles in entry.keep.items()]
    return pd.DataFrame(rows)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    width: float | None = None,
    op: Operator | None = None,
    keep: Iterable[str] | None = None,
    op_options: Mapping[str, Mapping] | None = None,
    **options,
) -> nn.Module:
    """Build a model by name, initialised from torch's global generator: `repro.models.create` without trained weights.

    What trainings reach takes this one, so that what the public door learns does not make their runs stale.
    """
    entry = _entry(name)
    if num_classes is not None:
        options["num_classes"] = check_int("num_classes", num_classes, minimum=1)
    if width is not None:
        options["width"] = width
    for option in options:
        if option not in entry.options:
            known = ", ".join([*entry.options, "op", "keep", "op_options"])
            raise InputError(
                f"model {name} has no option {option!r}; it takes: {known}.{nearest(option, entry.options)}"
            )
    if op is None:
        op = entry.op
    if keep is None and isinstance(op, str):
        keep = entry.keep.get(op, ())
    build = Builder(op, keep=keep, op_options=op_options)
    on_meta = torch.get_default_device().type == "meta"
    with _NoInit() if on_meta else nullcontext():
        model = entry.factory(build, **options)
    build.check_all_used()
    if not on_meta:
        init_weights(model)
    defaults = {
        key: value.default for key, value in entry.options.items() if value.default is not inspect.Parameter.empty
    }
    model.recipe = {"name": name, "op": op, "keep": build.keep, "op_options": build.op_options, **defaults, **options}
    return model
