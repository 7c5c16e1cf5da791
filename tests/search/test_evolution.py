"""Evolution under limits: the optimum of small spaces, limits, rates, resume, refusals."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from repro.errors import InputError
from repro.search import Evolution, GeneSpace, TranslationSpace, evolve
from repro.search.evolution import crossed, mutated
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.space import SearchSpace

WEIGHTS = (5, -3, 7, 2, -1, 4)
SPACE = GeneSpace({f"gene {i}": (0, 1, 2, 3) for i in range(6)})
NEW = {"population": 6, "rounds": 1, "seed": 0}
FREE = {"cost": {}, "limit": {}}
SMALL = {"population": 24, "rounds": 12, "parents": 0.25, "seed": 3}


def rugged(genomes):
    """A score with products of neighbours, so that no gene can be chosen by itself."""
    return [sum(w * g for w, g in zip(WEIGHTS, x)) - 2.5 * sum(a * b for a, b in pairwise(x)) for x in genomes]


def total(genomes):
    return [float(sum(genome)) for genome in genomes]


def best_by_hand(limit):
    allowed = [genome for genome in SPACE.all_genomes() if sum(genome) <= limit]
    return max(rugged(allowed))


@pytest.mark.parametrize("limit", [4, 7, 18])
def test_evolution_finds_the_optimum_of_a_space_that_can_be_counted_out(limit):
    found = evolve(SPACE, rugged, cost=total, limit=limit, **SMALL)
    assert found.best.score == best_by_hand(limit)
    assert all(scored.costs["cost"] <= limit for each in found.rounds for scored in each.population)
    assert len(found.rounds) == 13 and SPACE.size == 4096
    assert limit == 4 or {len(each.population) for each in found.rounds} == {24}  # 4 leaves 210 genomes, soon used up


def test_nothing_is_scored_twice_and_parents_are_the_best_so_far():
    seen, asked = Counter(), []

    def score(genomes):
        asked.append(len(genomes))
        seen.update(genomes)
        return rugged(genomes)

    found = evolve(SPACE, score, cost=total, limit=18, **SMALL)
    assert set(seen.values()) == {1} and asked == [24] + [18] * 12
    known = {}
    for each in found.rounds:
        known |= {scored.genome: scored.score for scored in each.population}
        staying = [scored.score for scored in each.population if scored.parent]
        assert sorted(staying) == sorted(known.values())[-6:]
    origins = Counter(scored.origin for each in found.rounds[1:] for scored in each.population)
    assert origins["parent"] == 72 and origins["crossover"] + origins["mutation"] == 216  # crossing ends with variety
    assert Counter(scored.origin for scored in found.rounds[1].population)["crossover"] == 9


def test_evolution_beats_drawing_at_random():
    def drawn(seed):
        draw = random.Random(seed)
        return max(rugged([mutated(SPACE, (0,) * 6, 1.0, draw) for _ in range(96)]))

    def evolved(seed):
        return evolve(SPACE, rugged, cost=total, limit=18, population=24, rounds=4, seed=seed).best.score

    assert sum(map(evolved, range(5))) > sum(map(drawn, range(5))) + 10


def test_genes_mutate_and_cross_at_the_rates_that_are_asked_for():
    """A redrawn gene keeps its option in one of n draws, so that it changes at rate (1 - 1/n)."""
    space = GeneSpace({"two": ("a", "b"), "five": range(5), "one": [None]})
    draw, old, draws = random.Random(0), ("a", 0, None), 4000
    changes = Counter(
        place for _ in range(draws) for place, (a, b) in enumerate(zip(old, mutated(space, old, 0.3, draw))) if a != b
    )
    for place, options in enumerate([2, 5, 1]):
        expected = 0.3 * (1 - 1 / options)
        assert abs(changes[place] / draws - expected) < 4 * math.sqrt(expected / draws) + 1e-12
    children = Counter(crossed(("a", 0, None), ("b", 1, None), draw) for _ in range(draws))
    assert len(children) == 4 and all(abs(count / draws - 0.25) < 0.03 for count in children.values())
    assert mutated(space, old, 0.0, draw) == old


def test_several_limits_hold_at_once_and_a_cost_without_one_is_recorded():
    costs = {"sum": total, "first": lambda xs: [x[0] for x in xs], "last": lambda xs: [x[-1] for x in xs]}
    found = evolve(SPACE, rugged, cost=costs, limit={"sum": 6, "first": 1}, **SMALL)
    frame = found.frame()
    assert frame["sum"].max() <= 6 and frame["first"].max() == 1 and frame["last"].max() == 3
    assert list(frame) == ["round", "genome", "score", "sum", "first", "last", "origin", "place", "parent"]
    allowed = [genome for genome in SPACE.all_genomes() if sum(genome) <= 6 and genome[0] <= 1]
    assert found.best.score == frame["score"].max() == max(rugged(allowed))


def test_a_limit_that_seven_genomes_of_4096_meet_is_met():
    found = evolve(
        SPACE, rugged, cost=lambda xs: [1 + sum(x) for x in xs], limit=2, population=4, mutation=0.3, rounds=6, seed=0
    )
    assert found.best.genome == (0, 0, 1, 0, 0, 0) and found.best.score == 7
    assert all(sum(scored.genome) <= 1 for each in found.rounds for scored in each.population)


def test_dead_genomes_are_never_parents():
    def score(genomes):
        return [
            math.nan if genome[0] else math.inf if genome[1] else value
            for genome, value in zip(genomes, rugged(genomes))
        ]

    found = evolve(SPACE, score, cost=total, limit=18, **SMALL)
    assert found.best.genome[:2] == (0, 0)
    dead = [scored for each in found.rounds for scored in each.population if scored.genome[:2] != (0, 0)]
    assert dead and all(math.isnan(s.score) and s.place is None and not s.parent for s in dead)
    nothing = evolve(SPACE, lambda xs: [math.nan] * len(xs), cost=total, limit=18, population=4, rounds=1, seed=0)
    with pytest.raises(InputError, match="no genome of this search has a finite score"):
        nothing.best  # noqa: B018


@pytest.mark.parametrize(("change", "name"), [({"cost": None}, "cost"), ({"cost": {"energy": 3}}, "energy")])
def test_a_cost_that_is_no_function_is_refused(change, name):
    with pytest.raises(InputError, match=f"^{name}=.* is not allowed; it must be a function of a list of genomes"):
        evolve(SPACE, rugged, **({"cost": total, "limit": 9} | change), **SMALL)


def test_a_score_that_is_no_function_and_a_genome_that_is_no_sequence_are_refused():
    with pytest.raises(InputError, match=r"^score=None is not allowed"):
        evolve(SPACE, None, cost=total, limit=9, **SMALL)
    for genome in (None, 3, "001"):
        with pytest.raises(InputError, match=r"it must have .* genes"):
            SPACE.check(genome)


def test_among_equals_the_cheaper_is_better():
    found = evolve(SPACE, lambda xs: [1.0] * len(xs), cost=lambda xs: [1 + sum(x) for x in xs], limit=19, **SMALL)
    assert found.best.costs["cost"] == min(s.costs["cost"] for r in found.rounds for s in r.population)


def test_a_seed_gives_one_search_and_another_seed_another():
    first, again = (evolve(SPACE, rugged, cost=total, limit=9, **SMALL) for _ in range(2))
    other = evolve(SPACE, rugged, cost=total, limit=9, **(SMALL | {"seed": 4}))
    assert first == again and other.rounds[0] != first.rounds[0]


def test_a_search_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    class Killed(Exception):
        pass

    def stop(done):
        if done.number == 2:
            raise Killed

    whole = evolve(SPACE, rugged, cost=total, limit=9, **SMALL)
    path, reported = tmp_path / "search.json", []
    with pytest.raises(Killed):
        evolve(SPACE, rugged, cost=total, limit=9, **SMALL, checkpoint=path, on_round=stop)
    resumed = evolve(SPACE, rugged, cost=total, limit=9, **SMALL, checkpoint=path, on_round=reported.append)
    assert resumed == whole and [done.number for done in reported] == list(range(3, 13))
    assert evolve(SPACE, None, cost=total, limit=9, **SMALL, checkpoint=path) == whole  # nothing left to score
    with pytest.raises(InputError, match="was written with another limit and another seed"):
        evolve(SPACE, rugged, cost=total, limit=8, **(SMALL | {"seed": 1}), checkpoint=path)


def test_a_damaged_checkpoint_is_set_aside_and_said(tmp_path, capsys):
    path = tmp_path / "search.json"
    path.write_text('{"rounds": [], "sha256": "0"}')
    found = evolve(SPACE, rugged, cost=total, limit=9, population=4, rounds=1, seed=0, checkpoint=path)
    assert len(found.rounds) == 2 and "The search begins again." in capsys.readouterr().err
    assert len(list(tmp_path.glob("search.json.damaged-*"))) == 1


def test_rules_hold_for_every_genome():
    space = GeneSpace({"a": range(5), "b": range(5)}, rule=lambda genome: genome[0] < genome[1])
    found = evolve(space, total, cost=total, limit=20, population=6, rounds=3, seed=0)
    seen = {scored.genome for each in found.rounds for scored in each.population}
    assert found.best.genome == (3, 4) and seen == set(space.all_genomes())  # ten, and none beside them


def test_genomes_of_one_network_count_once():
    space = GeneSpace(
        {"depth": (1, 2), "first": (0, 1, 2), "second": (0, 1, 2)}, normal=lambda g: g if g[0] == 2 else (1, g[1], 0)
    )
    found = evolve(space, total, cost=total, limit=20, population=8, rounds=6, seed=0)
    seen = [scored.genome for each in found.rounds for scored in each.population if scored.origin != "parent"]
    assert len(seen) == len(set(seen)) and found.best.genome == (2, 2, 2)
    assert set(seen) == {(1, a, 0) for a in range(3)} | {(2, a, b) for a in range(3) for b in range(3)}


def test_paths_of_a_supernet_are_genomes_too():
    space = SearchSpace([("conv", "shift", "adder")] * 4)
    found = evolve(
        space,
        lambda paths: [path.count("conv") + 0.1 * path.count("shift") for path in paths],
        cost=lambda paths: [1 + 2 * path.count("conv") for path in paths],
        limit=5,
        population=8,
        rounds=8,
        seed=0,
    )
    assert Counter(found.best.genome) == {"conv": 2, "shift": 2}
    assert isinstance(found, Evolution) and found.frame()["genome"].str.count("-").eq(3).all()


def call(space=SPACE, score=rugged, cost=total, limit=9.0, **settings):
    return evolve(space, score, cost=cost, limit=limit, **({"population": 4, "rounds": 1, "seed": 0} | settings))


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (
            lambda: call(cost=lambda xs: [7.5 + sum(x) for x in xs], limit=7),
            "limit cost=7 is met by no genome of the space; the cheapest found has cost=7.5",
        ),
        (lambda: call(None), "^space=None is not allowed; it must be a GeneSpace or a SearchSpace.$"),
        (lambda: call({"a": (1, 2)}), "^a dict as space is not allowed; it must be a GeneSpace or a SearchSpace.$"),
        (lambda: call(HybridSpace([Level(4, 1, 4)], 4)), "^a HybridSpace as space is not allowed.*; pass its .genes.$"),
        (lambda: call(TranslationSpace()), "^a TranslationSpace as space is not allowed.*; pass its .genes.$"),
        (lambda: call(score=lambda xs: None), "^score gave None for 4 genomes; it must give a number for each.$"),
        (lambda: call(score=lambda xs: 0.5), "^score gave 0.5 for 4 genomes"),
        (lambda: call(score=lambda xs: ["0.5"] * len(xs)), r"^score of genome \(.*\) is '0.5'; it must be a number.$"),
        (lambda: call(score=lambda xs: [None] * len(xs)), r"^score of genome \(.*\) is None; it must be a number.$"),
        (lambda: call(cost=lambda xs: ["1"] * len(xs)), r"^cost of genome \(.*\) is '1'; it must be a number.$"),
        (lambda: call(population=4097), "population=4097 is not allowed; the space has only 4096 genomes"),
        (lambda: call(limit={"energy": 1}), "limit has 'energy', which is no cost; costs are: cost"),
        (lambda: call(limit=0), "limit of cost=0 is not allowed"),
        (lambda: call(score=lambda xs: [1.0]), "score gave 1 numbers for 4 genomes"),
        (lambda: call(cost=lambda xs: []), "cost gave 0 numbers for"),
        (lambda: call(cost=lambda xs: [math.nan] * len(xs)), "is nan; a cost must be a finite number"),
        (lambda: call(parents=1.0), "parents=1.0 is not allowed"),
        (lambda: call(mutation=1.5), "mutation=1.5 is not allowed"),
        (lambda: call(GeneSpace({"a": range(9)}, rule=lambda g: False)), "keeps the rule of the space; loosen it"),
        (lambda: SPACE.check((0, 0)), "must have 6 genes"),
        (lambda: SPACE.check((0, 0, 0, 0, 0, 9)), "gene gene 5=9 is not known; allowed are: 0, 1, 2, 3"),
        (lambda: GeneSpace({"a": (1, 2)}, rule=lambda g: g[0] > 1).check((1,)), "breaks the rule of the space"),
        (lambda: GeneSpace({}), "genes is empty"),
        (lambda: GeneSpace({"a": (1, 1.0)}), "gene a has the options"),
    ],
)
def test_what_cannot_be_searched_is_said(refused, sentence):
    with pytest.raises(InputError, match=sentence):
        refused()


def test_genes_have_names():
    assert GeneSpace({"width": (8, 16), "kernel": (3, 5)}).named((16, 3)) == {"width": 16, "kernel": 3}


def test_costs_see_a_list_of_their_own():
    """A cost that sorts what it was given mixed the columns of the next."""

    def sorting(genomes):
        genomes.sort()
        return [float(genome[0]) for genome in genomes]

    small = GeneSpace({"a": (4, 1, 3, 2), "b": (0, 1, 2)})
    costs = {"b": sorting, "a": lambda genomes: [float(genome[0]) for genome in genomes]}
    found = evolve(small, total, cost=costs, limit={}, **NEW)
    assert all(each.costs["a"] == each.genome[0] for one in found.rounds for each in one.population)


def test_a_checkpoint_of_another_rule_is_refused(tmp_path):
    space = GeneSpace({"a": (1, 2, 3), "b": (0, 1, 2, 3)})
    evolve(space, total, checkpoint=tmp_path / "c.json", **FREE, **NEW)
    for other in ({"rule": lambda genome: genome[0] < 2}, {"normal": lambda genome: (genome[0], 0)}):
        narrower = GeneSpace(dict(zip(space.names, space.blocks)), **other)
        with pytest.raises(InputError, match="another rule or normal form"):
            evolve(narrower, total, checkpoint=tmp_path / "c.json", **FREE, **{**NEW, "rounds": 2})


def test_options_without_a_name_of_their_own_have_no_checkpoint(tmp_path):
    space = GeneSpace({"act": (lambda x: x, lambda x: -x), "width": (1, 2, 3)})
    run = {"population": 3, "rounds": 0, "seed": 0, **FREE}
    assert evolve(space, lambda genomes: [float(g[1]) for g in genomes], **run).best.genome[1] == 3
    with pytest.raises(InputError, match="no name of their own"):
        evolve(space, lambda genomes: [float(g[1]) for g in genomes], checkpoint=tmp_path / "c", **run)


@pytest.mark.parametrize(
    ("genes", "told"),
    [
        ({"w": [[1, 2], [3]]}, "gene w="),
        ({"w": 3}, "gene w=3"),
        ({"w": None}, "gene w=None"),
        ({"op": "conv"}, "gene op='conv'"),
        ([("w", (1, 2))], "a mapping of genes"),
    ],
    ids=["lists", "number", "none", "word", "pairs"],
)
def test_what_is_no_space_is_one_sentence(genes, told):
    with pytest.raises(InputError, match=told):
        GeneSpace(genes)
    with pytest.raises(InputError, match="rule=3"):
        GeneSpace({"w": (1, 2)}, rule=3)
    with pytest.raises(InputError, match="on_round=3"):
        evolve(SPACE, total, on_round=3, **FREE, **SMALL)
