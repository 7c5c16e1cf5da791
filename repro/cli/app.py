"""Serve the explorer notebook through Voila, on this machine only, behind a token that is made anew each time."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import sys
from typing import Annotated

import typer

from repro.errors import InputError
from repro.paths import repo_root

ADDRESS = "127.0.0.1"
FIRST_PORT = 8866
NOTEBOOK = "03_explore.ipynb"


def free_port(wanted: int = FIRST_PORT) -> int:
    """`wanted` if nobody listens there, else any free port of the loopback interface."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no free port on the loopback interface")


def command(port: int, token: str) -> list[str]:
    """The Voila call; the notebook's own folder is not served, only the one page."""
    return [
        sys.executable,
        "-m",
        "voila",
        str(repo_root() / "notebooks" / NOTEBOOK),
        "--no-browser",
        f"--Voila.ip={ADDRESS}",
        f"--port={port}",
        f"--token={token}",
        "--VoilaConfiguration.file_allowlist=.*\\.(png|jpg|gif|svg)",
    ]


def serve(port: Annotated[int, typer.Option(help="Port to use if it is free.")] = FIRST_PORT) -> None:
    """Serve the explorer as a page on this machine only; prints its address with a token. Ctrl+C ends it."""
    port = free_port(port)
    if importlib.util.find_spec("voila") is None:
        raise InputError("the app needs Voila, which is not installed; install it with: pip install -e '.[notebooks]'.")
    token = secrets.token_urlsafe(24)
    print(
        f"Open http://{ADDRESS}:{port}/?token={token}   (Ctrl+C stops; the first view takes about ten seconds)",
        flush=True,
    )
    # The kernel starts in notebooks/; it must find the package also where it is not installed.
    path = os.pathsep.join(filter(None, [str(repo_root()), os.environ.get("PYTHONPATH")]))
    call = command(port, token)
    os.execve(call[0], call, os.environ | {"PYTHONPATH": path})
