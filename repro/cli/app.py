"""Serve the explorer notebook through Voila, on this machine only, behind a token that is made anew each time."""

from __future__ import annotations

import argparse
import importlib.util
import os
import secrets
import socket
import sys

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


def main() -> int:
    """Print the address, then become the server; Ctrl+C ends it."""
    parser = argparse.ArgumentParser(prog="python -m repro.cli.app", description=__doc__)
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="port to use if it is free (default %(default)s)")
    port = free_port(parser.parse_args().port)
    if importlib.util.find_spec("voila") is None:
        print("The app needs Voila; install it with: pip install -e '.[notebooks]'", file=sys.stderr)
        return 1
    token = secrets.token_urlsafe(24)
    print(
        f"Open http://{ADDRESS}:{port}/?token={token}   (Ctrl+C stops; the first view takes about ten seconds)",
        flush=True,
    )
    # The kernel starts in notebooks/; it must find the package also where it is not installed.
    path = os.pathsep.join(filter(None, [str(repo_root()), os.environ.get("PYTHONPATH")]))
    call = command(port, token)
    os.execve(call[0], call, os.environ | {"PYTHONPATH": path})


if __name__ == "__main__":
    raise SystemExit(main())
