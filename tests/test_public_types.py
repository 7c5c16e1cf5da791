"""What a user calls has types: every argument and result of what the subpackages export."""

import importlib
import inspect
import pkgutil

import pytest

import repro

EXPORTING = sorted(f"repro.{found.name}" for found in pkgutil.iter_modules(repro.__path__) if found.ispkg)


def functions_of(module):
    """(name, function) of every exported function, and of the public methods and constructors of exported classes."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not inspect.isclass(value):
            yield name, inspect.unwrap(value)
            continue
        for label, member in vars(value).items():
            if not label.startswith("_") or label == "__init__":
                member = member.fget if isinstance(member, property) else member
                yield f"{name}.{label}", inspect.unwrap(getattr(member, "__func__", member))


def untyped(function):
    """Names of the arguments without a type, and "return"."""
    signature = inspect.signature(function)
    names = [name for name, each in signature.parameters.items() if each.annotation is each.empty]
    if signature.return_annotation is signature.empty and function.__name__ != "__init__":
        names.append("return")
    return [name for name in names if name not in ("self", "cls")]


def ours(function):
    plain = inspect.isfunction(function) and function.__name__ != "<lambda>"  # which can have no types
    return plain and function.__module__.startswith("repro.")


@pytest.mark.parametrize("name", EXPORTING)
def test_everything_that_is_exported_has_types(name):
    found = {
        label: untyped(function) for label, function in functions_of(importlib.import_module(name)) if ours(function)
    }
    assert {label: names for label, names in found.items() if names} == {}


def test_the_search_for_functions_finds_them():
    found = dict(functions_of(importlib.import_module("repro.train")))
    assert {"fit", "Trainer.epoch", "Trainer.__init__", "History.accuracy_pct"} <= found.keys()
    assert untyped(lambda x, *, y: x) == ["x", "y", "return"]
