"""An operator has one colour: it is said in `repro.report.palette` and nowhere else."""

import ast
import re

from repro.paths import repo_root
from repro.report.palette import COLOURS, OPERATORS, lighter

HEX = re.compile(r"#[0-9a-fA-F]{6}")
PACKAGE = repo_root() / "repro"
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "palette.py"]


def own_operator_colours(tree):
    """Colours that a module gives to operators by itself: an operator's name beside a hex code, or its very code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            pairs = [(key, value) for key, value in zip(node.keys, node.values) if isinstance(key, ast.Constant)]
            found += [key.value for key, value in pairs if key.value in OPERATORS and HEX.search(ast.unparse(value))]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            codes = {code.lower() for code in HEX.findall(node.value)}
            found += [name for name, code in OPERATORS.items() if code.lower() in codes]
    return found


def test_the_colours_of_operators_differ():
    assert len(set(OPERATORS.values())) == len(OPERATORS) and set(OPERATORS) <= set(COLOURS)
    assert all(HEX.fullmatch(colour) for colour in COLOURS.values())


def test_no_other_module_gives_an_operator_a_colour():
    found = {path.name: own_operator_colours(ast.parse(path.read_text(encoding="utf-8"))) for path in OTHERS}
    assert {name: colours for name, colours in found.items() if colours} == {}


def test_a_second_palette_would_be_found():
    assert own_operator_colours(ast.parse('COLOURS = {"conv": "#3b6fb6", "x": "#123456"}')) == ["conv"]
    assert own_operator_colours(ast.parse('plot(color="#d55e00")')) == ["adder"]


def test_a_lighter_colour_lies_between_it_and_white():
    assert lighter("#0072B2", 0) == "#0072b2" and lighter("#0072B2", 1) == "#ffffff"
    assert lighter("#000000", 0.5) == "#808080"
