"""Our rows against the committed reference: same, within the noise of the seeds, or different."""

import pandas as pd
import pytest

from repro.report import save_record
from repro.report.reference import NO_REFERENCE, compare_with_reference
from tests.report.test_records_board import PROVENANCE

STRATEGIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("REPRO_REFERENCE", "1")


def taus(by_seed, table_id="acghostnet_t06"):
    """A frame with kendall_tau of the four strategies, by seed."""
    rows = [
        {"adaptive_lr": a, "separate_warmup": w, "seed": seed, "kendall_tau": tau, "note": "a note"}
        for seed, values in by_seed.items()
        for (a, w), tau in zip(STRATEGIES, values)
    ]
    frame = pd.DataFrame(rows)
    frame.attrs = {"table_id": table_id, "preset": "quick", "dataset": "digits"}
    return frame


REFERENCE = {0: [0.10, 0.2, 0.3, 0.4], 1: [0.20, 0.2, 0.4, 0.5]}


def test_without_a_reference_record_the_line_says_so(results):
    cells, summary = compare_with_reference(taus(REFERENCE))
    assert cells.empty and summary == NO_REFERENCE
    save_record("acghostnet_t06", taus(REFERENCE), PROVENANCE | {"dataset": "cifar10"})
    assert compare_with_reference(taus(REFERENCE))[1] == NO_REFERENCE


def test_every_cell_is_the_same_within_noise_or_different(results):
    save_record("acghostnet_t06", taus(REFERENCE), PROVENANCE)
    cells, summary = compare_with_reference(taus({0: [0.10, 0.2, 0.35, 0.9], 1: [0.20, 0.2, 0.45, 0.95]}))
    assert cells["result"].tolist() == ["same", "same", "within noise", "different"]
    assert cells.loc[3, ["adaptive_lr", "separate_warmup", "column"]].tolist() == [1, 1, "kendall_tau"]
    assert (cells["yours"][3], cells["reference"][3]) == (pytest.approx(0.925), pytest.approx(0.45))
    assert summary == "yours against the reference: 4 cells, 2 same, 1 within noise, 1 different"


def test_the_same_number_before_rounding_counts_as_the_same(results):
    save_record("acghostnet_t06", taus({0: [0.12345678, 0.2, 0.3, 0.4]}), PROVENANCE)
    cells, _ = compare_with_reference(taus({0: [0.123456781234, 0.2, 0.3, 0.4]}))
    assert set(cells["result"]) == {"same"}


def test_fewer_seeds_are_compared_on_those_that_both_have(results):
    save_record("acghostnet_t06", taus(REFERENCE), PROVENANCE)
    assert set(compare_with_reference(taus({1: REFERENCE[1]}))[0]["result"]) == {"same"}


def test_one_seed_against_one_seed_leaves_no_room_for_noise(results):
    save_record("acghostnet_t06", taus({0: REFERENCE[0]}), PROVENANCE)
    cells, _ = compare_with_reference(taus({0: [0.10001, 0.2, 0.3, 0.4]}))
    assert cells["result"].tolist() == ["different", "same", "same", "same"]


def test_rows_of_one_side_only_are_counted(results):
    save_record("acghostnet_t06", taus(REFERENCE), PROVENANCE)
    _, summary = compare_with_reference(taus(REFERENCE).query("adaptive_lr == 0"))
    assert summary.endswith("2 cells, 2 same, 0 within noise, 0 different, 2 on one side only")


def test_given_spreads_bound_the_noise_and_are_no_cells_of_their_own(results):
    def pairs(mean, std):
        frame = pd.DataFrame(
            {
                "model": ["a3,a3", "c3,c3"],
                "train_accuracy_mean_pct": [mean, 98.0],
                "train_accuracy_std_pct": [std, 0.5],
                "train_rank": [4.0, 4.0],
                "n_seeds": [3, 3],
            }
        )
        frame.attrs = {"table_id": "acghostnet_t03", "preset": "quick", "dataset": "digits"}
        return frame

    save_record("acghostnet_t03", pairs(93.0, 1.0), PROVENANCE)
    cells, _ = compare_with_reference(pairs(94.0, 1.1))
    assert cells["column"].tolist() == ["train_accuracy_mean_pct", "train_rank"] * 2
    assert cells["result"].tolist() == ["within noise", "same", "same", "same"]
    assert compare_with_reference(pairs(96.0, 1.1))[0]["result"][0] == "different"


def test_a_figure_is_keyed_by_its_leading_columns_and_texts_must_be_equal(results):
    def layers(fits):
        frame = pd.DataFrame(
            {"op": ["conv", "conv", "adder", "adder"], "layer": [1, 2, 1, 2], "seed": 0, "better_fit": fits}
        )
        frame.attrs = {"table_id": "shiftaddaug_f02", "preset": "quick", "dataset": "digits"}
        return frame

    save_record("shiftaddaug_f02", layers(["gaussian"] * 2 + ["laplace"] * 2), PROVENANCE)
    cells, summary = compare_with_reference(layers(["gaussian"] * 3 + ["laplace"]))
    assert cells.columns.tolist() == ["op", "layer", "column", "yours", "reference", "result"]
    assert cells.iloc[2].tolist() == ["adder", 1, "better_fit", "gaussian", "laplace", "different"]
    assert summary == "yours against the reference: 4 cells, 3 same, 0 within noise, 1 different"
