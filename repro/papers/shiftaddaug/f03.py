"""ShiftAddAug figure 3 (Sec. 3.3): how a weight of a Gaussian becomes one of a Laplace distribution (equation 5)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from repro.augment import gaussian_to_laplacian
from repro.ops import round_to_power_of_two
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS

SCALE = 0.5**0.5
"""b that gives the Laplace distribution the deviation of the Gaussian, 1."""


def computed():
    """A row per weight w from -3.5 to 3.5 deviations of a standard Gaussian.

    Columns: weight; probability, cpf_gauss(w); remapped, ppf_laplace of it at equal deviation; slope, of r; rounded and
    remapped_rounded, 5-bit powers of two of a tenth of both, times ten (weights of a layer have deviations near 0.1).
    """
    w = torch.linspace(-3.5, 3.5, 281, dtype=torch.float64)
    leaf = w.clone().requires_grad_()
    remapped = gaussian_to_laplacian(leaf, SCALE, mean=0.0, std=1.0)
    (slope,) = torch.autograd.grad(remapped.sum(), leaf)
    frame = pd.DataFrame(
        {
            "weight": w.numpy(),
            "probability": torch.special.ndtr(w).numpy(),
            "remapped": remapped.detach().numpy(),
            "slope": slope.numpy(),
            "rounded": 10 * round_to_power_of_two(w / 10, 5).numpy(),
            "remapped_rounded": 10 * round_to_power_of_two(remapped.detach() / 10, 5).numpy(),
        }
    )
    frame.attrs["convention"] = "FC the identity, location 0, b = 1/sqrt(2): the Gaussian's deviation"
    return frame


def draw(ours):
    """The two probability functions that make r, r with its slope, and what rounding leaves of it."""
    figure, panels = new_figure(1, 3, width_in=3.1, height_in=2.9)
    (first, second, third), w = panels[0], ours["weight"]
    first.plot(w, ours["probability"], color=COLOURS["conv"], label="Gaussian: cpf(w)")
    first.plot(ours["remapped"], ours["probability"], color=COLOURS["adder"], label="Laplace: ppf, read across")
    place = int(np.argmin((w - 0.8).abs()))
    x, y, z = (ours[name].iloc[place] for name in ("weight", "probability", "remapped"))
    first.annotate("", (z, y), (x, y), arrowprops={"arrowstyle": "->", "color": COLOURS["ink"]})
    first.plot([x, x], [0, y], color=COLOURS["ink"], linewidth=0.8, linestyle=":")
    first.plot([z, z], [0, y], color=COLOURS["ink"], linewidth=0.8, linestyle=":")
    first.set(
        xlabel="weight (deviations)", ylabel="cumulative probability", title="equal probability", xlim=(-3.6, 3.6)
    )
    second.plot(w, ours["remapped"], color=COLOURS["adder"], label="r(w)")
    second.plot(w, ours["slope"], color=COLOURS["ink"], linestyle="--", label="its slope")
    second.plot(w, w, color=COLOURS["faint"], label="w itself")
    second.set(xlabel="weight (deviations)", ylabel="remapped weight (deviations)", title="r of equation 5")
    third.step(w, ours["rounded"], color=COLOURS["conv"], linewidth=1, label="w, rounded")
    third.step(w, ours["remapped_rounded"], color=COLOURS["shift"], linewidth=1, label="r(w), rounded")
    third.set(xlabel="weight (deviations)", ylabel="power of two (deviations)", title="as a shift layer sees it")
    for axes in panels[0]:
        axes.legend(fontsize=7, loc="lower right" if axes is first else "upper left")
    caption = (
        "A weight keeps its cumulative probability: r pulls the middle together (slope 0.56 at 0) and stretches the "
        "tails (1.7 at two deviations). The third panel has weights of deviation 0.1 as 5-bit powers of two, times ten."
    )
    return [Drawing(figure, caption)]


TABLE = Table("Weight remapping from a Gaussian to a Laplace distribution", computed=computed, draw=draw)
