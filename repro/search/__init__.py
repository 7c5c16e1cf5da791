"""Search spaces, supernets, samplers, evolution, and cells found by gradient.

from repro.search import GeneSpace, evolve

evolve(GeneSpace({"width": (8, 12, 16)}), accuracy, cost=energy, limit=2.0, seed=0).best.genome
"""

from repro.search.elastic_transformer import ElasticTransformer, TranslationSpace, subnet
from repro.search.evolution import Evolution, GeneSpace, Round, Scored, evolve
from repro.search.gradient import CellSearch, CellSearchRecipe, search_cells
from repro.search.topology import topology_weights
from repro.train.shift import adaptive_l2

__all__ = [
    "CellSearch",
    "CellSearchRecipe",
    "ElasticTransformer",
    "Evolution",
    "GeneSpace",
    "Round",
    "Scored",
    "TranslationSpace",
    "adaptive_l2",
    "evolve",
    "search_cells",
    "subnet",
    "topology_weights",
]
