"""An elastic inverted-residual network: one set of weights for every width, depth, expansion and kernel of a space.

A smaller network takes the first channels, the first blocks of each stage and the centre of each filter (Cai et al.,
Once-for-All, 2020; Lin et al., MCUNet, 2020). Its batch norm is re-estimated before it is judged.

    network = ElasticNetwork(ElasticSpace(), in_channels=1, num_classes=10)
    fit_elastic(network, train, recipe, seed=0)
    evaluate_paths(network, genomes, held_out, calibration=train)     accuracies with inherited weights
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from repro.augment.train import PlainTrainer
from repro.cost.skeleton import skeleton
from repro.errors import InputError, check_choice, check_int, check_number
from repro.models.build import Builder
from repro.models.mobile import BlockSpec, InvertedResidual, MobileNet, MobileSpec
from repro.models.registry import create
from repro.search.evolution import GeneSpace, Genome
from repro.train.data import Batch, mixed_seed
from repro.train.loop import History, fit
from repro.train.recipe import TrainRecipe


@dataclass(frozen=True)
class ElasticSpace:
    """Networks of one width, and per stage a depth, per block a kernel and an expansion.

    Attributes:
        stem, first: channels of the stem and of the separable block behind it, at width 1.
        stages: (channels at width 1, stride of the first block) of each stage.
        head: channels of the 1x1 behind the blocks, whatever the width; 0 for none.
        widths: multiples of all channels but the head's.  kernels, expansions: of each block.
        depths: blocks of a stage.
    Raises: InputError for options that are not positive, that occur twice or that round to the same channels.
    """

    stem: int = 16
    first: int = 16
    stages: tuple[tuple[int, int], ...] = ((16, 2), (24, 2))
    head: int = 0
    widths: tuple[float, ...] = (0.5, 0.75, 1.0)
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[float, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self):
        for name in ("stem", "first"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("head", self.head, minimum=0)
        for name in ("widths", "expansions"):
            for value in getattr(self, name):
                check_number(name, value, above=0)
        for name in ("kernels", "depths"):
            for value in getattr(self, name):
                check_int(name, value, minimum=1)
        for name in ("widths", "kernels", "expansions", "depths"):
            if list(getattr(self, name)) != sorted(set(getattr(self, name))) or not getattr(self, name):
                raise InputError(f"{name}={getattr(self, name)!r} is not allowed; give different options, rising.")
        if even := [kernel for kernel in self.kernels if kernel % 2 == 0]:
            raise InputError(f"kernels holds {even[0]}; only odd kernels have a centre.")
        if not self.stages:
            raise InputError("stages is empty; a network needs at least one.")
        if len({self._channels(width) for width in self.widths}) < len(self.widths):
            raise InputError(f"widths={self.widths!r} is not allowed; two of them round to the same channels.")

    def _channels(self, width: float) -> tuple[int, ...]:
        """Channels of stem, first block and stages."""
        return tuple(max(1, round(c * width)) for c in (self.stem, self.first, *(out for out, _ in self.stages)))

    @functools.cached_property
    def genes(self) -> GeneSpace:
        """width; and per stage (counted from 1) depth, and per block kernel and expansion.

        The genes of blocks that are not there have the first option.
        """
        genes: dict[str, Sequence] = {"width": self.widths}
        for stage in range(1, len(self.stages) + 1):
            genes[f"depth {stage}"] = self.depths
            for block in range(1, self.depths[-1] + 1):
                genes[f"kernel {stage}.{block}"] = self.kernels
                genes[f"expansion {stage}.{block}"] = self.expansions
        return GeneSpace(genes, normal=self._normal)

    @property
    def _per_stage(self) -> int:
        return 1 + 2 * self.depths[-1]

    def _stage(self, genome: Genome, stage: int) -> tuple[int, list[tuple[int, float]]]:
        """Depth and (kernel, expansion) of every possible block of a stage, which is counted from 0."""
        mine = genome[1 + stage * self._per_stage :][: self._per_stage]
        return mine[0], list(zip(mine[1::2], mine[2::2]))

    def _normal(self, genome: Genome) -> Genome:
        absent = (self.kernels[0], self.expansions[0])
        found = [genome[0]]
        for stage in range(len(self.stages)):
            depth, blocks = self._stage(genome, stage)
            found.append(depth)
            for place, block in enumerate(blocks):
                found += block if place < depth else absent
        return tuple(found)

    def spec(self, genome: Sequence) -> MobileSpec:
        """The network of a genome. Raises: InputError for a genome of another space."""
        genome = self.genes.check(genome)
        stem, channels, *outs = self._channels(genome[0])
        blocks = [BlockSpec(0, 3, stem, stem, channels, expand=False)]
        for stage, (out, (_, stride)) in enumerate(zip(outs, self.stages)):
            depth, options = self._stage(genome, stage)
            for place, (kernel, expansion) in enumerate(options[:depth]):
                mid = max(1, round(channels * expansion))
                first = place == 0
                blocks.append(
                    BlockSpec(stage + 1, kernel, channels, mid, out, stride if first else 1, residual=not first)
                )
                channels = out
        return MobileSpec(stem, 2, tuple(blocks), head=self.head)

    def genome(self, spec: MobileSpec) -> Genome:
        """The genome of a network. Raises: InputError if it is none of this space."""
        by_stage = [[block for block in spec.blocks if block.stage == s + 1] for s in range(len(self.stages))]
        found = [min(self.widths, key=lambda width: abs(self._channels(width)[0] - spec.stem))]
        for blocks in by_stage:
            found.append(min(max(len(blocks), self.depths[0]), self.depths[-1]))
            for place in range(self.depths[-1]):
                block = blocks[place] if place < len(blocks) else None
                ratio = block.mid / block.in_channels if block else 0
                found.append(block.kernel if block else self.kernels[0])
                found.append(min(self.expansions, key=lambda e: abs(e - ratio)))
        try:
            if self.spec(found) == spec:
                return tuple(found)
        except InputError:
            pass
        raise InputError(
            "the spec is no network of this space; its channels, kernels or depths are none of its options."
        )

    @property
    def largest(self) -> Genome:
        """The network that holds all others."""
        return tuple(options[-1] for options in self.genes.blocks)

    @property
    def smallest(self) -> Genome:
        """The network that all others hold."""
        return tuple(options[0] for options in self.genes.blocks)

    def sample(self, draw: random.Random) -> Genome:
        """A genome, every option of every gene alike likely."""
        return self._normal(tuple(draw.choice(options) for options in self.genes.blocks))


class ElasticNetwork(nn.Module):
    """The weights of the largest network, of which the active one computes with a slice.

    State dict: `network.*`, the largest network's.
    """

    def __init__(self, space: ElasticSpace, *, in_channels: int = 3, num_classes: int = 10):
        super().__init__()
        self.space = space
        self._shape: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes}
        self.network: MobileNet = create("mobilenet_v2", spec=space.spec(space.largest), **self._shape)
        self._ends: dict[tuple, MobileNet] = {}
        self._blocks: dict[tuple, InvertedResidual] = {}
        self.activate(space.largest)

    def activate(self, genome: Sequence) -> None:
        """Compute the network of a genome from now on. Raises: InputError for a genome of another space."""
        self.spec = self.space.spec(genome)
        self.active = tuple(genome)

    def forward(self, x: Tensor) -> Tensor:
        structure = self._structure(self.spec).train(self.training)
        return functional_call(structure, self._slices(structure), (x,))

    def _structure(self, spec: MobileSpec) -> MobileNet:
        """The network of a spec without values, put together from parts that are made once."""
        ends = (spec.stem, spec.blocks[-1].out)
        if ends not in self._ends:
            self._ends[ends] = skeleton("mobilenet_v2", spec=spec, **self._shape)
        structure = copy.copy(self._ends[ends])
        structure.spec = spec
        blocks = nn.Sequential(*(self._block(place, block) for place, block in zip(_stages(spec), spec.blocks)))
        structure._modules = {**structure._modules, "blocks": blocks}
        return structure

    def _block(self, place: tuple[int, int], spec: BlockSpec) -> InvertedResidual:
        """One block; two of the same kind are two modules, as each has its own weights."""
        if (place, spec) not in self._blocks:
            with torch.device("meta"):
                self._blocks[place, spec] = InvertedResidual(Builder(), spec)
        return self._blocks[place, spec]

    def _slices(self, structure: nn.Module) -> dict[str, Tensor]:
        """For every tensor of a smaller network its part of the largest one's, norms' statistics as views."""
        ours = self.network.state_dict(keep_vars=True)
        places = self._places(structure.spec)
        slices = {}
        for name, tensor in structure.state_dict().items():
            slices[name] = _part(ours[_renamed(name, places)], tensor.shape)
        return slices

    def _places(self, spec: MobileSpec) -> dict[str, str]:
        """Number of each block -> that of its weights among the largest network's."""
        order = {(stage, place): str(number) for number, (stage, place) in enumerate(_stages(self.network.spec))}
        return {str(number): order[key] for number, key in enumerate(_stages(spec))}

    @torch.no_grad()
    def subnet(self, genome: Sequence) -> MobileNet:
        """The network of a genome by itself, its weights copied; it computes what this one does, bit for bit."""
        spec = self.space.spec(genome)
        like = next(self.network.parameters())
        with torch.random.fork_rng(devices=[]):
            model = create("mobilenet_v2", spec=spec, **self._shape).to(like)
        model.load_state_dict(self._slices(model))
        return model.train(self.training)


def _stages(spec: MobileSpec) -> list[tuple[int, int]]:
    """(stage, place in it) of every block."""
    counted: dict[int, int] = {}
    found = []
    for block in spec.blocks:
        found.append((block.stage, counted.get(block.stage, 0)))
        counted[block.stage] = found[-1][1] + 1
    return found


def _renamed(name: str, places: dict[str, str]) -> str:
    parts = name.split(".")
    return ".".join(["blocks", places[parts[1]], *parts[2:]]) if parts[0] == "blocks" else name


def _part(tensor: Tensor, shape: torch.Size) -> Tensor:
    """First channels and centre of the filters; a copy of a parameter, whatever the layout of the largest one, so that
    convolutions compute as with an exported network's; a view of a norm's statistics."""
    starts = [(have - want) // 2 if axis > 1 else 0 for axis, (have, want) in enumerate(zip(tensor.shape, shape))]
    part = tensor[tuple(slice(start, start + want) for start, want in zip(starts, shape))]
    return part.clone(memory_format=torch.contiguous_format) if tensor.requires_grad else part


SAMPLING = ("random", "sandwich")


class ElasticTrainer(PlainTrainer):
    """Several networks of the space learn from every batch; their gradients add up (Once-for-All).

    Args:
        networks: how many are drawn at a step.
        sampling: "random"; "sandwich": the largest and the smallest one beside those drawn (Yu & Huang 2019).
    """

    def __init__(
        self, model: ElasticNetwork, recipe: TrainRecipe, *, networks: int = 1, sampling: str = "random", **options
    ):
        super().__init__(model, recipe, **options)
        self.networks = check_int("networks", networks, minimum=1)
        self.sampling = check_choice("sampling", sampling, SAMPLING)
        self._draw = random.Random(0)

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `Trainer.epoch`; which networks learn depends on seed and epoch alone."""
        self._draw = random.Random(mixed_seed("elastic", self.seed, epoch))
        return super().epoch(data, epoch, **options)

    def save(self, path: str | Path, identity: dict, **progress) -> None:
        """As `Trainer.save`."""
        super().save(path, identity | self._sampled, **progress)

    def resume(self, path: str | Path | None, identity: dict) -> dict:
        """As `Trainer.resume`."""
        return super().resume(path, identity | self._sampled)

    @property
    def _sampled(self) -> dict:
        return {"networks": self.networks, "sampling": self.sampling}

    def _backward(self, batch: Batch) -> Tensor:
        """As `Trainer`; what is returned is that of the first network: the largest, or the first drawn."""
        space = self.model.space
        genomes = [space.sample(self._draw) for _ in range(self.networks)]
        if self.sampling == "sandwich":
            genomes = [space.largest, *genomes, space.smallest]
        images, labels, share = batch
        first: Any = None
        for genome in genomes:
            self.model.activate(genome)
            logits = self._logits(images)
            loss = share * self._loss(logits, labels)
            loss.backward()
            first = first or (loss, logits)
        return self._metrics(*first, labels)  # type: ignore[call-arg]


def fit_elastic(
    model: ElasticNetwork,
    train_data,
    recipe: TrainRecipe,
    *,
    seed: int,
    networks: int = 1,
    sampling: str = "random",
    on_epoch: Callable[[dict], object] | None = None,
    checkpoint: str | Path | None = None,
    stop_after: int | None = None,
) -> History:
    """Train an elastic network in place; see `ElasticTrainer`, and `repro.train.fit` for what comes back."""
    trainer = functools.partial(ElasticTrainer, networks=networks, sampling=sampling)
    options: dict[str, Any] = {"on_epoch": on_epoch, "checkpoint": checkpoint, "stop_after": stop_after}
    return fit(model, train_data, None, recipe, seed=seed, trainer_class=trainer, **options)
