"""Content-addressed run folders, provenance, and the engines that do runs.

A run is one call of a module-level function `run(recipe, seed, context)`; see `RunSpec`. Its folder is named by its
recipe, seed, data and the code it uses, so a finished run is never repeated, nor mistaken for a changed one.
"""

from repro.runs.abstract import Engine
from repro.runs.code import code_fingerprint
from repro.runs.engines import engine
from repro.runs.executor import Outcome, forecast_s, run_many
from repro.runs.index import scan
from repro.runs.provenance import provenance
from repro.runs.spec import RunSpec, agrees
from repro.runs.store import RunContext, RunStatus, earlier_results, execute, find_status, load_result

__all__ = [
    "Engine",
    "Outcome",
    "RunContext",
    "RunSpec",
    "RunStatus",
    "agrees",
    "code_fingerprint",
    "earlier_results",
    "engine",
    "execute",
    "find_status",
    "forecast_s",
    "load_result",
    "provenance",
    "run_many",
    "scan",
]
