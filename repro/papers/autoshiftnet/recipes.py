"""AutoShiftNet's settings: searches and trainings as the paper states them, and such as two cores can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from repro.models.genotypes import Genotype
from repro.papers.autoshiftnet.networks import CELLS, FURTHER, network
from repro.papers.autoshiftnet.training import REAL, SHIFT, NetworkJob
from repro.papers.data import IMAGENET, DataRecipe
from repro.papers.presets import cifar_subset
from repro.search.gradient import CellSearchRecipe
from repro.train import TrainRecipe


@dataclasses.dataclass(frozen=True)
class CellRun:
    """One search; `data.held_out` is the share of the training images that judges the supernet and trains nothing."""

    data: DataRecipe
    search: CellSearchRecipe


PAPER = CellSearchRecipe()
# A weight in the shift domain moves by at most the rate per step and has units to go, so the rates of a short search
# are higher than the paper's 0.01. The architecture's rate times its steps is 0.2 in the operation step and 0.7 in the
# topology step at `quick`, 0.5 and 1.3 at `study`, 0.8 and 2.1 in the paper: shorter searches settle less.
# The rate ends at a tenth of its peak: a mixture that hardens at a rate of 0 collapses.
_SHORT = {"layers": 5, "channels": 4, "batch_size": 32, "lr": 0.3, "lr_min": 0.03, "architecture_lr": 0.003}
SMOKE = CellSearchRecipe(
    **{**_SHORT, "layers": 3, "channels": 2, "batch_size": 40},
    operation_epochs=(0, 1),
    topology_epochs=(0, 1),
    crop_padding=1,
    flip=False,
)
QUICK = CellSearchRecipe(**_SHORT, operation_epochs=(6, 4), topology_epochs=(8, 6), crop_padding=1, flip=False)
STUDY = CellSearchRecipe(
    **{**_SHORT, "batch_size": 64, "lr": 0.2, "lr_min": 0.02, "architecture_lr": 0.002},
    operation_epochs=(6, 6),
    topology_epochs=(8, 8),
    crop_padding=2,
)

SEARCHES: dict[tuple[str, str], CellRun] = {
    ("smoke", "digits"): CellRun(DataRecipe("digits", train_images=120, test_images=60, held_out=1 / 3), SMOKE),
    ("quick", "digits"): CellRun(DataRecipe("digits", held_out=0.2), QUICK),
    ("study", "cifar10"): CellRun(cifar_subset(6000, held_out=1 / 6), STUDY),
    ("study", "cifar100"): CellRun(DataRecipe("cifar100", train_images=6000, size=16, held_out=1 / 6), STUDY),
    ("study", "digits"): CellRun(DataRecipe("digits", held_out=0.2), QUICK),
    ("paper", "cifar10"): CellRun(DataRecipe("cifar10", held_out=0.1), PAPER),
    ("paper", "cifar100"): CellRun(DataRecipe("cifar100", held_out=0.1), PAPER),
}
"""Searches by preset and data set; the first data set of a preset is its default.

The public code of DOTS measures the accuracy of a search on the test set; here a part of the training images is kept.
"""
SEEDS = {"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2, 3)}
"""Searches of a preset; the paper's four are those of table 1's average."""
_SMALL = "Supernets of 5 cells and 4 channels for 8 and 16, rates raised for short searches"
SCALE = {
    "smoke": "Two epochs of a supernet of 3 cells: checks that everything runs, says nothing about the claims.",
    "quick": f"{_SMALL}: 24 epochs on the digits for the paper's 70 on CIFAR; one search.",
    "study": f"{_SMALL}: 28 epochs on 5,000 images at 16x16 pixels (digits: 24 on all) for the paper's 70 on all of "
    "CIFAR; three searches.",
    "paper": "The paper's settings; what it leaves open as in DOTS, and a tenth of the training images kept aside.",
}

# ------------------------------------------------------------------ networks trained by themselves

CIFAR_TRAINING = TrainRecipe(
    epochs=200,
    batch_size=128,
    optimizer="radam",
    lr=0.01,
    weight_decay=3e-4,
    adaptive="none",
    crop_padding=4,
    flip=True,
    cutout=16,
    channels_last=False,
)
"""Sec. 5.1; crop and flip are the usual ones. CNN rows take them too; the paper quotes those of DeepShift.

Strided 1x1 shift layers must not see channels-last tensors on the CPU (`repro.train.loop.unsafe_in_channels_last`).
"""
IMAGENET_TRAINING = TrainRecipe(
    epochs=90,
    batch_size=1024,
    optimizer="radam",
    lr=0.01,
    weight_decay=3e-4,
    warmup_epochs=5,
    label_smoothing=0.1,
    adaptive="none",
    channels_last=False,
)
"""Sec. 5.2 and appendix B; the folder's reader crops and mirrors. The share of label smoothing is the usual one."""
SMALL_TRAINING = dataclasses.replace(
    CIFAR_TRAINING, epochs=8, batch_size=32, cutout=0, crop_padding=1, flip=False, eval_batch_size=500
)

RATES = {f"radam {rate:g}": {"lr": rate} for rate in (0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6)}
SGD_RATES = {f"sgd {rate:g}": {"optimizer": "sgd", "lr": rate} for rate in (0.025, 0.1)}
TUNED_SETTINGS = RATES | SGD_RATES
"""What `repro tune autoshiftnet` compares on held-out images for each domain and kind of network by itself.

P and S move by at most the rate per step and have units to go: in the shift domain it is the sum of the rates over a
training, about steps x peak / 2, that decides, and short trainings stall rather than diverge where it is below 10.
"""
KINDS = ("CNN", "cells")
TUNED = {
    "digits": {"BS CNN": "radam 0.8", "BS cells": "radam 0.4", "R CNN": "radam 0.03", "R cells": "radam 0.4"},
    "cifar10": {"BS CNN": "radam 0.1", "BS cells": "radam 0.1", "R CNN": "radam 0.03", "R cells": "radam 0.03"},
}
"""Data set -> domain and kind of network -> the setting with which it does best by itself.

Without a record of `repro tune` they are starting values: in the shift domain a sum of rates of about 80. Those of
cifar10 are, until `repro tune autoshiftnet --dataset cifar10` was run.
"""
PAPER_SETTINGS = {f"{REAL} {kind}": {"optimizer": "sgd", "lr": 0.025} for kind in KINDS}
"""The paper prints no recipe of its real-valued rows; these are the optimiser and the rate of DARTS on CIFAR."""
IMAGENET_SETTINGS = {f"{REAL} {kind}": {"optimizer": "sgd", "lr": 0.4} for kind in KINDS}
"""The same on ImageNet: 0.1 for 256 images of a batch (He et al. 2016), in proportion (Goyal et al. 2017)."""


@dataclasses.dataclass(frozen=True)
class NetworksRecipe:
    """The networks of a table, the searches behind some of them, and how each is trained.

    Attributes:
        data: column ("cifar10", "cifar100", "imagenet") -> its images. Two columns with the same images are one run.
        searches: column -> its search; without one the row AutoShiftNet has the printed cells.
        settings: "BS CNN", "BS cells", "R CNN", "R cells" -> the fields of `train` that are its own.
        rows: the CNN and NAS rows that the preset has time for.
        size: as `networks.network`.
        cells: layers and channels of cell networks where they are not the paper's.
        drop_path, auxiliary_weight: of cell networks.
        variants: names of searches beyond the paper's four schemes (table 4) -> what they change in the search.
        rates, lengths: of the curve of table 3: peak rates, and shares of `train.epochs`.
    """

    data: Mapping[str, DataRecipe]
    searches: Mapping[str, CellRun]
    train: TrainRecipe
    settings: Mapping[str, Mapping[str, object]]
    rows: Sequence[str]
    size: str = "small"
    cells: Mapping[str, int] = dataclasses.field(default_factory=dict)
    drop_path: float = 0.0
    auxiliary_weight: float = 0.0
    calibration_images: int = 0
    variants: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    rates: Sequence[float] = ()
    lengths: Sequence[float] = ()

    def job(
        self, row: str, column: str, domain: str = SHIFT, *, genotype: Genotype | None = None, curve=False, **changes
    ) -> NetworkJob:
        """The training of a row, with the cells of `genotype` where given; `changes` are fields of `train`.

        Args: curve: test after every epoch, for figures of trainings.
        """
        model, options = network(row, column, self.size)
        if genotype is not None:
            options = {**options, "genotype": genotype.as_dict()}
        cells = model == CELLS
        options = {**options, **self.cells} if cells else options
        settings = self.settings.get(f"{domain} {KINDS[cells]}", {})
        return NetworkJob(
            model,
            options,
            self.data[column],
            dataclasses.replace(self.train, **{**settings, **changes}),
            domain,
            drop_path=self.drop_path if cells else 0.0,
            auxiliary_weight=self.auxiliary_weight if cells else 0.0,
            calibration_images=self.calibration_images,
            tested_each_epoch=curve,
        )

    @property
    def stands_for(self) -> dict[str, str]:
        """The data set of ours that fills the columns of two printed sets -> the second of these."""
        first, *others = [data.dataset for data in self.data.values()]
        return {first: list(self.data)[1].upper()} if first in others else {}


CIFAR_COLUMNS = ("cifar10", "cifar100")
CNN_ROWS = ("ResNet18", "ResNet20", "ResNet50", "ResNet56", "ResNet101", "ResNet152", "MobileNet-v2", "VGG19")
CNN_ROWS += ("ShuffleNet-v2",)
NAS_ROWS = ("NASNet", "AmoebaNet", "DARTS-v1", "DARTS-v2", *FURTHER)
TWINS = ("ResNet18", "ResNet50", "DARTS-v2", "DARTS-", "DOTS")
"""Rows that table 3 trains in both domains, beside ours."""
IMAGENET_TWINS = ("ResNet18", "DOTS")
"""Those of table 7."""
REAL_SPACE, ROUNDED_L2, NO_L2 = "real-valued space", "L2 of (2^P S)^2", "no L2 of P and S"
_READINGS = {ROUNDED_L2: {"l2": "paper"}, NO_L2: {"l2": "none"}}
# Convolutions do not have P's units to go: a tenth of the rate.
_SHORT_REAL = {"space": "real", "lr": 0.03, "lr_min": 0.003}
REAL_SEARCH = {"smoke": _SHORT_REAL, "quick": _SHORT_REAL, "study": _SHORT_REAL, "paper": {"space": "real"}}
"""Preset -> what a search with real weights has of its own, in table 4, figure 3 and `repro search cells`."""
_SMALL_VARIANTS = _READINGS | {REAL_SPACE: REAL_SEARCH["study"]}


def _small(preset: str, dataset: str, data: DataRecipe, rows: Sequence[str], **changes) -> NetworksRecipe:
    search = SEARCHES[preset, dataset]
    return NetworksRecipe(
        data=dict.fromkeys(CIFAR_COLUMNS, data),
        searches=dict.fromkeys(CIFAR_COLUMNS, search),
        settings={kind: TUNED_SETTINGS[name] for kind, name in TUNED[dataset].items()},
        rows=rows,
        calibration_images=512,
        **{"train": SMALL_TRAINING, "cells": {"layers": 5, "channels": 8}, **changes},
    )


NETWORKS: dict[tuple[str, str], NetworksRecipe] = {
    ("smoke", "digits"): _small(
        "smoke",
        "digits",
        DataRecipe("digits", train_images=120, test_images=60),
        ("ResNet20", "DOTS"),
        cells={"layers": 3, "channels": 4},
        train=dataclasses.replace(SMALL_TRAINING, epochs=1, batch_size=30),
        rates=(0.1,),
        lengths=(1.0,),
    ),
    ("quick", "digits"): _small(
        "quick",
        "digits",
        DataRecipe("digits"),
        ("ResNet20", "ResNet50", "VGG19", "DARTS-v2", "DOTS"),
        rates=(0.03, 0.1, 0.4, 1.2, 3.2),
        lengths=(0.25, 1.0),
    ),
    ("study", "cifar10"): _small(
        "study",
        "cifar10",
        cifar_subset(10_000),
        CNN_ROWS + NAS_ROWS,
        train=dataclasses.replace(SMALL_TRAINING, epochs=6, crop_padding=2, flip=True),
        variants=_SMALL_VARIANTS,
        rates=(0.01, 0.03, 0.1, 0.3, 1.0),
        lengths=(0.17, 1.0),
    ),
    ("study", "digits"): _small(
        "study",
        "digits",
        DataRecipe("digits"),
        CNN_ROWS + NAS_ROWS,
        variants=_SMALL_VARIANTS,
        rates=(0.03, 0.1, 0.4, 1.2, 3.2),
        lengths=(0.25, 1.0),
    ),
    ("paper", "cifar10"): NetworksRecipe(
        data={column: DataRecipe(column) for column in CIFAR_COLUMNS},
        searches={column: SEARCHES["paper", column] for column in CIFAR_COLUMNS},
        train=CIFAR_TRAINING,
        settings=PAPER_SETTINGS,
        rows=CNN_ROWS + NAS_ROWS,
        size="cifar",
        drop_path=0.2,
        auxiliary_weight=0.4,
        variants=_READINGS | {REAL_SPACE: REAL_SEARCH["paper"]},
    ),
}
"""Recipes of the tables and figures that train networks on small images.

At all presets but `paper` one data set fills the columns of both CIFAR sets.
"""
_ON_IMAGENET = NetworksRecipe(
    data={"imagenet": DataRecipe(IMAGENET, size=224)},
    searches={},
    train=IMAGENET_TRAINING,
    settings=IMAGENET_SETTINGS,
    rows=(),
    size="imagenet",
    auxiliary_weight=0.4,
)


def imagenet_column(rows: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], NetworksRecipe]:
    """Recipes of a table of the ImageNet column: `paper` trains there, other presets on small images that stand for it.

    Args: rows: preset -> rows beside ours.
    """
    small = {key: recipe for key, recipe in NETWORKS.items() if key[0] != "paper" and key[0] in rows}
    recipes = {
        (preset, dataset): dataclasses.replace(
            recipe,
            data={"cifar10": recipe.data["cifar10"]},
            searches={"cifar10": recipe.searches["cifar10"]},
            rows=rows[preset],
            variants={},
            rates=(),
            lengths=(),
        )
        for (preset, dataset), recipe in small.items()
    }
    return recipes | {("paper", IMAGENET): dataclasses.replace(_ON_IMAGENET, rows=rows["paper"])}


_TRAINED = (
    "Networks with an eighth to a half of the channels, cells of 8 channels stacked 5 deep; no cutout, drop-path or "
    "auxiliary classifier; a rate for each domain and kind of network of its own; batch norm re-estimated before the "
    "test. One data set fills the columns of both CIFAR sets, NAS rows with the cells of CIFAR-10."
)
NETWORKS_SCALE = {
    "smoke": f"{SCALE['smoke']} One epoch of every network on 120 images.",
    "quick": f"{SCALE['quick']} {_TRAINED} 8 epochs on the digits for 200 on CIFAR; some of the rows.",
    "study": f"{SCALE['study']} {_TRAINED} 6 epochs on 10,000 images (digits: 8 on 1,437).",
    "paper": f"{SCALE['paper']} Convolutional networks have the recipe of the cell networks, which is not that of the "
    "numbers that the paper quotes for them; real-valued networks have the optimiser and the rate of DARTS, "
    "on ImageNet the usual ones.",
}
