"""Which commit the code is of: asked of git in a checkout, written down when a wheel or an sdist is built."""

from __future__ import annotations

import functools
import json
import subprocess

from repro.paths import carried_root, repo_root

MADE_FROM = ("repro", "data/published")
"""Tracked files that numbers are made from; records, figures and texts are not among them."""
KEPT = "REVISION"
"""File beside the carried data that the build writes."""


@functools.cache
def git_revision() -> tuple[str, bool | None]:
    """Commit of the code and whether what numbers are made from is as committed; ("unknown", None) if none can tell."""
    kept = carried_root() / KEPT
    if kept.is_file():
        revision, clean = json.loads(kept.read_text(encoding="utf-8"))
        return revision, clean

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repo_root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *MADE_FROM)
        return git("rev-parse", "HEAD")[:12], not changed
    except (OSError, subprocess.SubprocessError):
        return "unknown", None
