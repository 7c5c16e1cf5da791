"""What is tried for the networks of tables 1, 4, 5 and 6: where the adaptive rate is on, and its eta.

The paper puts it on both operators with eta 1/15, in trainings of 117,000 steps; see `repro.papers.presets.SHORT`.
"""

from __future__ import annotations

import dataclasses

from repro.models.acghostnet import MODULE_TYPES
from repro.papers.acghostnet.networks import ghost_job
from repro.papers.acghostnet.recipes import MODELS, TUNED_SETTINGS
from repro.papers.tuning import Tuning

NETWORKS = {"convolution": ("ghostnet", ()), "adder": ("adder_ghostnet", ()), "both": ("acghostnet", MODULE_TYPES * 2)}
"""Network -> model and module types; "both" takes each of the eight module types in turn."""


def tuning(dataset: str) -> Tuning:
    """Trainings of the study preset of table 4, tested on a fifth of the training images."""
    recipe = MODELS["study", dataset]
    data = dataclasses.replace(recipe.data, held_out=0.2, tested_on="held out")
    return Tuning(
        jobs={
            name: ghost_job(
                model,
                data,
                recipe.shape,
                recipe.train,
                path=path,
                calibration_images=recipe.calibration_images,
            )
            for name, (model, path) in NETWORKS.items()
        },
        settings=TUNED_SETTINGS,
        skips=frozenset({("convolution", "adders, eta 1/15")}),  # without adders the same as eta 0.5
    )
