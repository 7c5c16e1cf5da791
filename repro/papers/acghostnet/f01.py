"""ACGhostNet figure 1 (Sec. 1): accuracy against energy. The points are those of table 5."""

from __future__ import annotations

import dataclasses

from repro.papers.acghostnet import t05
from repro.papers.table import Drawing
from repro.report.charts import energy_accuracy, table_points
from repro.report.figures import label_points, new_figure
from repro.report.palette import COLOURS
from repro.report.published import published

GROUP_COLOURS = {"CNNs": COLOURS["conv"], "AdderNets": COLOURS["adder"], t05.HYBRID: COLOURS["hybrid"]}


def printed():
    """The printed points of table 5 (and ours of the paper preset, once there are any) with their front."""
    points = table_points("acghostnet_t05", x="energy_mj", y="top1_pct", series="group", name="model")
    figure = energy_accuracy(
        points,
        x="energy_mj",
        y="top1_pct",
        x_label="energy per image (mJ), operations only",
        y_label="ImageNet top-1 (%)",
        width_in=6.8,
        height_in=4.4,
    )
    return Drawing(figure, "Printed top-1 accuracy against printed energy, with the front of all rows.", "printed")


def draw(ours):
    """Left the published points of table 5, right ours; the data sets differ, so no axis is shared."""
    mean = ours.groupby(["group", "model"], as_index=False)[["energy_mj", "top1_pct"]].mean()
    figure, panels = new_figure(1, 2, width_in=4.4, height_in=3.4)
    named = [
        points.assign(energy_uj=1000 * points["energy_mj"].astype(float), name=points["model"].map(_short))
        for points in (published("acghostnet_t05"), mean)
    ]
    titles = "ImageNet, published", f"{ours.attrs['preset']}, {ours.attrs['dataset']}"
    for axis, points, title in zip(panels[0], named, titles):
        for group, colour in GROUP_COLOURS.items():
            mine = points[points["group"] == group]
            axis.scatter(mine["energy_uj"], mine["top1_pct"], s=22, color=colour, label=group, linewidths=0)
        axis.set(xlabel="energy per image (µJ)", ylabel="top-1 accuracy (%)", title=title)
    panels[0, 0].legend(fontsize=7, loc="lower right")
    figure.draw_without_rendering()
    for axis, points in zip(panels[0], named):
        label_points(axis, points.dropna(subset=["energy_uj", "top1_pct"]), "energy_uj", "top1_pct")
    return [Drawing(figure, "Accuracy against energy: the paper's on ImageNet, ours on the named data set.")]


def _short(name):
    for long, short in (("Adder-GhostNet-", "AG "), ("ACGhostNet-", ""), ("GhostNet-", "G "), ("MobileNetV3-", "MV3 ")):
        if name.startswith(long):
            return name.replace(long, short, 1)
    return name


TABLE = dataclasses.replace(
    t05.TABLE,
    title="Accuracy against energy of GhostNets and searched models",
    computed=None,
    draw=draw,
    keeps=(),
    models=(),
)
