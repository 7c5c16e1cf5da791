"""ShiftAddAug supplement table 1: in-place distillation from the augmented network into the target.

L = (1 - alpha) CE(label) + alpha KD(augmented, detached). KL divergence and soft cross-entropy differ by the teacher's
entropy alone, so their gradients are the same: rows that differ show the noise of a training, or another reduction.
Rows beside them take torch's, the KL divergence over the number of classes, which leaves little but (1 - alpha) CE.
"""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.comparing import add_beside, method_rows, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, presets
from repro.papers.table import Table

CRITERIA = {("KLLoss", 0.9): "kl", ("KLLoss", 0.3): "kl", ("CELoss", 0.9): "soft_ce", ("CELoss", 0.3): "soft_ce"}
METHODS = {
    f"{criterion} {alpha}": dataclasses.replace(AUGSHIFT, distillation=kind, distillation_share=alpha)
    for (criterion, alpha), kind in CRITERIA.items()
} | {"origin": AUGSHIFT}
MEAN = {
    f"KLLoss {alpha}, mean over classes": dataclasses.replace(
        AUGSHIFT, distillation="kl_mean", distillation_share=alpha
    )
    for alpha in (0.9, 0.3)
}


def trained(recipe, seeds, run):
    """Two criteria at two weights, and AugShift of table 3 ("origin")."""

    def key(model, row):
        criterion, _, alpha = row.partition(" ")
        return {"model": model, "criterion": criterion, "alpha": float(alpha or "nan")}

    frame = method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)
    add_beside(frame, recipe, seeds, run, MEAN, "beside")
    return frame


TABLE = Table(
    title="Augmentation with in-place distillation",
    trained=trained,
    recipes=presets(("MobileNetV2-w0.35",)),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses", "beside"),
)
