"""Verdicts on results of ours: every status, resampling over seeds and examples, criteria that cover every claim."""

import pandas as pd
import pytest

from repro.errors import InputError
from repro.report import criteria, judge, judge_all, published, published_tables
from repro.report.verdicts import STATUSES, front_scores

STRATEGIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def taus(*seeds, preset="study", dataset="digits"):
    rows = [
        {"adaptive_lr": a, "separate_warmup": w, "seed": seed, "kendall_tau": tau}
        for seed, values in enumerate(seeds)
        for (a, w), tau in zip(STRATEGIES, values)
    ]
    frame = pd.DataFrame(rows)
    frame.attrs = {"preset": preset, "dataset": dataset}
    return {"acghostnet_t06": frame}


def as_ours(table_id, **attrs):
    frame = published(table_id)
    frame.attrs = {"preset": "paper"} | attrs
    return frame


def test_the_papers_own_numbers_as_ours_never_contradict_the_recorded_verdicts():
    tables = {table_id: as_ours(table_id) for table_id in published_tables()}
    found = judge_all(tables)
    assert set(found["status"]) <= set(STATUSES)
    expected = {"true": "reproduced", "false": "not reproduced"}
    decided = found[found["status"].isin(expected.values()) & (found["published"] != "na")]
    assert len(decided) > 45
    for row in decided.itertuples():
        assert row.status == expected[row.published], row.claim_id
    # One row per key is one seed: nothing measured may be called decided.
    kinds = criteria().set_index("claim_id")["kind"]
    assert set(kinds[decided["claim_id"]]) <= {"analytic", "text"}


def test_clear_seeds_reproduce_and_contradict():
    clear = taus([-0.3, -0.1, 0.2, 0.5], [-0.25, -0.12, 0.25, 0.45], [-0.28, -0.09, 0.22, 0.48])
    best = judge("acghostnet-c33", clear)
    assert (best.status, best.share) == ("reproduced", 1.0)
    assert "0.4767" in best.evidence and "study on digits" in best.evidence
    reversed_order = taus([0.5, 0.3, 0.1, -0.2], [0.45, 0.28, 0.12, -0.22], [0.48, 0.3, 0.11, -0.25])
    assert judge("acghostnet-c33", reversed_order).status == "not reproduced"


def test_seeds_that_disagree_leave_a_claim_undecided():
    verdict = judge("acghostnet-c33", taus([0.1, 0.2, 0.3, 0.2], [0.1, 0.2, 0.2, 0.4], [0.1, 0.2, 0.35, 0.3]))
    assert verdict.status == "undecided"
    assert 0.025 < verdict.share < 0.975


def test_resampling_is_repeatable():
    ours = taus([0.1, 0.2, 0.3, 0.2], [0.1, 0.2, 0.2, 0.4])
    assert judge("acghostnet-c35", ours) == judge("acghostnet-c35", ours)


def test_one_seed_of_a_measured_column_is_undecided():
    verdict = judge("acghostnet-c33", taus([-0.3, -0.1, 0.2, 0.5]))
    assert verdict.status == "undecided" and "One seed" in verdict.evidence


def test_a_mean_with_its_deviation_is_drawn_from_students_t():
    frame = pd.DataFrame({"adaptive_lr": [0, 0, 1, 1], "separate_warmup": [0, 1, 0, 1], "n_seeds": 3})
    frame["kendall_tau_mean"] = [-0.3, -0.1, 0.2, 0.5]
    frame.attrs = {"preset": "study", "dataset": "digits"}
    assert judge("acghostnet-c33", {"acghostnet_t06": frame.assign(kendall_tau_std=0.01)}).status == "reproduced"
    assert judge("acghostnet-c33", {"acghostnet_t06": frame.assign(kendall_tau_std=0.5)}).status == "undecided"


def test_smoke_runs_decide_nothing_measured():
    verdict = judge("acghostnet-c33", taus([0, 0, 0, 1], [0, 0, 0, 1], preset="smoke"))
    assert verdict.status == "not applicable at this preset" and "smoke" in verdict.evidence


def test_missing_tables_and_cells_name_the_command():
    absent = judge("acghostnet-c33", {})
    assert absent.status == "not run" and "python -m repro table acghostnet_t06 --preset quick" in absent.evidence
    partial = taus([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    partial["acghostnet_t06"] = partial["acghostnet_t06"].query("separate_warmup == 1")
    verdict = judge("acghostnet-c33", partial)
    assert verdict.status == "not run" and "cells empty" in verdict.evidence


def test_rows_that_were_not_run_cannot_make_a_universal_claim_true():
    ours = published("shiftaddaug_t03").query("model == 'MobileNetV2-w0.35'")
    ours = pd.concat([ours.assign(seed=seed) for seed in (0, 1)])
    ours.attrs = {"preset": "study", "dataset": "cifar100"}
    verdict = judge("shiftaddaug-c03", {"shiftaddaug_t03": ours})
    assert verdict.status == "not run" and "On what was run the criterion holds" in verdict.evidence


def test_magnitudes_are_for_the_papers_preset_and_data_set_only():
    frame = pd.concat([as_ours("shiftaddaug_t03").assign(seed=seed) for seed in (0, 1)])
    for preset, dataset, status in [
        ("quick", "cifar100", "not applicable at this preset"),
        ("paper", "digits", "not applicable at this preset"),
        ("paper", "cifar100", "reproduced"),
    ]:
        frame.attrs = {"preset": preset, "dataset": dataset}
        assert judge("shiftaddaug-c07", {"shiftaddaug_t03": frame}).status == status


def test_analytic_claims_need_no_seeds_and_no_preset():
    frame = published("shiftaddaug_t03")[["model", "method", "energy_mj", "latency_ms"]]
    assert judge("shiftaddaug-c22", {"shiftaddaug_t03": frame}).status == "reproduced"
    frame.loc[frame["method"] == "Shift", "energy_mj"] = 99.0
    assert judge("shiftaddaug-c22", {"shiftaddaug_t03": frame}).status == "not reproduced"


@pytest.mark.parametrize(
    ("claim_id", "status"),
    [
        ("acghostnet-c06", "reproduced"),
        ("autoshiftnet-c42", "not reproduced"),
        ("cross-c01", "not applicable at this preset"),
        ("shiftaddnas-c51", "not run"),
    ],
)
def test_claims_that_need_no_tables(claim_id, status):
    assert judge(claim_id, {}).status == status


def test_ranks_follow_the_means_of_the_seeds_and_not_the_ranks_given():
    frame = published("acghostnet_t03")
    runs = pd.concat([frame.assign(seed=s, search_rank=1, train_rank=4) for s in range(2)])
    runs.attrs = {"preset": "study", "dataset": "digits"}
    assert judge("acghostnet-c09", {"acghostnet_t03": runs}).status == "reproduced"


def curves(heights):
    rows = [
        {"panel": p, "setting": s, "seed": seed, "energy_uj": e, "accuracy_pct": h + e + seed / 10}
        for (p, s), h in heights.items()
        for seed in range(3)
        for e in (1.0, 2.0, 4.0)
    ]
    frame = pd.DataFrame(rows)
    frame.attrs = {"preset": "study", "dataset": "digits"}
    return frame


def test_figure_three_is_judged_on_the_height_of_its_curves():
    heights = {("warmup", "none"): 50, ("warmup", "separate 70%"): 60, ("warmup", "separate 40%"): 40}
    heights |= {("adaptive_lr", "both operators"): 50, ("adaptive_lr", "adders only"): 55}
    frame = curves(heights)
    assert judge("acghostnet-c38", {"acghostnet_f03": frame}).status == "reproduced"
    assert judge("acghostnet-c39", {"acghostnet_f03": frame}).status == "not reproduced"


def test_front_scores_use_energies_that_every_curve_reaches():
    frame = pd.DataFrame(
        {
            "panel": "p",
            "setting": ["a", "a", "b", "b"],
            "energy_uj": [1.0, 3.0, 2.0, 4.0],
            "accuracy_pct": [10.0, 20.0, 30.0, 25.0],
        }
    )
    scores = front_scores(frame).set_index("setting")["front_score"]
    assert scores["a"] == pytest.approx((10 + 20 + 20) / 3)  # at energies 2, 3 and 4
    assert scores["b"] == 30.0


def test_figures_five_and_six_have_machine_checkable_criteria():
    modules = pd.DataFrame(
        [
            {"model": m, "stage": str(s), "block": b, "first_op": "conv", "second_op": "conv" if b == 0 else "adder"}
            for m in "ABCD"
            for s in range(6)
            for b in (0, 1)
        ]
    )
    modules.attrs = {"preset": "study", "dataset": "digits"}
    assert judge("acghostnet-c40", {"acghostnet_f05": modules}).status == "reproduced"
    modules.loc[1, "first_op"] = "adder"
    modules.loc[modules["stage"] == "5", "second_op"] = "adder"
    assert judge("acghostnet-c40", {"acghostnet_f05": modules}).status == "not reproduced"
    blocks = pd.DataFrame({"block": list(range(16)), "seed": 0, "flops_m": 1.0, "energy_uj": 1.0})
    blocks = pd.concat([blocks.assign(seed=s) for s in range(2)])
    blocks.loc[blocks["block"].isin([1, 10]), "flops_m"] = 9.0
    blocks.loc[blocks["block"] == 11, "energy_uj"] = 9.0
    blocks.attrs = {"preset": "study", "dataset": "digits"}
    assert judge("acghostnet-c41", {"acghostnet_f06": blocks}).status == "reproduced"


def test_divergence_counts_only_when_it_is_repeated():
    runs = published("shiftaddaug_t03")[["model", "method", "status"]]
    runs.attrs = {"preset": "study", "dataset": "digits"}
    assert judge("shiftaddaug-c28", {"shiftaddaug_t03": runs}).status == "undecided"
    twice = pd.concat([runs.assign(seed=seed) for seed in (0, 1)])
    twice.attrs = runs.attrs
    assert judge("shiftaddaug-c28", {"shiftaddaug_t03": twice}).status == "reproduced"


def test_unknown_claim_and_wrong_schema_are_refused():
    with pytest.raises(InputError, match="acghostnet-c33"):
        judge("acghostnet-c333", {})
    with pytest.raises(InputError, match="does not belong to acghostnet_t06"):
        judge("acghostnet-c33", {"acghostnet_t06": pd.DataFrame({"accuracy": [1.0]})})
