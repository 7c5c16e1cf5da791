"""The definitions of one Python file by their meaning, and the names that each takes from elsewhere.

Meaning leaves out what a result cannot depend on: comments, docstrings, annotations, layout, the texts of errors,
import lines (names are followed instead), `paper=...`, which says where a model comes from, on which device a tensor
lies (`repro.runtime.beside`), and refusals of bad input (statements `refuse...(…)`): a finished run met none.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "repro"
_HARMLESS = {
    "dataclass", "dataclasses.dataclass", "cache", "functools.cache", "lru_cache", "functools.lru_cache",
    "contextmanager", "contextlib.contextmanager", "torch.no_grad", "torch.inference_mode", "numba.njit",
}  # fmt: skip
"""Decorators that only wrap. Any other may register what it decorates, so that something else finds it by name."""
_DESCRIBES = {"paper"}
_PLACES = {"beside"}
"""Functions that return their first argument, on another device."""

REFUSAL = "refuse"
"""How names of functions begin that do nothing but raise where input is bad (`repro.errors.refuse`)."""

METHODS = " methods"
"""After a class's name: the class without its fields and name."""

Name = tuple[str, str]
"""A name as written ("layers.AdderConv2d") and the dotted path it was imported from, "" for a name of the module."""


@dataclasses.dataclass(frozen=True)
class Definition:
    """One statement: its normalised syntax tree as text, and the names that it takes from outside itself."""

    text: str
    names: frozenset[Name]


@dataclasses.dataclass(frozen=True)
class Source:
    """One file: definitions by name, imported names, and the statements that define nothing but may act at import."""

    definitions: dict[str, list[Definition]]
    imports: dict[str, str]
    loose: tuple[Definition, ...]


@functools.lru_cache(maxsize=2048)
def read_source(path: Path, mtime_ns: int, size: int) -> Source:
    """The file at `path`; time and size tell one state of it from the next. `__init__` files serve their package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    tree = _Meaning().visit(tree)
    source = Source({}, {}, ())
    loose: list[Definition] = []
    effects: set[Name] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            effects.update((alias.name, alias.name) for alias in statement.names if not alias.asname)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            source.imports.update(_imported(statement))
            continue
        defined = _defined_names(statement)
        if isinstance(statement, ast.ClassDef):
            methods = _methods(statement)
            source.definitions[statement.name + METHODS] = [_definition(methods)] if methods.body else []
        if not defined or _may_register(statement):
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    source.imports.update(_imported(node))
            loose.append(_definition(statement))
        for name in defined:
            source.definitions.setdefault(name, []).append(_definition(statement))
    if path.name != "__init__.py":
        effects.update((name, path) for name, path in source.imports.items() if name not in used)
    effects = {name for name in effects if name[1].startswith(PACKAGE + ".")}
    if effects:  # imported though no line uses them, or with a star
        loose.append(Definition("", frozenset(effects)))
    return dataclasses.replace(source, loose=tuple(loose))


def _defined_names(statement: ast.stmt) -> list[str]:
    """Names that a statement plainly defines: a function, a class, or a constant."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if not isinstance(statement, ast.Assign):
        return []
    targets = [item for target in statement.targets for item in getattr(target, "elts", [target])]
    return [target.id for target in targets] if all(isinstance(target, ast.Name) for target in targets) else []


def _may_register(statement: ast.stmt) -> bool:
    decorators = getattr(statement, "decorator_list", [])
    return any(ast.unparse(getattr(decorator, "func", decorator)) not in _HARMLESS for decorator in decorators)


def _methods(statement: ast.ClassDef) -> ast.ClassDef:
    body = [item for item in statement.body if not isinstance(item, ast.AnnAssign)]
    return ast.ClassDef(name="_", bases=[], keywords=[], body=body, decorator_list=[])


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[Name]:
    """(bound name, dotted path). Relative imports do not occur in this package."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            path = node.module or ""
            yield (f"* {path}", path) if alias.name == "*" else (alias.asname or alias.name, f"{path}.{alias.name}")
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.partition(".")[0]
            yield top, top


def _definition(statement: ast.stmt) -> Definition:
    scope = _Scope()
    scope.visit(statement)
    if scope.has_imports:
        statement = _WithoutImports().visit(copy.deepcopy(statement))
    return Definition(_dumped(statement), frozenset(scope.free()))


def _dumped(statement: ast.stmt) -> str:
    """`ast.dump` as Python 3.11 writes it, so that code has one fingerprint in all versions.

    3.12 adds the parameters of types, of which there are none here; 3.13 leaves out empty lists unless asked for them.
    """
    whole = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(statement, **whole).replace(", type_params=[]", "")


class _Meaning(ast.NodeTransformer):
    """Drops what a result cannot depend on, but for import lines."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = [item for item in node.body if not _is_guarded(item)]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for item in node.body:
            if isinstance(item, ast.AnnAssign):
                item.annotation = ast.Constant("field")
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign):
        if isinstance(node.annotation, ast.Constant) and node.annotation.value == "field":
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))

    def visit_Assign(self, node: ast.Assign):
        listed = any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
        return None if listed else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]  # 3.12 ends some with none
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr):
        called = getattr(node.value, "func", None)
        refuses = isinstance(called, ast.Name) and called.id.startswith(REFUSAL)
        text = isinstance(getattr(node.value, "value", None), str)
        return None if text or refuses else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        return ast.Raise(exc=getattr(node.exc, "func", node.exc), cause=None)

    def visit_Call(self, node: ast.Call):
        places = isinstance(node.func, ast.Name) and node.func.id in _PLACES
        return self.visit(node.args[0]) if places else self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword):
        return None if node.arg in _DESCRIBES else self.generic_visit(node)


def _is_guarded(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":` do nothing in a run."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id in ("TYPE_CHECKING", "__name__") for node in ast.walk(statement.test)
    )


class _WithoutImports(ast.NodeTransformer):
    def visit_Import(self, node):
        return None

    visit_ImportFrom = visit_Import


class _Scope(ast.NodeVisitor):
    """Names that a piece of code loads and does not bind itself, by Python's rules of scope."""

    def __init__(self, bound: set[str] | None = None) -> None:
        self.bound = bound or set()
        self.outer: set[str] = set()
        self.imports: dict[str, str] = {}
        self.loads: set[Name] = set()
        self.has_imports = False

    def free(self) -> Iterator[Name]:
        bases = set()
        for label, path in self.loads:
            base, dot, rest = label.partition(".")
            bases.add(base)
            if path:
                yield label, path
            elif base in self.imports:
                yield label, self.imports[base] + dot + rest
            elif base not in self.bound or base in self.outer:
                yield label, ""
        yield from ((name, path) for name, path in self.imports.items() if name not in bases)

    def _enter(self, nodes: list[ast.AST], bound: set[str] | None = None) -> None:
        inner = _Scope(bound)
        for node in nodes:
            inner.visit(node)
        self._take(inner)

    def _take(self, inner: _Scope) -> None:
        self.loads.update(inner.free())
        self.has_imports |= inner.has_imports

    def _function(self, node, body: list[ast.AST]) -> None:
        given = node.args
        for default in [*given.defaults, *filter(None, given.kw_defaults)]:
            self.visit(default)
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        self._enter(body, {argument.arg for argument in named})

    def visit_FunctionDef(self, node) -> None:
        self.bound.add(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._function(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound.add(node.name)
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part)
        inner = _Scope()
        for statement in node.body:
            inner.visit(statement)
        inner.bound.clear()  # a method does not see its class's names
        self._take(inner)

    def visit_ListComp(self, node) -> None:
        self.visit(node.generators[0].iter)
        self._enter(list(ast.iter_child_nodes(node)))

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.loads.add((node.id, ""))
        else:
            self.bound.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.append(base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            self.loads.add((".".join([base.id, *reversed(attributes)]), ""))
        else:
            self.visit(base)

    def visit_Call(self, node: ast.Call) -> None:
        """`import_module("a.b")` is an import of `a.b`."""
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant):
            self.loads.add((str(node.args[0].value), str(node.args[0].value)))
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.outer.update(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        self.visit_ImportFrom(node)
        # `import a.b` without a name for it runs a.b, whatever is used of it.
        self.loads.update((alias.name, alias.name) for alias in node.names if not alias.asname)

    def visit_ImportFrom(self, node: ast.Import | ast.ImportFrom) -> None:
        self.has_imports = True
        self.imports.update(_imported(node))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)
