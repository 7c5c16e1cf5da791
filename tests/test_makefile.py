"""Variables of the Makefile: what is misspelt or impossible is refused once, before anything starts."""

import os
import re
import shutil
import subprocess

import pytest

from repro.papers import entry, list_ids
from repro.papers.table import PRESETS
from repro.paths import repo_root
from repro.runs.engines import ENGINES

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


INHERITED = ("JOBS", "FRESH", "RAY_ADDRESS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
"""What `make test` hands down, which would make the make below a part of it."""


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(
        command, cwd=repo_root(), env=environment | variables, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("PRESTE=quick", "PRESTE is no variable of this Makefile; .*did you mean PRESET"),
        ("verbose=1", "verbose is no variable of this Makefile"),
        ("FRESH=yes", "FRESH='yes' is not allowed; it must be 1"),
        ("JOBS=0", "JOBS='0' is not allowed; it must be a whole number of at least 1"),
        ("JOBS=it's two", "JOBS='it's two' is not allowed"),
        ("SEEDS=a b", "SEEDS='a b' is not allowed; it must be whole numbers"),
        ("GPUS=-1", "GPUS='-1' is not allowed; it must be a number of at least 0"),
        ("PRESET=smoke quick", "PRESET='smoke quick' is not allowed; it must be one name"),
        ("PRESET=quik", r"PRESET='quik' is not allowed; quik is unknown \(did you mean quick\?\)"),
        ("DATASET=digit", r"DATASET='digit' is not allowed; .*did you mean digits\?"),
        ("RAY_ADDRESS=first:6379", "RAY_ADDRESS='first:6379' is not allowed without ENGINE=ray"),
        ("ENGINE=roy", r"ENGINE='roy' is not allowed; .*did you mean ray\?"),
        ("TABLES=acghostnet_t06 shiftaddaug_t99", "shiftaddaug_t99 is unknown .*did you mean shiftaddaug_t"),
    ],
)
def test_what_is_misspelt_or_impossible_is_refused_once(given, sentence):
    done = make("tables", given)
    assert done.returncode != 0 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert re.search(sentence, done.stderr)


def test_the_environment_is_looked_at_too():
    assert "JOBS='-1' is not allowed" in make("tables", JOBS="-1").stderr


def test_an_address_is_looked_at_where_it_is_used():
    """Ray's own variable may mean something to other programs."""
    refused = make("tables", "ENGINE=ray", RAY_ADDRESS="auto")
    assert "RAY_ADDRESS='auto' is not allowed; it must be host:port" in refused.stderr and refused.stdout == ""
    assert make("tables", RAY_ADDRESS="auto").returncode == 0


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_the_address_of_a_cluster_reaches_the_command(where, tmp_path):
    """A stand-in for the environment's Python prints it."""
    asked = tmp_path / "bin" / "python"
    asked.parent.mkdir()
    asked.write_text('#!/bin/sh\necho "asked $RAY_ADDRESS"\n')
    asked.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    command = ["make", "--eval", f"override BIN := {asked.parent}", "-o", ".venv/.installed", "tables", "ENGINE=ray"]
    if where == "command line":
        command.append("RAY_ADDRESS=first:6379")
    else:
        environment["RAY_ADDRESS"] = "first:6379"
    done = subprocess.run(
        command, cwd=repo_root(), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["asked", "first:6379"], done.stderr


def test_help_names_every_variable():
    made = make("-p", "help").stdout
    variables = re.search(r"^VARIABLES := (.*)$", made, re.MULTILINE)[1].split()
    done = subprocess.run(["make", "help"], cwd=repo_root(), capture_output=True, text=True, timeout=60, check=True)
    assert set(re.findall(r"^  ([A-Z_]+)=", done.stdout, re.MULTILINE)) == set(variables)


def test_lists_and_numbers_pass():
    done = make("tables", "TABLES=acghostnet_t06 acghostnet_t03", "SEEDS=0 1", "JOBS=02", "FRESH=1", "PRESET=smoke")
    assert done.returncode == 0, done.stderr
    assert '--seeds "0 1" --tables "acghostnet_t06 acghostnet_t03" --fresh' in done.stdout


def test_the_names_that_are_allowed_are_those_of_the_package():
    made = make("-p", "help").stdout
    names = {
        name: set(re.search(rf"^NAMES_{name} :?= (.*)$", made, re.MULTILINE)[1].split())
        for name in ("PRESET", "ENGINE", "DATASET")
    }
    recipes = [key for table_id in list_ids() for key in entry(table_id).recipes]
    assert names["PRESET"] == set(PRESETS) and names["ENGINE"] == set(ENGINES)
    assert names["DATASET"] == {dataset for _, dataset in recipes}


def test_root_is_told_about_its_switch():
    assert "make lab ALLOW_ROOT=1" in make("lab").stdout and "--allow-root" not in make("lab").stdout
    assert "--allow-root" in make("lab", "ALLOW_ROOT=1").stdout
