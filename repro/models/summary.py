"""What a model consists of, layer by layer, found by running it once without data (the meta device)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch import Tensor, nn

from repro.errors import InputError
from repro.models.trace import Layer, trace, weights_of

COLUMNS = ("layer", "role", "op", "kind", "kernel", "stride", "groups", "in_shape", "out_shape", "params", "macs")


def summary(model: nn.Module, input_size: int | Sequence[int] | Tensor | Sequence[Tensor]) -> pd.DataFrame:
    """One row per convolution, linear layer and matrix product, in order of execution (evaluation mode).

    Modules and functions are both seen, as are transposed, 1-d and 3-d convolutions (`repro.models.trace`).

    Args:
        model: any module, on any device; it is not changed.
        input_size: side in pixels (three channels), (C, H, W), (N, C, H, W), or example tensor(s), whose data is not
            used; MACs and shapes include the batch.
    Returns: columns `COLUMNS`; shapes are (N, C, H, W) of convolutions (a map of three axes has the first two
        multiplied, one of a single axis a width of 1) and (rows, features) of linear layers and products; params counts
        the trainable values of the layer, once; macs its kernel taps. `attrs` holds "params" (all trainable values,
        norms included) and "macs" (the sum).
    Raises: InputError where the sizes do not fit the model, or it runs nothing that is counted.
    """
    try:
        layers = trace(model, input_size)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"input_size does not fit {type(model).__name__}: {reason}.") from error
    table = pd.DataFrame([_row(layer) for layer in layers], columns=COLUMNS)
    table.attrs["params"] = weights_of(model)
    table.attrs["macs"] = int(table["macs"].sum())
    return table


def _row(layer: Layer) -> tuple:
    geometry: tuple
    before: tuple
    after: tuple
    geometry, before, after = (None, None), (layer.batch, layer.in_channels), (layer.batch, layer.out_channels)
    if layer.kind == "conv":
        geometry = layer.kernel, layer.stride
        before, after = (*before, layer.height, layer.width), (*after, layer.out_height, layer.out_width)
    sizes = *geometry, layer.groups, before, after
    return layer.name, layer.role, layer.op, layer.kind, *sizes, layer.params, layer.taps
