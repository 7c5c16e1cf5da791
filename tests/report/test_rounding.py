"""Numbers in frames and committed records have no digits that nobody measured."""

import json
import math
import re

import pandas as pd
import pytest

from repro.paths import results_root
from repro.report.rounding import tidy

FRAMES = [path for path in sorted(results_root().glob("*/*.csv")) if path.parent.name != "bench"]
RECORDS = [path for path in FRAMES if path.with_suffix(".json").exists() and path.parent.name != "tuning"]
"""Without extra frames of a record, and without what chose the settings, which is no published table."""


def test_percentages_have_four_decimals_and_other_numbers_eight_digits():
    rounded = tidy(pd.DataFrame({"top1_pct": [98.88888549804688, math.nan], "tau": [0.17821422454795177, -1e-20 / 3]}))
    assert rounded["top1_pct"][0] == 98.8889 and math.isnan(rounded["top1_pct"][1])
    assert list(rounded["tau"]) == [0.17821422, -3.3333333e-21]


def test_what_rounds_to_zero_has_no_minus():
    rounded = tidy(pd.DataFrame({"gain_pct": [-0.00001, -0.0], "tau": [-0.0, -0.5]}))
    assert [str(value) for value in rounded["gain_pct"]] == ["0.0", "0.0"]
    assert [str(value) for value in rounded["tau"]] == ["0.0", "-0.5"]


def test_a_count_keeps_its_last_operation():
    rounded = tidy(pd.DataFrame({"macs_m": [3857.973248], "macs_g": [10.636001281000001]}))
    assert list(rounded.iloc[0]) == [3857.973248, 10.636001281]


def test_whole_numbers_are_whole_and_stay_so_beside_empty_cells():
    frame = pd.DataFrame({"search_rank": [3.0, 1.0], "seed": [0.0, math.nan], "n_seeds": [2.0, 3.0], "score": [1.0, 2]})
    rounded = tidy(frame)
    assert [str(kind) for kind in rounded.dtypes] == ["int64", "Int64", "int64", "float64"]
    assert rounded["seed"][1] is pd.NA


def test_the_schema_says_which_columns_of_a_table_are_whole():
    frame = pd.DataFrame({"model": ["a"], "resolution_px": [224.0]})
    assert str(tidy(frame)["resolution_px"].dtype) == "float64"
    frame.attrs = {"table_id": "acghostnet_t05", "preset": "paper"}
    rounded = tidy(frame)
    assert str(rounded["resolution_px"].dtype) == "int64" and rounded.attrs == frame.attrs


def test_a_mean_rank_is_not_cut_to_a_whole_number():
    assert list(tidy(pd.DataFrame({"train_rank": [1.5, 2.0]}))["train_rank"]) == [1.5, 2.0]


def test_one_seed_has_no_spread():
    frame = pd.DataFrame({"accuracy_std_pct": [0.0, 0.75], "tau_std": [0.0, 0.0], "n_seeds": [1, 3]})
    rounded = tidy(frame)
    assert rounded["accuracy_std_pct"].isna().tolist() == [True, False]
    assert rounded["tau_std"].isna().tolist() == [True, False]


def test_texts_and_truth_values_stay_as_they_are():
    frame = pd.DataFrame({"note": ["0.123456789012", None], "n_of": ["N/2", "N"], "ours": [True, False]})
    pd.testing.assert_frame_equal(tidy(frame), frame)


def test_numbers_among_none_are_numbers():
    assert (
        list(tidy(pd.DataFrame({"top1_pct": pd.Series([None, 97.123456789], dtype=object)}))["top1_pct"])[1] == 97.1235
    )


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_committed_record_holds_digits_that_nobody_measured(path):
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    frame.attrs["table_id"] = path.parent.name
    assert tidy(frame).to_csv(index=False, lineterminator="\n") == path.read_text(encoding="utf-8")
    assert json.loads(path.with_suffix(".json").read_text())["table_id"] == path.parent.name


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_stored_number_has_float32_noise_behind_it(path):
    assert not re.search(r"\.0*[1-9]\d{9,}", path.read_text(encoding="utf-8"))
