"""Modules over `repro.ops`, and conversion of ordinary models.

    from repro.layers import AdderConv2d, ShiftConv2d, convert

Arguments follow `torch.nn.Conv2d` and `torch.nn.Linear`; options of the operator are keywords.
"""

from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.convert import ConversionReport, ConversionRow, convert, to_conv
from repro.layers.factory import OPERATORS, make_conv2d, make_linear
from repro.layers.inference import quantize_adders, quantize_shifts
from repro.layers.mixed import MixedConv2d, MixedLinear
from repro.layers.packed import PackedShiftConv2d, PackedShiftLinear
from repro.layers.quantized import QuantizedAdderConv2d, QuantizedAdderLinear
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.layers.shiftadd import ShiftAddConv2d, ShiftAddLinear

__all__ = [
    "OPERATORS",
    "AdderConv2d",
    "AdderLinear",
    "ConversionReport",
    "ConversionRow",
    "MixedConv2d",
    "MixedLinear",
    "PackedShiftConv2d",
    "PackedShiftLinear",
    "QuantizedAdderConv2d",
    "QuantizedAdderLinear",
    "ShiftAddConv2d",
    "ShiftAddLinear",
    "ShiftConv2d",
    "ShiftLinear",
    "convert",
    "make_conv2d",
    "make_linear",
    "quantize_adders",
    "quantize_shifts",
    "to_conv",
]
