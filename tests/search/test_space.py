"""Search spaces: sampling, mutation, crossover, adder ratios."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import InputError
from repro.papers.acghostnet.supernet import ghost_space
from repro.papers.acghostnet.toy import six_block_space
from repro.search.space import SearchSpace, adder_share
from repro.search.warmup import adder_group, groups_present, path_sampler
from repro.train.data import generator_for

SPACES = st.lists(st.integers(1, 4), min_size=1, max_size=6).map(
    lambda sizes: SearchSpace([[f"o{i}" for i in range(size)] for size in sizes])
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(SPACES, st.integers(0, 1000))
def test_variation_stays_in_the_space_and_changes_one_block(space, seed):
    generator = generator_for(seed)
    path, other = space.sample(generator), space.sample(generator)
    mutant, child = space.mutate(path, generator), space.cross(path, other, generator)
    assert all(member in space for member in (path, other, mutant, child))
    differing = sum(a != b for a, b in zip(path, mutant))
    assert differing == (1 if any(len(options) > 1 for options in space.blocks) else 0)
    from_other = [i for i, (a, b) in enumerate(zip(path, child)) if a != b]
    assert len(from_other) == (path != other) and all(child[i] == other[i] for i in from_other)


def test_sampling_is_uniform_over_options():
    space = SearchSpace([["a", "b", "c"], ["x", "y"]])
    generator = generator_for("uniform")
    counts = Counter(space.sample(generator) for _ in range(6000))
    assert len(counts) == 6 and all(abs(count - 1000) < 150 for count in counts.values())


def test_constrained_samples_keep_the_constraint():
    space, generator = ghost_space(), generator_for("constrained")
    paths = [space.sample(generator, allowed=lambda path: path[0].startswith("CC"), what="-") for _ in range(50)]
    assert all(path[0].startswith("CC") for path in paths)
    assert len(set(space.sample_distinct(50, generator))) == 50
    with pytest.raises(InputError, match="no path of the space met an impossible wish"):
        space.sample(generator, allowed=lambda path: False, what="an impossible wish")


def test_thirds_of_the_six_block_space():
    groups = Counter(map(adder_group, six_block_space().all_paths()))
    assert groups == {0: 22, 1: 20, 2: 22}
    assert adder_share(("AAg1", "CCg1")) == 0.5 and adder_share(("ACg2",)) == 0.5 and adder_share(("a5", "a3")) == 1


@pytest.mark.parametrize("group", [0, 1, 2])
def test_sub_supernets_draw_only_their_own_paths(group):
    generator = generator_for("group")
    for space in (six_block_space(), ghost_space()):
        draw = path_sampler(space, group)
        assert all(adder_group(draw(generator)) == group for _ in range(20))


def test_groups_without_paths_are_left_out():
    assert groups_present(ghost_space()) == [2, 1, 0]
    assert groups_present(ghost_space(["CCg1", "CCg2"])) == [0]
    assert groups_present(ghost_space(["AAg1"], blocks=3)) == [2]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: SearchSpace([]), "not a search space"),
        (lambda: SearchSpace([["a", "a"]]), "not a search space"),
        (lambda: six_block_space().check(("AAg1",)), "must name 6 options"),
        (lambda: six_block_space().check(("AAg1",) * 5 + ("ACg1",)), r"path\[5\]='ACg1'"),
        (lambda: ghost_space().all_paths(), "sample it instead"),
        (lambda: six_block_space().sample_distinct(65, torch.Generator()), "only 64 paths"),
    ],
)
def test_bad_spaces_are_named(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
