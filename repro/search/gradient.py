"""Cells found by gradient: DARTS, and the search of operations and then of pairs of edges (AutoShiftNet sec. 4.2, 4.3).

Step one trains a supernet of all operations, its weights on one half of the training images and the alphas on the other
(bi-level, first order). Step two keeps the best operation of each group on every edge, begins with new weights, and
trains weights, betas and balances together on all images while the temperature falls; the pair of edges with the most
weight is what remains. In each step some epochs train weights only, as in DOTS (Gu et al., 2021).

Everything random in an epoch depends on (seed, step, epoch). A search with a folder writes a checkpoint after every
epoch and continues from it bit for bit.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from repro.datasets.subset import stratified_order
from repro.datasets.transforms import Compose, RandomCrop, RandomFlip
from repro.errors import DamagedError, InputError, check_choice, check_flag, check_int, check_number, refuse
from repro.models.genotypes import Genotype
from repro.ops.quantize import FIXED_POINT, check_fixed_point
from repro.paths import set_aside
from repro.search.cell_supernet import SPACES, CellSupernet, all_operations
from repro.search.cell_weights import OperationWeights, TopologyWeights
from repro.search.topology import annealed
from repro.train.checkpoint import load_checkpoint, save_checkpoint
from repro.train.data import Batch, Examples, TensorData, generator_for, prepare
from repro.train.evaluate import evaluate, reestimate_batch_norm
from repro.train.loop import DIVERGED, FINISHED, STOPPED, Divergence, highest_label
from repro.train.shift import FORMS, adaptive_l2, check_shift_range, clamp_shifts, shift_optimizer

STRATEGIES = ("two steps", "darts")
RESETS = ("whole", "own", "none")
WEIGHTS, SEARCH = "weights", "search"
CALIBRATION_IMAGES = 512


@dataclass(frozen=True)
class CellSearchRecipe:
    """A search of cells; the defaults are AutoShiftNet's (sec. 5.1, appendix A), what it leaves open as in DOTS.

    Attributes:
        strategy: "two steps", or "darts": one softmax over all operations, step one only, DARTS's cut.
        space: "shift" (every layer has P and S) or "real".
        layers, channels, nodes: of the supernet, see `CellSupernet`.
        operation_epochs, topology_epochs: of each step: first weights only, then weights and architecture.
        lr, lr_min: cosine per epoch over the epochs of both steps.
        reset: at the start of step two the rate begins again: "whole" (the cosine of the whole search, from its start;
            figure 2), "own" (a cosine over step two) or "none" (it goes on falling).
        l2: form of the L2 term of P and S (`adaptive_l2`), with weight_decay / 2; all else has decoupled decay.
        architecture_lr, architecture_decay: Adam of alphas, betas and balances, no schedule.
        temperatures: of the pairs, at the first and the last epoch that searches the topology (eq. 8); 1 before.
        balance_scale, normalize: see `TopologyWeights`.
        weight_bits, shift_range, gradient, activation_bits: of layers in the shift domain; P is put back into its range
            after every step.
        crop_padding (pixels), flip: transforms of the training images.
    """

    strategy: str = "two steps"
    space: str = "shift"
    layers: int = 8
    channels: int = 16
    nodes: int = 4
    operation_epochs: tuple[int, int] = (15, 15)
    topology_epochs: tuple[int, int] = (20, 20)
    batch_size: int = 128
    lr: float = 0.01
    lr_min: float = 0.001
    weight_decay: float = 3e-4
    reset: str = "whole"
    l2: str = "code"
    architecture_lr: float = 3e-4
    architecture_decay: float = 1e-3
    temperatures: tuple[float, float] = (10.0, 0.02)
    balance_scale: float = 1e-3
    normalize: bool = False
    weight_bits: int = 5
    shift_range: tuple[int, int] | None = None
    gradient: str = "paper"
    activation_bits: tuple[int, int] | None = FIXED_POINT
    crop_padding: int = 4
    flip: bool = True
    eval_batch_size: int = 1000

    def __post_init__(self):
        check_choice("strategy", self.strategy, STRATEGIES)
        check_choice("space", self.space, SPACES)
        check_choice("reset", self.reset, RESETS)
        check_choice("l2", self.l2, FORMS)
        check_choice("gradient", self.gradient, ("paper", "chain"))
        least = {"layers": 3, "channels": 2, "nodes": 1, "batch_size": 1, "eval_batch_size": 1, "crop_padding": 0}
        for name, minimum in least.items():
            object.__setattr__(self, name, check_int(name, getattr(self, name), minimum=minimum))
        for name in ("operation_epochs", "topology_epochs", "temperatures"):
            object.__setattr__(self, name, tuple(self._pair(name)))  # a list is the same recipe
        for name in ("operation_epochs", "topology_epochs"):
            before, searched = getattr(self, name)
            pair = check_int(f"{name}[0]", before, minimum=0), check_int(f"{name}[1]", searched, minimum=1)
            object.__setattr__(self, name, pair)
        temperatures = (check_number(f"temperatures[{n}]", t, above=0) for n, t in enumerate(self.temperatures))
        object.__setattr__(self, "temperatures", tuple(temperatures))
        refuse(
            float(torch.tensor(min(self.temperatures))) == 0,
            f"temperatures={self.temperatures!r} is not allowed; in float32 the smaller is no more than 0.",
        )
        for name in ("lr", "architecture_lr", "balance_scale"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), above=0))
        for name, most in (("lr_min", self.lr), ("weight_decay", None), ("architecture_decay", None)):
            object.__setattr__(self, name, check_number(name, getattr(self, name), minimum=0, maximum=most))
        for name in ("normalize", "flip"):
            check_flag(name, getattr(self, name))
        check_shift_range(self.weight_bits, self.shift_range)
        check_fixed_point(self.activation_bits)

    def _pair(self, name: str) -> tuple:
        value = getattr(self, name)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise InputError(f"{name}={value!r} is not allowed; it must be a pair.")
        return value  # type: ignore[return-value]

    @property
    def steps(self) -> dict[str, tuple[int, int]]:
        """Epochs of each step: weights only, then search."""
        known = {"operations": self.operation_epochs, "topology": self.topology_epochs}
        return known if self.strategy == "two steps" else {"operations": self.operation_epochs}

    @property
    def epochs(self) -> int:
        """Of all steps together."""
        return sum(map(sum, self.steps.values()))


def search_rate(recipe: CellSearchRecipe, epoch: int) -> float:
    """Learning rate of the supernet's weights in an epoch (from 0) of the whole search (AutoShiftNet figure 2).

    "darts" has the rates of step one of the search in two steps, which it is compared with.
    """
    first = sum(recipe.operation_epochs)
    length = first + sum(recipe.topology_epochs)
    if epoch >= first and recipe.reset != "none":
        epoch -= first
        length = sum(recipe.topology_epochs) if recipe.reset == "own" else length
    return recipe.lr_min + 0.5 * (recipe.lr - recipe.lr_min) * (1 + math.cos(math.pi * epoch / length))


def search_temperature(recipe: CellSearchRecipe, epoch: int) -> float:
    """Temperature of the pairs in an epoch (from 0) of the whole search."""
    before, searched = recipe.topology_epochs
    step = epoch - sum(recipe.operation_epochs) - before
    return 1.0 if step < 0 else annealed(*recipe.temperatures, step, searched)


@dataclass
class CellSearch:
    """What a search did and found.

    Attributes:
        genotype: the cells; None unless the search has finished.
        rows: one dict per epoch: epoch (from 1), step ("operations", "topology"), phase ("weights", "search"), lr,
            temperature, train_loss, train_accuracy_pct, held_out_loss, held_out_accuracy_pct (of the supernet as it is
            mixed, batch norm re-estimated), seconds, and `architecture`: every alpha, or beta and balance, as lists.
        kept: the operations that step one kept, by kind of cell and edge; None before it has ended, and of DARTS.
        outcome: "finished", "stopped" or "diverged", `detail` says where.
    """

    recipe: CellSearchRecipe
    rows: list[dict] = field(default_factory=list)
    kept: dict[str, list[tuple[str, str]]] | None = None
    genotype: Genotype | None = None
    outcome: str = FINISHED
    detail: str = ""

    def genotype_at(self, epoch: int) -> Genotype:
        """The cells as they would be cut after an epoch (from 1); of step one by DARTS's cut."""
        check_int("epoch", epoch, minimum=1, maximum=len(self.rows))
        return self.architecture_at(epoch).genotype()

    def architecture_at(self, epoch: int) -> OperationWeights | TopologyWeights:
        """What was searched, with its values after an epoch (from 1): weights of edges and operations for views."""
        row = self.rows[check_int("epoch", epoch, minimum=1, maximum=len(self.rows)) - 1]
        architecture = make_architecture(self.recipe, row["step"], self.kept)
        architecture.load_state_dict({name: torch.tensor(value) for name, value in row["architecture"].items()})
        if row["step"] == "topology":
            architecture.temperature = row["temperature"]
        return architecture

    @property
    def held_out_accuracy_pct(self) -> float:
        """Of the supernet after the last epoch, on images that no step sees; NaN without a row."""
        return self.rows[-1]["held_out_accuracy_pct"] if self.rows else math.nan

    def as_plain(self) -> dict:
        """JSON values without the recipe; a NaN (a supernet that has none) stays one."""
        cells = None if self.genotype is None else self.genotype.as_dict()
        return {"outcome": self.outcome, "detail": self.detail, "genotype": cells, "kept": self.kept, "rows": self.rows}

    @classmethod
    def from_plain(cls, recipe: CellSearchRecipe, plain: dict) -> CellSearch:
        """The search that `as_plain` made these values of."""
        kept, cells = plain["kept"], plain["genotype"]
        return cls(
            recipe,
            plain["rows"],
            None if kept is None else {kind: [tuple(pair) for pair in edges] for kind, edges in kept.items()},
            None if cells is None else Genotype(**cells),
            plain["outcome"],
            plain["detail"],
        )


def make_architecture(recipe: CellSearchRecipe, step: str, kept=None, seed: int = 0) -> nn.Module:
    """Fresh `OperationWeights` or, for step "topology", `TopologyWeights` over the operations `kept`."""
    if step == "topology":
        options: dict[str, Any] = {"balance_scale": recipe.balance_scale, "normalize": recipe.normalize}
        return TopologyWeights(recipe.nodes, kept, **options)
    groups = "one" if recipe.strategy == "darts" else "topology and convolution"
    return OperationWeights(recipe.nodes, groups, generator_for("alphas", seed))


def make_supernet(
    recipe: CellSearchRecipe, step: str, *, in_channels: int, num_classes: int, kept=None, seed: int = 0
) -> CellSupernet:
    """The supernet with which a step begins; `kept` as `OperationWeights.kept` gives it, for step "topology"."""
    return CellSupernet(
        kept if step == "topology" else all_operations(recipe.nodes),
        make_architecture(recipe, step, kept, seed),
        generator=generator_for("supernet", seed, step),
        in_channels=in_channels,
        num_classes=num_classes,
        layers=recipe.layers,
        channels=recipe.channels,
        nodes=recipe.nodes,
        space=recipe.space,
        weight_bits=recipe.weight_bits,
        shift_range=recipe.shift_range,
        activation_bits=check_fixed_point(recipe.activation_bits),
        gradient=recipe.gradient,
    )


def halves(data: TensorData) -> tuple[TensorData, TensorData]:
    """Two fixed halves with the classes in proportion, the same whatever the seed of the search."""
    if len(data) < 2:
        raise InputError(f"train_data holds {len(data)} examples; a search needs at least one for each of two halves.")
    order = torch.as_tensor(stratified_order(data.labels.cpu().numpy(), seed=0))
    middle = (len(data) + 1) // 2
    return data.take(order[:middle].sort().values), data.take(order[middle:].sort().values)


def _images(name: str, data, device: torch.device | str) -> TensorData:
    prepared = prepare(data, device) if hasattr(data, "images") and hasattr(data, "labels") else None
    if not isinstance(prepared, TensorData):
        raise InputError(
            f"{name} is a {type(data).__name__}; it must be a data set of `repro.datasets` or TensorData, whose images "
            "and labels lie in memory."
        )
    dtype = prepared.inputs(slice(0, 1)).dtype if len(prepared) else torch.float32
    if dtype != torch.float32:
        raise InputError(f"{name} has inputs of {dtype}; give data with `normalize`, or images in float32.")
    return prepared


def refuse_unknown_device(device: object) -> None:
    """InputError for a device that torch does not know or that is not there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"device={device!r} is not allowed here ({reason}); 'cpu' always is.") from error


def _smallest_batch(examples: int, batch_size: int) -> int:
    """Of those that `TensorData.batches` yields."""
    rest = examples % batch_size
    return rest if examples < batch_size or 2 * rest >= batch_size else batch_size


class _Step:
    """One step of a search: supernet, optimisers, and the rows of the search so far."""

    def __init__(self, search: _Search, name: str):
        recipe, self.search, self.name = search.recipe, search, name
        facts = {"in_channels": search.train.inputs(slice(0, 1)).shape[1], "num_classes": search.num_classes}
        self.supernet = make_supernet(recipe, name, **facts, kept=search.result.kept, seed=search.seed)
        self.supernet.to(search.train.labels.device)
        self.architecture = self.supernet.architecture
        self.optimizer = shift_optimizer(self.supernet, recipe.lr, recipe.weight_decay, without=self.architecture)
        self.adam = torch.optim.Adam(
            self.architecture.parameters(),
            lr=recipe.architecture_lr,
            betas=(0.9 if name == "topology" else 0.5, 0.999),
            weight_decay=recipe.architecture_decay,
        )
        self.regularised = recipe.space == "shift" and recipe.l2 != "none" and recipe.weight_decay > 0

    def epoch(self, number: int, phase: str) -> dict:
        """Train one epoch; the sums of its row."""
        search, recipe = self.search, self.search.recipe
        rate, temperature = search_rate(recipe, number), search_temperature(recipe, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.name == "topology":
            self.architecture.temperature = temperature
        together = self.name == "topology" and phase == SEARCH
        data = search.train if together else search.first
        judged = search.endless(self.name, number) if phase == SEARCH and not together else None
        self.supernet.train()
        loss_sum, correct, seen = 0.0, 0, 0
        for batch in search.batches(data, "weights", self.name, number):
            if judged is not None:
                self._architecture_step(next(judged))
            loss, hits = self._step(batch, together)
            loss_sum, correct, seen = loss_sum + loss * len(batch.labels), correct + hits, seen + len(batch.labels)
        means = {"train_loss": loss_sum / seen, "train_accuracy_pct": 100 * correct / seen}
        return {"lr": rate, "temperature": temperature if self.name == "topology" else None, **means}

    def _architecture_step(self, batch: Batch) -> None:
        parameters = list(self.architecture.parameters())
        loss = F.cross_entropy(self.supernet(batch.inputs), batch.labels)
        gradients = torch.autograd.grad(loss, parameters)  # of the alphas only: the weights' would be thrown away
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        self._check(loss, parameters)
        self.adam.step()

    def _step(self, batch: Batch, together: bool) -> tuple[float, int]:
        recipe = self.search.recipe
        self.supernet.zero_grad()
        logits = self.supernet(batch.inputs)
        loss = F.cross_entropy(logits, batch.labels)
        total = loss
        if self.regularised:
            total = loss + recipe.weight_decay / 2 * adaptive_l2(self.supernet, recipe.l2)
        self.architecture.requires_grad_(together)
        try:
            total.backward()
        finally:
            self.architecture.requires_grad_(True)
        self._check(total, self.supernet.parameters())
        self.optimizer.step()
        if together:
            self.adam.step()
        clamp_shifts(self.supernet, *self.supernet.flat.shift_range)
        return loss.item(), int((logits.argmax(1) == batch.labels).sum())

    def _check(self, loss: torch.Tensor, parameters) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not torch.isfinite(loss) or not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            raise Divergence(f"loss or gradient is not finite in the step of {self.name}")

    def held_out(self) -> dict[str, float]:
        """Loss and accuracy of the mixed supernet on the held-out images."""
        size = self.search.recipe.eval_batch_size
        reestimate_batch_norm(self.supernet, self.search.first.input_batches(size, limit=CALIBRATION_IMAGES))
        measured = evaluate(self.supernet, self.search.held_out, batch_size=size)
        return {f"held_out_{name}": value for name, value in measured.items()}

    def values(self) -> dict[str, list]:
        """Alphas, or betas and balances, as lists."""
        return {name: value.detach().tolist() for name, value in self.architecture.named_parameters()}

    # --- files -------------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        return None if self.search.folder is None else self.search.folder / f"{self.name}.pt"

    def save(self) -> None:
        if self.path is not None:
            progress = {"rows": self.search.result.rows, "adam": self.adam.state_dict()}
            save_checkpoint(self.path, self.supernet, self.optimizer, progress=progress, identity=self.search.identity)

    def resume(self) -> None:
        """Take over supernet, optimisers and rows; a file that cannot be read is set aside, and the step begins."""
        if self.path is None or not self.path.exists():
            return
        try:
            progress = load_checkpoint(self.path, self.supernet, self.optimizer, identity=self.search.identity)
        except DamagedError as error:
            set_aside(self.path, "damaged", f"{error} The step of {self.name} begins again.")
            return
        self.adam.load_state_dict(progress["adam"])
        self.search.result.rows = progress["rows"]


class _Search:
    """Data, place and result of one search."""

    def __init__(self, recipe, train_data, held_out, *, seed, num_classes, folder, device):
        self.recipe, self.seed = recipe, check_int("seed", seed, minimum=0)
        refuse_unknown_device(device)
        self.train, self.held_out = _images("train_data", train_data, device), _images("held_out", held_out, device)
        self.first, self.second = halves(self.train)
        if len(self.held_out) == 0:
            raise InputError("held_out holds no examples; the supernet's accuracy is measured there.")
        shape, other = (tuple(data.inputs(slice(0, 1)).shape[1:]) for data in (self.train, self.held_out))
        if shape != other:
            raise InputError(f"held_out has images of shape {other}, train_data of {shape}; both must be the same.")
        if 0 in shape:
            raise InputError(f"train_data has images of shape {shape}; channels and sides must be 1 or more.")
        self._check_batches(max(shape[1:]))
        highest = max(highest_label(self.train), highest_label(self.held_out))
        self.num_classes = highest + 1 if num_classes is None else check_int("num_classes", num_classes, minimum=1)
        if highest >= self.num_classes:
            raise InputError(f"num_classes={num_classes} is not allowed; labels go up to {highest}.")
        refuse(folder == "", "folder='' is not allowed; name a folder, or None.")
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise InputError(f"folder={folder!r} is not allowed; it must be a path, or None.")
        self.folder = None if folder is None else Path(folder)
        self.identity = {
            "recipe": asdict(recipe),
            "seed": self.seed,
            "set of images": [self.train.digest, self.held_out.digest],
        }
        self.result = CellSearch(recipe)
        crop = [RandomCrop(recipe.crop_padding)] if recipe.crop_padding else []
        parts: Any = (*crop, *([RandomFlip()] if recipe.flip else []))
        self.transform = Compose(parts) if parts else None

    def _check_batches(self, side: int) -> None:
        """InputError for a batch of one example where, after two reductions, one pixel of it is left."""
        if side > 4:
            return
        first, recipe = len(self.first), self.recipe
        trained = [first, len(self.second), *([len(self.train)] if "topology" in recipe.steps else [])]
        calibrated = min(first, CALIBRATION_IMAGES)
        if 1 in (_smallest_batch(count, recipe.batch_size) for count in trained):
            name = "batch_size"
        elif calibrated % recipe.eval_batch_size == 1 or recipe.eval_batch_size == 1:
            name = "eval_batch_size"
        else:
            return
        raise InputError(
            f"{name}={getattr(recipe, name)} leaves a batch of one example, which cannot train a batch norm where only "
            "one pixel is left; choose another batch size."
        )

    def batches(self, data: TensorData, *parts: object) -> Iterator[Batch]:
        return data.batches(self.recipe.batch_size, generator_for("cells", self.seed, *parts), self.transform)

    def endless(self, step: str, epoch: int) -> Iterator[Batch]:
        """Batches of the second half, one pass after the other."""
        turn = 0
        while True:
            yield from self.batches(self.second, "architecture", step, epoch, turn)
            turn += 1

    def run(self, on_epoch, stop_after) -> CellSearch:
        result, first = self.result, 0
        for name, (before, searched) in self.recipe.steps.items():
            step = _Step(self, name)
            step.resume()
            last = first + before + searched
            while len(result.rows) < last:
                if stop_after is not None and len(result.rows) >= stop_after:
                    result.outcome, result.detail = STOPPED, f"after epoch {stop_after} of {self.recipe.epochs}"
                    return result
                number, started = len(result.rows), time.perf_counter()
                phase = WEIGHTS if number < first + before else SEARCH
                try:
                    row = step.epoch(number, phase)
                except Divergence as problem:
                    result.outcome, result.detail = DIVERGED, f"{problem}, epoch {number + 1}"
                    return result
                row = {"epoch": number + 1, "step": name, "phase": phase, **row, **step.held_out()}
                row |= {"seconds": time.perf_counter() - started, "architecture": step.values()}
                result.rows.append(row)
                step.save()
                if on_epoch is not None:
                    on_epoch(row)
            if "topology" in self.recipe.steps and name == "operations":
                result.kept = step.architecture.kept()
            first = last
        result.genotype = step.architecture.genotype()
        return result


def search_cells(
    recipe: CellSearchRecipe,
    train_data: Examples,
    held_out: Examples,
    *,
    seed: int,
    num_classes: int | None = None,
    folder: str | Path | None = None,
    on_epoch: Callable[[dict], object] | None = None,
    stop_after: int | None = None,
    device: torch.device | str = "cpu",
) -> CellSearch:
    """Search cells by gradient.

    Args:
        train_data: a data set of `repro.datasets` or prepared TensorData; cut into two fixed halves (`halves`).
        held_out: images that no step sees; the accuracy of the supernet is measured there. Not the test images, which
            stay unseen until a found network is trained.
        seed: of weights, batches and transforms.
        num_classes: by default the highest label and one.
        folder: where each step keeps its checkpoint; a search that finds one there goes on, bit for bit.
        on_epoch: called with each epoch's row.
        stop_after: end after so many epochs, outcome "stopped".
    Divergence (loss or gradient not finite) is an outcome, not an error.
    Raises: InputError for data that cannot be searched on (empty halves, labels outside the classes, held-out images of
        another shape, batches of one example of which a pixel is left), and for a folder that holds a search with
        another recipe, seed or set of images.
    """
    if not isinstance(recipe, CellSearchRecipe):
        raise InputError(f"recipe={recipe!r} is not allowed; it must be a CellSearchRecipe.")
    if stop_after is not None:
        check_int("stop_after", stop_after, minimum=1)
    refuse(
        on_epoch is not None and not callable(on_epoch),
        f"on_epoch={on_epoch!r} is not allowed; it must be a function of an epoch's row, or None.",
    )
    options = {"seed": seed, "num_classes": num_classes, "folder": folder, "device": device}
    return _Search(recipe, train_data, held_out, **options).run(on_epoch, stop_after)
