"""One module per published table or figure: recipe in, data frame in the schema of the published CSV out.

`run_table` is the entry point. The modules are imported by name on first use, so that the code fingerprint of a run
covers the experiment it belongs to and not all the others.
"""

from repro.papers.registry import (
    EXPERIMENTS,
    PRESETS,
    Experiment,
    check_request,
    experiment,
    list_experiments,
    run_table,
)

__all__ = ["EXPERIMENTS", "PRESETS", "Experiment", "check_request", "experiment", "list_experiments", "run_table"]
