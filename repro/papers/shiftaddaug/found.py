"""The two-stage search as a run (Sec. 3.4, 4.5), the training of what it found, and both as tables for pages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import torch

from repro.augment import InsideNetwork, fit_augmented, fit_plain, laplace_scales
from repro.augment.network import is_extra
from repro.cost.mobile import MobileCosts
from repro.models.mobile import MobileNet, MobileSpec
from repro.models.registry import create
from repro.papers import jobs
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.shiftaddaug.space import AugmentationSpace
from repro.papers.shiftaddaug.training import ADDERS
from repro.papers.shiftaddaug.two_stage import (
    Budget,
    Target,
    TargetSpace,
    find_subnet,
    find_target,
    inside_of,
)
from repro.papers.weights import keep_weights
from repro.runs import Outcome, RunContext, RunSpec
from repro.search import Evolution
from repro.search.elastic import ElasticNetwork, ElasticSpace, fit_elastic
from repro.train import TrainRecipe
from repro.train.data import prepare
from repro.train.evaluate import evaluate, reestimate_batch_norm


@dataclass(frozen=True)
class TwoStageRun:
    """A search.

    Attributes:
        data: a share of its training images is held out; all accuracies of the search are on those.
        space: networks of the SuperNet.  train: its training.
        networks, sampling: how many networks learn at a step, and which (`repro.search.elastic.ElasticTrainer`).
        subnet, target: budgets and limits of the two stages.
        trial: the short training of every TargetNet inside the SubNet.
        choices, depth, mutation: what is searched (`two_stage.TargetSpace`).
        remap: R of equation 5 by name, None without heterogeneous weight sharing.
        calibration_images: training images that re-estimate batch norm before a network is judged.
    """

    data: DataRecipe
    space: ElasticSpace
    train: TrainRecipe
    subnet: Budget
    target: Budget
    trial: TrainRecipe
    networks: int = 1
    sampling: str = "random"
    choices: AugmentationSpace = field(default_factory=lambda: AugmentationSpace(operators=("shift", "adder")))
    depth: bool = True
    mutation: bool = True
    remap: str | None = "laplace"
    calibration_images: int = 512


@dataclass(frozen=True)
class FoundJob:
    """A TargetNet that a search found, trained from new weights.

    Attributes:
        subnet, target: the networks.  augmented: inside the SubNet, or the TargetNet by itself, without R.
        adder_scale: b of the weights of its adder layers by name, if one was measured.
    """

    data: DataRecipe
    train: TrainRecipe
    subnet: MobileSpec
    target: Target
    augmented: bool = True
    remap: str | None = "laplace"
    adder_scale: Mapping[str, float] | None = None
    calibration_images: int = 512


def spec(recipe: TwoStageRun, seed: int) -> RunSpec:
    """One search."""
    return spec_of("shiftaddaug_search", recipe, seed, model="mobilenet_v2")


def found_spec(job: FoundJob, seed: int) -> RunSpec:
    """One training of what a search found."""
    return spec_of("shiftaddaug_found", job, seed, model="mobilenet_v2", parallel=True)


def costs_of(data: DataRecipe) -> MobileCosts:
    """Prices of networks at the size of the data's images."""
    facts = data.facts
    shape = {"in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    return MobileCosts(facts["side"], **shape, convention="shiftaddaug")


def search(recipe: TwoStageRun, seed: int, context: RunContext) -> dict:
    """Run function: the genomes of both stages in all rounds, and which were the best; each stage resumes by itself.

    Returns: outcome, detail; subnet and target, the best genome of each stage; rounds by stage, as `Evolution.frame`;
        seconds of training the SuperNet and of both evolutions.
    """
    splits, facts = load_splits(recipe.data), recipe.data.facts
    clock, seconds = time.perf_counter(), {}

    def done(activity: str) -> None:
        nonlocal clock
        seconds[activity], clock = time.perf_counter() - clock, time.perf_counter()

    torch.manual_seed(seed)
    shape = {"in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    supernet = ElasticNetwork(recipe.space, **shape).to(device())
    history = fit_elastic(
        supernet,
        splits.train,
        recipe.train,
        seed=seed,
        networks=recipe.networks,
        sampling=recipe.sampling,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "supernet",
    )
    done("supernet")
    empty = {"subnet": None, "target": None, "rounds": {}, "seconds": seconds}
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, **empty}
    train, held_out = prepare(splits.train, device()), prepare(splits.held_out, device())
    common = {"costs": costs_of(recipe.data), "calibration_images": recipe.calibration_images, "seed": seed}
    subnets = find_subnet(
        supernet, train, held_out, budget=recipe.subnet, checkpoint=context.checkpoint / "subnet.json", **common
    )
    done("subnet")
    space, subnet = target_space(recipe, subnets.best.genome), supernet.subnet(subnets.best.genome)
    targets = find_target(
        space,
        subnet,
        train,
        held_out,
        budget=recipe.target,
        recipe=recipe.trial,
        remap=recipe.remap,
        checkpoint=context.checkpoint / "target.json",
        **common,
    )
    done("target")
    return {
        "outcome": "done",
        "detail": "",
        "subnet": list(subnets.best.genome),
        "target": list(targets.best.genome),
        "rounds": {"SubNet": _rows(subnets), "TargetNet": _rows(targets)},
        "seconds": seconds,
    }


def target_space(recipe: TwoStageRun, subnet: tuple) -> TargetSpace:
    """The TargetNets of a SubNet of the recipe's space."""
    return TargetSpace(recipe.space.spec(subnet), recipe.choices, depth=recipe.depth, mutation=recipe.mutation)


def _rows(evolution: Evolution) -> list[dict]:
    frame = evolution.frame().astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def new_network(job: FoundJob, seed: int) -> InsideNetwork:
    """The TargetNet inside its SubNet with new weights, those of a seed.

    They begin as those of `augment`: target and SubNet alike by the SubNet's fan-in, bare adders N(0, 1). Blocks that
    are not deployed draw last, so that the others begin alike with and without them.
    """
    facts = job.data.facts
    shape = {"in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    subnet: MobileNet = create("mobilenet_v2", spec=job.subnet, **shape)
    network = inside_of(job.target, subnet, job.remap if job.augmented else None, job.adder_scale)
    torch.manual_seed(seed)
    for _, layer in sorted(network.wide_layers(), key=lambda named: is_extra(named[0])):
        layer.reset_parameters()
    return network


def train_found(job: FoundJob, seed: int, context: RunContext) -> dict:
    """Run function: what `jobs.tested` says of the deployed TargetNet, its test loss (nats) and `laplace_scales`."""
    data, facts = load_splits(job.data), job.data.facts
    network = new_network(job, seed).to(device())
    common = {"seed": seed, "on_epoch": lambda row: context.log(**row), "checkpoint": context.checkpoint / "training"}
    if job.augmented:
        history = fit_augmented(network, data.train, job.train, job.target.recipe, **common)
    else:
        network.set_mutation(len(network.units))
        network.set_depth(0)
        alone = network.export_target()
        history = fit_plain(alone, data.train, job.train, **common)
    if history.diverged:
        failed = {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "top5_pct": None}
        return {**failed, "examples": 0, "correct": {}, "test_loss": None}
    model = network.export_target() if job.augmented else alone
    reestimate_batch_norm(model, data.train.input_batches(256, limit=job.calibration_images))
    batch = job.train.eval_batch_size
    value = jobs.tested(model, data.test, classes=facts["num_classes"], batch_size=batch)
    keep_weights(context, model, job, seed, value)
    loss = evaluate(model, data.test, batch_size=batch)["loss"]
    return {**value, "test_loss": loss, "laplace_scales": laplace_scales(model, ADDERS)}


# ------------------------------------------------------------------ what came of it


def networks(outcome: Outcome) -> tuple[MobileSpec, Target] | None:
    """(SubNet, TargetNet) of a search, None if it found nothing."""
    value, recipe = outcome.value or {}, outcome.spec.recipe
    if not value.get("target"):
        return None
    subnet = tuple(value["subnet"])
    return recipe.space.spec(subnet), target_space(recipe, subnet).target(tuple(value["target"]))


def frames(outcome_by_seed: Mapping[int, Outcome]) -> dict[str, pd.DataFrame]:
    """Frames for pages and figures, each with a column `seed`.

    candidates: stage, round, genome, accuracy_pct (held-out images), costs by name, origin, place, parent.
    blocks: network, stage, block, kernel, stride, mid, out, op, kept: one row per block of SubNet and TargetNet.
    seconds: wall time of the SuperNet's training and of both stages.
    """
    candidates, blocks, seconds = [], [], []
    for seed, outcome in outcome_by_seed.items():
        found = networks(outcome)
        if found is None:
            continue
        for stage, rows in outcome.value["rounds"].items():
            frame = pd.DataFrame(rows).rename(columns={"score": "accuracy_pct"})
            frame.insert(0, "stage", stage)
            candidates.append(frame.assign(seed=seed))
        subnet, target = found
        blocks += [{"seed": seed, "network": "SubNet", **row} for row in _blocks(subnet, None)]
        blocks += [{"seed": seed, "network": "TargetNet", **row} for row in _blocks(target.inside, target)]
        seconds.append({"seed": seed, **outcome.value["seconds"]})
    joined = pd.concat(candidates, ignore_index=True) if candidates else pd.DataFrame()
    return {"candidates": joined, "blocks": pd.DataFrame(blocks), "seconds": pd.DataFrame(seconds)}


def _blocks(network: MobileSpec, target: Target | None):
    """Rows of a network's blocks; operators and whether they are deployed for a TargetNet."""
    deployed = 0
    for number, block in enumerate(network.blocks):
        kept = target is None or target.keep[number]
        op = "conv" if target is None or not kept else target.op[f"blocks.{deployed}.*"]
        deployed += kept
        sizes = {name: getattr(block, name) for name in ("stage", "kernel", "stride", "mid", "out")}
        yield {"block": number, **sizes, "op": op, "kept": bool(kept)}
