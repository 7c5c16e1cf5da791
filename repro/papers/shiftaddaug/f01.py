"""ShiftAddAug figure 1 (Sec. 3.2): the wide weight of a layer, its multiplication-free part, and what moves into it.

The paper draws the mechanism; here it is drawn from a training: AugShift on the small MobileNetV2, first expansion.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from repro.papers.shiftaddaug import channels
from repro.papers.shiftaddaug.methods import AUGSHIFT
from repro.papers.shiftaddaug.recipes import SCALE, presets
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS, lighter

LAYER, READER = "blocks.1.expand.conv", "blocks.1.project.conv"
"""The channels shown are made by the first and read by the second layer."""


def trained(recipe, seeds, run):
    """One row per epoch and place of `LAYER`, see `channels.places`; `attrs["extra"]["weight"]`: the wide weight that
    reads them in the end, a row per output and input channel, and whether it belongs to the target's own filters."""
    outcomes = run({seed: channels.spec(recipe.job(channels.MODEL, AUGSHIFT), seed) for seed in seeds})
    parts, weights = [], []
    for seed, outcome in outcomes.items():
        if not outcome.value:
            continue
        places = channels.places(outcome.value["seen"])
        parts.append(places[places["layer"] == LAYER].drop(columns="layer").assign(seed=seed))
        wide = channels.wide_weights(outcome.value)[READER].flatten(1).numpy()
        inputs, outputs = outcome.value["wide"][READER]["target"]
        output, place = np.indices(wide.shape)
        own = (output < outputs) & (place < inputs)
        named = {"output": output.ravel(), "place": place.ravel(), "weight": wide.ravel(), "in_target": own.ravel()}
        weights.append(pd.DataFrame(named).assign(seed=seed))
    if not parts:
        return pd.DataFrame(columns=["epoch", "place", "channel", "importance", "in_target", "moved", "seed"])
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs["extra"] = {"weight": pd.concat(weights, ignore_index=True)}
    return frame


def draw(ours):
    """The wide weight, importance before an exchange, and the places of the channels over the training."""
    seed = ours["seed"].min()
    weight = ours.attrs["extra"]["weight"]
    ours, weight = ours[ours["seed"] == seed], weight[weight["seed"] == seed]
    figure, panels = new_figure(1, 3, width_in=3.3, height_in=3.0)
    _wide_weight(panels[0, 0], weight)
    _importance(panels[0, 1], ours)
    _paths(panels[0, 2], ours)
    legend_below(figure, panels[0, 1])
    last = ours[(ours["epoch"] == ours["epoch"].max()) & ours["in_target"]]
    came = int((last["channel"] >= len(last)).sum())
    caption = (
        f"A training of ours, layer {READER}: of {len(ours['channel'].unique())} expanded channels the first "
        f"{len(last)} shift and are deployed, the rest multiply and only train. In the end {came} of the deployed ones "
        "began outside the target."
    )
    return [Drawing(figure, caption)]


def _wide_weight(axes, weight):
    """|w| of every filter, the target's own in the colour of the shift, the rest in that of the convolution."""
    from matplotlib.colors import to_rgb

    shape = (weight["output"].max() + 1, weight["place"].max() + 1)
    share = (weight["weight"].abs() / weight["weight"].abs().quantile(0.98)).clip(0, 1).to_numpy().reshape(*shape, 1)
    own = weight["in_target"].to_numpy().reshape(*shape, 1)
    colour = np.where(own, to_rgb(COLOURS["shift"]), to_rgb(COLOURS["conv"]))
    axes.imshow(1 - share * (1 - colour), aspect="auto", interpolation="nearest")
    axes.grid(False)
    axes.set(xlabel="place of the expanded channel", ylabel="output channel", title="wide weight, |w|")


def _importance(axes, ours):
    """L1 of each place after the first trained epoch, and which channels the next exchange brings into the target."""
    epochs = sorted(ours["epoch"].unique())
    shown = epochs[min(1, len(epochs) - 1)]
    now, following = (ours[ours["epoch"] == epoch] for epoch in (shown, min(shown + 1, epochs[-1])))
    coming = set(following.loc[following["in_target"], "channel"])
    kinds = {
        "target, shift": (now["in_target"], COLOURS["shift"]),
        "augmented, multiply": (~now["in_target"], lighter(COLOURS["conv"], 0.4)),
        "exchanged into the target next": (~now["in_target"] & now["channel"].isin(coming), COLOURS["chosen"]),
    }
    for name, (which, colour) in kinds.items():
        axes.bar(now.loc[which, "place"], now.loc[which, "importance"], width=1.0, color=colour, label=name)
    axes.set(xlabel="place of the expanded channel", ylabel="importance (L1 norm)", title=f"after epoch {shown}")


def _paths(axes, ours):
    """A line for each channel that is in the target in the end."""
    target = ours[(ours["epoch"] == 0) & ours["in_target"]]["place"].max() + 1
    last = ours[ours["epoch"] == ours["epoch"].max()]
    for channel in last.loc[last["in_target"], "channel"]:
        path = ours[ours["channel"] == channel].sort_values("epoch")
        colour = COLOURS["chosen"] if channel >= target else COLOURS["shift"]
        axes.plot(path["epoch"], path["place"], color=colour, linewidth=0.8, alpha=0.8)
    axes.axhspan(-0.5, target - 0.5, color=lighter(COLOURS["shift"], 0.8), zorder=0)
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch (0: before the training)", ylabel="place", title="deployed channels")


TABLE = Table(
    title="The wide weight of a layer and the channels that move into its target part",
    trained=trained,
    draw=draw,
    recipes=presets((channels.MODEL,)),
    seeds=dict.fromkeys(("smoke", "quick", "study", "paper"), (0,)),
    scale=SCALE,
    keeps=("weight",),
)
