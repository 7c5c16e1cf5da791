"""What the README shows works: its code runs, its commands exist, its board is the one that the records give."""

import re
import subprocess
import tomllib

import pytest
import torch
import yaml

import repro
from repro.papers.status import board_is_current
from repro.paths import repo_root


@pytest.fixture(scope="module")
def readme():
    return (repo_root() / "README.md").read_text(encoding="utf-8")


def test_the_code_example_runs_and_trains(readme):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", readme, re.S):
        exec(code, names)
    images, labels = torch.randn(4, 3, 8, 8), torch.randint(0, 10, (4,))
    loss = torch.nn.functional.cross_entropy(names["model"](images), labels)
    loss.backward()
    names["optimizer"].step()
    assert torch.isfinite(loss)
    assert names["converted"](images).shape == (4, 10, 4, 4)
    assert names["deployed"](images).shape == (4, 10) and names["deployed"][0].out_channels == 8


def test_the_make_targets_that_it_names_exist(readme):
    makefile = (repo_root() / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    named = set(re.findall(r"`make ([a-z-]+)", readme))
    assert named and named <= targets, named - targets


def test_the_citation_names_the_papers_as_the_readme_does(readme):
    citation = yaml.safe_load((repo_root() / "CITATION.cff").read_text(encoding="utf-8"))
    license = tomllib.loads((repo_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    assert citation["cff-version"] == "1.2.0" and citation["license"] == license
    assert citation["version"] == repro.__version__ and citation["message"] and citation["authors"]
    cited = set()
    for paper in citation["references"]:
        address = paper.get("url") or f"https://doi.org/{paper['doi']}"
        where = f"{paper.get('status', '')} to {paper['conference']['name']}".removeprefix(" to ")
        cited.add((paper["title"], address, where))
        assert (paper["authors"] and str(paper["year"]) in where) or paper.get("status") == "submitted"
    rows = re.findall(r"^\| \w+ \| \[([^\]]+)\]\((\S+?)\).* \| ([^|]+) \|$", readme, re.M)
    assert cited == set(rows) and len(rows) == 4


def test_the_files_that_it_links_exist(readme):
    for path in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (repo_root() / path).exists(), path


def test_every_direct_dependency_is_explained(readme):
    project = tomllib.loads((repo_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["dependencies"] + [text for group in project["optional-dependencies"].values() for text in group]
    table = readme[readme.index("## Why each dependency") :]
    for text in texts:
        name = re.match(r"[A-Za-z0-9-]+", text).group().removeprefix("pytest-")
        assert re.search(rf"\b{re.escape(name)}\b", table), name


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    """A folder with the README and the records that git holds: regenerating tables changes those of this checkout."""
    git = ["git", "-C", str(repo_root())]
    listed = subprocess.run([*git, "ls-files", "-z", "README.md", "data/results"], capture_output=True, check=False)
    if listed.returncode or not listed.stdout:
        return repo_root()  # not a checkout: its files are the ones that were published
    write = [*git, "checkout-index", "-z", "--stdin", f"--prefix={tmp_path}/"]
    subprocess.run(write, input=listed.stdout, check=True)
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "data" / "results"))
    return tmp_path


def test_the_status_board_and_the_verdicts_are_current(tracked):
    assert board_is_current(tracked / "README.md"), "run: python -m repro status --update-readme"
