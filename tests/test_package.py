"""Wheel and sdist: built here, installed into an environment of its own, used from an empty folder."""

import importlib.util
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import matplotlib
import pytest

from repro import __version__, paths
from repro.paths import repo_root

CARRIED = "repro/_files/"
FULL = os.environ.get("REPRO_INSTALL") == "full"
"""Whether pip fetches what the wheel asks for, for the interpreter in $PYTHON (`make test-install`)."""
EXTRAS = {
    "notebooks": "papermill",
    "triton": "triton",
    "cluster": "ray",
    "export": "onnxruntime",
    "site": "sphinx",
    "dev": "hypothesis",
}
"""Extras of the wheel, and a module that each brings."""
SEPARATE = {"cluster": "make env-cluster", "site": "make env-site"}
"""Extras that `make test` does not install, and what does."""
HIDDEN = ("papermill", "nbconvert", "nbformat", "plotly", "ipywidgets", "anywidget", "voila", "tensorboard")
"""Packages that only an extra brings; the environment below hides them."""
IN_ONE_PROCESS = """
import sys
import repro.layers
from repro.cli.main import main

print(repro.layers.__file__)
for command in ("table acghostnet_t02 --csv", "status", "tables", "table acghostnet_t02 --reference"):
    sys.argv = ["repro", *command.split()]
    try:
        main()
    except SystemExit as ended:
        print(f"{command}: exit {ended.code or 0}", flush=True)
"""


def call(*command, cwd, **environment):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("REPRO_", "PYTHON"))}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=1200 if FULL else 240,
    )


def built(root, folder, *targets):
    """What hatchling makes of a folder with sources."""
    done = call(sys.executable, "-m", "hatchling", "build", "-d", folder, *targets, cwd=root)
    assert done.returncode == 0, done.stderr
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return built(repo_root(), tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(archives, tmp_path_factory):
    """The wheel as it comes out of the sdist, which holds no .git."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(archives[".gz"]) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return built(root, folder / "dist", "-t", "wheel")[".whl"]


@pytest.fixture(scope="module")
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pip(root, *words):
    return call(sys.executable, "-m", "pip", "--python", root / "bin" / "python", *words, cwd=root)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel, and the dependencies of this one but for what the extras bring."""
    root = tmp_path_factory.mktemp("installed")
    interpreter = os.environ.get("PYTHON", sys.executable) if FULL else sys.executable
    assert call(interpreter, "-m", "venv", "--without-pip", root, cwd=root).returncode == 0
    options = ["-c", repo_root() / "constraints.txt"] if FULL else ["--no-index", "--no-deps"]
    done = pip(root, "install", "--quiet", "--no-compile", *options, wheel)
    assert done.returncode == 0, done.stderr
    (packages,) = root.glob("lib/python*/site-packages")
    if not FULL:
        shared = [folder for folder in sys.path if folder.endswith("site-packages")]
        hidden = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r}))"
        (packages / "shared.pth").write_text("\n".join([*shared, hidden]) + "\n")
    for record in (packages / CARRIED / "data" / "results").iterdir():  # judging all records takes half a minute
        if record.is_dir() and record.name != "acghostnet_t02":
            for file in record.iterdir():
                file.unlink()
    return root


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(archives, contents):
    with zipfile.ZipFile(archives[".whl"]) as archive:
        direct = {name: archive.read(name) for name in archive.namelist()}
    assert direct.keys() == contents.keys()
    assert [name for name in direct if direct[name] != contents[name]] == []


def test_the_wheel_carries_numbers_records_notebooks_and_types(contents):
    for folder in ("data/published", "data/results", "data/weights", "notebooks"):
        files = [path.relative_to(repo_root()) for path in (repo_root() / folder).rglob("*.*") if path.is_file()]
        names = [path.as_posix() for path in files if not path.name.startswith("smoke-") and "/." not in str(path)]
        assert names
        for name in names:
            assert contents[CARRIED + name] == (repo_root() / name).read_bytes(), name
    assert "repro/py.typed" in contents
    assert {name.partition("/")[0] for name in contents} == {"repro", f"multfree_repro-{__version__}.dist-info"}


def test_the_wheel_is_small(archives):
    assert archives[".whl"].stat().st_size < 3e6


def test_the_extras_are_those_of_the_wheel(contents):
    (metadata,) = (text for name, text in contents.items() if name.endswith(".dist-info/METADATA"))
    assert sorted(re.findall(r"^Provides-Extra: (.*)$", metadata.decode(), re.M)) == sorted(EXTRAS)


@pytest.mark.skipif(FULL, reason="pip fetches what the wheel asks for")
@pytest.mark.parametrize("extra", EXTRAS)
def test_pip_finds_all_that_the_wheel_and_its_extras_ask_for(installed, extra):
    """The versions of this environment satisfy the wheel's metadata; nothing is fetched."""
    if extra in SEPARATE and importlib.util.find_spec(EXTRAS[extra]) is None:
        pytest.skip(f"the extra [{extra}] is not installed ({SEPARATE[extra]}, or make test-install)")
    done = pip(installed, "install", "--dry-run", "--no-index", f"multfree-repro[{extra}]")
    assert done.returncode == 0 and "Would install" not in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def extended(installed, wheel, tmp_path_factory):
    """An environment beside the installed one, which sees what is there and gets what the extras bring besides."""
    root = tmp_path_factory.mktemp("extended")
    assert call(installed / "bin" / "python", "-m", "venv", "--without-pip", root, cwd=root).returncode == 0
    (packages,) = root.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(f"{next(installed.glob('lib/python*/site-packages'))}\n")
    constraints = ["-c", repo_root() / "constraints.txt"]
    done = pip(root, "install", "--quiet", "--no-compile", *constraints, f"{wheel}[{','.join(EXTRAS)}]")
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.skipif(not FULL, reason="it fetches what the extras ask for (make test-install)")
def test_all_extras_install_together_and_import(extended):
    agreed = pip(extended, "check")
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    modules = [module for extra, module in EXTRAS.items() if extra != "triton" or platform.machine() == "x86_64"]
    done = call(extended / "bin" / "python", "-c", f"import {', '.join(modules)}, repro.site.build", cwd=extended)
    assert done.returncode == 0, done.stderr


def test_an_installed_package_works_from_an_empty_folder(installed, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    if "MPLCONFIGDIR" not in os.environ:
        cache["MPLCONFIGDIR"] = matplotlib.get_cachedir()
    folder = tmp_path / "empty"
    folder.mkdir()
    version = call(installed / "bin" / "repro", "--version", cwd=folder)
    assert version.stdout.startswith(f"repro {__version__}, revision "), version.stderr
    assert list(folder.iterdir()) == []

    done = call(installed / "bin" / "python", "-c", IN_ONE_PROCESS, cwd=folder, **cache)
    lines = done.stdout.splitlines()
    assert Path(lines[0]).is_relative_to(installed), done.stderr
    assert [line for line in lines if ": exit" in line] == [
        "table acghostnet_t02 --csv: exit 0",
        "status: exit 0",
        "tables: exit 2",
        "table acghostnet_t02 --reference: exit 2",
    ]
    assert "AAg1,groups,,definition,,N,,N,,1,,,True," in lines
    assert ["acghostnet_t02", "transcribed", "paper", "architecture"] in [line.split()[:4] for line in lines]
    refused = done.stderr.splitlines()[-2:]
    assert "papermill is not installed; it comes with the extra [notebooks]" in refused[0]
    assert "the committed records of an installed package are read-only" in refused[1]
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()}
    assert written == {f"output/records/acghostnet_t02/paper-architecture.{kind}" for kind in ("csv", "json")}
    assert (tmp_path / "cache" / "multfree-repro" / "status_board.json").is_file()


def test_one_variable_moves_all_that_is_written(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "RUNS", "OUTPUT", "FIGURES", "RESULTS", "REFERENCE"):
        monkeypatch.delenv(f"REPRO_{name}", raising=False)
    monkeypatch.setenv("REPRO_HOME", str(tmp_path))
    written = (paths.data_root, paths.cache_root, paths.runs_root, paths.output_root, paths.records_root)
    assert all(folder().is_relative_to(tmp_path) for folder in written)
    assert paths.results_root() == repo_root() / "data" / "results"
