"""Imports point down and never in a circle: what a lower layer knows, it knows without the ones above."""

import ast
import functools
import graphlib
import re

import pytest

from repro.cost import CONVENTIONS
from repro.paths import repo_root
from repro.report.published import PAPERS

PACKAGE = repo_root() / "repro"
# Low to high. A part may import those of the lines before its own, and itself.
LAYERS = [
    {"errors", "geometry"},
    {"codes", "paths"},
    {"revision", "runtime"},
    {"cpu", "triton"},
    {"ops"},
    {"layers"},
    {"models"},
    {"cost", "datasets"},
    {"train"},
    {"augment"},
    {"search"},
    {"runs"},
    {"report"},
    {"bench", "widgets"},
    {"papers"},
    {"pages"},
    {"site"},
    {"cli"},
    {"__main__"},
]
ONLY = {  # what knows less than its place allows
    "datasets": {"errors", "paths"},
    "runs": {"errors", "paths", "revision", "runtime"},  # stores and executes; knows nothing of networks
    "report": {"errors", "paths", "cost"},  # judges and draws what is stored; trains and searches nothing
}
PARTS = set().union(*LAYERS)
PAPER = re.compile("ac_?ghost_?net|shift_?add_?(aug|nas)|auto_?shift_?net", re.IGNORECASE)
MACHINERY = {"augment", "search", "train", "cost", "report", "runs", "site", "widgets"}
NAMED = {  # texts that say whose number or convention it is
    "repro.cost.units": {"ShiftAddAug, table 1", "ACGhostNet, sections 3.1 and 3.3", "ShiftAddNAS, public simulator"},
    "repro.cost.counting": {text for one in CONVENTIONS.values() for text in (one.name, one.source)},
    "repro.report.published": PAPERS.keys() | PAPERS.values(),
}


def modules():
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@functools.cache
def tree_of(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported(tree, *, everywhere):
    """Dotted names of our modules that a module imports: at its top, or `everywhere` in it."""
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES}


def part(name):
    """`repro.layers.adder` belongs to `layers`."""
    return name.split(".")[1] if "." in name else ""


def allowed(name):
    """The parts that a part may import."""
    (level,) = [i for i, layer in enumerate(LAYERS) if name in layer]
    return ONLY.get(name, set().union(*LAYERS[:level])) | {name, ""}


def upward(name):
    """'repro.a.b imports repro.c.d' for each import of a module that its part may not make."""
    tree = tree_of(name)
    targets = sorted(imported(tree, everywhere=True))
    return [f"{name} imports {target}" for target in targets if part(target) not in allowed(part(name))]


def test_every_part_has_one_place():
    assert {part(name) for name in MODULES} - {""} == PARTS and sum(map(len, LAYERS)) == len(PARTS)


@pytest.mark.parametrize("layer", sorted(PARTS))
def test_imports_point_down(layer):
    assert [line for name in MODULES if part(name) == layer for line in upward(name)] == []


def test_every_module_that_is_imported_exists():
    for name in MODULES:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "repro":
                assert node.module in MODULES, f"{name} imports {node.module}"


def test_no_module_imports_itself_by_a_detour():
    graph = {name: imported(tree_of(name), everywhere=True) - {name} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def names_of(tree):
    """Identifiers and texts of a module, docstrings left out."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value
        elif isinstance(node, ast.alias):
            yield from filter(None, (node.name, node.asname))
        else:  # Name, Attribute, arg and keyword, functions and classes
            yield from (getattr(node, field) for field in ("id", "attr", "arg", "name") if getattr(node, field, None))


def papers_named(name):
    """Lines 'module: text' that name a paper; in brackets it is a source, '(ShiftAddAug, equation 5)'."""
    found = set(names_of(tree_of(name))) - NAMED.get(name, set())
    return [f"{name}: {text}" for text in sorted(found) if PAPER.search(re.sub(r"\([^()]*\)", "", text))]


@pytest.mark.parametrize("layer", sorted(MACHINERY))
def test_machinery_names_no_paper_but_as_a_source(layer):
    assert [line for name in MODULES if part(name) == layer for line in papers_named(name)] == []


def test_a_paper_imports_no_other_paper():
    papers = {path.name for path in (PACKAGE / "papers").iterdir() if (path / "__init__.py").exists()} - {"accountings"}
    found = []
    for name in MODULES:
        own = next((paper for paper in papers if name.startswith(f"repro.papers.{paper}.")), None)
        targets = imported(tree_of(name), everywhere=True) if own else ()
        others = tuple(f"repro.papers.{paper}." for paper in papers - {own})
        found += [f"{name} imports {target}" for target in targets if target.startswith(others)]
    assert found == []


def test_printed_numbers_are_read_by_nothing_below_the_report():
    """They are compared with; a model or a search that read them would hand them back as ours."""
    low = set().union(*LAYERS[: next(i for i, layer in enumerate(LAYERS) if "report" in layer)]) - {"paths"}
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items() if part(name) in low}
    assert [name for name, text in texts.items() if "published_root" in text] == []
