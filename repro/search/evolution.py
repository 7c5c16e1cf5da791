"""Evolution of genomes under limits of cost: the search that several papers name and none describes in full.

A genome takes one option for every gene of a space. Round 0 scores a population drawn at random; every further round
keeps the best as parents and replaces the rest by children: some are a parent with genes redrawn, the others take each
gene from either of two parents. What breaks the space's rule or a limit is drawn again, and nothing is scored twice.
(Cai et al., Once-for-All, 2020; Lin et al., MCUNet, 2020: population 100, 30 rounds, mutation 0.1, top 20 or 25 %.)

    space = GeneSpace({"width": (8, 12, 16), "kernel": (3, 5, 7)})
    found = evolve(space, accuracy, cost=energy, limit=2.0, seed=0)
    found.best.genome
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import DamagedError, InputError, check_int, check_number
from repro.paths import sealed_json, set_aside, unsealed_json, write_text
from repro.search.space import SearchSpace
from repro.train.data import mixed_seed

if TYPE_CHECKING:
    import pandas as pd

Genome = tuple
"""One option per gene, in the order of the space."""
Numbers = Callable[[list[Genome]], Sequence[float]]

_TRIES = 50
"""Draws in a row, for each genome that is still wanted, before a round goes on with what it has."""


@dataclass(frozen=True)
class GeneSpace:
    """Named genes with their options, and which genomes of them are allowed.

    Attributes:
        names: of the genes.  blocks: the options of each; any values that can be told apart.
        rule: genome -> whether it belongs to the space; None: all do.
        normal: genome -> the one that stands for all genomes of the same network (genes of a block that is not there
            say nothing); None: each is a network of its own.
    Raises: InputError for a space without genes, a gene without options, or an option that occurs twice.
    """

    names: tuple[str, ...]
    blocks: tuple[tuple, ...]
    rule: Callable[[Genome], bool] | None = None
    normal: Callable[[Genome], Genome] | None = None

    def __init__(
        self,
        genes: Mapping[str, Sequence],
        rule: Callable[[Genome], bool] | None = None,
        normal: Callable[[Genome], Genome] | None = None,
    ):
        if not genes:
            raise InputError("genes is empty; a space needs at least one gene.")
        if not isinstance(genes, Mapping):
            raise InputError(f"genes={genes!r} is not allowed; a space needs a mapping of genes to their options.")
        for name, function in (("rule", rule), ("normal", normal)):
            if function is not None and not callable(function):
                raise InputError(f"{name}={function!r} is not allowed; it must be a function of a genome, or None.")
        for name, options in genes.items():
            listed = isinstance(options, Sequence) and not isinstance(options, str)
            if not listed or any(not isinstance(option, Hashable) for option in options):
                raise InputError(f"gene {name}={options!r} is not allowed; options are a list of values with a hash.")
            if not options or len(set(options)) != len(options):
                raise InputError(
                    f"gene {name} has the options {tuple(options)!r}; it needs one or more, all different."
                )
        object.__setattr__(self, "names", tuple(genes))
        object.__setattr__(self, "blocks", tuple(map(tuple, genes.values())))
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "normal", normal)

    @property
    def size(self) -> int:
        """Number of genomes, among them those that break the rule or stand for the network of another."""
        return math.prod(map(len, self.blocks))

    def check(self, genome: Sequence) -> Genome:
        """Return `genome` as a tuple if it lies in this space, else raise InputError."""
        if isinstance(genome, str) or not isinstance(genome, Sequence) or len(genome) != len(self.blocks):
            raise InputError(f"genome={genome!r} is not allowed; it must have {len(self.blocks)} genes.")
        for name, option, options in zip(self.names, genome, self.blocks):
            if option not in options:
                raise InputError(f"gene {name}={option!r} is not known; allowed are: {', '.join(map(str, options))}.")
        if self.rule is not None and not self.rule(tuple(genome)):
            raise InputError(f"genome={tuple(genome)!r} is not allowed; it breaks the rule of the space.")
        return tuple(genome)

    def named(self, genome: Sequence) -> dict:
        """{gene: option} of a genome of this space."""
        return dict(zip(self.names, self.check(genome)))

    def all_genomes(self) -> Iterator[Genome]:
        """Every genome that keeps the rule, in a fixed order."""
        return filter(self.rule or (lambda _: True), itertools.product(*self.blocks))


@dataclass(frozen=True)
class Scored:
    """One genome of a round.

    score is NaN for a dead one. costs are those that were asked for, by name. origin is "random", "parent", "mutation"
    or "crossover". place is its rank in the round, 0 the best, and None if dead; parent says whether it stays.
    """

    genome: Genome
    score: float
    costs: dict[str, float]
    origin: str
    place: int | None = None
    parent: bool = False


@dataclass(frozen=True)
class Round:
    """The population of one round; round 0 is the random one."""

    number: int
    population: tuple[Scored, ...]


@dataclass(frozen=True)
class Evolution:
    """What `evolve` did: all rounds."""

    rounds: tuple[Round, ...]

    @property
    def best(self) -> Scored:
        """The best genome of all; InputError if every one that was scored is dead."""
        for scored in self.rounds[-1].population:
            if scored.place == 0:
                return scored
        raise InputError("no genome of this search has a finite score; there is no best one.")

    def frame(self) -> pd.DataFrame:
        """Long table (pandas), one row per genome and round: round, genome (joined by "-"), score, one column for each
        cost, origin, place, parent."""
        import pandas as pd

        rows = [
            {
                "round": each.number,
                "genome": "-".join(map(str, scored.genome)),
                "score": scored.score,
                **scored.costs,
                "origin": scored.origin,
                "place": scored.place,
                "parent": scored.parent,
            }
            for each in self.rounds
            for scored in each.population
        ]
        return pd.DataFrame(rows).astype({"place": "Int64"})


def mutated(space: GeneSpace | SearchSpace, genome: Genome, rate: float, draw: random.Random) -> Genome:
    """`genome` with each gene redrawn among all its options with probability `rate`."""
    return tuple(
        draw.choice(options) if draw.random() < rate else old for old, options in zip(genome, space.blocks, strict=True)
    )


def crossed(genome: Genome, other: Genome, draw: random.Random) -> Genome:
    """Each gene from either of two genomes, both alike likely."""
    return tuple(draw.choice(pair) for pair in zip(genome, other, strict=True))


def evolve(
    space: GeneSpace | SearchSpace,
    score: Numbers,
    *,
    cost: Numbers | Mapping[str, Numbers],
    limit: float | Mapping[str, float],
    population: int = 100,
    rounds: int = 30,
    parents: float = 0.25,
    mutation: float = 0.1,
    crossover_share: float = 0.5,
    seed: int,
    on_round: Callable[[Round], object] | None = None,
    checkpoint: str | Path | None = None,
) -> Evolution:
    """Search a space for the genome with the highest score whose costs keep the limits.

    Args:
        score: list of genomes -> as many numbers, larger is better; what is not finite is dead and never a parent.
        cost: list of genomes -> as many numbers, or several such functions by name.
        limit: the most that `cost` (or each of several) may be, above 0, or a limit by name; a cost that is not named
            has none and is only recorded.
        population: genomes of a round.  rounds: rounds after the random one.
        parents: share of the population that stays; among equal scores the cheaper (then the older) is better.
        mutation: probability with which a mutated child's gene is redrawn among its options.
        crossover_share: share of the children that are crossed.
        on_round: called with each new round.
        checkpoint: file written after every round; if it exists the search goes on from there, to the same end.
    Returns: all rounds. A round is smaller than `population` where no new genome within the limits could be drawn.
    Raises: InputError for a limit that no genome was found to meet (it names the cheapest), a population beyond the
        space, what is no space of genes, a score or cost that is no function or gives another length or no numbers, a
        cost that is not finite, or another search's checkpoint.
    """
    _check_space(space)
    check_int("population", population, minimum=2)
    if population > space.size:
        raise InputError(f"population={population} is not allowed; the space has only {space.size} genomes.")
    check_int("rounds", rounds, minimum=0)
    if on_round is not None:
        _check_function("on_round", on_round, "a finished round")
    if checkpoint is not None and " at 0x" in repr(space.blocks):
        raise InputError("checkpoint is not allowed with options that have no name of their own (functions, objects).")
    check_number("parents", parents, above=0, below=1)
    check_number("mutation", mutation, minimum=0, maximum=1)
    check_number("crossover_share", crossover_share, minimum=0, maximum=1)
    kept = min(max(1, round(parents * population)), population - 1)
    searched = _Searched(space, score, cost, limit, population, kept, mutation, crossover_share, seed)
    about: dict[str, object] = {
        "population": population,
        "parents": kept,
        "mutation": mutation,
        "crossover_share": crossover_share,
    }
    about |= {"cost": list(searched.cost), "limit": searched.limits, "space": repr(space.blocks)}
    identity = {**about, "seed": check_int("seed", seed, minimum=0)}
    done = _read(checkpoint, identity, space)
    for one in done:
        searched.remember(one)
    if len(done) <= rounds:
        _check_function("score", score)
    while len(done) <= rounds:
        done.append(searched.populate(len(done)))
        if checkpoint is not None:
            write_text(checkpoint, sealed_json({"identity": identity, "rounds": [_plain(r, space) for r in done]}))
        if on_round is not None:
            on_round(done[-1])
    return Evolution(tuple(done[: rounds + 1]))


def _check_space(space: object) -> None:
    if isinstance(space, GeneSpace | SearchSpace):
        return
    told = f"space={space!r} is" if space is None else f"a {type(space).__name__} as space is"
    inner = [name for name in ("genes", "paths") if isinstance(getattr(space, name, None), GeneSpace | SearchSpace)]
    hint = f"; pass its .{inner[0]}" if inner else ""
    raise InputError(f"{told} not allowed; it must be a GeneSpace or a SearchSpace{hint}.")


def _check_function(name: str, function: object, of: str = "a list of genomes") -> None:
    if not callable(function):
        raise InputError(f"{name}={function!r} is not allowed; it must be a function of {of}.")


class _Searched:
    """All genomes scored so far, and how the next ones are drawn."""

    def __init__(self, space, score, cost, limit, population, kept, mutation, crossover_share, seed):
        self.space, self.score, self.seed = space, score, seed
        self.cost = dict(cost) if isinstance(cost, Mapping) else {"cost": cost}
        for name, function in self.cost.items():
            _check_function(name, function)
        given = limit if isinstance(limit, Mapping) else dict.fromkeys(self.cost, limit)
        if unknown := [name for name in given if name not in self.cost]:
            raise InputError(f"limit has {unknown[0]!r}, which is no cost; costs are: {', '.join(self.cost)}.")
        self.limits = {name: check_number(f"limit of {name}", value, above=0) for name, value in given.items()}
        self.population, self.kept = population, kept
        self.mutation, self.crossover_share = mutation, crossover_share
        self.known: dict[Genome, Scored] = {}
        self.costs: dict[Genome, dict[str, float]] = {}

    def remember(self, done: Round) -> None:
        for each in done.population:
            self.known.setdefault(each.genome, each)
            self.costs[each.genome] = each.costs

    def populate(self, number: int) -> Round:
        """Draw, score and rank one population."""
        draw = random.Random(mixed_seed("evolution", self.seed, number))
        if number == 0:
            staying, new = [], self._first(draw)
        else:
            staying = self.ranked(self.known.values())[: self.kept]
            new = self._children([each.genome for each in staying], draw)
        scores = _as_many("score", self.score(list(new)), new) if new else []
        fresh = [
            Scored(genome, float(value) if math.isfinite(value) else math.nan, self.costs[genome], origin)
            for (genome, origin), value in zip(new.items(), scores)
        ]
        everyone = [replace(each, origin="parent") for each in staying] + fresh
        place = {each.genome: rank for rank, each in enumerate(self.ranked(everyone))}
        done = Round(number, tuple(self._placed(each, place.get(each.genome)) for each in everyone))
        self.remember(done)
        return done

    def _placed(self, each: Scored, place: int | None) -> Scored:
        return replace(each, place=place, parent=place is not None and place < self.kept)

    def ranked(self, everyone) -> list[Scored]:
        """The living ones, best first; the sort keeps the older of two equals first."""
        alive = [each for each in everyone if math.isfinite(each.score)]
        return sorted(alive, key=lambda each: (-each.score, *each.costs.values()))

    # ------------------------------------------------------------------ drawing

    def _first(self, draw: random.Random) -> dict[Genome, str]:
        found: dict[Genome, str] = {}
        self._fill(found, self.population, "random", lambda: _random(self.space, draw))
        if not found:
            found[self._cheapest()] = "random"
        if len(found) < self.population:  # few genomes keep the limits: look for others around those
            rate, near = max(0.1, self.mutation), list(found)
            self._fill(found, self.population, "random", lambda: mutated(self.space, draw.choice(near), rate, draw))
        return found

    def _children(self, parents: list[Genome], draw: random.Random) -> dict[Genome, str]:
        """As many new genomes as the parents leave room for.

        Where crossing brings nothing new more are mutated, and where that brings nothing, some are drawn at random.
        """
        found: dict[Genome, str]
        wanted, found = self.population - len(parents), {}
        crossings = round(self.crossover_share * wanted)
        if len(parents) > 1:
            self._fill(found, crossings, "crossover", lambda: crossed(*draw.sample(parents, 2), draw))  # type: ignore[call-arg, arg-type]
        if parents:
            self._fill(
                found, wanted, "mutation", lambda: mutated(self.space, draw.choice(parents), self.mutation, draw)
            )
        self._fill(found, wanted, "random", lambda: _random(self.space, draw))
        return found

    def _fill(self, found: dict[Genome, str], count: int, origin: str, draw: Callable[[], Genome]) -> None:
        """Draw new genomes within the limits until there are `count`, or until nothing more comes."""
        misses = 0
        while len(found) < count and misses < _TRIES:
            drawn = dict.fromkeys(self._normal(draw()) for _ in range(count - len(found)))
            new = [
                genome for genome in drawn if genome not in found and genome not in self.known and self._legal(genome)
            ]
            self._price(new)
            accepted = [genome for genome in new if self._excess(genome) <= 0]
            found.update(dict.fromkeys(accepted, origin))
            misses = 0 if accepted else misses + 1

    def _normal(self, genome: Genome) -> Genome:
        normal = getattr(self.space, "normal", None)
        return genome if normal is None else normal(genome)

    def _legal(self, genome: Genome) -> bool:
        rule = getattr(self.space, "rule", None)
        return rule is None or bool(rule(genome))

    # ------------------------------------------------------------------ limits

    def _price(self, genomes: list[Genome]) -> None:
        unknown = [genome for genome in genomes if genome not in self.costs]
        if not unknown:
            return
        columns = {name: _as_many(name, cost(list(unknown)), unknown) for name, cost in self.cost.items()}
        for place, genome in enumerate(unknown):
            costs = {name: float(column[place]) for name, column in columns.items()}
            for name, value in costs.items():
                if not math.isfinite(value):
                    raise InputError(f"{name} of genome {genome!r} is {value}; a cost must be a finite number.")
            self.costs[genome] = costs

    def _excess(self, genome: Genome) -> float:
        """By which share of its limit the worst cost is over it; 0 or less within all limits."""
        costs = self.costs[genome]
        return max((costs[name] / most - 1 for name, most in self.limits.items()), default=-1.0)

    def _cheapest(self) -> Genome:
        """Change the cheapest genome known gene by gene until it keeps the limits; InputError if none does."""
        if not self.costs:
            raise InputError(f"no genome in {_TRIES * self.population} draws keeps the rule of the space; loosen it.")
        best = min(self.costs, key=self._excess)
        while True:
            steps = [
                (*best[:gene], option, *best[gene + 1 :])
                for gene, options in enumerate(self.space.blocks)
                for option in options
            ]
            steps = [genome for genome in map(self._normal, steps) if self._legal(genome)]
            self._price(steps)
            step = min(steps, key=self._excess, default=best)
            if self._excess(best) <= 0:
                return best
            if self._excess(step) >= self._excess(best):
                break
            best = step
        worst = max(self.limits, key=lambda name: self.costs[best][name] / self.limits[name])
        raise InputError(
            f"limit {worst}={self.limits[worst]:g} is met by no genome of the space; "
            f"the cheapest found has {worst}={self.costs[best][worst]:g}."
        )


def _random(space: GeneSpace | SearchSpace, draw: random.Random) -> Genome:
    return tuple(draw.choice(options) for options in space.blocks)


def _as_many(what: str, numbers: Sequence[float], genomes) -> list[float]:
    try:
        given = list(numbers)
    except TypeError:
        many = len(genomes)
        raise InputError(f"{what} gave {numbers!r} for {many} genomes; it must give a number for each.") from None
    if len(given) != len(genomes):
        raise InputError(f"{what} gave {len(given)} numbers for {len(genomes)} genomes; it must give one for each.")
    for genome, value in zip(genomes, given):
        if isinstance(value, str) or not hasattr(value, "__float__"):
            raise InputError(f"{what} of genome {genome!r} is {value!r}; it must be a number.")
    return given


# ------------------------------------------------------------------ files


def _plain(done: Round, space) -> dict:
    """A round as JSON values: options by their number, what is not finite as null."""
    rows = [
        {
            "options": [options.index(option) for options, option in zip(space.blocks, each.genome)],
            "score": each.score if math.isfinite(each.score) else None,
            "costs": each.costs,
            "origin": each.origin,
            "place": each.place,
            "parent": each.parent,
        }
        for each in done.population
    ]
    return {"number": done.number, "population": rows}


def _from_plain(content: dict, space) -> Round:
    return Round(
        content["number"],
        tuple(
            Scored(
                genome=tuple(options[number] for options, number in zip(space.blocks, row["options"], strict=True)),
                score=math.nan if row["score"] is None else row["score"],
                costs=row["costs"],
                origin=row["origin"],
                place=row["place"],
                parent=row["parent"],
            )
            for row in content["population"]
        ),
    )


def _read(checkpoint: str | Path | None, identity: dict, space) -> list[Round]:
    """Rounds of a checkpoint, [] if there is none; a damaged one is set aside, which is said."""
    if checkpoint is None or not Path(checkpoint).exists():
        return []
    try:
        content = unsealed_json(checkpoint)
        known, rounds = content["identity"], content["rounds"]
    except (DamagedError, KeyError) as error:
        set_aside(Path(checkpoint), "damaged", f"{error} The search begins again.")
        return []
    differing = [name for name, value in identity.items() if known.get(name) != value]
    if differing:
        raise InputError(
            f"checkpoint {Path(checkpoint).name} was written with another {' and another '.join(differing)}; "
            "give a new place, or delete it to start again."
        )
    done = [_from_plain(each, space) for each in rounds]
    rule, normal = (getattr(space, name, None) for name in ("rule", "normal"))
    for genome in (each.genome for one in done for each in one.population):
        if (rule is not None and not rule(genome)) or (normal is not None and normal(genome) != genome):
            raise InputError(
                f"checkpoint {Path(checkpoint).name} holds genome {genome!r}, which this space does not have; it was "
                "written with another rule or normal form. Give a new place, or delete it to start again."
            )
    return done
