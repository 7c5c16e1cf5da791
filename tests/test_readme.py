"""What the README shows works: its code runs, its commands exist, its board is the one that the records give."""

import re
import shlex
import subprocess
import tomllib

import pytest
import torch
import typer
import yaml

import repro
from repro.cli import main as command_line
from repro.papers.status import board_is_current
from repro.paths import repo_root
from repro.site.texts import guides


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


def test_the_code_of_the_page_on_data_runs():
    names = {}
    for code in re.findall(
        r"```python\n(.*?)```", (repo_root() / "data" / "README.md").read_text(encoding="utf-8"), re.S
    ):
        exec(code, names)
    assert names["images"].shape[1:] == (1, 16, 16) and names["labels"].dtype == torch.int64
    assert names["network"](torch.randn(2, 1, 48, 48)).shape == (2, 4, 48, 48)


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", *guides()])
def test_the_make_targets_that_it_names_exist(path):
    makefile = (repo_root() / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (repo_root() / path).read_text(encoding="utf-8"), re.M))
    assert named <= targets and (named or path != "README.md"), named - targets


def shown_commands(text):
    """Arguments of every `repro …` that a text shows, in its blocks and in its lines."""
    blocks = re.findall(r"^ *```\w*\n(.*?)```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?```", "", text, flags=re.M | re.S))
    for one in [*lines, *(" ".join(span.split()) for span in spans)]:
        if found := re.match(r"(?:\S*python3? -m |torchrun .* -m |\S*/)?repro (?=[a-z-])([^#]*)", one.strip()):
            yield shlex.split(found[1])


@pytest.fixture(scope="module")
def commands():
    command_line._mount()
    return typer.main.get_command(command_line.app)


@pytest.mark.parametrize("path", ["README.md", "data/README.md", "CONTRIBUTING.md", *guides()])
def test_the_commands_that_it_shows_are_understood(path, commands):
    """Names and options are those of the command line; nothing is run."""
    for words in shown_commands((repo_root() / path).read_text(encoding="utf-8")):
        group, rest = commands, [word for word in words if word != "--help"]
        while rest and hasattr(group, "resolve_command"):
            context = typer.Context(group, info_name="repro")
            _, group, rest = group.resolve_command(context, rest)
        if rest:  # without any, a text only names it
            group.make_context("repro", rest)


def test_there_are_commands_to_understand(readme):
    found = [words[0] for words in shown_commands(readme)]
    assert {"forecast", "doctor", "tune", "table", "train", "weights", "events", "verify", "data"} <= set(found)


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
