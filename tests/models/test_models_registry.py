"""A model's family is imported when the model is asked for, and by the module that registers it."""

import importlib
import subprocess
import sys

import pytest

from repro.errors import InputError
from repro.models import create, describe, list_models
from repro.models.families import FAMILIES
from repro.models.registry import _ENTRIES, family_of
from repro.paths import repo_root


def test_the_families_are_those_that_the_modules_register():
    for module in sorted((repo_root() / "repro" / "models").glob("*.py")):
        importlib.import_module(f"repro.models.{module.stem}")
    assert {name: entry.factory.__module__ for name, entry in _ENTRIES.items()} == FAMILIES


def test_a_model_imports_its_own_family_only():
    code = (
        "import sys; from repro.models import create, list_models; assert 'vgg16' in list_models();"
        "create('squeezenet'); print(*(name for name in sys.modules if name.startswith('repro.models.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_root(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded & set(FAMILIES.values()) == {"repro.models.squeezenet"}


def test_the_family_of_a_model_is_its_module():
    assert family_of("adder_ghostnet") == "repro.models.ghostnet"
    with pytest.raises(InputError, match="Did you mean 'googlenet'"):
        family_of("gogglenet")


@pytest.mark.parametrize("name", list_models())
def test_every_listed_model_is_described(name):
    assert "op" in set(describe(name)["option"])


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="Did you mean 'squeezenet'"):
        create("squeezenett")
