"""Which function does a kind of run: records name the kind, so a function may move without making them stale."""

FUNCTIONS = {
    "network": "repro.papers.jobs:train_network",
    "weights": "repro.papers.weight_distributions:train_and_fit",
    "acghostnet_search": "repro.papers.acghostnet.found:search",
    "acghostnet_supernet": "repro.papers.acghostnet.ranking:train_shared",
    "acghostnet_pair": "repro.papers.acghostnet.t03:train_pair",
}
