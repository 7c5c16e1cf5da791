"""Pictures of what single operators compute; every curve comes from the operators themselves."""

from __future__ import annotations

import torch

from repro.papers.table import Drawing
from repro.report.figures import new_figure
from repro.report.palette import COLOURS
from repro.widgets.small import adder_term


def edge_filter(size: int = 5) -> torch.Tensor:
    """(1, 1, size, size): dark left half, bright right half, values within [-1, 1]."""
    ramp = torch.linspace(-1, 1, size)
    return ramp.sign().mul(ramp.abs().sqrt()).expand(size, size)[None, None].clone()


def operators_on_an_image(dataset: str = "digits", index: int = 7) -> Drawing:
    """One picture of the data set, and what a convolution, an adder and a shift layer make of it with one filter."""
    from repro.datasets import load
    from repro.ops import adder_conv2d, round_to_power_of_two, shift_conv2d

    data = load(dataset, "test")
    picture = data.images[index : index + 1].float().mean(dim=1, keepdim=True) / 127.5 - 1
    if picture.shape[-1] < 16:  # so that a 5x5 filter sees strokes and not single pixels
        picture = torch.nn.functional.interpolate(picture, scale_factor=4, mode="bilinear")
    weight = edge_filter()
    outputs = {
        "picture": picture,
        "convolution": torch.nn.functional.conv2d(picture, weight, padding=2),
        "adder": adder_conv2d(picture, weight, padding=2),
        "shift (5 bits)": shift_conv2d(picture, weight, padding=2, weight_bits=5),
    }
    figure, panels = new_figure(1, 6, width_in=1.9, height_in=2.1)
    axes = panels[0]
    for axis, (name, image) in zip(axes, outputs.items()):
        shown = axis.imshow(image[0, 0], cmap="gray" if name == "picture" else "cividis")
        axis.set_title(name, fontsize=10)
        figure.colorbar(shown, ax=axis, shrink=0.7)
    for axis, (name, values) in zip(
        axes[4:], {"filter": weight, "filter as\npowers of two": round_to_power_of_two(weight)}.items()
    ):
        shown = axis.imshow(values[0, 0], cmap="gray", vmin=-1, vmax=1)
        axis.set_title(name, fontsize=10)
        figure.colorbar(shown, ax=axis, shrink=0.7)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    caption = "Convolution, adder and shift layer with one filter on one picture; adder output is at most zero."
    return Drawing(figure, caption)


def adder_gradients(limit: float = 3.0) -> Drawing:
    """y = -|x - w| with its two surrogate gradients over x - w from -limit to limit."""
    distance = torch.linspace(-limit, limit, 121)
    curves = adder_term(distance)
    labels = {"y": "output  −|x − w|", "dy/dw": "gradient for w:  x − w", "dy/dx": "gradient for x:  HT(w − x)"}
    colours = {"y": COLOURS["ink"], "dy/dw": COLOURS["conv"], "dy/dx": COLOURS["adder"]}
    figure, panels = new_figure(width_in=5.6, height_in=3.2)
    axis = panels[0, 0]
    for name, label in labels.items():
        axis.plot(distance, curves[name], label=label, color=colours[name])
    axis.axhline(0, color=COLOURS["faint"], linewidth=0.7)
    axis.set(xlabel="x − w", ylabel="value")
    axis.legend(fontsize=8, frameon=False)
    return Drawing(
        figure, "One term of an adder layer and its two surrogate gradients, computed by the operator itself."
    )
