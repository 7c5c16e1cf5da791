"""Operation counts, energy and latency models, Pareto fronts."""
