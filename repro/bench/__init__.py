"""Speed and memory of every operator beside its peers, measured in one run, against the machine's own limits.

    python -m repro bench --quick

No number is printed for an operator that fails its check at the very shape that would be timed. Records are CSV rows
in data/results/bench: appended, never edited.
"""
