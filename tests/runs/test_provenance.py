"""The revision that a number names: changed code shows, regenerated records do not."""

import importlib
import subprocess

import pytest

provenance = importlib.import_module("repro.runs.provenance")  # the package exports a function of that name


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    for name in ("repro/code.py", "data/results/t01/quick.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "repo_root", lambda: tmp_path)
    return tmp_path


def test_only_changed_code_makes_a_checkout_unclean(checkout):
    revision, clean = provenance.git_revision.__wrapped__()
    assert len(revision) == 12 and clean is True
    (checkout / "data/results/t01/quick.csv").write_text("2\n")
    assert provenance.git_revision.__wrapped__() == (revision, True)
    (checkout / "repro/code.py").write_text("2\n")
    assert provenance.git_revision.__wrapped__() == (revision, False)


def test_outside_a_checkout_the_revision_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "repo_root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_revision.__wrapped__() == ("unknown", None)
