"""Ours beside published: join on the key, spread over seeds, rounding to the printed digits, refusals."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import InputError
from repro.report import compare, published
from repro.report.compare import matches_printed
from repro.report.published import table_ids


def tau_rows(values_by_seed):
    rows = []
    for seed, values in enumerate(values_by_seed):
        for (adaptive, warmup), tau in zip([(0, 0), (0, 1), (1, 0), (1, 1)], values):
            rows.append({"adaptive_lr": adaptive, "separate_warmup": warmup, "seed": seed, "kendall_tau": tau})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("table_id", table_ids())
def test_a_published_table_matches_itself(table_id):
    frame = compare(table_id, published(table_id))
    known = frame["matches_printed"].dropna()
    assert len(known) > 0 and known.all()
    assert (frame["difference"].dropna() == 0).all()
    assert not frame["note"].str.contains("not run").any()


def test_mean_and_spread_over_seeds():
    frame = compare("acghostnet_t06", tau_rows([[-0.1, 0.2, 0.2, 0.4], [0.1, 0.2, 0.4, 0.8]]))
    first, last = frame.iloc[0], frame.iloc[3]
    assert (first["ours"], first["n_seeds"]) == (0.0, 2)
    assert last["ours"] == pytest.approx(0.6)
    assert last["std"] == pytest.approx(0.4 / math.sqrt(2))
    assert last["difference"] == pytest.approx(0.6 - 0.442)
    assert math.isnan(last["relative_error"])  # relative errors are for analytic columns
    assert not last["matches_printed"]


def test_rows_in_any_order_are_joined_on_the_key():
    ours = tau_rows([[-0.359, -0.153, 0.296, 0.442]]).drop(columns="seed").iloc[::-1]
    assert compare("acghostnet_t06", ours)["matches_printed"].all()


def test_relative_error_of_analytic_columns():
    ours = pd.DataFrame({"model": ["GhostNet-1.0x", "ACGhostNet-A"], "energy_uj": [197.8, 135.34]})
    frame = compare("acghostnet_t04", ours).set_index(["model", "column"])
    row = frame.loc[("GhostNet-1.0x", "energy_uj")]
    assert row["relative_error"] == pytest.approx(197.8 / 196.3 - 1)
    assert row["unit"] == "µJ" and not row["matches_printed"]
    assert frame.loc[("ACGhostNet-A", "energy_uj"), "matches_printed"]
    assert frame.loc[("ACGhostNet-B", "energy_uj"), "note"] == "not run"
    assert frame.loc[("ACGhostNet-A", "accuracy_pct"), "note"] == "not run"
    assert pd.isna(frame.loc[("ACGhostNet-A", "accuracy_pct"), "matches_printed"])


def test_mean_and_std_columns_are_understood():
    ours = pd.DataFrame(
        {"model": ["GhostNet-1.0x"], "cnn_accuracy_mean_pct": [75.564], "cnn_accuracy_pct_std": [0.2], "n_seeds": [3]}
    )
    row = compare("acghostnet_t01", ours).iloc[0]
    assert (row["ours"], row["std"], row["n_seeds"]) == (75.564, 0.2, 3)
    assert row["matches_printed"]


def test_printed_deviations_are_those_over_our_seeds():
    ours = pd.DataFrame({"model": ["a3,a3"] * 3, "seed": [0, 1, 2], "search_accuracy_mean_pct": [40.0, 41.0, 42.0]})
    frame = compare("acghostnet_t03", ours).set_index(["model", "column"])
    assert frame.loc[("a3,a3", "search_accuracy_std_pct"), "ours"] == 1.0
    assert frame.loc[("a3,a3", "search_accuracy_mean_pct"), "std"] == 1.0


def test_definitions_are_compared_as_text():
    ours = pd.DataFrame({"module_type": ["AAg1", "AAg2"], "groups": ["N", "N"]})
    frame = compare("acghostnet_t02", ours).set_index(["module_type", "column"])
    assert frame.loc[("AAg1", "groups"), "matches_printed"]
    assert not frame.loc[("AAg2", "groups"), "matches_printed"]


def test_a_data_set_that_the_paper_does_not_have_is_kept_beside():
    ours = pd.DataFrame({"model": ["MobileNetV2-w0.35"], "method": ["Shift"], "accuracy_pct": [80.0]})
    ours.attrs["dataset"] = "fashion-mnist"
    row = compare("shiftaddaug_t04", ours).iloc[-1]
    assert row["dataset"] == "fashion-mnist" and row["ours"] == 80.0 and math.isnan(row["published"])
    assert row["note"] == "the paper has no row for this data set"


def test_data_set_names_are_matched_without_case_or_hyphen_and_may_stand_for_another():
    ours = pd.DataFrame(
        {"model": ["MCUNet-in3"], "method": ["Shift"], "dataset": ["cifar-10"], "accuracy_pct": [90.61]}
    )
    frame = compare("shiftaddaug_t04", ours)
    assert frame["matches_printed"].sum() == 1
    ours["dataset"] = "fashion-mnist"
    ours.attrs["stands_for"] = {"fashion-mnist": "CIFAR10"}
    assert compare("shiftaddaug_t04", ours)["matches_printed"].sum() == 1


def test_text_and_number_columns_have_something_to_show_on_both_sides():
    definitions = compare("acghostnet_t02", published("acghostnet_t02"))
    assert (definitions["published_text"] == definitions["ours_text"]).all() and (definitions["ours_text"] != "").all()
    row = compare("acghostnet_t04", pd.DataFrame({"model": ["ACGhostNet-A"], "fadd_m": [71.04]})).set_index("column")
    assert row.loc["fadd_m", ["published_text", "ours_text"]].to_numpy().tolist()[2] == ["71", "71.0"]


def test_ranks_are_whole_and_follow_the_means_of_the_seeds():
    rows = [
        {
            "model": f"c{i},c{j}",
            "seed": seed,
            "search_accuracy_mean_pct": 10 * i + j + 3 * seed * (i == j),
            "search_rank": 9,
        }
        for i in (3, 5)
        for j in (3, 5)
        for seed in (0, 1)
    ]
    frame = compare("acghostnet_t03", pd.DataFrame(rows))
    ranks = frame[(frame["column"] == "search_rank") & frame["model"].str.startswith("c")].set_index("model")
    assert ranks["ours_text"].to_dict() == {"c5,c5": "1", "c5,c3": "2", "c3,c5": "3", "c3,c3": "4"}
    assert ranks["std"].isna().all() and set(ranks["n_seeds"]) == {2}


@pytest.mark.parametrize("frame", [{"seed": [0]}, {"n_seeds": [1]}])
def test_one_seed_has_no_spread(frame):
    ours = pd.DataFrame(
        {"model": ["a3,a3"], "search_accuracy_mean_pct": [40.0], "search_accuracy_std_pct": [0.0]} | frame
    )
    found = compare("acghostnet_t03", ours).set_index(["model", "column"]).loc["a3,a3"]
    assert math.isnan(found.loc["search_accuracy_mean_pct", "std"])
    assert found.loc["search_accuracy_std_pct", ["ours_text", "note"]].tolist() == ["", "one seed has no spread"]


@pytest.mark.parametrize(
    ("table_id", "ours", "message"),
    [
        ("acghostnet_t06", {"adaptive_lr": [1], "separate_warmup": [1], "kendal": [0.1]}, "Did you mean 'kendall_tau'"),
        ("acghostnet_t06", {"adaptive_lr": [1], "kendall_tau": [0.1]}, "lacks the key column separate_warmup"),
        ("acghostnet_t06", {"adaptive_lr": [2], "separate_warmup": [1]}, "'2' is not known"),
        ("acghostnet_t06", {"adaptive_lr": ["x"], "separate_warmup": [1]}, "holds numbers"),
        ("acghostnet_t04", {"model": ["GhostNet-1.0"], "accuracy_pct": [1.0]}, "Did you mean 'GhostNet-1.0x'"),
        ("acghostnet_t04", {"model": ["GhostNet-1.0x"], "accuracy_pct": ["high"]}, "is not a number"),
        ("acghostnet_t04", {"model": ["GhostNet-1.0x"] * 2, "accuracy_pct": [1.0, 2.0]}, "a column `seed` must tell"),
        ("acghostnet_t04", {"model": ["GhostNet-1.0x"] * 2, "seed": [1, 1]}, "both have seed=1"),
        ("shiftaddaug_t06", {"dataset": ["CIFAR10"], "method": ["ShiftAddAug"], "mult_free": [1]}, "but not together"),
        ("acghostnet_t4", {"model": ["GhostNet-1.0x"]}, "acghostnet_t04"),
    ],
)
def test_refusals_are_one_sentence(table_id, ours, message):
    with pytest.raises(InputError, match=message) as caught:
        compare(table_id, pd.DataFrame(ours))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "printed", "equal"),
    [
        (0.285, "0.29", True),
        (0.2849, "0.29", False),
        (74.5, "75", True),
        (75.5, "75", False),
        (-0.3585, "-0.359", True),
    ],
)
def test_rounding_is_half_up_in_decimal(value, printed, equal):
    assert matches_printed(value, printed) is equal


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.decimals(-999, 999, places=2), st.floats(-0.00499, 0.00499))
def test_anything_within_half_a_printed_digit_matches(printed, offset):
    assert matches_printed(float(printed) + offset, str(printed))
    assert not matches_printed(float(printed) + 0.011, str(printed))
