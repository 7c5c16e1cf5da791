"""Multiplication-free neural networks: operators, layers, cost models, searches, and the papers' tables regenerated.

`import repro` is light: torch, Numba and Triton are loaded by the subpackages that need them.
"""

__version__ = "0.1.0"
