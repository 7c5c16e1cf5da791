"""What a user calls has types: every argument and result of what the subpackages export, and mypy sees all of it."""

import ast
import importlib
import inspect
import pkgutil
import tomllib

import pytest

import repro
from repro.paths import repo_root
from repro.site.listings import PUBLIC

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


def names_used(text):
    """The names of packages ("repro.layers.convert") that a program uses; importing one is no use."""
    tree, meaning = ast.parse(text), {}
    for found in ast.walk(tree):
        if isinstance(found, ast.ImportFrom):
            meaning |= {one.asname or one.name: f"{found.module}.{one.name}" for one in found.names}
    used = {meaning.get(found.id) for found in ast.walk(tree) if isinstance(found, ast.Name)}
    used |= {
        f"{meaning.get(found.value.id)}.{found.attr}"
        for found in ast.walk(tree)
        if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name)
    }
    return used


def test_a_typed_program_uses_every_public_name():
    files = sorted((repo_root() / "tests" / "typed").glob("*.py"))
    used = set().union(*(names_used(path.read_text(encoding="utf-8")) for path in files))
    offered = {f"{name}.{one}" for name in PUBLIC for one in getattr(importlib.import_module(name), "__all__", ())}
    assert len(offered) > 150 and offered - used == set()


def test_an_import_alone_is_no_use():
    text = "from repro import ops as o\nfrom repro.layers import a, b\nb(o.c)"
    assert names_used(text) & {"repro.layers.a", "repro.layers.b", "repro.ops.c"} == {"repro.layers.b", "repro.ops.c"}


UNREAD = {"__init__.py", "__main__.py", "bench", "cpu", "papers", "report", "triton", "widgets"}
"""Whose bodies mypy does not read: most of their values are frames, arrays and kernels without types."""


def test_mypy_reads_the_typed_programs_strictly_and_the_bodies_of_most_packages():
    asked = tomllib.loads((repo_root() / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert "tests/typed" in asked["files"] and asked["strict"]
    parts = {path.name for path in (repo_root() / "repro").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {f"repro/{name}" for name in parts - UNREAD - {"__pycache__"}} == set(asked["files"]) - {"tests/typed"}
