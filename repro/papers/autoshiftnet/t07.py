"""AutoShiftNet table 7 (appendix E): three networks on ImageNet with real weights (R) and in the bit-shift domain (BS).

At `paper` on ImageNet, ours with the printed cells. At the other presets small images stand for it; a training that
table 3 has too is the same one.
"""

from __future__ import annotations

from repro.papers.autoshiftnet.comparing import add_drops, entry_of, slopes, table_of, train_rows
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import IMAGENET_TWINS, imagenet_column
from repro.papers.autoshiftnet.training import REAL, SHIFT
from repro.papers.table import Drawing


def trained(recipe, seeds, run):
    """One row per network, domain and seed: top-1 and top-5, and what the bit-shift domain costs."""
    done, _ = train_rows(recipe, recipe.rows, seeds, run, (REAL, SHIFT))
    frame = table_of(
        (
            {"model": row, "domain": domain} | ({"search_seed": seed} if row == OURS and recipe.searches else {}),
            seed,
            name,
            outcome,
            name,
        )
        for (row, domain, _, seed), outcome in done.items()
        for name in ("top1_pct", "top5_pct")
    )
    for name in ("top1", "top5"):
        add_drops(frame, f"{name}_pct", f"{name}_diff_pct")
    return frame


def draw(ours):
    """Top-1 accuracy in both domains."""
    figure = slopes(ours, "top1_pct", y_label="top-1 test accuracy (%)")
    return [Drawing(figure, "Top-1 accuracy with real weights and in the bit-shift domain; a dot is a training.")]


TABLE = entry_of(
    "Accuracy on ImageNet with real weights and in the bit-shift domain",
    trained,
    draw=draw,
    recipes=imagenet_column({"smoke": ("DOTS",), **dict.fromkeys(("quick", "study", "paper"), IMAGENET_TWINS)}),
    layout="wide",
    keeps=("examples",),
)
