"""Fingerprint of the code that a run uses: the meaning of its source, not its comments.

The fingerprint covers the module of the run function and every `repro` module it imports, directly or not. The kernels
in `repro.cpu` and `repro.triton` are left out: all back ends are tested to compute the same function, so a faster
kernel does not make a finished run stale. Comments, docstrings and layout are left out as well.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

from repro.paths import repo_root

PACKAGE = "repro"
# Places that a result cannot depend on: how it is stored, shown, timed or started, and which back end computed it.
IGNORED = (
    "repro.cpu",
    "repro.triton",
    "repro.bench",
    "repro.report",
    "repro.runs",
    "repro.runtime",
    "repro.errors",
    "repro.cli.main",
    "repro.widgets",
)


def _is_ignored(module: str) -> bool:
    return any(module == ignored or module.startswith(ignored + ".") for ignored in IGNORED)


def _source_of(module: str) -> Path | None:
    path = repo_root().joinpath(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    """Without docstrings and the strings that describe the assignment above them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
    return tree


@functools.lru_cache(maxsize=1024)
def _meaning_and_imports(path: Path, modified_ns: int) -> tuple[str, frozenset[str]]:
    """Digest of one file's syntax tree and the names of the `repro` modules that it may import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imported.add(node.module)
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = frozenset(name for name in imported if name == PACKAGE or name.startswith(PACKAGE + "."))
    digest = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return digest, ours


def modules_used(module: str) -> dict[str, str]:
    """Names of the `repro` modules that `module` uses (itself included), each with the digest of its meaning."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or _is_ignored(name):
            continue
        path = _source_of(name)
        if path is None:  # a function or class imported by name: its module is in the list as well
            continue
        digest, imported = _meaning_and_imports(path, path.stat().st_mtime_ns)
        found[name] = digest
        waiting.extend(imported)
        parent = name.rpartition(".")[0]
        if parent and parent != PACKAGE:  # importing a module runs its package's __init__
            waiting.append(parent)
    return found


def code_fingerprint(function: str, *, uses: tuple[str, ...] = (), recipe_classes: tuple[str, ...] = ()) -> str:
    """Twelve hex digits that change when the code behind `function` changes its meaning."""
    module = function.split(":")[0]
    if not module.startswith(PACKAGE + "."):
        spec = importlib.util.find_spec(module)
        path = Path(spec.origin) if spec and spec.origin else None
        parts = [_meaning_and_imports(path, path.stat().st_mtime_ns)[0]] if path else [module]
    else:
        parts = [f"{name}={digest}" for name, digest in sorted(modules_used(module).items())]
    parts += [function.split(":")[-1], *uses]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def could_be(code: str, function: str, uses: tuple[str, ...], recipe_classes: tuple[str, ...]) -> bool:
    """Whether `code` is the fingerprint of a stored run's function now."""
    return code == code_fingerprint(function, uses=uses, recipe_classes=recipe_classes)
