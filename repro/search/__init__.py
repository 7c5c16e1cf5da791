"""Search spaces, supernets, samplers, evolution.

from repro.search import GeneSpace, evolve

evolve(GeneSpace({"width": (8, 12, 16)}), accuracy, cost=energy, limit=2.0, seed=0).best.genome
"""

from repro.search.evolution import Evolution, GeneSpace, Round, Scored, evolve

__all__ = ["Evolution", "GeneSpace", "Round", "Scored", "evolve"]
