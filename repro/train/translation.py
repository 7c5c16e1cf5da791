"""Training of translation networks: token batches, label smoothing, Adam with warm-up, averaged weights.

Everything random in epoch e is drawn from generators seeded with (seed, e), and a checkpoint holds weights, optimiser
and the running average, so an interrupted training continues bit for bit (same machine, same number of threads).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from repro.datasets.vocabulary import PAD
from repro.errors import InputError, check_choice, check_int, check_number, refuse
from repro.train.data import generator_for, mixed_seed
from repro.train.diagnose import first_bad_gradient
from repro.train.distributed import sum_gradients
from repro.train.evaluate import evaluating
from repro.train.loop import DIVERGED, FINISHED, STOPPED, Divergence, History, Trainer
from repro.train.optim import AdaptiveLR
from repro.train.recipe import PRECISIONS
from repro.train.text import TextBatch, TokenPairs

SCHEDULES = ("inverse_sqrt", "cosine")
Choose = Callable[[torch.Generator], object]


@dataclass(frozen=True)
class TranslationRecipe:
    """How a translation network is trained. The defaults suit width 64 on Multi30k; the paper's are named.

    Attributes:
        epochs: passes over the data.
        batch_tokens: positions of a batch on its longer side, filling included.
        accumulate: so many batches make one update (paper: 128 of 4,096 tokens).
        lr: highest learning rate, reached after `warmup` steps (paper: 1e-3 after 10,000, for retraining 4,000).
        schedule: after the warm-up "cosine" to zero (paper), or "inverse_sqrt" of the step (Vaswani et al. 2017).
        betas: of Adam.
        label_smoothing: share of the target spread over all words.
        clip: largest norm of the gradient of all weights; 0: no clipping.
        eta: root mean square of an adder layer's gradient (AdderNet's rescaling); 0: as it is.
        average: the weights at the end are the mean of those after so many last epochs.
        precision: as `TrainRecipe`: "float32", or "bfloat16" for the operators that allow it.
    Raises: InputError for a number out of range.
    """

    epochs: int = 9
    batch_tokens: int = 2048
    lr: float = 5e-3
    warmup: int = 200
    schedule: str = "cosine"
    betas: tuple[float, float] = (0.9, 0.98)
    label_smoothing: float = 0.1
    clip: float = 1.0
    eta: float = 0.2
    average: int = 1
    accumulate: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_tokens", "warmup", "average", "accumulate"):
            check_int(name, getattr(self, name), minimum=1)
        check_number("lr", self.lr, above=0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise InputError(f"betas={self.betas!r} is not allowed; it must be two numbers.")
        for beta in self.betas:
            check_number("betas", beta, minimum=0, below=1)
        check_number("label_smoothing", self.label_smoothing, minimum=0, below=1)
        for name in ("clip", "eta"):
            check_number(name, getattr(self, name), minimum=0)
        if self.average > self.epochs:
            raise InputError(f"average={self.average} is not allowed; there are only {self.epochs} epochs.")


def warmed_up_rate(recipe: TranslationRecipe, step: int, total_steps: int) -> float:
    """Learning rate of a step (from 0): linear to `recipe.lr` at step `warmup` - 1, then the schedule."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    if recipe.schedule == "inverse_sqrt":
        return recipe.lr * math.sqrt(recipe.warmup / (step + 1))
    return recipe.lr / 2 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, total_steps - recipe.warmup)))


def token_loss(scores: Tensor, words: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy per token of scores (N, T, V) against words (N, T); PAD does not count.

    A share `label_smoothing` of each target is spread evenly over all V words, the right one among them.
    """
    return F.cross_entropy(scores.flatten(0, 1), words.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


class TranslationTrainer(Trainer):
    """One network, its optimiser and its place in the schedule; saved, resumed and checked as any training here.

    In a process group each process sees its share of the sentences of every batch; its loss counts by its share of the
    tokens. Dropout is drawn for each process's own sentences.
    """

    def __init__(self, model: nn.Module, recipe: TranslationRecipe, *, data: TokenPairs, seed: int):
        if dist.is_initialized():
            self.share = slice(dist.get_rank(), None, dist.get_world_size())
            self.writes_checkpoints = dist.get_rank() == 0
            for value in model.state_dict().values():
                dist.broadcast(value, src=0)
        self.recipe: TranslationRecipe  # type: ignore[assignment]
        self.model, self.recipe, self.seed = model, recipe, check_int("seed", seed, minimum=0)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        refuse(not parameters, "model has no trainable parameters; nothing can be trained.")
        adam = torch.optim.Adam(parameters, lr=recipe.lr, betas=recipe.betas)
        self.optimizer = (
            AdaptiveLR(adam, model, mode="adder", eta=recipe.eta)
            if recipe.eta
            else AdaptiveLR(adam, model, mode="none")
        )
        self.steps_per_epoch = math.ceil(data.number_of_batches(recipe.batch_tokens) / recipe.accumulate)
        self.total_steps, self.steps_done = recipe.epochs * self.steps_per_epoch, 0
        self._named = list(model.named_parameters())

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return warmed_up_rate(self.recipe, self.steps_done, self.total_steps)

    def step(self, batches: Sequence[TextBatch]) -> tuple[float, int]:  # type: ignore[override]
        """One update on the gradients of some batches, by their tokens.

        Returns mean loss per token and tokens; raises Divergence before weights are touched.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad()
        tokens = sum(int((batch.after != PAD).sum()) for batch in batches)
        loss = self.reduce(sum(self._backward(batch, tokens) for batch in batches))
        parameters = [parameter for _, parameter in self._named if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        if not (loss.isfinite() and norm.isfinite()):
            where = first_bad_gradient(self._named)
            raise Divergence(f"loss {loss.item()}, gradient not finite in {where} at step {self.steps_done}")
        if self.recipe.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip, norm)
        self.optimizer.step()
        self.steps_done += 1
        return loss.item(), tokens

    def _backward(self, batch: TextBatch, tokens: int) -> Tensor:  # type: ignore[override]
        """Add the gradients of this process's sentences of a batch, and return their share of the loss of `tokens`.

        Of a batch with fewer sentences than processes some take the first one with the share 0: all take part.
        """
        mine = TextBatch(*(part[self.share] for part in batch))
        share = int((mine.after != PAD).sum()) / tokens
        if len(mine.after) == 0:
            mine = TextBatch(*(part[:1] for part in batch))
        scores = self._forward(mine.source, mine.before)
        loss = share * token_loss(scores, mine.after, self.recipe.label_smoothing)
        loss.backward()
        return loss.detach()

    def reduce(self, metrics: Tensor) -> Tensor:
        """As `Trainer.reduce`."""
        if dist.is_initialized():
            sum_gradients(self.model)
            dist.all_reduce(metrics)
        return metrics

    def epoch(self, data: TokenPairs, epoch: int, *, choose: Choose | None = None) -> dict[str, float]:  # type: ignore[override]
        """One pass. Returns steps, lr (of the first step), train_loss per token and seconds. May raise Divergence."""
        started, lr, losses, tokens, steps = time.perf_counter(), self.lr, 0.0, 0, 0
        device = self._named[0][1].device
        order, paths = generator_for("train", self.seed, epoch), generator_for("paths", self.seed, epoch)
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed("dropout", "train", self.seed, epoch))
            batches = data.batches(self.recipe.batch_tokens, order)
            while some := list(itertools.islice(batches, self.recipe.accumulate)):
                chosen = None if choose is None else choose(paths)
                try:
                    loss, count = self.step([TextBatch(*(part.to(device) for part in batch)) for batch in some])
                except Divergence as problem:
                    raise Divergence(f"{problem}{'' if choose is None else f'; network {chosen}'}") from problem
                losses, tokens, steps = losses + loss * count, tokens + count, steps + 1
        seconds = time.perf_counter() - started
        return {"steps": steps, "lr": lr, "train_loss": losses / tokens, "seconds": seconds}


def refuse_other_vocabularies(model: nn.Module, data: TokenPairs) -> None:
    """InputError for sentences in other pieces than those that the network was trained with, or filled otherwise."""
    refuse_other_filling(model)
    known = getattr(model, "vocabularies", (None, None))
    for name, mine, given in zip(("source", "target"), known, data.vocabularies):
        refuse(
            None not in (mine, given) and mine != given,
            f"the {name} vocabulary is that of another network: it has other pieces than the one of its training.",
        )


def refuse_other_filling(model: nn.Module) -> None:
    """InputError for a network that takes another id than the vocabularies' PAD for filling."""
    pad = getattr(model, "pad", PAD)
    refuse(pad != PAD, f"pad={pad} of the network is not allowed here; sentences are filled up with {PAD} (PAD).")


@torch.no_grad()
def translation_loss(model: nn.Module, data: TokenPairs, *, batch_tokens: int = 4096) -> float:
    """Mean cross-entropy per target token (nats, END counts), without smoothing, in evaluation mode.

    Raises: InputError for sentences in the pieces of another vocabulary than that of the network's training.
    """
    refuse_other_vocabularies(model, data)
    device, losses, tokens = next(model.parameters()).device, 0.0, 0
    with evaluating(model):
        for batch in data.batches(batch_tokens):
            source, before, after = (part.to(device) for part in batch)
            count = int((after != PAD).sum())
            losses, tokens = losses + token_loss(model(source, before), after).item() * count, tokens + count
    return losses / tokens


def fit_translation(
    model: nn.Module,
    train: TokenPairs,
    validation: TokenPairs | None,
    recipe: TranslationRecipe,
    *,
    seed: int,
    choose: Choose | None = None,
    on_epoch: Callable[[dict], object] | None = None,
    checkpoint: str | Path | None = None,
    stop_after: int | None = None,
) -> History:
    """Train a translation network (or a supernet of them) in place and return its History.

    Args:
        model: `forward(source, before)` gives scores; the weights are the caller's. After the training it carries
            the fingerprints of its vocabularies as `vocabularies`.
        validation: measured after each epoch with that epoch's weights; None: not.
        seed: of batches, dropout and the paths of a supernet.
        choose: called before each step with the epoch's generator; a supernet draws its path.
        on_epoch: called with each epoch's row; returning False stops the training after it.
        checkpoint: file written after every epoch; if it exists, the training continues from it bit for bit.
        stop_after: end after this many epochs of the schedule, outcome "stopped", without averaging.
    Returns: rows of epoch, steps, lr, train_loss, validation_loss and seconds; divergence is an outcome, no error.
    Raises: InputError for data of two vocabularies, or of another than the network was trained with, a checkpoint of
        another training or vocabulary, a sentence longer than a batch.
    """
    if stop_after is not None:
        check_int("stop_after", stop_after, minimum=1)
    if validation is not None and validation.vocabularies != train.vocabularies:
        raise InputError("train and validation were encoded with different vocabularies; encode both with the same.")
    refuse_other_vocabularies(model, train)
    trainer = TranslationTrainer(model, recipe, data=train, seed=seed)
    identity: dict[str, object] = {"recipe": {name: _listed(value) for name, value in asdict(recipe).items()}}
    identity |= dict(zip(("source vocabulary", "target vocabulary"), train.vocabularies))
    identity |= {} if checkpoint is None else {"set of sentences": train.fingerprint}
    progress = trainer.resume(checkpoint, identity)
    mean: dict[str, Tensor] = progress.pop("mean", {})
    history = History(**progress)
    model.vocabularies = train.vocabularies
    for epoch in range(len(history.rows), recipe.epochs):
        try:
            row = {"epoch": epoch + 1, **trainer.epoch(train, epoch, choose=choose)}
        except Divergence as problem:
            history.outcome, history.detail = DIVERGED, str(problem)
            break
        if validation is not None:
            row["validation_loss"] = translation_loss(model, validation)
        history.rows.append(row)
        place = epoch + recipe.average - recipe.epochs  # among those that are averaged, from 0
        if recipe.average > 1 and place >= 0:
            mean = _running_mean(mean, model.state_dict(), place)
        if checkpoint is not None:
            trainer.save(checkpoint, identity, rows=history.rows, mean=mean)
        stop = on_epoch is not None and on_epoch(row) is False
        if (stop or epoch + 1 == stop_after) and epoch + 1 < recipe.epochs:
            history.outcome, history.detail = STOPPED, f"after epoch {epoch + 1} of {recipe.epochs}"
            break
    if mean and history.outcome == FINISHED:
        model.load_state_dict(mean)
    return history


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@torch.no_grad()
def _running_mean(mean: dict[str, Tensor], weights: dict[str, Tensor], place: int) -> dict[str, Tensor]:
    if place == 0:
        return {name: tensor.clone() for name, tensor in weights.items()}
    share = 1 / (place + 1)
    return {
        name: mean[name].lerp(tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
