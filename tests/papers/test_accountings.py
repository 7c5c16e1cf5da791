"""Claims, rankings and sentences under the three accountings."""

import pandas as pd
import pytest

from repro.papers.accountings import comparison as accountings
from repro.papers.acghostnet import traffic
from repro.papers.analytic import level_energies
from repro.papers.shiftaddaug.counts import OPERATORS, network
from repro.papers.shiftaddaug.t03 import computed
from repro.report import judge


def wide(published, unbiased, work="ImageNet"):
    count = len(published)
    frame = pd.DataFrame({"network": [f"n{i}" for i in range(count)], "operator": "conv"})
    return frame.assign(paper="P", workload=work, published=published, corrected=published, unbiased=unbiased)


def test_order_changes_name_the_pair_that_swapped():
    changes = accountings.order_changes(wide([1.0, 2.0, 3.0], [2.0, 1.0, 3.0]))
    assert changes[["accounting", "cheaper_published", "cheaper_now"]].values.tolist() == [
        ["unbiased", "n0 (conv)", "n1 (conv)"]
    ]


def test_networks_of_different_work_are_not_ranked_against_each_other():
    both = pd.concat([wide([1.0], [2.0]), wide([2.0], [1.0], work="CIFAR-10")])
    assert accountings.order_changes(both).empty
    assert accountings.order_summary(both)["pairs"].tolist() == [0, 0]


def test_workloads_go_by_resolution():
    assert accountings.workload("ShiftAddNAS", float("nan")) == "translation"
    assert accountings.workload("ACGhostNet", 32) == "CIFAR-10"
    assert accountings.workload("ACGhostNet", 224) == "ImageNet"


def test_claims_are_judged_under_each_accounting():
    claims = accountings.claims_by_accounting(["shiftaddaug_t03"]).set_index("id")
    assert claims.loc["shiftaddaug-c22", ["published", "unbiased"]].tolist() == ["reproduced", "not reproduced"]
    assert claims.loc["shiftaddaug-c25"].isin(["printed arithmetic"]).any()  # no accounting can change it
    assert set(claims["unbiased"].drop("shiftaddaug-c25")) == {"not reproduced"}


def test_savings_that_were_computed_from_printed_energies_are_known_to_their_digits():
    """shiftaddaug-c19: the printed savings follow from rounded energies, exact ones are up to 0.02 points off."""
    ours = computed()
    assert judge("shiftaddaug-c19", {"shiftaddaug_t03": ours}).status == "reproduced"
    shifted = ours.assign(energy_mj=ours["energy_mj"].where(ours["method"] != "Shift", 1.003 * ours["energy_mj"]))
    shifted.attrs = ours.attrs
    assert judge("shiftaddaug-c19", {"shiftaddaug_t03": shifted}).status == "not reproduced"


def test_operators_share_their_traffic_without_bias():
    layers = {op: network("MobileNetV2-w0.35", op)[1] for op in OPERATORS}
    levels = level_energies(layers)
    moved = (
        levels[(levels["level"] != "compute") & (levels["accounting"] == "unbiased")]
        .groupby("operator")["energy_mj"]
        .sum()
    )
    assert moved.max() == pytest.approx(moved.min(), rel=1e-12)


def test_traffic_shrinks_the_savings_of_the_searched_networks():
    table = traffic.savings("acghostnet_t04")
    assert (table["with_traffic_low_pct"] <= table["with_traffic_high_pct"]).all()
    assert (table["with_traffic_high_pct"] < table["operations_only_pct"]).all()


def test_sentences_follow_the_numbers():
    saved = pd.DataFrame([("P", "n", "shift", 70.0, 70.0, 7.0)])
    saved.columns = ["paper", "network", "operator", "published_pct", "corrected_pct", "unbiased_pct"]
    claims = pd.DataFrame([("c1", "reproduced", "reproduced", "not reproduced")])
    claims.columns = ["id", "published", "corrected", "unbiased"]
    sentences = " ".join(accountings.conclusion(claims, wide([1.0, 2.0], [2.0, 1.0]), saved))
    assert "saves 70 %" in sentences and "90 % of the published saving" in sentences
    assert "Of 1 pairs" in sentences and "c1" in sentences
