"""Networks of ACGhostNet tables 1, 4 and 5 trained by themselves: GhostNet, Adder-GhostNet, searched networks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from torch import nn

from repro.cost import count, operation_energy_pj
from repro.cost.skeleton import skeleton
from repro.errors import MissingDataError
from repro.models import create
from repro.papers.acghostnet.found import GhostShape, device, form_of
from repro.papers.data import DataRecipe, Splits, data_fingerprint, load_splits
from repro.paths import data_root
from repro.runs import Outcome, RunContext, RunSpec
from repro.train import TensorData, TrainRecipe, profile_step
from repro.train.data import Batch
from repro.train.distributed import fit_distributed
from repro.train.evaluate import evaluating, reestimate_batch_norm
from repro.train.imagefolder import ImageFolder

FOLDER = "acghostnet_networks"
FUNCTION = "repro.papers.acghostnet.networks:train_network"
IMAGENET = "imagenet"


@dataclasses.dataclass(frozen=True)
class NetworkRun:
    """One network and how it is trained.

    Attributes:
        network: "ghostnet", "adder_ghostnet" or "acghostnet".
        path: module types of an acghostnet, "CCg1-AAg2-…"; empty for the others.
        calibration_images: so many training images re-estimate batch norm, in one batch, before the test; 0 keeps the
            running statistics, as the paper presumably does. A short training needs it: an adder layer turns a dead
            (all zero) channel into a constant that moves with every step, batch norm magnifies what its running mean
            lags behind by up to 1/sqrt(eps) = 316, and a deep adder network that fits its training batches at 99 % is
            then at chance in evaluation mode.
    """

    network: str
    path: str
    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    calibration_images: int = 0


def _options(run: NetworkRun, side: int, in_channels: int, num_classes: int) -> dict:
    options = {**dataclasses.asdict(run.shape), "form": form_of(side)}
    options |= {"in_channels": in_channels, "num_classes": num_classes}
    return options | ({"choices": run.path.split("-")} if run.network == "acghostnet" else {})


# ------------------------------------------------------------------ data, ImageNet from its folder


class OnDevice:
    """An ImageFolder whose batches and labels lie on `device`."""

    def __init__(self, folder: ImageFolder, device: torch.device):
        self.folder, self.device = folder, device
        self.labels = folder.labels.to(device)

    def __len__(self) -> int:
        return len(self.folder)

    def batches(self, *args, **options) -> Iterator[Batch]:
        """As `ImageFolder.batches`."""
        for images, labels, share in self.folder.batches(*args, **options):
            yield Batch(images.to(self.device), labels.to(self.device), share)

    def input_batches(self, *args, **options) -> Iterator[torch.Tensor]:
        """As `ImageFolder.input_batches`."""
        return (images.to(self.device) for images in self.folder.input_batches(*args, **options))


def _imagenet(split: str, side: int) -> ImageFolder:
    root = data_root() / IMAGENET
    if not root.is_dir():
        raise MissingDataError(
            "ImageNet is not there; put it under imagenet/train/<class> and imagenet/val/<class> of the data folder "
            "(set by REPRO_DATA)."
        )
    return ImageFolder(root, split, size=side)


def fingerprint(data: DataRecipe) -> str:
    """Digest of the data; for ImageNet of its file names, since reading every image would take an hour."""
    if data.dataset != IMAGENET:
        return data_fingerprint(data)
    digest = hashlib.sha256()
    for split in ("train", "val"):
        files = _imagenet(split, data.size or 224).files
        digest.update("\n".join(f"{file.parent.name}/{file.name}" for file in files).encode())
    return digest.hexdigest()[:16]


def _parts(data: DataRecipe):
    """(training data, test data, side, channels, classes) on the device."""
    if data.dataset == IMAGENET:
        side = data.size or 224
        train, test = (OnDevice(_imagenet(split, side), device()) for split in ("train", "val"))
        return train, test, side, 3, train.folder.num_classes
    splits: Splits = load_splits(data)
    return splits.train, splits.test, splits.test.images.shape[-1], splits.in_channels, splits.num_classes


def input_facts(data: DataRecipe) -> tuple[int, int, int]:
    """Side in pixels, channels, classes."""
    if data.dataset == IMAGENET:
        return data.size or 224, 3, 1000
    return _parts(data)[2:]


# ------------------------------------------------------------------ the run


def train_network(run: NetworkRun, seed: int, context: RunContext) -> dict:
    """Run function: top-1 and top-5 test accuracy (percent) after the last epoch.

    Processes of a running group train the network together (`repro.papers.distributed`); all get the result.
    """
    train, test, side, in_channels, num_classes = _parts(run.data)
    torch.manual_seed(seed)
    model = create(run.network, **_options(run, side, in_channels, num_classes)).to(device())
    history = fit_distributed(
        model,
        train,
        None,
        run.train,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    value = {"outcome": "diverged" if history.diverged else "done", "detail": history.detail}
    if history.diverged:
        return {**value, "top1_pct": None, "top5_pct": None}
    if run.calibration_images:
        reestimate_batch_norm(model, train.input_batches(run.calibration_images, limit=run.calibration_images))
    top1, top5 = top_accuracies(model, test, batch_size=run.train.eval_batch_size)
    return {**value, "top1_pct": top1, "top5_pct": top5}


@torch.inference_mode()
def top_accuracies(model: nn.Module, data: TensorData | OnDevice, *, batch_size: int = 1000) -> tuple[float, float]:
    """Percentage of `data` whose label is the first, and among the first five, of the model's classes."""
    hits = torch.zeros(2, dtype=torch.int64)
    labels = data.labels.to(device())
    start = 0
    with evaluating(model):
        for inputs in data.input_batches(batch_size):
            mine = labels[start : start + len(inputs)]
            best = model(inputs.to(device())).topk(5, dim=1).indices == mine[:, None]
            hits += torch.stack([best[:, 0].sum(), best.any(dim=1).sum()]).cpu()
            start += len(inputs)
    return tuple((100 * hits / len(labels)).tolist())


def network_spec(run: NetworkRun, seed: int, estimate_s: float | None) -> RunSpec:
    """The spec of one training."""
    return RunSpec(FOLDER, FUNCTION, run, seed, fingerprint(run.data), estimate_s)


# ------------------------------------------------------------------ what came of it


def time_in_operators(run_by_name: Mapping[str, NetworkRun]) -> pd.DataFrame:
    """One training step of each network on the CPU: columns network, step_ms, operator_ms, operator_share_pct."""
    rows = []
    for name, run in run_by_name.items():
        side, in_channels, num_classes = input_facts(run.data)
        torch.manual_seed(0)
        model = create(run.network, **_options(run, side, in_channels, num_classes))
        images = torch.randn(run.train.batch_size, in_channels, side, side)
        figures = profile_step(model, images, torch.arange(run.train.batch_size) % num_classes)
        share = 100 * figures.pop("operator_share")
        rows.append({"network": name, **figures, "operator_share_pct": share})
    return pd.DataFrame(rows)


def network_counts(run: NetworkRun) -> dict[str, float]:
    """params, fadd, fmul (millions) and energy in uJ of a network at the size at which it is trained (0.9, 3.7 pJ)."""
    side, in_channels, num_classes = input_facts(run.data)
    model = skeleton(run.network, **_options(run, side, in_channels, num_classes))
    total = count(model, (in_channels, side, side), "acghostnet")
    return {
        "params_m": total.params / 1e6,
        "fadd_m": total.adds / 1e6,
        "fmul_m": total.mults / 1e6,
        "energy_uj": operation_energy_pj(total.adds, total.mults) / 1e6,
    }


def trained(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Columns run (NetworkRun), seed, top1_pct, top5_pct, note; NaN where the run diverged or failed."""
    rows = []
    for outcome in outcomes:
        if outcome.spec.function != FUNCTION:
            continue
        value = outcome.value or {}
        note = "" if outcome.state == "done" else f"{outcome.state}: {value.get('detail') or outcome.message}"
        accuracies = {name: value.get(name) for name in ("top1_pct", "top5_pct")}
        rows.append({"run": outcome.spec.recipe, "seed": outcome.spec.seed, **accuracies, "note": note})
    frame = pd.DataFrame(rows, columns=["run", "seed", "top1_pct", "top5_pct", "note"])
    return frame.astype({"top1_pct": float, "top5_pct": float})
