"""What a run is: its recipe's values, seed and data, and the meaning of the code that it runs.

Fields at their default, the place and name of classes and functions, and descriptions are not part of it, so a field
added later or a moved file leaves finished runs valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.errors import InputError, check_number, check_seed
from repro.paths import runs_root
from repro.runs.code import code_fingerprint

FOLDER = re.compile(r"[0-9a-f]{16}-[0-9a-f]{12}")
"""Name of a run's folder: identity and code."""
_KIND = re.compile(r"\w[\w-]*(/\w[\w-]*)*", re.ASCII)


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as plain JSON values."""
    if _is_record(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return value.item()
    return value


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _counted(record: Any) -> list[dataclasses.Field]:
    """Fields that shape the result: `field(compare=False)` marks a description."""
    return [field for field in dataclasses.fields(record) if field.compare]


def _at_default(field: dataclasses.Field, value: Any) -> bool:
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return type(value) is type(default) and to_plain(value) == to_plain(default)


def _allows_one_class(field: dataclasses.Field, value: Any) -> bool:
    """Whether the annotation names the class of `value` and no other, so that the name adds nothing."""
    annotation = getattr(field.type, "__name__", None) or str(field.type)
    named = set(re.findall(r"\b[A-Z]\w*", annotation.rpartition("[")[2])) - {"None"}
    return named == {type(value).__name__}


def values_of(value: Any, field: dataclasses.Field | None = None) -> Any:
    """The values of a recipe as plain JSON, fields at their default left out.

    A nested dataclass goes by its values; its class name counts only where the field allows several classes.
    """
    if _is_record(value):
        given = {
            inner.name: values_of(getattr(value, inner.name), inner)
            for inner in _counted(value)
            if not _at_default(inner, getattr(value, inner.name))
        }
        return given if field is None or _allows_one_class(field, value) else {type(value).__name__: given}
    if isinstance(value, Mapping):
        return {str(key): values_of(item, field) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [values_of(item, field) for item in value]
    return to_plain(value)


def agrees(stored: Any, recipe: Any) -> bool:
    """Whether a stored recipe (plain, whole) is today's `recipe` in every field that both have.

    It tells a changed default, which `values_of` leaves out, from a field that was added or removed.
    """
    if _is_record(recipe):
        if not isinstance(stored, Mapping):
            return False
        return all(
            agrees(stored[field.name], getattr(recipe, field.name))
            for field in _counted(recipe)
            if field.name in stored
        )
    if isinstance(recipe, Mapping):
        plain = {str(key): item for key, item in recipe.items()}
        same = isinstance(stored, Mapping) and plain.keys() == stored.keys()
        return same and all(agrees(stored[key], item) for key, item in plain.items())
    if isinstance(recipe, list | tuple):
        same = isinstance(stored, list) and len(stored) == len(recipe)
        return same and all(agrees(old, new) for old, new in zip(stored, recipe))
    return stored == to_plain(recipe)


def _classes(value: Any) -> Iterator[type]:
    """Dataclasses that a recipe is made of, with their bases: their methods are code that the run may call."""
    if _is_record(value):
        yield from (cls for cls in type(value).__mro__ if dataclasses.is_dataclass(cls))
        for field in dataclasses.fields(value):
            yield from _classes(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _classes(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _classes(item)


def _digest(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"a recipe holds only finite numbers, texts, lists and records of them ({error}).") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_gpus(value: object) -> float:
    """Return `value` as a float if a cluster can hand out as many GPUs, else raise InputError."""
    number = check_number("gpus", value, minimum=0)
    if number > 1 and not number.is_integer():
        raise InputError(f"gpus={value!r} is not allowed; it must be a share of one GPU, or a whole number of them.")
    return number


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One run, before it happens.

    Args:
        kind: folder that collects related runs, for example "network" or "toy/search".
        function: "package.module:name" of a function `run(recipe, seed, context) -> dict` at module level.
        recipe: frozen dataclass (or mapping) with everything that shapes the result but the seed; the function gets
            this object.
        seed: the run's only source of randomness.
        data: fingerprint of the data set, as `repro.datasets.load(...).fingerprint`.
        uses: modules ("repro.models.ghostnet") or definitions ("repro.search.cars:search") that the result depends on
            and that the function chooses by name, where reading the code does not show them.
        parallel: whether the function can share its work among the processes of torchrun; not part of what the run is.
        gpus, cpus: how many GPUs and cores it asks of a cluster's node, 0 for the engine's own numbers; the threads of
            torch stay the engine's. Not part of what the run is.
        memory_gib: GiB of memory that it asks of a cluster's node, 0 for no claim; not part of what the run is.
    """

    kind: str
    function: str
    recipe: Any
    seed: int
    data: str = ""
    uses: tuple[str, ...] = ()
    parallel: bool = dataclasses.field(default=False, compare=False)
    gpus: float = dataclasses.field(default=0, compare=False)
    cpus: float = dataclasses.field(default=0, compare=False)
    memory_gib: float = dataclasses.field(default=0, compare=False)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if ":" not in self.function:
            raise InputError(f"function={self.function!r} is not allowed; write 'package.module:name'.")
        if not _KIND.fullmatch(self.kind) or any(FOLDER.fullmatch(part) for part in self.kind.split("/")):
            raise InputError(f"kind={self.kind!r} is not allowed; write plain names, for example 'toy/search'.")
        if isinstance(self.uses, str):
            raise InputError(f"uses={self.uses!r} is not allowed; give a tuple of module names.")
        check_gpus(self.gpus)
        check_number("cpus", self.cpus, minimum=0)
        check_number("memory_gib", self.memory_gib, minimum=0)

    @property
    def recipe_digest(self) -> str:
        """Digest of the recipe's values, whatever the seed and the data."""
        return _digest(values_of(self.recipe))

    @property
    def identity(self) -> str:
        """Digest of what is asked for: the recipe's values, seed, data."""
        return _digest([values_of(self.recipe), int(self.seed), self.data])

    @property
    def recipe_classes(self) -> tuple[str, ...]:
        """Dataclasses of the recipe as "package.module:Name"."""
        return tuple(sorted({f"{cls.__module__}:{cls.__qualname__}" for cls in _classes(self.recipe)}))

    @property
    def code(self) -> str:
        """Fingerprint of the code that answers it."""
        return code_fingerprint(self.function, uses=tuple(self.uses), recipe_classes=self.recipe_classes)

    @property
    def folder(self) -> Path:
        return runs_root() / self.kind / f"{self.identity}-{self.code}"

    def load_function(self) -> Callable[[Any, int, Any], dict]:
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)
