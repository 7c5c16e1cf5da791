"""The same programs for the CPU, compiled by Numba with explicit vectors."""
