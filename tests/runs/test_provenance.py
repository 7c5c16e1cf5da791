"""The revision that a number names: changed code shows, regenerated records do not, a wheel names its own."""

import json
import subprocess

import pytest

from repro import revision


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("repo_root", "carried_root"):
        monkeypatch.setattr(revision, name, lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def checkout(folder):
    def git(*arguments):
        subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    for name in ("repro/code.py", "data/results/t01/quick.csv"):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    return folder


def test_only_changed_code_makes_a_checkout_unclean(checkout):
    commit, clean = revision.git_revision.__wrapped__()
    assert len(commit) == 12 and clean is True
    (checkout / "data/results/t01/quick.csv").write_text("2\n")
    assert revision.git_revision.__wrapped__() == (commit, True)
    (checkout / "repro/code.py").write_text("2\n")
    assert revision.git_revision.__wrapped__() == (commit, False)


def test_outside_a_checkout_the_revision_is_unknown(folder):
    assert revision.git_revision.__wrapped__() == ("unknown", None)


def test_what_the_build_wrote_down_counts_and_not_the_repository_around_it(checkout):
    (checkout / revision.KEPT).write_text(json.dumps(["0123456789ab", True]))
    assert revision.git_revision.__wrapped__() == ("0123456789ab", True)
