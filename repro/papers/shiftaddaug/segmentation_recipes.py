"""Settings of table 5 and figure 6: those of Sec. 4.1, since the paper prints none for segmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from repro.papers.data import DataRecipe
from repro.papers.shiftaddaug.methods import MAIN, Method
from repro.papers.shiftaddaug.networks import SEGMENTERS
from repro.papers.shiftaddaug.recipes import PAPER, MethodsRecipe, tuned_settings
from repro.papers.shiftaddaug.segmentation_training import SegmenterJob
from repro.train import TrainRecipe
from repro.train.segmentation import SegmentationRecipe


@dataclasses.dataclass(frozen=True)
class SegmentersRecipe(MethodsRecipe):
    """Several methods on several segmentation networks.

    Attributes:
        rows: methods by their names in the table.  controls: rows that the paper does not have, of the first model.
    """

    rows: Sequence[str] = tuple(MAIN)
    controls: Sequence[str] = ()

    def job(self, model: str, method: Method) -> SegmenterJob:
        """A network trained with a method."""
        job = super().job(model, method)
        return SegmenterJob(**{field.name: getattr(job, field.name) for field in dataclasses.fields(job)})


def _with_masks(recipe: TrainRecipe, **changes) -> SegmentationRecipe:
    return SegmentationRecipe(**recipe.as_dict() | {"eval_batch_size": 100} | changes)


SMALL = _with_masks(PAPER, batch_size=8, crop_padding=2)
FILES = _with_masks(PAPER, crop_padding=0, flip=False)
"""Images from files: their reader draws a box of each and mirrors it (`repro.train.folders`)."""


def _eyes(data: DataRecipe, epochs: int, **changes) -> SegmentersRecipe:
    train = dataclasses.replace(SMALL, epochs=epochs)
    return SegmentersRecipe(data, train, SEGMENTERS[:1], tuned_settings("eyes"), calibration_images=500, **changes)


def _files(dataset: str, **changes) -> SegmentersRecipe:
    settings = {"adder": {"epochs": 300}}
    data = DataRecipe(dataset, size=160)
    return SegmentersRecipe(data, FILES, SEGMENTERS, settings, size="paper", calibration_images=16_000, **changes)


RECIPES = {
    ("smoke", "eyes"): _eyes(DataRecipe("eyes", train_images=32, test_images=16), 1),
    ("quick", "eyes"): _eyes(DataRecipe("eyes", train_images=500), 4),
    ("study", "eyes"): dataclasses.replace(
        _eyes(DataRecipe("eyes"), 12, controls=("Base, equal compute", "Shift, equal compute", "Add, equal compute")),
        models=SEGMENTERS,
    ),
    ("paper", "openeds"): _files("openeds"),
    ("paper", "voc2012"): _files("voc2012", rows=("Base", "NetAug", "Shift", "AugShift")),
}
STANDS_FOR = {"eyes": "OpenEDS", "voc2012": "VOC"}

_SMALLER = (
    "Drawn eyes of 48 pixels in the place of OpenEDS; networks of 4,400 and 9,100 weights in the shape of the paper's, "
    "whose head and stem are ours; multiples of width and expansion up to 2.2; a peak rate for "
    "each operator chosen by the network by itself on held-out training images; every method starts from the same wide "
    "weights and re-estimates batch norm before the test."
)
SCALE = {
    "smoke": "One epoch on 32 images: checks that everything runs, says nothing about the claims.",
    "quick": f"{_SMALLER} Four epochs on 500 images, one of the models, two seeds.",
    "study": f"{_SMALLER} Twelve epochs.",
    "paper": "The paper's settings for classification, which are the only ones it prints; head, 160 pixels, multiples "
    "and alpha are ours or NetAug's; OpenEDS is tested on its 2,403 validation images.",
}
