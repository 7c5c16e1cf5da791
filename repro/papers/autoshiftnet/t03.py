"""AutoShiftNet table 3 (Sec. 5.3): the same networks with real weights (R) and in the bit-shift domain (BS).

Each domain has a learning rate of its own, chosen on held-out images (`repro tune autoshiftnet`). How much that decides
is the second picture: accuracy against the sum of the rates of a training, in trainings of several lengths. On
CIFAR-10 the rates are starting values until `repro tune autoshiftnet --dataset cifar10` was run (`recipes.TUNED`).
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet.comparing import add_drops, drawn_sets, entry_of, slopes, table_of, train_rows
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import TWINS
from repro.papers.autoshiftnet.training import REAL, SHIFT, spec
from repro.papers.table import Drawing
from repro.report.figures import legend_below, new_figure, plain_ticks
from repro.report.palette import SERIES

PRINTED = {"DARTS-v2": "DARTS(v2)"}
"""Row of table 1 -> as this table prints it."""
RATED = "ResNet20"
"""The network of the curve of rates, the cheapest one."""
DOMAINS = (REAL, SHIFT)


def trained(recipe, seeds, run):
    """One row per network, domain and seed; of ours a seed is a search, whose cells are trained in both domains.

    `attrs["extra"]`: examples; rates, the curve: domain, epochs, lr, rate_sum (steps x peak / 2), seed,
    held_out_accuracy_pct.
    """
    rates = _rate_jobs(recipe)
    rated = run({(key, seed): spec(job, seed) for key, job in rates.items() for seed in seeds})
    done, _ = train_rows(recipe, [row for row in TWINS if row in recipe.rows], seeds, run, DOMAINS)
    frame = table_of(
        (
            {"model": PRINTED.get(row, row), "domain": domain} | ({"search_seed": seed} if row == OURS else {}),
            seed,
            f"{column}_accuracy_pct",
            outcome,
            "top1_pct",
        )
        for (row, domain, column, seed), outcome in done.items()
    )
    for column in recipe.data:
        add_drops(frame, f"{column}_accuracy_pct", f"{column}_diff_pct")
    frame.attrs["stands_for"] = recipe.stands_for
    frame.attrs["extra"]["rates"] = pd.DataFrame(
        {
            "domain": domain,
            "epochs": epochs,
            "lr": rate,
            "rate_sum": sum(row["steps"] for row in (outcome.value or {}).get("curve", [])) * rate / 2,
            "seed": seed,
            "held_out_accuracy_pct": jobs.accuracy_of(outcome),
        }
        for ((domain, epochs, rate), seed), outcome in rated.items()
    )
    return frame


def _rate_jobs(recipe):
    """(domain, epochs, peak rate) -> a training of the curve, tested on a fifth of the training images."""
    found = {}
    for domain in DOMAINS:
        for epochs in (max(1, round(share * recipe.train.epochs)) for share in recipe.lengths):
            for rate in recipe.rates:
                job = recipe.job(RATED, "cifar10", domain, epochs=epochs, lr=rate, optimizer="radam")
                data = dataclasses.replace(job.data, held_out=0.2, tested_on="held out")
                found[domain, epochs, rate] = dataclasses.replace(job, data=data)
    return found


def draw(ours):
    """Accuracy in both domains; accuracy against the sum of the rates."""
    label = "test accuracy (%)"
    drawn = [
        Drawing(
            slopes(ours, f"{column}_accuracy_pct", y_label=label),
            f"Accuracy on {dataset} with real weights and in the bit-shift domain, each with a rate of its own; a dot "
            "is a training, of ours a search.",
            f"domains{part}",
        )
        for column, (dataset, part) in drawn_sets(ours).items()
    ]
    rates = ours.attrs.get("extra", {}).get("rates", pd.DataFrame())
    return (
        drawn
        if rates.empty
        else [*drawn, Drawing(_rate_figure(rates), f"{RATES_CAPTION} {_best_rates(rates)}", "rates")]
    )


RATES_CAPTION = (
    f"{RATED}: accuracy on held-out images against the sum of the learning rates of a training (steps x peak / 2), a "
    "line per length. P and S move by at most the rate per step, so short trainings at the rates of long ones stall."
)


def _best_rates(rates) -> str:
    """The peak rate with the best mean of every length, by domain."""
    means = rates.groupby(["domain", "epochs", "lr"])["held_out_accuracy_pct"].mean().dropna()
    best = means.groupby(level=["domain", "epochs"]).idxmax().map(lambda place: place[2])
    told = [
        f"{name} " + ", ".join(f"{rate:g} for {epochs} epochs" for epochs, rate in best.xs(domain).items())
        for domain, name in {SHIFT: "bit-shift", REAL: "real"}.items()
        if domain in best.index.get_level_values("domain")
    ]
    return (
        f"Best peak rates: {'; '.join(told)}. The paper asks for a much smaller one in the bit-shift domain (Sec. 4.3)."
    )


def _rate_figure(rates):
    figure, panels = new_figure(1, 2, width_in=3.4, height_in=2.8, share_y=True)
    for axes, (domain, title) in zip(panels[0], {SHIFT: "bit-shift (P and S)", REAL: "real weights"}.items()):
        mine = rates[rates["domain"] == domain]
        for (epochs, curve), colour in zip(mine.groupby("epochs"), SERIES):
            means = curve.groupby("rate_sum")["held_out_accuracy_pct"].mean()
            axes.plot(means.index, means, marker=".", color=colour, label=f"{epochs} epochs")
        axes.set(
            xscale="log", xlabel="sum of the learning rates", ylabel="accuracy on held-out images (%)", title=title
        )
        plain_ticks(axes.xaxis)
    legend_below(figure, panels[0, 0])
    return figure


TABLE = entry_of(
    "Accuracy with real weights and in the bit-shift domain",
    trained,
    draw=draw,
    layout="wide",
    keeps=("examples", "rates"),
)
