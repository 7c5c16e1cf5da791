"""Writes the git revision into wheel and sdist: a number made outside a checkout names its commit too."""

import json
import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = {"sdist": "", "wheel": "repro/_files/"}


class Revision(BuildHookInterface):
    """Adds the file that `repro.revision` reads outside a checkout."""

    def initialize(self, version, build_data):
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from repro.revision import KEPT, git_revision

        written = Path(self.root, "build", KEPT)
        written.parent.mkdir(exist_ok=True)
        written.write_text(json.dumps(git_revision()) + "\n", encoding="utf-8")
        build_data["force_include"][str(written)] = PLACES[self.target_name] + KEPT
