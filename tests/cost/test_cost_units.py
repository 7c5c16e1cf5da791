"""Unit energies keep their sources apart and explain the quoted ratios."""

from __future__ import annotations

import pytest

from repro.cost import units
from repro.cost.eyeriss import layer_cost
from repro.errors import InputError


def test_every_entry_names_source_and_node():
    table = units.unit_energy_table()
    assert (table["energy_pj"] > 0).all() and table[["source", "node"]].ne("").all(axis=None)
    assert not table.duplicated(["operation", "number_format", "source"]).any()


def test_exactly_two_entries_are_disputed():
    printed = units.unit_energy_table().groupby(["operation", "number_format"])["energy_pj"].nunique()
    assert set(printed[printed > 1].index) == {("add", "FP32"), ("mult", "FP16")}


def test_45_nm_ratios_are_the_second_numbers_of_the_sentence():
    ratios = units.saving_ratio_table().dropna(subset="computed_ratio")
    assert (ratios["node_as_printed"] == "FPGA").all()
    assert ((ratios["computed_ratio"] - ratios["ratio"]).abs() < 0.5).all()


def test_missing_entry_lists_what_the_source_has():
    with pytest.raises(InputError, match="mult FP16"):
        units.unit_energy("shift", "FP16")
    with pytest.raises(InputError, match="Did you mean 'FP32'"):
        units.unit_energy("mult", "FP31")


def test_energies_of_one_source_change_the_computation_only():
    sizes = dict(in_channels=16, height=8, width=8, out_channels=16, kernel_size=3, out_height=8, out_width=8)
    horowitz = units.operation_energies("FP32", units.HOROWITZ)
    ours, theirs = layer_cost("conv", **sizes), layer_cost("conv", energies=horowitz, **sizes)
    assert ours == theirs  # the simulator's 32-bit setting is Horowitz's FP32
    cheap = layer_cost("conv", energies=units.operation_energies("INT8"), **sizes)
    assert cheap.breakdown.compute_mj == pytest.approx(ours.breakdown.compute_mj * 0.2 / 3.7)
    assert cheap.breakdown.memory_mj == ours.breakdown.memory_mj


def test_a_shift_that_a_source_does_not_print_is_labelled():
    assert units.operation_energies("FP16").shift_pj == 0.13
    assert "INT32" in units.operation_energies("FP16").source
    assert units.operation_energies("INT8").source == "ShiftAddAug, table 1, INT8"
    with pytest.raises(InputError, match="not printed"):
        units.operation_energies("FP16", units.SIMULATOR)
