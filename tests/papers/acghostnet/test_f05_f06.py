"""ACGhostNet figures 5 and 6: stages and blocks count from 0, and blocks are weighed at the paper's size."""

import matplotlib.pyplot as plt
import pytest
import torch

from repro.cost import skeleton
from repro.papers.acghostnet import f05, f06, found
from repro.papers.acghostnet.energy import EnergyLookup
from repro.papers.acghostnet.recipes import SEARCHES
from repro.runs import Outcome

PATHS = [("CCg1",) * 16, ("AAg2",) * 16, ("ACg1", "CAg2") * 8, ("CCg2",) * 16]


@pytest.fixture(scope="module")
def lookup():
    return EnergyLookup(224, 1000)


def test_blocks_count_from_0_as_the_strides_of_the_paper_do():
    """Sec. 3.2: the first blocks of stages 1, 2, 3 and 5 have stride 2, which fits no other count."""
    blocks = skeleton("acghostnet", choices="CCg1", num_classes=1000, form="imagenet").blocks
    strided = []
    for place, block in zip(f05.PLACES, blocks, strict=True):
        convolutions = [module for module in block.modules() if isinstance(module, torch.nn.Conv2d)]
        strided += [place] * any(module.stride == (2, 2) for module in convolutions)
    assert strided == [(1, 0), (2, 0), (3, 0), (5, 0)]


def test_drawn_models_and_axes_count_from_0(lookup):
    frame = f05.drawn_models({"ACGhostNet-A": PATHS[2]})
    assert frame.loc[frame["block"] == 0, "stage"].tolist() == ["0", "1", "2", "3", "4", "5"]
    assert f06.mean_blocks(lookup, PATHS)["block"].tolist() == list(range(16))
    figure = f05.searched_networks(frame)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (labels[0], labels[1], labels[-1]) == ("0.0\n0", "1.0\n1", "5.4\n15")
    plt.close(figure)


@pytest.mark.parametrize(("paths", "largest"), [(PATHS[1:], {1, 10}), (PATHS[3:], {1, 10}), (PATHS[:1], {10, 11})])
def test_blocks_1_and_10_have_the_most_flops_where_groups_are_wide(lookup, paths, largest):
    """Sec. 4.5 gives groups N/2 as the reason; a network without any has 10 and 11."""
    blocks = f06.mean_blocks(lookup, paths).set_index("block")
    assert set(blocks["flops_m"].nlargest(2).index) == largest


def test_the_space_is_shown_by_the_same_block_numbers():
    space = f06.computed()
    mean = space[space["quantity"] == "taps_m"].set_index("block")["mean"]
    assert sorted(mean.index) == list(range(16)) and set(mean.nlargest(2).index) == {1, 10}


def test_claims_are_judged_by_counts_at_the_papers_size_and_each_seed_is_a_search(monkeypatch, lookup):
    recipe = SEARCHES["smoke", "digits"]
    found_by = {0: PATHS[:2], 1: PATHS[2:]}

    class Network:
        def __init__(self, path):
            self.path = path

    monkeypatch.setattr(found, "models", lambda outcome: dict(enumerate(map(Network, found_by[outcome.spec.seed]))))
    frame = f06.trained(recipe, [0, 1], lambda specs: {s: Outcome(spec, "done", {}) for s, spec in specs.items()})
    sized = frame.attrs["extra"]["paper_size"]
    assert list(sized.columns) == list(frame.columns) and sized["seed"].unique().tolist() == [0, 1]
    for seed, paths in found_by.items():
        expected = f06.mean_blocks(lookup, paths)
        mine = sized[sized["seed"] == seed].reset_index(drop=True)
        assert mine[expected.columns].equals(expected)
