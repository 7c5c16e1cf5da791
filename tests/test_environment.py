"""The pins of `make env` and of environment.yml are the same, and cover what pyproject.toml asks for."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from repro.paths import repo_root


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def pins():
    lines = (repo_root() / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def asked_for():
    project = tomllib.loads((repo_root() / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [text for group in project["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in texts]


@pytest.fixture(scope="module")
def conda():
    environment = yaml.safe_load((repo_root() / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    return [Requirement(text) for text in pip if not text.startswith("-")], pip


def test_every_direct_dependency_is_pinned_within_its_range(pins, asked_for):
    for requirement in asked_for:
        assert requirement.specifier.contains(pins[normal(requirement.name)]), requirement


def test_environment_yml_holds_the_same_pins(pins, asked_for, conda):
    requirements, _ = conda
    assert {normal(r.name) for r in requirements} == {normal(r.name) for r in asked_for}
    for requirement in requirements:
        assert str(requirement.specifier) == f"=={pins[normal(requirement.name)]}", requirement


def test_environment_yml_constrains_the_rest_and_installs_the_package(conda):
    _, lines = conda
    assert "-c constraints.txt" in lines and "-e ." in lines


def test_every_dependency_has_its_reason():
    text = (repo_root() / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    entries = [line for line in block.splitlines() if re.match(r'\s+"[A-Za-z]', line)]
    assert entries
    for position, line in enumerate(entries):
        before = block[: block.index(line)].splitlines()[-1] if position else ""
        assert "#" in line or before.strip().startswith("#"), line


def test_torch_and_triton_fit_together(pins):
    # torch 2.13's GPU build requires exactly this Triton; another pair must be changed here on purpose.
    assert (pins["torch"], pins["triton"]) == ("2.13.0", "3.7.1")


def test_the_classifiers_promise_the_python_that_is_tested():
    project = tomllib.loads((repo_root() / "pyproject.toml").read_text())["project"]
    promised = [text.rpartition(" ")[2] for text in project["classifiers"] if "Language :: Python" in text]
    asked = yaml.safe_load((repo_root() / "environment.yml").read_text())["dependencies"]
    (ours,) = [str(text).removeprefix("python=") for text in asked if str(text).startswith("python=")]
    tried = re.search(r"\((3\.[^;)]*) are what we have run", (repo_root() / "README.md").read_text().replace("\n", " "))
    allowed = SpecifierSet(project["requires-python"])
    assert (
        promised == re.findall(r"3\.\d+", tried[1])
        and promised[0] == ours
        and all(version in allowed for version in promised)
    )


def test_a_hosted_notebook_gets_the_pins_and_this_package():
    """repro2docker runs pip in the checkout; a path after -c is relative to the file that names it."""
    folder = repo_root() / ".binder"
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    constraints, package = (line.split(" ", 1)[1] for line in lines if line.startswith(("-c ", "-e ")))
    assert (folder / constraints).resolve() == repo_root() / "constraints.txt" and package == ".[notebooks]"
    project = tomllib.loads((repo_root() / "pyproject.toml").read_text())["project"]
    kind, version = (folder / "runtime.txt").read_text().strip().split("-")
    assert kind == "python" and version in SpecifierSet(project["requires-python"])
