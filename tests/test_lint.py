"""What `make lint` checks, so that `make test` fails where it would."""

import subprocess
import sys

import pytest

from repro.paths import repo_root

COMMANDS = ("ruff check .", "ruff format --check .", "mypy --no-error-summary")


@pytest.mark.parametrize("command", COMMANDS)
def test_style_and_types_are_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=repo_root(), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_lint_runs_the_same_commands():
    recipe = (repo_root() / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].splitlines()[1]
    assert recipe == "\t@" + " && ".join(f"$(BIN)/{command}" for command in COMMANDS)
