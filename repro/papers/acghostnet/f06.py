"""ACGhostNet figure 6 (Sec. 4.5): FLOPs and energy of each block, averaged over the searched models.

Each seed is a search. Blocks count from 0, as in the paper. Computed without a search: the range that a block's eight
module types leave, ImageNet at 224 pixels.
"""

from __future__ import annotations

import pandas as pd

from repro.papers.acghostnet import found
from repro.papers.acghostnet.energy import EnergyLookup
from repro.papers.acghostnet.recipes import SCALE, SEARCH_SEEDS, SEARCHES
from repro.papers.table import Drawing, Table, is_computed
from repro.report.charts import block_profile
from repro.report.figures import new_figure
from repro.report.palette import COLOURS


def trained(recipe, seeds, run):
    """Means over models A to D at the size at which the search trains them, one row per block and seed.

    `attrs["extra"]["paper_size"]`: the same choices counted at `PAPER_SIZE`, which claims are judged by.
    """
    searches = run({seed: found.spec(recipe, seed) for seed in seeds})
    paths = {seed: [c.path for c in found.models(outcome).values()] for seed, outcome in searches.items()}
    frame = _mean_blocks(found.energy_lookup(recipe), paths)
    frame.attrs["extra"] = {"paper_size": _mean_blocks(EnergyLookup(*PAPER_SIZE), paths)}
    return frame


def _mean_blocks(lookup, paths_by_seed):
    parts = [mean_blocks(lookup, paths).assign(seed=seed) for seed, paths in paths_by_seed.items() if paths]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS, "seed"])


COLUMNS = ["block", "flops_m", "energy_uj"]
PAPER_SIZE = (224, 1000)
"""Pixels and classes, at width 1. Figure 6 has the most FLOPs in blocks 1 and 10; at 32 pixels that is 10 and 11."""


def mean_blocks(lookup: EnergyLookup, paths) -> pd.DataFrame:
    """block (from 0), flops_m (additions and multiplications) and energy_uj, averaged over networks."""
    table = lookup.table.set_index(["block", "module_type"])
    flops, energy = (table["fadd"] + table["fmul"]) / 1e6, table["energy_pj"] / 1e6
    rows = []
    for block in range(lookup.num_blocks):
        chosen = [(block, path[block]) for path in paths]
        rows.append((block, flops[chosen].mean(), energy[chosen].mean()))
    return pd.DataFrame(rows, columns=COLUMNS)


def computed():
    """What each block can cost, over its eight module types.

    Columns: block (0 to 15), quantity ("taps_m", which FLOPs go by, or "energy_uj"), low, high, mean.
    """
    table = EnergyLookup(*PAPER_SIZE).table
    table = table.assign(taps_m=(table["fadd"] + table["fmul"]) / 2e6, energy_uj=table["energy_pj"] * 1e-6)
    long = table.melt(["block", "module_type"], ["taps_m", "energy_uj"], var_name="quantity", value_name="value")
    frame = long.groupby(["quantity", "block"])["value"].agg(["min", "max", "mean"]).reset_index()
    frame = frame.rename(columns={"min": "low", "max": "high"})[["block", "quantity", "low", "high", "mean"]]
    frame.attrs["convention"] = "range over the eight module types of each block, width 1, 224 pixels"
    return frame


def block_sentences(blocks) -> list[str]:
    """Which blocks (from 0) have the most operations and the most energy, on average over the module types."""
    sentences = []
    for quantity, text in (("taps_m", "operations"), ("energy_uj", "energy")):
        mine = blocks[blocks["quantity"] == quantity].nlargest(3, "mean")
        listed = ", ".join(f"block {row.block} ({row.mean:.2f})" for row in mine.itertuples())
        sentences.append(f"Most {text}, averaged over the eight module types: {listed}.")
    return sentences


def draw(ours):
    """Energy and FLOPs of every block; without a search, what its eight types could need."""
    if is_computed(ours):
        labels = {"taps_m": "operations (million taps)", "energy_uj": "energy (µJ)"}
        caption = "Range of operations and energy of each block over its eight module types, ImageNet at 224 pixels."
        return [Drawing(block_profile(ours, labels=labels, x_label="index of the block"), caption, "space")]
    caption = "Energy and FLOPs per block, mean over the searched models (our models and sizes)."
    drawings = [Drawing(block_shares(ours), caption)]
    full = ours.attrs.get("extra", {}).get("paper_size")
    if full is not None:
        caption = "As above, the same choices counted at width 1, 224 pixels and 1000 classes."
        drawings.append(Drawing(block_shares(full), caption, "full_width"))
    return drawings


def block_shares(frame):
    """Energy and FLOPs of every block, the mean over models and searches; the largest in another colour."""
    mean = frame.groupby("block")[["energy_uj", "flops_m"]].mean()
    figure, panels = new_figure(1, 2)
    labels = {"energy_uj": "average energy (µJ)", "flops_m": "average FLOPs (million)"}
    for axis, (column, label) in zip(panels[0], labels.items()):
        top = mean[column].idxmax()
        colours = [COLOURS["chosen"] if block == top else COLOURS["ours"] for block in mean.index]
        axis.bar(mean.index, mean[column], color=colours)
        axis.set(xlabel="index of the block", ylabel=label, title=f"most in block {top}")
        axis.set_xticks(mean.index[::3])
    return figure


TABLE = Table(
    title="Energy and FLOPs per block, averaged over the searched models",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes=SEARCHES,
    seeds=SEARCH_SEEDS,
    scale=SCALE,
    keeps=("paper_size",),
    unit="search",
    models=("acghostnet",),
)
