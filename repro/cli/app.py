"""Serve the explorer notebook through Voila, on this machine only, behind a token that is made anew each time."""

from __future__ import annotations

import os
import secrets
import socket
from typing import Annotated

import typer

from repro.errors import check_int, require
from repro.paths import carried_root, repo_root

ADDRESS = "127.0.0.1"
FIRST_PORT = 8866
NOTEBOOK = "03_explore.ipynb"
IDLE_S = 90
"""A kernel that no page is connected to for so long is ended."""
CHECK_S = 30
"""How often that is looked at."""


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


def arguments(port: int) -> list[str]:
    """What Voila is started with: one page, no other file; the kernel of a closed page ends within two minutes."""
    return [
        str(carried_root() / "notebooks" / NOTEBOOK),
        "--no-browser",
        f"--Voila.ip={ADDRESS}",
        f"--port={port}",
        "--VoilaConfiguration.file_allowlist=[]",
        f"--MappingKernelManager.cull_interval={CHECK_S}",
        f"--MappingKernelManager.cull_idle_timeout={IDLE_S}",
        "--MappingKernelManager.cull_connected=False",
    ]


def serve(port: Annotated[int, typer.Option(help="Port to use if it is free.")] = FIRST_PORT) -> None:
    """Serve the explorer as a page on this machine only; prints its address with a token. Ctrl+C ends it.

    The token is new each time, or the one in $REPRO_APP_TOKEN; it stands on no command line, which others may read.
    """
    port = free_port(check_int("port", port, minimum=0, maximum=65535))
    voila = require("voila.app", extra="notebooks")
    token = os.environ.pop("REPRO_APP_TOKEN", "") or secrets.token_urlsafe(24)
    print(
        f"Open http://{ADDRESS}:{port}/?token={token}   (Ctrl+C stops; the first view takes about ten seconds)",
        flush=True,
    )
    # The kernel starts in notebooks/; it must find the package also where it is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(repo_root()), os.environ.get("PYTHONPATH")]))
    voila.Voila.launch_instance(argv=arguments(port), token=token)
