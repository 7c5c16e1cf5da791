"""Unit energies keep their sources apart and explain the quoted ratios."""

from __future__ import annotations

import pytest

from repro.cost import units
from repro.errors import InputError


def test_every_entry_names_source_and_node():
    table = units.unit_energy_table()
    assert (table["energy_pj"] > 0).all() and table[["source", "node"]].ne("").all(axis=None)
    assert not table.duplicated(["operation", "number_format", "source"]).any()


def test_exactly_two_entries_are_disputed():
    clash = units.disagreements()
    pairs = set(zip(clash["operation"], clash["number_format"]))
    assert pairs == {("add", "FP32"), ("mult", "FP16")}


def test_45_nm_ratios_are_the_second_numbers_of_the_sentence():
    ratios = units.saving_ratio_table().dropna(subset="computed_ratio")
    assert (ratios["node_as_printed"] == "FPGA").all()
    assert ((ratios["computed_ratio"] - ratios["ratio"]).abs() < 0.5).all()


def test_missing_entry_lists_what_the_source_has():
    with pytest.raises(InputError, match="mult FP16"):
        units.unit_energy("shift", "FP16")
    with pytest.raises(InputError, match="Did you mean 'FP32'"):
        units.unit_energy("mult", "FP31")
