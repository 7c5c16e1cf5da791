"""The command line: help for everything, one sentence for what is wrong, nothing lost on the way."""

import os
import subprocess
import sys

import pytest

from repro.cli.main import parse_seeds
from repro.errors import InputError
from repro.paths import repo_root


@pytest.fixture
def run(tmp_path):
    environment = os.environ | {
        "REPRO_RUNS": str(tmp_path / "runs"),
        "REPRO_RESULTS": str(tmp_path / "results"),
        "REPRO_EXECUTED": str(tmp_path / "executed"),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
    }

    def call(*arguments):
        command = [sys.executable, "-m", "repro", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=repo_root(), env=environment)

    return call


@pytest.mark.parametrize("command", ["tables", "table", "status", "data", "doctor"])
def test_every_command_has_help(run, command):
    result = run(command, "--help")
    assert result.returncode == 0 and "Usage" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "acghostnet_t6"], "Did you mean 'acghostnet_t06'?"),
        (["table", "acghostnet_t06", "--preset", "quik"], "Did you mean 'quick'?"),
        (["table", "acghostnet_t06", "--seeds", "0 one"], "'one' is not a whole number"),
        (["tables", "--tables", "acghostnet_t99"], "is not known"),
        (["tables", "--dataset", "cifar"], "Did you mean 'cifar10'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gives_one_sentence_and_exit_code_2(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_absent_data_are_explained(run, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "nothing"))
    result = subprocess.run(
        [sys.executable, "-m", "repro", "table", "acghostnet_t03", "--dataset", "cifar10"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=repo_root(),
        env=os.environ | {"REPRO_DATA": str(tmp_path / "nothing"), "REPRO_RUNS": str(tmp_path / "runs")},
    )
    assert result.returncode == 2
    assert "cifar10" in result.stderr and "data fetch cifar10" in result.stderr


def test_table_prints_published_beside_ours(run):
    result = run("table", "acghostnet_t03", "--preset", "smoke")
    assert result.returncode == 0, result.stderr
    assert "published" in result.stdout and "72.6" in result.stdout
    again = run("table", "acghostnet_t03", "--preset", "smoke")
    assert "10 of 10 runs are finished and reused" in again.stderr
    assert "acghostnet_t03" in run("status").stdout


def test_doctor_finds_working_back_ends(run):
    result = run("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    for word in ("torch", "back end reference", "back end cpu", "digits", "browser"):
        assert word in result.stdout


def test_importing_the_package_stays_light():
    code = "import sys, repro; print([m for m in ('torch', 'numba', 'triton', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=repo_root())
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(("text", "seeds"), [("", []), ("0 1 2", [0, 1, 2]), ("3,5", [3, 5])])
def test_seeds_are_read_from_text(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["-1", "1.5", "a", "1 1"])
def test_seeds_that_are_not_distinct_whole_numbers_are_refused(text):
    with pytest.raises(InputError, match="seeds="):
        parse_seeds(text)
