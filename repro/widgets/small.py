"""Functions behind the two small explorers of notebooks 01 and 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from scipy import stats

from repro.errors import InputError, check_choice

if TYPE_CHECKING:
    import torch

POINT_COLUMNS = (
    "adaptive_lr",
    "separate_warmup",
    "seed",
    "path",
    "predicted_accuracy_pct",
    "true_accuracy_pct",
)
MEAN = "mean over seeds"


def adder_term(distance: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output and surrogate gradients of one adder term as functions of x - w, from the operator's own backward.

    Args:
        distance: values of x - w, (N,).
    Returns: {"y", "dy/dx", "dy/dw"}, each (N,).
    """
    import torch

    from repro.ops import adder_linear

    weight = torch.zeros(1, 1, requires_grad=True)
    x = distance.reshape(-1, 1).clone().requires_grad_()
    y = adder_linear(x, weight)
    y.sum().backward()
    weight_gradients = []
    for value in distance:
        single = torch.zeros(1, 1, requires_grad=True)
        adder_linear(value.reshape(1, 1), single).sum().backward()
        weight_gradients.append(single.grad.item())
    return {"y": y.detach().flatten(), "dy/dx": x.grad.flatten(), "dy/dw": torch.tensor(weight_gradients)}


def adder_term_at(x: float, w: float) -> dict[str, float]:
    """Output y = -|x - w| of one adder term and its surrogate gradients dy/dw, dy/dx, by the operator itself."""
    import torch

    values = adder_term(torch.tensor([x - w], dtype=torch.float32))
    return {name: float(value[0]) for name, value in values.items()}


def strategy_name(adaptive_lr: bool, separate_warmup: bool) -> str:
    """How the four training strategies of ACGhostNet table 6 are called here."""
    rate = "adaptive rate" if adaptive_lr else "plain rate"
    return f"{rate}, {'separate' if separate_warmup else 'no separate'} warm-up"


def strategies(points: pd.DataFrame) -> dict[str, tuple[bool, bool]]:
    """The strategies that occur in `points`, by name, plain ones first.

    Raises: InputError when a column is missing or there are no points.
    """
    for column in POINT_COLUMNS:
        check_choice("column of points", column, points.columns)
    if not len(points):
        raise InputError("points is empty; run the experiment of table 6 first.")
    pairs = sorted(set(zip(points["adaptive_lr"].astype(bool), points["separate_warmup"].astype(bool))))
    return {strategy_name(*pair): pair for pair in pairs}


def ranking_view(points: pd.DataFrame, strategy: str, seed: int | str = MEAN) -> tuple[pd.DataFrame, float]:
    """One row per network for a strategy and seed, and Kendall's tau between predicted and true accuracy.

    Args:
        points: adaptive_lr, separate_warmup, seed, path, predicted_accuracy_pct, true_accuracy_pct.
        strategy: one of `strategies(points)`.  seed: a seed of the frame, or `MEAN`: the mean prediction per network.
    Returns: (frame with path, predicted_accuracy_pct, true_accuracy_pct, predicted_rank, true_rank, both 1 = best;
        tau, nan for fewer than two networks). Networks without both accuracies are left out.
    """
    known = strategies(points)
    adaptive, separate = known[check_choice("strategy", strategy, known)]
    mine = points[
        (points["adaptive_lr"].astype(bool) == adaptive) & (points["separate_warmup"].astype(bool) == separate)
    ]
    if seed != MEAN:
        check_choice("seed", str(seed), sorted({str(value) for value in mine["seed"]}))
        mine = mine[mine["seed"].astype(str) == str(seed)]
    values = ["predicted_accuracy_pct", "true_accuracy_pct"]
    view = mine.groupby("path", sort=True)[values].mean().dropna().reset_index()
    for name in values:
        view[name.replace("accuracy_pct", "rank")] = view[name].rank(ascending=False, method="min").astype(int)
    tau = stats.kendalltau(view[values[0]], view[values[1]]).statistic if len(view) > 1 else float("nan")
    return view, float(tau)


def adder_share(path: str | tuple[str, ...]) -> float:
    """Share of a path's blocks that start with an adder ("CAAC" or ("CCg1", "AAg1", …))."""
    blocks = [block for block in (path.split(",") if isinstance(path, str) and "," in path else path) if block]
    return sum(block.strip().upper().startswith("A") for block in blocks) / max(1, len(blocks))
