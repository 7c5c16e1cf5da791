"""Which channels an augmented training brings into the target, epoch by epoch (ShiftAddAug Sec. 3.3, figure 1)."""

from __future__ import annotations

from functools import partial

import torch

from repro.augment.network import AugmentedNetwork
from repro.augment.train import AugmentedTrainer, AugmentRecipe
from repro.errors import refuse
from repro.train.loop import History, fit
from repro.train.recipe import TrainRecipe


class WatchedTrainer(AugmentedTrainer):
    """An AugmentedTrainer that notes the channels inside inverted residuals before the training and after each epoch.

    Args:
        seen: the list that the notes go to; see `watch_channels`.
    """

    def __init__(self, model: AugmentedNetwork, recipe: TrainRecipe, *, seen: list[dict], **options):
        super().__init__(model, recipe, **options)
        layers = dict(model.wide_layers())
        self.seen, self._watched = seen, {}
        for number, group in enumerate(model.groups):
            readers = [name for name in group.readers if model._joins[name][1] not in model._gates(number)]
            if group.kind == "expand" and layers[group.makers[0]].widest[1] > group.base:
                self._watched[group.makers[0]] = (group.base, [layers[name] for name in readers])
        self._note(0)

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `AugmentedTrainer.epoch`."""
        row = super().epoch(data, epoch, **options)
        self._note(epoch + 1)
        return row

    @torch.no_grad()
    def _note(self, epoch: int) -> None:
        for name, (target, readers) in self._watched.items():
            weights = [reader.weight for reader in readers]
            importance = sum(weight.abs().sum([d for d in range(weight.ndim) if d != 1]) for weight in weights)
            channels = {"channel": self.model.channels_of(name)[0].tolist(), "importance": importance.tolist()}
            self.seen.append({"epoch": epoch, "layer": name, "target": target, **channels})


def watch_channels(
    network: AugmentedNetwork, train_data, recipe: TrainRecipe, augmentation: AugmentRecipe, *, seed: int, **options
) -> tuple[History, list[dict]]:
    """`fit_augmented` with an eye on the channels that can change places.

    Returns: the History, and a note per epoch (0: before the training) and layer that makes such channels: epoch,
        layer, target (so many places, the first, are the target's), channel (by place: the number of the channel that
        is there; at epoch 0 it is that of the place) and importance (by place: L1 norm of the weights that read it).
    """
    refuse(
        not isinstance(network, AugmentedNetwork),
        f"network is a {type(network).__name__}; it must be what repro.augment.augment returns.",
    )
    seen: list[dict] = []
    trainer = partial(WatchedTrainer, augmentation=augmentation, seen=seen)
    return fit(network, train_data, None, recipe, seed=seed, trainer_class=trainer, **options), seen
