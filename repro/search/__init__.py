"""Search spaces, supernets, samplers, evolution, and cells found by gradient."""

from repro.search.topology import topology_weights
from repro.train.shift import adaptive_l2

__all__ = ["adaptive_l2", "topology_weights"]
