"""ShiftAddNAS table 6 (Sec. 4.5): how well supernets rank paths under naive and heterogeneous weight sharing.

`computed`: energy and latency of the two networks that the paper found, as printed and on one array. `trained`: every
way of sharing in `sharing.MODES` ranks the same random paths by the score of inherited weights, which is held-out loss
(their test loss is recorded and chooses nothing). The truth is the test loss of each path in one training alone;
statistics are means over such trainings, and `repeatability` is what a further training would reach. Accuracy ranks
small networks badly: most of them are alike. The public code compares with another supernet instead
(`..._against_own`), and by accuracy on training images. Each of the two printed ways also searches: evolution by
held-out loss under limits of operations and energy, and the network it finds is trained alone.

Supernets begin as their shortcuts alone, and those of adder blocks that change the shape are adders, as in the public
code; what an adder does there then decides much of a path's loss. `conv_...` tell the same of supernets and of paths by
themselves that have convolutions in their place, at the same rates; they start with other draws, too.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from repro.cost import ACCOUNTINGS, layers_cost
from repro.cost.skeleton import traced
from repro.errors import check_choice
from repro.papers import jobs, ranking
from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddnas import recipes, sharing
from repro.papers.shiftaddnas.sharing import PRINTED
from repro.papers.table import Drawing, Table, is_computed
from repro.report.charts import layer_breakdown
from repro.report.decide import Atom, Row
from repro.report.figures import new_figure
from repro.report.palette import COLOURS


@functools.cache
def energies_by_array() -> pd.DataFrame:
    """The two networks of table 6 at both array sizes and under the three accountings.

    The printed rows are T1 with four shift blocks at 192 PEs (413 mJ, 252 ms) and T1 with two add blocks and one shift
    block at 168 PEs (440 mJ, 387 ms): most of the printed latency gap is the array, not the network.
    """
    rows = []
    for method, name, printed_limit in (
        ("w/ HWS", "shiftaddnas_t1", 192),
        ("w/ Naive WS", "shiftaddnas_t1_rank2", 168),
    ):
        _, layers = traced(name, 224)
        for pe_limit in (192, 168):
            for accounting in ACCOUNTINGS:
                depthwise = "ungrouped" if accounting == "published" else "single"
                cost = layers_cost(layers, accounting=accounting, depthwise=depthwise, pe_limit=pe_limit)
                rows.append(
                    {
                        "method": method,
                        "model": name,
                        "pe_limit": pe_limit,
                        "as_printed": accounting == "published" and pe_limit == printed_limit,
                        "accounting": accounting,
                        "energy_mj": cost.energy_mj,
                        "latency_ms": cost.latency_ms,
                    }
                )
    return pd.DataFrame(rows)


def computed(accounting: str = "published") -> pd.DataFrame:
    """Energy and latency of the two searched networks.

    Args:
        accounting: "published" uses for each row the array that its printed row used; the others 192 PEs for both.
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    energies = energies_by_array().copy()
    same_array = (energies["accounting"] == accounting) & (energies["pe_limit"] == 192)
    values = {}
    for row in energies[energies["as_printed"] if accounting == "published" else same_array].itertuples():
        note = f"{row.model} at 224 pixels with {row.pe_limit} PEs"
        note += "; the two printed rows use different arrays" if accounting == "published" else ""
        values[row.method] = {"energy_mj": row.energy_mj, "latency_ms": row.latency_ms, "note": note}
    return analytic_frame(
        "shiftaddnas_t06",
        values,
        convention="row-stationary model at 32 bit, grouped convolutions priced as dense ones"
        if accounting == "published"
        else f"row-stationary model at 32 bit with 192 PEs, accounting {accounting}",
        extra={"accountings": energies},
    )


def savings(ours) -> list[str]:
    """What heterogeneous sharing saves: as printed, and with one array for both."""
    energies = ours.attrs["extra"]["accountings"]
    published = energies[energies["accounting"] == "published"].set_index(["method", "pe_limit"])
    printed = energies[energies["as_printed"]].set_index("method")
    same = published.xs(192, level="pe_limit")
    sentences = []
    for quantity in ("energy_mj", "latency_ms"):
        saved = [
            100 * (1 - rows.loc["w/ HWS", quantity] / rows.loc["w/ Naive WS", quantity]) for rows in (printed, same)
        ]
        sentences.append(
            f"{quantity}: {saved[0]:.1f} % lower as printed, {saved[1]:.1f} % with 192 processing elements for both."
        )
    return sentences


def trained(recipe, seeds, run):
    """Correlations of the two printed ways of sharing, one row per supernet.

    top1_pct is that of the network that the supernet found, trained alone; its cost stands in `found`, since it is a
    smaller network than the printed ones. `attrs["extra"]` further: modes (all ways of sharing, by supernet:
    correlations, scores, parameters, correlation with the supernet without sharing), repeatability, intervals and draws
    over paths and trainings, differences of `CONTROLS`, points, examples; `conv_...` of those with convolutions on
    adder blocks' shortcuts.
    """
    specs = _asked(recipe, seeds)
    other = recipe.with_conv_shortcuts()
    others = _asked(other, seeds) if recipe.conv_shortcuts else {}
    done = run(specs | {(("conv", name), seed): spec for (name, seed), spec in others.items()})
    compared = _ranked(recipe, seeds, done)
    modes, draws = compared["modes"], compared.pop("draws")
    with_conv = _ranked(other, seeds, {key: done[("conv", key[0]), key[1]] for key in others}) if others else {}
    found = sharing.found_paths(seeds, done)
    retrained = run(sharing.found_specs(recipe, found))
    accuracy = {key: jobs.accuracy_of(outcome) for key, outcome in retrained.items()}
    frame = modes[modes["mode"].isin(PRINTED)].rename(columns={"mode": "method"})
    frame["top1_pct"] = [accuracy.get(key, np.nan) for key in zip(frame["method"], frame["seed"])]
    frame = frame[["method", "seed", *ranking.STATISTICS, "top1_pct", "note"]].reset_index(drop=True)
    printed = draws[draws["name"].isin(PRINTED)].rename(columns={"name": "method"})
    frame.attrs["extra"] = {
        **compared,
        "draws": printed,
        **{f"conv_{name}": part for name, part in with_conv.items() if name != "draws"},
        "found": pd.DataFrame({**row, "path": "-".join(row["path"])} for row in found),
        "examples": jobs.answers_frame(
            ({"method": mode}, seed, "top1_pct", outcome, "top1_pct") for (mode, seed), outcome in retrained.items()
        ),
    }
    return frame


def _asked(recipe, seeds):
    """{(way of sharing or path, seed): its run}."""
    return sharing.supernet_specs(recipe, recipe.modes, seeds) | sharing.path_specs(recipe, seeds)


def _ranked(recipe, seeds, done) -> dict[str, pd.DataFrame]:
    """How well the supernets of a recipe rank its paths, and what the trainings alone agree with: see `trained`."""
    points = _points(recipe, seeds, done)
    alone = points.pivot_table(index="path", columns="seed", values="alone_loss").dropna()
    scores = points.pivot_table(index="path", columns=["mode", "seed"], values="loss")
    kept = alone.index[scores.loc[alone.index].notna().all(axis=1)] if len(scores) else alone.index[:0]
    alone, scores = alone.loc[kept], scores.loc[kept]
    dead = {"-".join(path) for path in recipe.ranked() for seed in seeds if _is_dead(done[path, seed])}
    alive = ~alone.index.isin(dead)
    modes = _modes(recipe, seeds, done, points, alone, scores, alive)
    repeatability = ranking.repeatability(alone.to_numpy())
    for name, value in ranking.ceiling(alone[alive].to_numpy()).items():
        repeatability[f"{name}{ALIVE}"] = value
    draws = ranking.resampled(
        {mode: scores[mode].to_numpy() for mode in recipe.modes if mode in scores}, alone.to_numpy()
    )
    return {
        "modes": modes,
        "repeatability": repeatability,
        "intervals": ranking.intervals(draws),
        "differences": _differences(modes, draws),
        "draws": draws,
        "points": points,
    }


def _is_dead(outcome) -> bool:
    return (outcome.value or {}).get("outcome") == "dead"


BY_TEST = "_by_test_loss"
"""Statistics of the inherited loss on test images, beside those of held-out images, which a search can go by."""
ALIVE = "_without_dead"
"""Statistics without the paths of which a training alone is dead: its loss outweighs all others in Pearson's r."""


def _points(recipe, seeds, done) -> pd.DataFrame:
    """One row per way of sharing, seed and path: inherited loss and accuracy, those of the same path trained alone."""
    rows = []
    for mode in recipe.modes:
        for seed in seeds:
            scores = (done[mode, seed].value or {}).get("scores", {})
            for path in recipe.ranked():
                alone = done[path, seed].value or {}
                own = {"alone_loss": alone.get("loss"), "alone_accuracy_pct": alone.get("top1_pct")}
                name = "-".join(path)
                rows.append({"mode": mode, "seed": seed, "path": name, **scores.get(name, {}), **own})
    columns = ["mode", "seed", "path", "loss", "accuracy_pct", "test_loss", "test_accuracy_pct"]
    columns += ["alone_loss", "alone_accuracy_pct"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], float))


def _modes(recipe, seeds, done, points, alone, scores, alive) -> pd.DataFrame:
    """One row per way of sharing and seed; `alive`: the rows of `alone` and `scores` without a dead training."""
    columns, unknown = {key: column.to_numpy() for key, column in scores.items()}, np.full(len(alone), np.nan)
    dead = sum(_is_dead(done[path, seed]) for path in recipe.ranked() for seed in seeds)
    note = f"{len(alone)} paths ranked by loss" + (f"; {dead} trainings alone end at chance" if dead else "")
    rows = []
    for mode in recipe.modes:
        for seed in seeds:
            value, mine = done[mode, seed].value or {}, columns.get((mode, seed), unknown)
            inherited = points[(points["mode"] == mode) & (points["seed"] == seed)]
            against_own = ranking.correlations(mine, columns.get(("w/o WS", seed), unknown))
            rows.append(
                {
                    "mode": mode,
                    "seed": seed,
                    **ranking.agreement(mine, alone.to_numpy()),
                    **{
                        f"{name}{ALIVE}": value
                        for name, value in ranking.agreement(mine[alive], alone[alive].to_numpy()).items()
                    },
                    "inherited_accuracy_pct": inherited["accuracy_pct"].mean(),
                    "inherited_loss": inherited["loss"].mean(),
                    **{f"{name}{BY_TEST}": value for name, value in _by_test_loss(inherited, alone).items()},
                    **{f"{name}_against_own": value for name, value in against_own.items()},
                    "params": value.get("params", np.nan),
                    "train_s": value.get("seconds", {}).get("train", np.nan),
                    "note": note,
                }
            )
    return pd.DataFrame(rows)


def _by_test_loss(inherited: pd.DataFrame, alone: pd.DataFrame) -> dict[str, float]:
    """`agreement` of one supernet's test losses, rows of `points`, with the trainings alone of the same paths."""
    losses = inherited.set_index("path")["test_loss"].reindex(alone.index)
    return ranking.agreement(losses.to_numpy(dtype=float), alone.to_numpy())


CONTROLS = {"T fitted": "one factor", "HWS w/o KL": "naive, N(0, 1)"}
"""Way of sharing with T -> the one without that starts with the same pool and has no divergence either."""


def _differences(modes, draws) -> pd.DataFrame:
    """What T adds to its control: difference of the statistics' means over supernets, 95 % interval as in verdicts.

    The interval is over paths and trainings, by the resamples that both share, and over supernets.
    """
    rows = []
    for statistic in ranking.STATISTICS:
        known = {}
        for mode, values in modes.dropna(subset=statistic).groupby("mode", sort=False)[statistic]:
            drawn = draws.loc[(draws["name"] == mode) & (draws["column"] == statistic), "value"]
            if len(drawn):
                known[mode] = Row(values.to_numpy(), statistic, draws=drawn.to_numpy())
        for mode, control in CONTROLS.items():
            if mode in known and control in known:
                atom = Atom({known[mode]: 1.0, known[control]: -1.0}, pool=known.values())
                low, high = atom.interval()
                pair = {"mode": mode, "control": control, "column": statistic}
                rows.append({**pair, "difference": atom.estimate, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["mode", "control", "column", "difference", "low", "high"])


def told(differences: pd.DataFrame) -> list[str]:
    """What `differences` say of tau, a sentence a pair: whether T ranks paths better than its control."""
    sentences = []
    for row in differences[differences["column"] == "kendall_tau"].itertuples():
        answer = "better" if row.low > 0 else "worse" if row.high < 0 else "undecided"
        sentences.append(
            f"{row.mode} against {row.control}: tau {row.difference:+.2f}, 95 % interval {row.low:+.2f} to "
            f"{row.high:+.2f}: {answer}."
        )
    return sentences


def draw(ours):
    """Tau of every way of sharing with its interval and the ceiling; of what is computed the energy by layer."""
    if not is_computed(ours):
        extra = ours.attrs["extra"]
        with_conv = {name.removeprefix("conv_"): part for name, part in extra.items() if name.startswith("conv_")}
        drawings = [Drawing(_tau_by_mode(extra), TAU_CAPTION, "tau")]
        if with_conv:
            drawings.append(Drawing(_tau_by_mode(with_conv), f"{TAU_CAPTION} {CONV_CAPTION}", "tau-conv"))
        return drawings
    _, layers = traced("shiftaddnas_t0", 224)
    figure = layer_breakdown(
        {
            "ShiftAddNAS-T0, as published (grouped convolutions priced as dense)": layers_cost(
                layers, depthwise="ungrouped"
            ).layers,
            "ShiftAddNAS-T0, slips corrected": layers_cost(layers, accounting="corrected").layers,
        }
    )
    caption = (
        "Energy of every layer of ShiftAddNAS-T0 by memory level, with grouped convolutions as dense and as they are."
    )
    return [Drawing(figure, caption, "layers")]


TAU_CAPTION = (
    "Kendall tau between inherited and stand-alone loss by way of sharing weights: each supernet (circles), 95 % "
    "interval over paths and trainings (bars), and what one more training alone would reach (dashed; its interval over "
    "paths is grey)."
)

CONV_CAPTION = "Convolutions in place of adders on shortcuts that change the shape, in supernets and alone."


def _tau_by_mode(extra):
    modes, spans = extra["modes"], extra["intervals"]
    names = list(dict.fromkeys(modes["mode"]))
    figure, panels = new_figure(width_in=5.4, height_in=0.28 * len(names) + 1.0)
    axis = panels[0, 0]
    for place, name in enumerate(reversed(names)):
        mine = modes[modes["mode"] == name]
        colour = COLOURS["chosen"] if name in PRINTED else COLOURS["ours"]
        axis.scatter(mine["kendall_tau"], [place] * len(mine), s=22, color=colour, zorder=3)
        if len(spans):
            span = spans[(spans["name"] == name) & (spans["column"] == "kendall_tau")]
            axis.hlines([place] * len(span), span["low"], span["high"], color=colour, linewidth=2, alpha=0.4)
    top = extra["repeatability"]["kendall_tau"].iloc[0]
    if np.isfinite(top):
        axis.axvline(top, color=COLOURS["ink"], linestyle="--", linewidth=1)
        low, high = (
            extra["repeatability"].get(f"kendall_tau_{end}", pd.Series([np.nan]))[0] for end in ("low", "high")
        )
        if np.isfinite(low):
            axis.axvspan(low, high, color=COLOURS["ink"], alpha=0.07, linewidth=0)
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.set(xlabel="Kendall tau with networks trained alone", ylabel="way of sharing")
    return figure


COMPARED = ("modes", "repeatability", "intervals", "differences", "points")
TABLE = Table(
    "Ranking, energy and latency with naive and with heterogeneous weight sharing",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes=recipes.RECIPES,
    seeds=recipes.SEEDS,
    scale=recipes.SCALE,
    layout="wide",
    keeps=(*COMPARED, *(f"conv_{name}" for name in COMPARED), "draws", "found", "examples"),
    models=("shiftaddnas_t0", "shiftaddnas_t1", "shiftaddnas_t1_rank2"),
    unit="supernet",
)
