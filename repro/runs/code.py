"""Fingerprint of the code behind a run: the meaning of the definitions that its function reaches.

From the function on, every name that a definition uses is followed to its definition, in the same file or wherever in
`repro` it was imported from. Places do not count, so code can move; neither do words (see `repro.runs.syntax`). Where
reading shows no names, the rule is careful: statements that act at import (registrations, loops) belong to every
definition of their file, a module used as an object counts whole, and what is chosen by name is told by `RunSpec.uses`.

The kernels in `repro.cpu` and `repro.triton` are left out: all back ends are tested to compute the same function, so a
faster kernel does not make a finished run stale.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from repro.errors import InputError
from repro.paths import repo_root
from repro.runs.syntax import METHODS, PACKAGE, REFUSAL, Definition, Name, Source, read_source

# Places that a result cannot depend on: how it is stored, shown, timed or started, and which back end computed it.
IGNORED = (
    "repro.cpu",
    "repro.triton",
    "repro.bench",
    "repro.report",
    "repro.runs",
    "repro.runtime",
    "repro.paths",
    "repro.errors",
    "repro.cli",
    "repro.widgets",
    "repro.pages",
    "repro.models.weights",  # how weights are written
    "repro.papers.weights",
    "repro.layers.quantized",  # forms of inference: no training computes with them
    "repro.layers.packed",
    "repro.layers.inference",
    "repro.models.families",  # in which file a model is: the run names that file in `uses`
    # Finding and decoding data: `RunSpec.data` is the fingerprint of what comes out.
    "repro.datasets.registry",
    "repro.datasets.manage",
    "repro.datasets.core._stored",
)
CHECK_S = 1.0
"""Seconds for which the files are taken to be as they were when last looked at."""

Place = tuple[str, str]
"""Module and name of a definition; the name "" stands for what acts when the module is imported."""


def _is_ours(path: str) -> bool:
    return path == PACKAGE or path.startswith(PACKAGE + ".")


def _is_ignored(path: str) -> bool:
    return any(path == ignored or path.startswith(ignored + ".") for ignored in IGNORED)


class _Code:
    """The files as they are, and the fingerprints computed from them."""

    def __init__(self) -> None:
        self.root: Any = None
        self.checked_s = float("-inf")
        self.stamp: object = None
        self.outside: set[Path] = set()
        self.sources: dict[str, Source | None] = {}
        self.answers: dict[tuple, Any] = {}

    def refresh(self) -> None:
        """Forget the answers if a file of the package, or another that was read, has changed."""
        if self.root == repo_root() and time.monotonic() - self.checked_s < CHECK_S:
            return
        self.root, self.checked_s = repo_root(), time.monotonic()
        files = [Path(folder, name) for folder, _, names in os.walk(self.root / PACKAGE) for name in names]
        sources = [path for path in [*files, *self.outside] if path.suffix == ".py" and path.is_file()]
        stamp = {(path, path.stat().st_mtime_ns, path.stat().st_size) for path in sources}
        if stamp != self.stamp:
            self.stamp = stamp
            self.sources.clear()
            self.answers.clear()

    def modules(self) -> Iterator[str]:
        for path in (self.root / PACKAGE).rglob("*.py"):
            parts = path.relative_to(self.root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def source(self, module: str) -> Source | None:
        if module not in self.sources:
            path = self._find(module)
            if path is None:
                self.sources[module] = None
            else:
                found = path.stat()
                self.sources[module] = read_source(path, found.st_mtime_ns, found.st_size)
        return self.sources[module]

    def _find(self, module: str) -> Path | None:
        if _is_ours(module):
            path = self.root.joinpath(*module.split("."))
            return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        path = Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
        self.outside.update(filter(None, [path]))
        return path


_code = _Code()


def _split(path: str) -> tuple[str, list[str]]:
    """The longest module in a dotted path, and the attributes after it."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if _code.source(module) is not None:
            return module, parts[count:]
    return "", parts


def _whole(module: str) -> list[Place]:
    source: Any = _code.source(module)
    names = [name for name in source.definitions if not name.endswith(METHODS) and not name.startswith(REFUSAL)]
    return [(module, name) for name in names] + [(module, "")]


def _places(path: str, seen: frozenset[str] = frozenset()) -> list[Place]:
    """Definitions that a dotted path inside `repro` leads to, through the imports of packages."""
    module, attributes = _split(path)
    if not module or _is_ignored(".".join([module, *attributes[:1]])):
        return []
    source: Any = _code.source(module)
    if attributes and attributes[0] in source.definitions:
        return [(module, attributes[0])]
    if attributes and attributes[0] in source.imports and path not in seen:
        target = ".".join([source.imports[attributes[0]], *attributes[1:]])
        return _places(target, seen | {path}) if _is_ours(target) else []
    return _whole(module)


def _follow(module: str, name: Name) -> tuple[list[Place], str]:
    """Where a name of `module` leads: definitions of ours, or the path of someone else's."""
    label, path = name
    base, dot, rest = label.partition(".")
    source: Any = _code.source(module)
    if not path and base in source.definitions:
        return ([] if _is_ignored(f"{module}.{base}") else [(module, base)]), ""
    path = path or (source.imports[base] + dot + rest if base in source.imports else "")
    return (_places(path), "") if _is_ours(path) else ([], path)


def _definitions(place: Place) -> Iterable[Definition]:
    module, name = place
    source: Any = _code.source(module)
    return source.definitions[name] if name else source.loose


def _own_text(places: Iterable[Place]) -> str:
    return _hash(sorted(definition.text for place in places for definition in _definitions(place)))


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def reached(roots: Iterable[Place]) -> dict[Place, set[str]]:
    """Every definition that the roots use, directly or not, each with its text and what its names stand for."""
    _code.refresh()
    found: dict[Place, set[str]] = {}
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        if place in found:
            continue
        found[place] = set()
        for definition in _definitions(place):
            links = []
            for name in sorted(definition.names):
                targets, elsewhere = _follow(place[0], name)
                waiting += targets
                if targets or elsewhere:
                    links.append(f"{name[0]}={elsewhere or _own_text(targets)}")
            found[place].add("\n".join([definition.text, *links]))
            waiting.append((place[0], ""))
    return found


def _root(reference: str) -> list[Place]:
    """Where "package.module:name" or "package.module" leads; empty if nowhere."""
    module, _, name = reference.partition(":")
    source: Any = _code.source(module)
    if source is None:
        return []
    if not name:
        return _whole(module)
    outermost = name.partition(".")[0]  # of a class within a class
    for candidate in (name, outermost):
        if candidate in source.definitions:
            return [(module, candidate)]
    return _places(f"{module}.{outermost}") if outermost in source.imports else []


def code_fingerprint(function: str, *, uses: tuple[str, ...] = (), recipe_classes: tuple[str, ...] = ()) -> str:
    """Twelve hex digits that change when the code behind a run function changes its meaning.

    Args:
        function: "package.module:name".
        uses: further modules or definitions ("package.module:name") that the function chooses by name.
        recipe_classes: dataclasses ("package.module:Name") whose methods the function may call. Their fields do not
            count here: the values are the recipe's.
    Raises: InputError if there is no such module or definition in `uses`.
    """
    _code.refresh()
    asked = (function, tuple(uses), tuple(recipe_classes))
    if asked not in _code.answers:
        _code.answers[asked] = _fingerprint(*asked)
    return _code.answers[asked]


def _fingerprint(function: str, uses: tuple[str, ...], recipe_classes: tuple[str, ...]) -> str:
    start = _root(function) or _root(function.partition(":")[0])
    roots = list(start)
    for reference in uses:
        places = _root(reference)
        if not places:
            raise InputError(f"uses={reference!r} is not known; name a module or 'package.module:name' of {PACKAGE}.")
        roots += places
    for reference in recipe_classes:
        roots += _root(reference + METHODS)
    texts = set().union(*reached(roots).values()) if roots else set()
    return _hash([_own_text(start) if start else function, *sorted(texts)])[:12]


def still_means(code: str, function: str, uses: tuple[str, ...], recipe_classes: tuple[str, ...]) -> bool:
    """Whether `code` is today's fingerprint of a stored run, whose function may have moved to another file since."""
    _code.refresh()
    asked = (code, function, uses, recipe_classes)
    if asked not in _code.answers:
        _code.answers[asked] = any(code == found for found in _fingerprints_wherever(*asked[1:]))
    return bool(_code.answers[asked])


def _fingerprints_wherever(function: str, uses: tuple[str, ...], classes: tuple[str, ...]) -> Iterator[str]:
    options = [_candidates(reference) for reference in (function, *uses, *classes)]
    for chosen in itertools.product(*options):
        yield code_fingerprint(chosen[0], uses=chosen[1 : 1 + len(uses)], recipe_classes=chosen[1 + len(uses) :])


def _candidates(reference: str) -> list[str]:
    """The reference itself if it leads somewhere, else its namesakes in the package."""
    if _root(reference):
        return [reference]
    module, _, name = reference.partition(":")
    if not name:
        return [other for other in _code.modules() if other.rpartition(".")[2] == module.rpartition(".")[2]]
    return [f"{other}:{name}" for other in _code.modules() if name in _code.source(other).definitions]  # type: ignore[union-attr]
