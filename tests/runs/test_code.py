"""The fingerprint of code: it changes with what a run computes, not with words or places."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repro.errors import InputError
from repro.paths import repo_root
from repro.runs.code import code_fingerprint, reached, still_means
from repro.runs.syntax import read_source

PACKAGE = {
    "__init__.py": "",
    "jobs.py": '''"""Jobs."""
import math
from dataclasses import dataclass

from repro import tools
from repro.layers import scale
from repro.models.registry import create

RATE = 0.5
"""How fast."""


@dataclass(frozen=True)
class Recipe:
    """A recipe."""

    epochs: int = 3

    def steps(self):
        return self.epochs * 10


class Net:
    depth = 2

    def grow(self):
        return 1


def helper(x: int, by=2) -> int:
    return x * by


def run(recipe: Recipe, seed, context):
    """Does it."""
    if seed < 0:
        raise ValueError("seed is negative")  # never
    return {"value": scale(helper(RATE)) + tools.area(seed) + Net().grow() + create(recipe.name)}
''',
    "layers/__init__.py": "from repro.layers.scaling import scale\n",
    "layers/scaling.py": "FACTOR = 3\n\n\ndef scale(x):\n    return x * FACTOR\n",
    "tools.py": "import math\n\n\ndef area(r):\n    return math.pi * r**2\n\n\ndef volume(r):\n    return r**3\n",
    "models/__init__.py": "",
    "models/registry.py": "MODELS = {}\n\n\ndef register(name, paper=''):\n"
    "    return lambda factory: MODELS.setdefault(name, factory)\n\n\ndef create(name):\n    return MODELS[name]()\n",
    "models/ghost.py": "from repro.models.registry import register\n\n\ndef block():\n    return 1\n\n\n"
    "@register('ghost', paper='Table 1')\ndef ghost():\n    return block()\n",
    "models/vgg.py": "from repro.models.registry import register\n\n\n@register('vgg')\ndef vgg():\n    return 2\n",
    "cpu.py": "def fast():\n    return 1\n",
}
GHOST = "repro.models.ghost"


class Package:
    """A small `repro` on disk."""

    def __init__(self, root):
        self.root = root
        for name, text in PACKAGE.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / "repro" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name):
        return (self.root / "repro" / name).read_text()

    def replace(self, name, old, new):
        assert old in self.read(name)
        self.write(name, self.read(name).replace(old, new))

    def move(self, definition, source, target, imports):
        """Move a function or class to another file that imports what it needs."""
        parts = self.read(source).split("\n\n\n")
        (moved,) = [part for part in parts if f"def {definition}(" in part or f"class {definition}" in part]
        self.write(source, "\n\n\n".join(part for part in parts if part != moved))
        self.write(target, f"{imports}\n\n\n{moved}\n")

    def fingerprint(self, function="repro.jobs:run", uses=(GHOST,)):
        return code_fingerprint(function, uses=uses, recipe_classes=("repro.jobs:Recipe",))


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr("repro.runs.code.repo_root", lambda: tmp_path)
    monkeypatch.setattr("repro.runs.code.CHECK_S", 0.0)
    return Package(tmp_path)


SAME = {
    "module text": ("jobs.py", '"""Jobs."""', '"""Other words."""'),
    "docstring": ("jobs.py", "Does it.", "Does all of it."),
    "comment": ("jobs.py", "  # never", ""),
    "text below a constant": ("jobs.py", "How fast.", "The rate."),
    "error message": ("jobs.py", "seed is negative", "seed must not be negative"),
    "annotation": ("jobs.py", "x: int, by=2) -> int", "x: float, by=2)"),
    "source of a model": ("models/ghost.py", "Table 1", "table 1"),
    "default of a recipe's field": ("jobs.py", "epochs: int = 3", "epochs: int = 4"),
    "new field of a recipe": ("jobs.py", "epochs: int = 3\n", "epochs: int = 3\n    lr: float = 0.1\n"),
    "unused neighbour": ("tools.py", "r**3", "4 * r**3"),
    "added neighbour": ("tools.py", "import math", "import math\n\n\ndef side(area):\n    return area**0.5"),
    "another family": ("models/vgg.py", "return 2", "return 3"),
    "import by another way": ("jobs.py", "repro.layers import", "repro.layers.scaling import"),
    "layout": ("jobs.py", "return x * by", "return (\n        x * by\n    )"),
    "unused import": ("jobs.py", "import math\n", ""),
    "refusal": ("jobs.py", "    if seed < 0:", "    refuse(seed > 9, helper(seed))\n    if seed < 0:"),
    "refusal by a function": ("jobs.py", "    if seed < 0:", "    refuse_odd(seed)\n    if seed < 0:"),
    "device of a tensor": ("jobs.py", "scale(helper(RATE))", "scale(beside(helper(RATE), recipe))"),
}
DIFFERENT = {
    "body": ("jobs.py", "x * by", "x + by"),
    "what a refusal gives": ("jobs.py", "return x * by", "y = refuse(x)\n    return y * by"),
    "constant": ("jobs.py", "RATE = 0.5", "RATE = 0.25"),
    "default argument": ("jobs.py", "by=2", "by=3"),
    "helper in another file": ("layers/scaling.py", "x * FACTOR", "x / FACTOR"),
    "constant of a helper": ("layers/scaling.py", "FACTOR = 3", "FACTOR = 4"),
    "function through a module": ("tools.py", "r**2", "r**3"),
    "import of someone else's": ("tools.py", "import math", "import cmath as math"),
    "method of a class": ("jobs.py", "return 1", "return 2"),
    "attribute of a class": ("jobs.py", "depth = 2", "depth = 3"),
    "method of the recipe": ("jobs.py", "* 10", "* 20"),
    "family in use": ("models/ghost.py", "return 1", "return 2"),
    "name of the family in use": ("models/ghost.py", "'ghost'", "'ghosts'"),
    "register": ("models/registry.py", "MODELS[name]()", "MODELS[name.lower()]()"),
    "act at import": ("tools.py", "import math\n", "import math\n\nmath.pi = 3\n"),
}


@pytest.mark.parametrize("change", SAME)
def test_words_places_and_neighbours_do_not_change_it(package, change):
    before = package.fingerprint()
    package.replace(*SAME[change])
    assert package.fingerprint() == before


@pytest.mark.parametrize("change", DIFFERENT)
def test_what_the_run_computes_changes_it(package, change):
    before = package.fingerprint()
    package.replace(*DIFFERENT[change])
    assert package.fingerprint() != before


def test_moving_functions_and_files_does_not_change_it(package):
    before = package.fingerprint()
    package.move("helper", "jobs.py", "helpers.py", "")
    package.replace("jobs.py", "from repro import tools", "from repro import tools\nfrom repro.helpers import helper")
    package.move("Net", "jobs.py", "layers/net.py", "")
    package.replace("jobs.py", "import scale", "import scale\nfrom repro.layers.net import Net")
    package.write("papers/jobs.py", package.read("jobs.py"))
    package.write("models/small/ghost.py", package.read("models/ghost.py"))
    recipe = ("repro.papers.jobs:Recipe",)
    moved = code_fingerprint("repro.papers.jobs:run", uses=("repro.models.small.ghost",), recipe_classes=recipe)
    assert moved == before == package.fingerprint()


def test_reordering_a_file_does_not_change_it(package):
    before = package.fingerprint()
    head, *parts = package.read("jobs.py").rstrip().split("\n\n\n")
    package.write("jobs.py", "\n\n\n".join([head, *reversed(parts)]) + "\n")
    assert package.fingerprint() == before


def test_swapping_two_functions_that_both_stay_in_use_changes_it(package):
    package.replace("tools.py", "def volume", "def body(r):\n    return area(r) + volume(r)\n\n\ndef volume")
    before = package.fingerprint("repro.tools:body")
    package.replace("tools.py", "area(r) + volume(r)", "volume(r) + area(r)")
    assert package.fingerprint("repro.tools:body") != before
    package.write("one.py", "from repro.tools import area as f, volume as g\n\n\ndef run():\n    return f(1) - g(2)\n")
    before = package.fingerprint("repro.one:run")
    package.replace("one.py", "area as f, volume as g", "area as g, volume as f")
    assert package.fingerprint("repro.one:run") != before


def test_a_default_counts_where_the_code_itself_makes_the_object(package):
    package.replace("jobs.py", "Net().grow()", "Recipe().steps()")
    before = package.fingerprint()
    package.replace("jobs.py", "epochs: int = 3", "epochs: int = 4")
    assert package.fingerprint() != before


def test_imports_inside_functions_are_followed(package):
    package.replace("jobs.py", "from repro import tools\n", "")
    package.replace("jobs.py", '    """Does it."""', "    from repro import tools")
    before = package.fingerprint()
    package.replace("tools.py", "r**3", "r**4")
    assert package.fingerprint() == before
    package.replace("tools.py", "r**2", "r**4")
    assert package.fingerprint() != before


@pytest.mark.parametrize("line", ["import repro.models.vgg", "from repro.models.vgg import *"])
def test_a_module_imported_for_its_effect_counts_whole(package, line):
    package.replace("jobs.py", "import math", line)
    before = package.fingerprint()
    package.replace("models/vgg.py", "return 2", "return 3")
    assert package.fingerprint() != before


def test_a_module_used_as_an_object_counts_whole(package):
    package.replace("jobs.py", "tools.area(seed)", "getattr(tools, 'area')(seed)")
    before = package.fingerprint()
    package.replace("tools.py", "import math\n", "import math\n\n\ndef refuse_negative(r):\n    assert r >= 0\n")
    assert package.fingerprint() == before
    package.replace("tools.py", "r**3", "r**4")
    assert package.fingerprint() != before


def test_a_local_name_hides_the_module_s(package):
    package.replace("jobs.py", "    if seed", "    volume = [volume for volume in (1, 2)]\n    if seed")
    package.write("jobs.py", package.read("jobs.py") + "\n\ndef volume():\n    return 1\n")
    before = package.fingerprint()
    package.replace("jobs.py", "def volume():\n    return 1", "def volume():\n    return 2")
    assert package.fingerprint() == before


def test_kernels_do_not_count(package):
    package.replace("jobs.py", "import math", "from repro import cpu")
    package.replace("jobs.py", "Net().grow()", "cpu.fast()")
    before = package.fingerprint()
    package.replace("cpu.py", "return 1", "return 1 + 0")
    assert package.fingerprint() == before


def test_an_unknown_module_in_uses_is_refused(package):
    with pytest.raises(InputError, match=r"uses='repro.models.ghosts' is not known"):
        package.fingerprint(uses=("repro.models.ghosts",))


def test_a_stored_run_is_found_again_after_its_function_has_moved(package):
    stored = (package.fingerprint(), "repro.jobs:run", (GHOST,), ("repro.jobs:Recipe",))
    assert still_means(*stored)
    package.write("papers/work.py", package.read("jobs.py"))
    package.write("models/small/ghost.py", package.read("models/ghost.py"))
    for old in ("jobs.py", "models/ghost.py"):
        (package.root / "repro" / old).unlink()
    assert still_means(*stored)
    package.replace("papers/work.py", "x * by", "x + by")
    assert not still_means(*stored)


def test_functions_outside_the_package_are_followed_in_their_file():
    names = {name for _, name in reached([("tests.runs.run_functions", "add_up")])}
    assert {"add_up", "_count"} <= names and "diverge" not in names
    assert code_fingerprint("tests.runs.run_functions:add_up") != code_fingerprint("tests.runs.run_functions:diverge")


def test_a_network_does_not_depend_on_families_that_it_does_not_name():
    names = {module for module, _ in reached([("repro.models.registry", "create")])}
    assert "repro.models.build" in names and not names & {"repro.models.vgg", "repro.models.ghostnet", "repro.cpu"}


MEANT = (
    "ClassDef(name='A', bases=[], keywords=[], body=[FunctionDef(name='b', args=arguments(posonlyargs=[], "
    "args=[arg(arg='self'), arg(arg='c')], kwonlyargs=[], kw_defaults=[], defaults=[]), "
    "body=[Return(value=JoinedStr(values=[FormattedValue(value=Name(id='c', ctx=Load()), conversion=-1, "
    "format_spec=JoinedStr(values=[Constant(value='<'), FormattedValue(value=Name(id='d', ctx=Load()), "
    "conversion=-1)]))]))], decorator_list=[])], decorator_list=[])"
)


def test_a_definition_has_the_same_text_in_every_version_of_python(tmp_path):
    """That of 3.11: 3.12 adds parameters of types and empty ends of texts, 3.13 leaves empty lists out."""
    path = tmp_path / "a.py"
    path.write_text('class A:\n    def b(self, c):\n        return f"{c:<{d}}"\n')
    (found,) = read_source(path, 0, 0).definitions["A"]
    assert found.text == MEANT and found.names == {("d", "")}


SCRIPT = """
import hashlib, importlib.util, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("syntax", sys.argv[1] + "/runs/syntax.py")
sys.modules["syntax"] = syntax = importlib.util.module_from_spec(spec)
spec.loader.exec_module(syntax)
for path in sorted(Path(sys.argv[1]).rglob("*.py")):
    for name, found in sorted(syntax.read_source(path, 0, 0).definitions.items()):
        print(path, name, *(hashlib.sha256(repr((one.text, sorted(one.names))).encode()).hexdigest() for one in found))
"""


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_this_package_means_the_same_to_another_python(version):
    """So that records and runs of one version are those of another. The script needs nothing that is installed."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    places = [shutil.which(f"python{version}"), *versions.glob(f"{version}.*/bin/python3")]
    said = {}
    for python in [sys.executable, *filter(None, places)]:
        command = [str(python), "-c", SCRIPT, str(repo_root() / "repro")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode == 0:  # a version that a version manager only promises ends otherwise
            said[python] = done.stdout.splitlines()
    if len(said) < 2:
        pytest.skip(f"there is no Python {version}")
    ours, *theirs = said.values()
    assert len(ours) > 1000 and all(lines == ours for lines in theirs)
