"""ACGhostNet's settings: the paper's training recipes, and the searches and models that several entries share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from repro.papers.data import IMAGENET, DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.search.cars import SearchRecipe
from repro.search.warmup import Warmup
from repro.train import TrainRecipe

# Sec. 4.2: CIFAR models, 600 epochs, batch 256, rate 0.025 with a cosine schedule. Momentum and weight decay are not
# repeated there; they are taken from the search of Sec. 4.1. Crop and flip are the usual ones, not stated.
CIFAR = TrainRecipe(
    epochs=600, batch_size=256, lr=0.025, weight_decay=3e-4, adaptive="all", eta=1 / 15, crop_padding=4, flip=True
)
# Sec. 4.1, Training: 800 epochs of which 4 warm up, batch 1024 on 8 GPUs, rate 0.4, weight decay 3e-5, dropout 0.2 (an
# option of the model), eta 1/15, no gradient clipping. The folder's reader mirrors its crops itself.
IMAGENET_800 = TrainRecipe(
    epochs=800, batch_size=1024, lr=0.4, weight_decay=3e-5, warmup_epochs=4, adaptive="all", eta=1 / 15
)
STAGE_LENGTHS = (1, 2, 2, 4, 2, 5)


@dataclasses.dataclass(frozen=True)
class GhostShape:
    """What all networks of a table share: width multiplier, channels before the classifier, dropout before it.

    `blocks` counts the blocks of each of the six stages; None for all sixteen.
    """

    width: float = 1.0
    head: int = 1280
    dropout: float = 0.2
    blocks: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class SearchRun:
    """One search; `data.held_out` is the share of the training images that judges candidates."""

    data: DataRecipe
    shape: GhostShape
    search: SearchRecipe


@dataclasses.dataclass(frozen=True)
class ModelsRecipe:
    """A search and the training of what it finds; `data` and `shape` are those of the final networks.

    Attributes:
        settings: network ("convolution", "adder", "both" operators) -> the fields of `train` that are its own.
        calibration_images: explained at `repro.papers.jobs.Job`.
    """

    search: SearchRun
    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    settings: Mapping[str, Mapping[str, object]]
    calibration_images: int = 0

    def train_of(self, network: str) -> TrainRecipe:
        """The training of a network of "convolution", "adder" or "both" operators."""
        return dataclasses.replace(self.train, **self.settings[network])


# ------------------------------------------------------------------ settings of the scaled-down trainings

TUNED_SETTINGS = {
    "adders, eta 0.5": {"adaptive": "adder", "eta": 0.5},
    "adders, eta 1/15": {"adaptive": "adder", "eta": 1 / 15},
    "both, eta 0.5": {"adaptive": "all", "eta": 0.5},
    "both, eta 1/15": {"adaptive": "all", "eta": 1 / 15},
}
"""Where the adaptive rate is on and its eta: what `repro tune acghostnet` compares on held-out training images."""

TUNED = {
    "digits": {"convolution": "both, eta 0.5", "adder": "both, eta 0.5", "both": "both, eta 0.5"},
    "cifar10": {"convolution": "both, eta 1/15", "adder": "both, eta 0.5", "both": "adders, eta 0.5"},
}
"""Data set -> network -> the setting that it does best with by itself; data/results/tuning has the numbers."""


def tuned(dataset: str, network: str) -> dict[str, object]:
    """Fields of the training recipe for a network of "convolution", "adder" or "both" operators."""
    return TUNED_SETTINGS[TUNED[dataset][network]]


# ------------------------------------------------------------------ the search (Sec. 4.1)
#
# CIFAR-10, 500 epochs of which 50 warm up, an evolution every 10 epochs, population 128 expanded to 256, SGD with
# momentum 0.9, cosine rate from 0.025, batch 128, weight decay 3e-4. One half of the training images trains the
# weights, the other half judges the candidates.
#
# Below `paper` this is scaled in one way: all 8 module types in all 16 blocks, but channels at a quarter, small
# images, a seventh of the epochs, an eighth of the population. Three things follow. The warm-up takes 30 of the 70
# epochs instead of a tenth, since an epoch of so few images is a few dozen steps. An evolution follows every second
# epoch: 16 random paths of 16 blocks all need about the mean energy, and it takes about 20 evolutions until the
# population spans the range of energies that the paper's four models have. At `quick` they follow every epoch of 40.
# The threshold stays at 70 % on digits and is 30 % on CIFAR-10, where a network of this size gets to about 45 %.

SMALL_SHAPE = GhostShape(width=0.25, head=320, dropout=0.0)


def small_search(
    epochs: int,
    warmup_epochs: int,
    every: int,
    population: int,
    threshold_pct: float,
    *,
    evaluate_images: int | None = None,
    probes: int = 4,
    **settings,
) -> SearchRecipe:
    """A search of the scaled-down presets; sub-supernets take their turn epoch by epoch."""
    return SearchRecipe(
        train=TrainRecipe(epochs=epochs, **{**SHORT, **settings}),
        warmup_epochs=warmup_epochs,
        evolve_every=every,
        population=population,
        expanded=2 * population,
        evaluate_images=evaluate_images,
        calibration_batches=1,
        separate=Warmup(threshold_pct=threshold_pct, order="interleaved", probe_paths=probes),
    )


_DIGITS = SearchRun(
    DataRecipe("digits", held_out=0.5),
    SMALL_SHAPE,
    small_search(70, 30, 2, 16, 70.0, evaluate_images=360, **tuned("digits", "both")),
)

SEARCHES: dict[tuple[str, str], SearchRun] = {
    ("smoke", "digits"): SearchRun(
        DataRecipe("digits", train_images=200, test_images=100, held_out=0.5),
        GhostShape(width=0.25, head=32, dropout=0.0),
        small_search(5, 3, 1, 4, 70.0, probes=1, **tuned("digits", "both")),
    ),
    ("quick", "digits"): dataclasses.replace(
        _DIGITS,
        search=small_search(40, 20, 1, 16, 70.0, evaluate_images=360, **tuned("digits", "both")),
    ),
    ("study", "cifar10"): SearchRun(
        cifar_subset(held_out=0.5),
        SMALL_SHAPE,
        small_search(70, 30, 2, 16, 30.0, evaluate_images=1000, **tuned("cifar10", "both")),
    ),
    ("study", "digits"): _DIGITS,
    # Sec. 4.1 throughout; how the data are halved and the order of the sub-supernets are not stated.
    ("paper", "cifar10"): SearchRun(DataRecipe("cifar10", held_out=0.5), GhostShape(dropout=0.0), SearchRecipe()),
}

# ------------------------------------------------------------------ models A to D (Sec. 4.2 and 4.3)

AS_THEIR_AUTHORS = {"convolution": {"adaptive": "adder"}, "adder": {"adaptive": "adder"}, "both": {"adaptive": "all"}}
"""At `paper`: GhostNets and their adder versions train as their authors train them, searched networks as Sec. 4.2."""


def _models(preset: str, dataset: str, data: DataRecipe, train: TrainRecipe) -> ModelsRecipe:
    """The preset's search, and networks of its shape; a network by itself sees all training images."""
    search = SEARCHES[preset, dataset]
    settings = {network: tuned(dataset, network) for network in TUNED[dataset]}
    return ModelsRecipe(search, data, search.shape, train, settings, calibration_images=CALIBRATION_IMAGES)


_DIGITS_TRAINING = TrainRecipe(epochs=20, **SHORT)

MODELS = {
    ("smoke", "digits"): _models(
        "smoke",
        "digits",
        DataRecipe("digits", train_images=200, test_images=100),
        TrainRecipe(epochs=1, **SHORT),
    ),
    ("quick", "digits"): _models("quick", "digits", DataRecipe("digits"), TrainRecipe(epochs=10, **SHORT)),
    ("study", "cifar10"): _models(
        "study", "cifar10", cifar_subset(), TrainRecipe(epochs=15, flip=True, crop_padding=2, **SHORT)
    ),
    ("study", "digits"): _models("study", "digits", DataRecipe("digits"), _DIGITS_TRAINING),
    # Dropout of the CIFAR networks is not stated; ImageNet's 0.2 is GhostNet's own default.
    ("paper", "cifar10"): ModelsRecipe(
        SEARCHES["paper", "cifar10"], DataRecipe("cifar10"), GhostShape(), CIFAR, AS_THEIR_AUTHORS
    ),
}
IMAGENET_MODELS = ModelsRecipe(
    SEARCHES["paper", "cifar10"], DataRecipe(IMAGENET, size=224), GhostShape(), IMAGENET_800, AS_THEIR_AUTHORS
)

SEARCH_SEEDS = {"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2)}
"""Each seed is a search, and the training of what it found."""

_SMALLER = (
    "Search at a quarter of the channels on small images, a seventh of the epochs, an eighth of the population; "
    "networks trained with the same channels and images, their batch norm re-estimated before the test. Each network "
    "takes the adaptive rate (where it is on, and its eta) with which it does best on held-out training images. Counts "
    "and energies are of the networks as trained."
)
SCALE = {
    "smoke": "A search of two generations on 100 images: checks that everything runs, says nothing about the claims.",
    "quick": f"{_SMALLER} Search of 40 epochs for the study's 70, half its epochs of every network; one search, which "
    "decides nothing by itself.",
    "study": _SMALLER,
    "paper": "The paper's settings where it states them; how models A to D are picked is ours.",
}
