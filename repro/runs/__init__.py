"""Content-addressed run folders, provenance, and the executor.

A run is one call of a module-level function `run(recipe, seed, context)`; see `RunSpec`. Its folder is named by its
recipe, seed, data and the code it uses, so a finished run is never repeated, nor mistaken for a changed one.
"""

from repro.runs.code import code_fingerprint
from repro.runs.executor import Outcome, run_many
from repro.runs.provenance import provenance
from repro.runs.store import RunContext, RunSpec, RunStatus, find_status, load_result, scan

__all__ = [
    "Outcome",
    "RunContext",
    "RunSpec",
    "RunStatus",
    "code_fingerprint",
    "find_status",
    "load_result",
    "provenance",
    "run_many",
    "scan",
]
