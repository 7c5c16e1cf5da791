"""Networks of tables 1, 4 and 5 and figure 3 trained by themselves: GhostNet, Adder-GhostNet, searched networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from repro.cost import count, operation_energy_pj
from repro.cost.skeleton import skeleton
from repro.models.registry import create
from repro.papers.acghostnet.found import form_of
from repro.papers.acghostnet.recipes import GhostShape, ModelsRecipe
from repro.papers.data import IMAGENET, DataRecipe
from repro.papers.jobs import Job
from repro.train import TrainRecipe, profile_step


def ghost_job(
    model: str,
    data: DataRecipe,
    shape: GhostShape,
    train: TrainRecipe,
    *,
    path: Sequence[str] = (),
    calibration_images: int = 0,
) -> Job:
    """A network of one shape: model "ghostnet", "adder_ghostnet", or "acghostnet" with the module types of its path."""
    options = {**dataclasses.asdict(shape), "form": form_of(data.facts["side"])}
    options |= {"choices": list(path)} if path else {}
    return Job(model, options, data, train, calibration_images)


def model_job(recipe: ModelsRecipe, model: str, path: Sequence[str] = (), *, shape=None, data=None) -> Job:
    """A row of table 4 or 5, trained with the settings that its kind of network does best with."""
    network = "both" if path else {"ghostnet": "convolution", "adder_ghostnet": "adder"}[model]
    return ghost_job(
        model,
        data or recipe.data,
        shape or recipe.shape,
        recipe.train_of(network),
        path=path,
        calibration_images=recipe.calibration_images,
    )


def at_papers_size(job: Job, width: float, side: int) -> Job:
    """The same network at a printed width and side in pixels: CIFAR-10 up to 64 pixels, above it ImageNet."""
    data = DataRecipe("cifar10", size=side) if side <= 64 else DataRecipe(IMAGENET, size=side)
    return ghost_job(job.model, data, GhostShape(width=width), job.train, path=job.options.get("choices", ()))


def network_counts(job: Job) -> dict[str, float]:
    """params, fadd, fmul (millions) and energy in uJ of a network at the size at which it is trained (0.9, 3.7 pJ)."""
    side, channels = job.data.facts["side"], job.data.facts["in_channels"]
    total = count(skeleton(job.model, **job.model_options), (channels, side, side), "acghostnet")
    return {
        "params_m": total.params / 1e6,
        "fadd_m": total.adds / 1e6,
        "fmul_m": total.mults / 1e6,
        "energy_uj": operation_energy_pj(total.adds, total.mults) / 1e6,
    }


def time_in_operators(jobs: Mapping[str, Job]) -> pd.DataFrame:
    """One training step of each network on the CPU: columns network, step_ms, operator_ms, operator_share_pct."""
    rows = []
    for name, job in jobs.items():
        facts = job.data.facts
        torch.manual_seed(0)
        images = torch.randn(job.train.batch_size, facts["in_channels"], facts["side"], facts["side"])
        labels = torch.arange(job.train.batch_size) % facts["num_classes"]
        figures = profile_step(create(job.model, **job.model_options), images, labels)
        share = 100 * figures.pop("operator_share")
        rows.append({"network": name, **figures, "operator_share_pct": share})
    return pd.DataFrame(rows)
