"""This package as the wheel that Ray installs on the nodes of a cluster: they run what the driver runs.

It names no requirements: Ray calls `pip install --target`, which would fetch each of them anew from the network, and
whatever version is newest would hide the node's own. Its file name holds a digest of its content, since Ray takes two
wheels of one name for the same.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from repro import __version__
from repro.errors import ClusterError
from repro.paths import repo_root
from repro.runs.syntax import PACKAGE

DISTRIBUTION = "multfree_repro"


def write_wheel(folder: Path) -> Path:
    """Write the wheel of this checkout, or of this installed package, into `folder` and return its path.

    No network is used. Raises: ClusterError where the wheel of a checkout cannot be built.
    """
    is_checkout = (repo_root() / "pyproject.toml").is_file()
    return pack(_of_checkout() if is_checkout else _as_installed(), folder)


def _of_checkout() -> dict[str, bytes]:
    """Files by their path in the wheel, as the build lays them out."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-deps", "--no-build-isolation"]  # isolation would fetch hatchling, which is here
        command = [sys.executable, "-m", "pip", "wheel", *options, "-w", folder, str(repo_root())]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if built.returncode or not wheels:
            reason = (built.stderr.strip().splitlines() or ["no reason was given"])[-1][:200]
            raise ClusterError(
                f"The wheel that carries the code to the nodes could not be built ({reason}); ENGINE=local needs none."
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"{PACKAGE}/")]
            return {name: archive.read(name) for name in names}


def _as_installed() -> dict[str, bytes]:
    """Files by their path in the wheel: the package's folder as it lies here, with what it carries."""
    root = repo_root()
    files = [path for path in (root / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def pack(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write `files` (by path) as a wheel into `folder` and return its path; equal content has an equal name."""
    build = (
        "0" + hashlib.sha256(b"".join(_hash(name.encode() + files[name]) for name in sorted(files))).hexdigest()[:12]
    )
    info = f"{DISTRIBUTION}-{__version__}.dist-info"
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {DISTRIBUTION.replace('_', '-')}\nVersion: {__version__}\n",
        "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: {build}\n",
    }
    whole = {**files, **{f"{info}/{name}": text.encode() for name, text in about.items()}}
    record = [f"{name},sha256={_as_text(_hash(content))},{len(content)}" for name, content in whole.items()]
    whole[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{DISTRIBUTION}-{__version__}-{build}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return path


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _as_text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
