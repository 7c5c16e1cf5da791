"""The two-stage search (Sec. 3.4, figure 4a): a SubNet is cut from the SuperNet, and a TargetNet from the SubNet.

    SuperNet    multiplicative, elastic in width, depth, expansion and kernel ("we follow tinyNAS to build SuperNet")
    SubNet      a deep network of it, which augments: evolved for accuracy with inherited weights under a limit
    TargetNet   some layers of the SubNet, fewer channels of each, operators without multiplication: evolved for its
                accuracy after a short training inside the SubNet (eq. 3), under the limit of the hardware

Blocks of the SubNet that the TargetNet does not select are its depth augmentation: selected at first, they leave it in
the mutation's window, in which its blocks turn multiplication-free one by one from shallow to deep. That window is part
of the genome (table 2), so a TargetNet can only be judged by training it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import torch

from repro.augment import (
    AugmentRecipe,
    InsideNetwork,
    Window,
    augment_inside,
    fit_augmented,
    fit_plain,
    laplace_scales,
)
from repro.cost.mobile import MobileCosts
from repro.errors import check_choice, refuse
from repro.models.mobile import KEEP, MobileNet, MobileSpec
from repro.papers.shiftaddaug.space import AugmentationSpace
from repro.papers.shiftaddaug.training import ADDERS, remap_of
from repro.search import Evolution, GeneSpace, evolve
from repro.search.elastic import ElasticNetwork
from repro.search.evolution import Genome
from repro.search.inherit import evaluate_paths
from repro.train import TrainRecipe
from repro.train.data import TensorData
from repro.train.evaluate import evaluate, reestimate_batch_norm


@dataclass(frozen=True)
class Target:
    """A TargetNet inside a SubNet.

    Attributes:
        inside: channels of all blocks of the SubNet that the TargetNet begins with.
        keep: which of them are deployed.
        op: operators by names of the deployed network's layers.
        window: (start, stop) of mutation and of the loss of extra blocks, shares of the training; None: the network is
            multiplication-free and alone from the start.
    """

    inside: MobileSpec
    keep: tuple[bool, ...]
    op: Mapping[str, str]
    window: tuple[float, float] | None

    @property
    def deployed(self) -> MobileSpec:
        """The network that is deployed."""
        kept = tuple(block for block, stays in zip(self.inside.blocks, self.keep) if stays)
        return dataclasses.replace(self.inside, blocks=kept)

    @property
    def recipe(self) -> AugmentRecipe:
        """How it is trained inside the SubNet. Raises: InputError for a window outside training."""
        window = None if self.window is None else Window(*self.window)
        return AugmentRecipe(mutation=window, depth=None if all(self.keep) else window)


@dataclass(frozen=True)
class TargetSpace:
    """The TargetNets of a SubNet: per stage a width, an expansion, a depth and an operator, and the mutation's window.

    Multiples of table 2 are by how much the SubNet is wider than the TargetNet. The stem and the block behind it have a
    width of their own and the first stage's operator; the last 1x1 has the last stage's width and operator.

    Args:
        subnet: the network to cut from.  choices: options of table 2; `operators` for the block types.
        depth: whether stages may have fewer blocks than the SubNet.  mutation: whether there is a window (table 11).
    """

    subnet: MobileSpec
    choices: AugmentationSpace = field(default_factory=AugmentationSpace)
    depth: bool = True
    mutation: bool = True

    @property
    def stages(self) -> int:
        """Stages behind the first block."""
        return self.subnet.blocks[-1].stage

    @cached_property
    def genes(self) -> GeneSpace:
        """The space that evolution searches."""
        genes: dict = {"width 0": self.choices.width_multiples}
        for stage in range(1, self.stages + 1):
            blocks = sum(block.stage == stage for block in self.subnet.blocks)
            genes[f"width {stage}"] = self.choices.width_multiples
            genes[f"expand {stage}"] = self.choices.expand_multiples
            genes[f"depth {stage}"] = tuple(range(1, blocks + 1)) if self.depth else (blocks,)
            genes[f"op {stage}"] = self.choices.operators
        if self.mutation:
            genes["start"] = self.choices.mutation_start_pct
            genes["stop"] = self.choices.mutation_stop_pct
        return GeneSpace(genes)

    def target(self, genome: Genome) -> Target:
        """The TargetNet of a genome. Raises: InputError for a genome of another space."""
        genes = self.genes.named(genome)
        width = [_less(genes[f"width {stage}"]) for stage in range(self.stages + 1)]
        channels = width[0](self.subnet.stem)
        stem, blocks, keep, place = channels, [], [], 0
        for block in self.subnet.blocks:
            place = place + 1 if blocks and block.stage == blocks[-1].stage else 1
            mid, out = channels, width[block.stage](block.out)
            if block.expand:  # its ratio is divided by the multiple of expansion
                mid = max(1, round(channels * block.mid / block.in_channels / genes[f"expand {block.stage}"]))
            blocks.append(dataclasses.replace(block, in_channels=channels, mid=mid, out=out))
            keep.append(block.stage == 0 or place <= genes[f"depth {block.stage}"])
            channels = out
        head = width[-1](self.subnet.head) if self.subnet.head else 0
        inside = dataclasses.replace(self.subnet, stem=stem, blocks=tuple(blocks), head=head)
        window = (genes["start"] / 100, genes["stop"] / 100) if self.mutation else None
        operators = [genes[f"op {max(1, stage)}"] for stage in range(self.stages + 1)]
        kept = [block.stage for block, stays in zip(blocks, keep) if stays]
        return Target(inside, tuple(keep), layer_operators(operators, kept), window)


def _less(multiple: float):
    return lambda channels: max(1, round(channels / multiple))


def layer_operators(operator_by_stage: list[str], stages: list[int]) -> dict[str, str]:
    """Operators by names of layers.

    Args:
        operator_by_stage: also for stage 0, which the stem goes with.
        stages: of each block in order.
    Adders leave depthwise layers and the classifier multiplicative, as in table 3.
    """
    first, last = operator_by_stage[0], operator_by_stage[-1]
    found = {"stem": first, "head": last, "classifier": "conv" if "classifier" in KEEP.get(last, ()) else last}
    for number, stage in enumerate(stages):
        op = operator_by_stage[stage]
        if "depthwise" in KEEP.get(op, ()):
            found[f"blocks.{number}.depthwise.*"] = "conv"
        found[f"blocks.{number}.*"] = op
    return found


# ------------------------------------------------------------------ the two stages


COSTS = ("energy_mj", "latency_ms", "mults", "shifts", "adds", "macs")
"""Costs that may be limited, as `MobileCosts.costs` names them."""
SHOWN = ("energy_mj", "latency_ms", "macs")
"""Costs that every candidate is told with."""


@dataclass(frozen=True)
class Budget:
    """Size of one evolution (`repro.search.evolve`) and its limits by name of a cost (`MobileCosts.costs`).

    The defaults are MCUNet's: 100 networks, 30 rounds, 20 parents, mutation 0.1.
    Raises: InputError for a limit of a cost that is not known.
    """

    limit: Mapping[str, float]
    population: int = 100
    rounds: int = 30
    parents: float = 0.2
    mutation: float = 0.1

    def __post_init__(self):
        refuse(
            not isinstance(self.limit, Mapping),
            f"limit={self.limit!r} is not allowed; it must name costs, as {{'energy_mj': 0.002}}.",
        )
        for name in self.limit:
            check_choice("limit", name, COSTS)

    def evolve(self, space: GeneSpace, score, price, **options) -> Evolution:
        """Search `space`; `price` gives the costs of one genome by name."""

        def cost(name):
            return lambda genomes: [price(genome)[name] for genome in genomes]

        names = dict.fromkeys([*self.limit, *SHOWN])
        settings = {"population": self.population, "rounds": self.rounds, "parents": self.parents}
        costs = {name: cost(name) for name in names}
        return evolve(space, score, cost=costs, limit=self.limit, mutation=self.mutation, **settings, **options)


def find_subnet(
    supernet: ElasticNetwork,
    train: TensorData,
    held_out: TensorData,
    costs: MobileCosts,
    budget: Budget,
    *,
    calibration_images: int = 512,
    **options,
) -> Evolution:
    """Stage 1: the network of the SuperNet with the highest accuracy on held-out images, with inherited weights.

    Args:
        train: its first `calibration_images` re-estimate each network's batch norm.
        options: seed, checkpoint, on_round of `repro.search.evolve`.
    Raises: InputError for a limit that no network meets.
    """
    space, calibration = supernet.space, train.take(slice(calibration_images))

    def accuracy(genomes):
        judged = evaluate_paths(supernet, genomes, held_out, calibration=calibration)
        return [each["accuracy_pct"] for each in judged]

    return budget.evolve(space.genes, accuracy, _priced(costs, lambda genome: (space.spec(genome), "conv")), **options)


def find_target(
    space: TargetSpace,
    subnet: MobileNet,
    train: TensorData,
    held_out: TensorData,
    costs: MobileCosts,
    budget: Budget,
    recipe: TrainRecipe,
    *,
    remap: str | None = "laplace",
    calibration_images: int = 512,
    seed: int,
    **options,
) -> Evolution:
    """Stage 2: the TargetNet inside the SubNet with the highest accuracy on held-out images after a short training.

    R of adder layers goes by scales that were measured (`adder_scales`): at those of adders' start, which are smaller,
    candidates with adders would be judged by a start that does them harm.

    Args:
        subnet: the SubNet with the SuperNet's weights, with which every candidate begins.
        recipe: the short training; one that diverges is dead.  remap: R of equation 5 by name.
        calibration_images: so many training images re-estimate the trained network's batch norm.
        options: checkpoint, on_round of `repro.search.evolve`.
    Raises: InputError for a limit that no TargetNet meets.
    """

    @cache
    def measured():
        return adder_scales(space, subnet, train, recipe, seed=seed) if remap is not None else None

    def accuracy(genomes):
        return [judged(space.target(genome)) for genome in genomes]

    def judged(target):
        scales = measured()
        network = inside_of(target, subnet, remap, None if scales is None else _deployed_names(scales, target))
        if fit_augmented(network, train, recipe, target.recipe, seed=seed).diverged:
            return float("nan")
        deployed = network.export_target()
        reestimate_batch_norm(deployed, train.input_batches(256, limit=calibration_images))
        return evaluate(deployed, held_out)["accuracy_pct"]

    def network(genome):
        target = space.target(genome)
        return target.deployed, target.op

    return budget.evolve(space.genes, accuracy, _priced(costs, network), seed=seed, **options)


def adder_scales(
    space: TargetSpace, subnet: MobileNet, train: TensorData, recipe: TrainRecipe, *, seed: int
) -> dict[str, float] | None:
    """b of adder layers by their names in the SubNet: of the SubNet as adders, trained by itself from new weights.

    Returns: None where no layer may become an adder, or that training diverged.
    """
    if "adder" not in space.choices.operators:
        return None
    blocks = space.subnet.blocks
    operators = layer_operators(["adder"] * (space.stages + 1), [block.stage for block in blocks])
    network = inside_of(Target(space.subnet, (True,) * len(blocks), operators, None), subnet, None)
    torch.manual_seed(seed)
    for _, layer in network.wide_layers():
        layer.reset_parameters()
    network.set_mutation(len(network.units))
    alone = network.export_target()
    if fit_plain(alone, train, recipe, seed=seed).diverged:
        return None
    return laplace_scales(alone, ADDERS)


def _deployed_names(scales: Mapping[str, float], target: Target) -> dict[str, float]:
    """Scales by the names that layers have in the deployed network, whose blocks are counted anew."""
    number = {str(place): str(sum(target.keep[:place])) for place, stays in enumerate(target.keep) if stays}
    found = {}
    for name, scale in scales.items():
        part, _, rest = name.partition(".")
        place, _, inner = rest.partition(".")
        if part != "blocks":
            found[name] = scale
        elif place in number:
            found[f"blocks.{number[place]}.{inner}"] = scale
    return found


def _priced(costs: MobileCosts, network):
    """Costs of a genome, kept: several limits ask for the same network."""
    known: dict[Genome, dict[str, float]] = {}

    def price(genome):
        if genome not in known:
            known[genome] = costs.costs(*network(genome))
        return known[genome]

    return price


def inside_of(
    target: Target,
    subnet: MobileNet,
    remap: str | None = "laplace",
    adder_scale: Mapping[str, float] | None = None,
) -> InsideNetwork:
    """The TargetNet inside the SubNet, with its weights; `adder_scale` as `training.remap_of` takes it."""
    mapped = remap_of(remap, adder_scale)
    return augment_inside(target.inside, target.keep, subnet, op=target.op, remap=mapped)
