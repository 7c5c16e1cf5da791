"""The wheel that Ray installs on the nodes: whole, without requirements, named by its content."""

import re
import subprocess
import sys
import zipfile

import pytest

from repro.errors import ClusterError
from repro.paths import repo_root
from repro.runs import wheel

RAY_CALLS = ["-m", "pip", "install", "--quiet", "--no-index"]
"""What Ray calls on a node, but for the network, which it need not have."""
SAY = "import repro.paths, repro.runs as runs; print(runs.code_fingerprint('repro.papers.jobs:train_network'))"


def installed_from(path, folder):
    """The packages in a folder that pip made of a wheel as Ray calls it."""
    command = [sys.executable, *RAY_CALLS, str(path), f"--target={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(found.parent.name for found in folder.glob("*/__init__.py"))


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def fingerprint(folder):
    """Of the code of the package in a folder, as that package itself says."""
    command = [sys.executable, "-c", SAY]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env={"PYTHONPATH": str(folder)}
    )
    return done.stdout


@pytest.fixture(scope="module")
def of_checkout(tmp_path_factory):
    return wheel.write_wheel(tmp_path_factory.mktemp("checkout"))


def test_pip_needs_nothing_else_for_it(of_checkout, tmp_path):
    """With --target it takes no package that a node has for a requirement: it would fetch torch to hide the node's."""
    assert installed_from(of_checkout, tmp_path / "node") == ["repro"]
    assert fingerprint(tmp_path / "node") == fingerprint(repo_root())


def test_an_installed_package_sends_what_it_is(of_checkout, tmp_path, monkeypatch):
    """Its own files as they lie there, a changed one too, and nothing that was compiled from them."""
    there = tmp_path / "site-packages"
    installed_from(of_checkout, there)
    (there / "repro" / "__pycache__").mkdir(exist_ok=True)
    (there / "repro" / "__pycache__" / "codes.pyc").write_bytes(b"")
    (there / "other").mkdir()
    (there / "other" / "__init__.py").touch()
    monkeypatch.setattr(wheel, "repo_root", lambda: there)
    path = wheel.write_wheel(tmp_path)
    assert path.name == of_checkout.name and names_in(path) == names_in(of_checkout)
    (there / "repro" / "codes.py").write_text("changed = True\n")
    changed = wheel.write_wheel(tmp_path)
    assert changed.name != of_checkout.name  # Ray keeps the first wheel of a name for as long as the cluster lives
    with zipfile.ZipFile(changed) as archive:
        assert archive.read("repro/codes.py") == b"changed = True\n"
    assert installed_from(changed, tmp_path / "node") == ["repro"]


def test_a_name_tells_the_content(tmp_path):
    first, again = (wheel.pack({"repro/a.py": b"1", "repro/b.py": b"2"}, tmp_path).name for _ in range(2))
    assert first == again and re.fullmatch(r"multfree_repro-[\d.]+-0[0-9a-f]{12}-py3-none-any\.whl", first)
    others = [{"repro/a.py": b"2", "repro/b.py": b"1"}, {"repro/a.py": b"1"}, {"repro/b.py": b"2", "repro/c.py": b"1"}]
    assert len({first, *(wheel.pack(files, tmp_path).name for files in others)}) == 4


def test_a_checkout_that_cannot_be_built_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("no toml")
    monkeypatch.setattr(wheel, "repo_root", lambda: tmp_path)
    with pytest.raises(ClusterError, match=r"^The wheel that carries the code to the nodes could not be built \(.+\);"):
        wheel.write_wheel(tmp_path)
