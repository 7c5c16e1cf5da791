"""Verdicts on results of ours: every status, what gates a comparison, seeds and test images, searches, evidence."""

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError
from repro.papers import ranking
from repro.report import cell_words, claims, criteria, evidence, judge, judge_all, published, published_tables
from repro.report.evidence import chance_agreement
from repro.report.verdicts import AGREES, NOT_INFORMATIVE, PRINTED, STATUSES, Criterion, Offer
from tests.report.evidence_frames import MODELS, answers, from_answers, models, taus, widths, with_facts

CLEAR = ([-0.3, -0.1, 0.2, 0.5], [-0.25, -0.12, 0.25, 0.45], [-0.28, -0.09, 0.22, 0.48])


def as_ours(table_id, **attrs):
    frame = published(table_id)
    frame.attrs = {"preset": "paper"} | attrs
    return frame


def test_the_papers_own_numbers_as_ours_never_contradict_the_recorded_verdicts():
    tables = {table_id: as_ours(table_id) for table_id in published_tables()}
    found = judge_all(tables)
    assert set(found["status"]) <= set(STATUSES)
    kinds, own = (criteria().set_index("claim_id")[name] for name in ("kind", "check"))
    decided = found[found["status"].isin(("reproduced", "not reproduced", AGREES)) & (found["published"] != "na")]
    assert len(decided) > 30 and set(decided["status"]) >= {"reproduced", AGREES}
    # One row per key is one seed: only what is exact may be called decided.
    measured = decided[~kinds[decided["claim_id"]].isin(["analytic"]).to_numpy()]
    assert set(measured["status"]) <= {"not reproduced", AGREES} and (measured["seeds"] <= 1).all()
    for row in decided.itertuples():
        if not own[row.claim_id]:
            assert row.status == {"true": "reproduced", "false": AGREES}[row.published], row.claim_id


def test_clear_seeds_reproduce_and_contradict():
    best = judge("acghostnet-c33", taus(*CLEAR))
    assert (best.status, best.seeds, len(best.intervals)) == ("reproduced", 3, 3)
    assert all(low > 0 for low, _ in best.intervals)
    assert "0.4767 ±" in best.evidence and "study on digits" in best.evidence and "3 seeds" in best.evidence
    assert "95 % interval" in best.evidence
    reversed_order = [[0.5, 0.3, 0.1, -0.2], [0.45, 0.28, 0.12, -0.22], [0.48, 0.3, 0.11, -0.25]]
    assert judge("acghostnet-c33", taus(*reversed_order)).status == "not reproduced"


@pytest.mark.parametrize("tau,status", [(-0.02, NOT_INFORMATIVE), (0.09, NOT_INFORMATIVE), (0.12, "reproduced")])
def test_where_trainings_do_not_repeat_an_order_none_can_be_predicted(tau, status):
    tables = taus(*CLEAR)
    extra = {"repeatability": pd.DataFrame([{"seeds": 3, "networks": 64, "kendall_tau": tau}])}
    tables["acghostnet_t06"].attrs["extra"] |= extra
    verdict = judge("acghostnet-c33", tables)
    assert verdict.status == status
    assert ("3 trainings of the same 64 networks agree with" in verdict.evidence) == (status != "reproduced")


@pytest.mark.parametrize("statistic", ["kendall_tau", "pearson_r", "spearman_rho"])
def test_unrelated_rankings_agree_by_chance_within_the_limit(statistic):
    draw = np.random.default_rng(0)
    found = [ranking.ceiling(draw.standard_normal((16, 3)))[statistic] for _ in range(2000)]
    above = np.mean(np.array(found) > chance_agreement(statistic, 16, 3))
    assert 0.01 < above < 0.05


def test_seeds_that_disagree_leave_a_claim_undecided_and_say_how_many_would_do():
    verdict = judge("acghostnet-c33", taus([0.1, 0.2, 0.3, 0.35], [0.1, 0.2, 0.2, 0.4], [0.1, 0.2, 0.35, 0.3]))
    assert verdict.status == "undecided" and any(low < 0 < high for low, high in verdict.intervals)
    assert "seeds would decide it" in verdict.evidence


def test_a_verdict_is_repeatable():
    assert judge("acghostnet-c33", taus(*CLEAR)) == judge("acghostnet-c33", taus(*CLEAR))


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_of_a_small_table_are_undecided(seeds):
    verdict = judge("acghostnet-c33", taus(*CLEAR[:seeds]))
    assert (verdict.status, verdict.seeds) == ("undecided", seeds)
    assert "At least 3 seeds are needed" in verdict.evidence


def test_equal_values_never_win():
    verdict = judge("acghostnet-c33", taus(*[[0.3] * 4] * 3))
    assert verdict.status == "undecided"


def test_the_rounding_of_equal_numbers_is_no_spread():
    """An energy that is the same for every seed read "0.003956 ± 4e-15"."""
    shown = [
        cell_words.measured_text(value, spread)
        for value, spread in ((0.003956, 4e-15), (44.2, 0.51), (1.0, np.nan), (0, 0))
    ]
    assert shown == ["0.003956", "44.2 ± 0.51", "1", "0"]


@pytest.mark.parametrize(
    ("values", "told", "shown"),
    [
        ([1.0], ["1 ± 0.1"], "1 ± 0.1 %"),
        ([1.0, 3.0], ["1", "3"], "a 1, b 3 %"),
        ([0.0] * 12, ["0"] * 12, "0 % (12 rows)"),
        ([4.0, 9.0, np.nan, 2.0, 5.0, 6.0, 7.0], list("49-2567"), "7 rows from 2 % (d) to 9 % (b)"),
    ],
    ids=["one", "a few", "all alike", "many"],
)
def test_evidence_names_the_rows_of_a_few_cells_and_the_ends_of_many(values, told, shown):
    assert cell_words.numbers_text(values, told, list("abcdefghijkl")[: len(told)], "%") == shown


def test_evidence_counts_words_over_rows_and_seeds():
    assert cell_words.words_text(["ok", "dead", "ok"]) == "ok (2), dead (1)"
    assert cell_words.words_text(["dead"]) == "dead"


def test_the_architectures_that_were_ranked_are_part_of_taus_uncertainty():
    draws = 0.4 * np.random.default_rng(0).standard_normal((200, 4))
    assert judge("acghostnet-c33", taus(*CLEAR, draws=draws)).status == "undecided"
    assert judge("acghostnet-c33", taus(*CLEAR, draws=draws / 100)).status == "reproduced"


def test_a_mean_with_its_deviation_counts_as_its_seeds():
    frame = pd.DataFrame({"adaptive_lr": [0, 0, 1, 1], "separate_warmup": [0, 1, 0, 1], "n_seeds": 3})
    frame["kendall_tau_mean"] = [-0.3, -0.1, 0.2, 0.5]
    for deviation, status in ((0.01, "reproduced"), (0.5, "undecided")):
        ours = with_facts(frame.assign(kendall_tau_std=deviation))
        verdict = judge("acghostnet-c33", {"acghostnet_t06": ours})
        assert (verdict.status, verdict.seeds) == (status, 3)


# ------------------------------------------------------------------ test images


def test_test_images_are_part_of_the_uncertainty():
    few, many = (widths([4, 4, 4], images=n, sd=0.1) for n in (200, 20000))
    assert judge("acghostnet-c01", many).status == "reproduced"
    verdict = judge("acghostnet-c01", few)
    assert verdict.status == "undecided" and "200 test images" in verdict.evidence
    assert judge("acghostnet-c01", widths([-8, 8, 8])).status == "not reproduced"


def test_a_difference_is_judged_on_its_two_sides():
    """The gap of table 1 is not in the frame; it takes seeds and images of both networks."""
    verdict = judge("acghostnet-c02", widths([5, 10, 15]))
    assert verdict.status == "reproduced" and "2000 test images" in verdict.evidence
    assert judge("acghostnet-c02", widths([5, 5, 5])).status == "undecided"


def test_where_the_answers_were_not_kept_the_evidence_says_so():
    verdict = judge("acghostnet-c01", widths([9, 9, 9], keep=False))
    assert verdict.status == "reproduced" and "test images' sampling not included" in verdict.evidence
    assert "not included" not in judge("acghostnet-c01", widths([9, 9, 9])).evidence


def test_answers_of_another_run_are_refused():
    ours = widths([9, 9, 9])
    ours["acghostnet_t01"]["cnn_accuracy_pct"] += 1
    with pytest.raises(InputError, match="belong to another run"):
        judge("acghostnet-c01", ours)


def test_equal_methods_are_rarely_decided():
    """Two equal networks at three widths: at most 5 % of each false verdict."""
    statuses = []
    for table in range(130):
        ours = widths([0, 0, 0], images=360, sd=0.75, base=80.0, seed=table)
        statuses += [judge("acghostnet-c01", ours).status]
    assert statuses.count("reproduced") <= 0.05 * len(statuses)
    assert statuses.count("not reproduced") <= 0.05 * len(statuses)


# ------------------------------------------------------------------ what a preset and a data set can tell


def test_presets_that_the_criterion_does_not_name_decide_nothing():
    verdict = judge("acghostnet-c33", taus(*CLEAR, preset="smoke"))
    assert verdict.status == NOT_INFORMATIVE and "smoke" in verdict.evidence and "python" not in verdict.evidence
    offers = [Offer("quick", "digits"), Offer("study", "digits"), Offer("study", "cifar10")]
    advised = judge("acghostnet-c33", taus(*CLEAR, preset="smoke"), offers_of=lambda name: offers)
    assert advised.evidence.endswith("Run: python -m repro table acghostnet_t06 --preset study --dataset cifar10.")


def test_data_sets_that_the_criterion_does_not_name_decide_nothing():
    verdict = judge("acghostnet-c33", taus(*CLEAR, dataset="fashion-mnist"))
    assert verdict.status == NOT_INFORMATIVE and "judged on cifar10 or digits" in verdict.evidence


def test_a_command_is_named_only_where_it_would_help():
    assert judge("acghostnet-c33", {}).evidence == "No record of acghostnet_t06."

    def advised(claim_id, *offers):
        verdict = judge(claim_id, {}, offers_of=lambda name: offers)
        assert verdict.status == "not run"
        return verdict.evidence.partition(" Run: ")[2].rstrip(".").split("; ")

    command = "python -m repro table {} --preset {} --dataset {}".format
    study, paper = Offer("study", "digits"), Offer("paper", "cifar10")
    assert advised("acghostnet-c33", Offer("smoke", "digits"), study, paper) == [
        command("acghostnet_t06", "study", "digits")
    ]
    assert advised("acghostnet-c33", Offer("quick", "digits")) == [""]
    assert advised("acghostnet-c33", Offer("study", "glyphs")) == [""]  # the claim is not judged on them
    # a number is one for the paper's data set; a claim about several data sets takes as many runs
    names = {"flowers102": "Flower102"}
    rows = published("shiftaddaug_t04")["dataset"]
    offers = [
        Offer("paper", name, frozenset(rows.index[rows == printed]), names)
        for name, printed in (("food101", "Food101"), ("flowers102", "Flower102"), ("cifar10", "CIFAR10"))
    ]
    flowers, ten = (command("shiftaddaug_t04", "paper", name) for name in ("flowers102", "cifar10"))
    assert advised("shiftaddaug-c31", *offers) == [flowers]
    assert advised("shiftaddaug-c33", *offers) == [flowers, ten]
    assert advised("shiftaddaug-c34", *offers) == [""]  # ImageNet, Cars and Pets are left
    # a claim that reads two tables asks for both
    assert advised("shiftaddaug-c58", Offer("study", "cifar10")) == [
        command(name, "study", "cifar10") for name in ("shiftaddaug_t08", "shiftaddaug_t07")
    ]


def test_missing_cells_are_not_run():
    partial = taus(*CLEAR)
    frame = partial["acghostnet_t06"]
    partial["acghostnet_t06"] = with_facts(frame.query("separate_warmup == 1"))
    verdict = judge("acghostnet-c33", partial)
    assert verdict.status == "not run" and "cells empty" in verdict.evidence


def test_rows_that_were_not_run_cannot_make_a_universal_claim_true():
    ours = published("shiftaddaug_t03").query("model == 'MobileNetV2-w0.35'")
    ours = with_facts(pd.concat([ours.assign(seed=seed) for seed in range(3)]), dataset="cifar100")
    verdict = judge("shiftaddaug-c03", {"shiftaddaug_t03": ours})
    assert verdict.status == "not run" and "On the means of what was run the criterion holds" in verdict.evidence


def augmented(sd=0.02, gain=0.0):
    """Table 3 of ShiftAddAug with the printed accuracies, three seeds."""
    generator = np.random.default_rng(3)
    frames = [published("shiftaddaug_t03").assign(seed=seed) for seed in range(3)]
    frame = pd.concat(frames, ignore_index=True)
    frame["accuracy_pct"] += sd * generator.standard_normal(len(frame)) + gain * (frame["method"] == "AugShift")
    return frame


def test_magnitudes_are_for_the_papers_preset_and_data_set_only():
    frame = augmented()
    for preset, dataset, status in [
        ("study", "cifar100", NOT_INFORMATIVE),
        ("paper", "digits", NOT_INFORMATIVE),
        ("paper", "cifar100", "reproduced"),
    ]:
        assert judge("shiftaddaug-c07", {"shiftaddaug_t03": with_facts(frame, preset, dataset)}).status == status


def test_a_printed_mean_must_lie_in_an_interval_that_leaves_out_zero():
    for sd, gain, status in [(0.02, 0.0, "reproduced"), (0.02, 1.0, "not reproduced"), (9.0, 0.0, "undecided")]:
        ours = {"shiftaddaug_t03": with_facts(augmented(sd=sd, gain=gain), "paper", "cifar100")}
        assert judge("shiftaddaug-c07", ours).status == status


def test_a_mean_gain_tells_which_rows_hold_by_themselves():
    verdict = judge("shiftaddaug-c03", {"shiftaddaug_t03": with_facts(augmented(), dataset="cifar100")})
    assert verdict.status == "reproduced" and "5 of 5 rows hold by themselves (Holm)" in verdict.evidence
    noisy = judge("shiftaddaug-c03", {"shiftaddaug_t03": with_facts(augmented(sd=3.0), dataset="cifar100")})
    assert "of 5 rows hold" in noisy.evidence and "5 of 5" not in noisy.evidence


# ------------------------------------------------------------------ counts and energies


def test_analytic_claims_need_no_seeds_and_no_preset():
    frame = published("shiftaddaug_t03")[["model", "method", "energy_mj", "latency_ms"]]
    assert judge("shiftaddaug-c22", {"shiftaddaug_t03": frame}).status == "reproduced"
    frame.loc[frame["method"] == "Shift", "energy_mj"] = 99.0
    assert judge("shiftaddaug-c22", {"shiftaddaug_t03": frame}).status == "not reproduced"


def known_networks(**macs_g):
    frame = pd.DataFrame({"model": [name.replace("_", "-") for name in macs_g], "macs_g": macs_g.values(), "block": 2})
    frame["model"] = frame["model"].replace({"T1": "ShiftAddNAS-T1↑"})
    return {"shiftaddnas_t04": with_facts(frame, "paper", "architecture")}


def test_an_exact_part_refutes_a_conjunction_whatever_is_missing_beside_it():
    verdict = judge("shiftaddnas-c25", known_networks(T1=8.43, BossNAS_T1=7.94))  # and no Autoformer-B
    assert verdict.status == AGREES and "This alone refutes the claim. Missing: macs_g[model ==" in verdict.evidence
    assert "8.43" in verdict.evidence and "7.94" in verdict.evidence
    verdict = judge("shiftaddnas-c25", known_networks(T1=7.43, BossNAS_T1=7.94))
    assert verdict.status == "not run" and verdict.evidence.startswith("Missing: macs_g[model == 'Autoformer-B']")


T1, BOSS, AUTO = (f"macs_g[model == '{name}']" for name in ("ShiftAddNAS-T1↑", "BossNAS-T1", "Autoformer-B"))


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (f"all({T1} <= macs_g[model in ('BossNAS-T1', 'Autoformer-B')])", AGREES),  # one row is known to fail
        (f"{AUTO} > 1 and (macs_g[model == 'HR-NAS'] > 1 and {T1} <= {BOSS})", AGREES),
        (f"all({T1} <= max(macs_g[model in ('BossNAS-T1', 'Autoformer-B')]))", "not run"),  # the largest is not known
        ("not all(macs_g[model in ('BossNAS-T1', 'Autoformer-B')] > 1)", "not run"),
        (f"{T1} <= {BOSS} or {AUTO} > 1", "not run"),
        (f"{AUTO} > 1 and top1_pct[model == 'BossNAS-T1'] > 99", "not run"),  # measured
    ],
)
def test_what_is_missing_could_change_all_but_an_exact_part(check, status, monkeypatch):
    frame = known_networks(T1=8.43, BossNAS_T1=7.94)["shiftaddnas_t04"]
    frame["top1_pct"] = 80.0
    asked = Criterion("direction", "any", (), check, "")
    monkeypatch.setattr("repro.report.verdicts.criterion", lambda claim_id: asked)
    assert judge("shiftaddnas-c25", {"shiftaddnas_t04": frame}).status == status


@pytest.mark.parametrize(
    ("facts", "decides"),
    [
        ({"preset": "quick", "dataset": "digits"}, False),
        ({"preset": "study", "dataset": "cifar10"}, False),
        ({"preset": "study", "dataset": "cifar10", "paper_size": True}, True),
        ({"preset": "paper", "dataset": "architecture"}, True),
        ({"preset": "paper", "dataset": "cifar10"}, True),
    ],
)
def test_sizes_are_judged_at_the_papers_size(facts, decides):
    frame = published("shiftaddaug_t03")[["model", "method", "energy_mj", "latency_ms"]]
    frame.attrs = facts
    verdict = judge("shiftaddaug-c22", {"shiftaddaug_t03": frame})
    assert verdict.status == ("reproduced" if decides else NOT_INFORMATIVE)


@pytest.mark.parametrize(
    ("savings", "status"),
    [
        ([0.30, 0.31, 0.29], "reproduced"),
        ([0.30, 0.31, 0.20], "undecided"),
        ([0.10, 0.20, 0.15], "not reproduced"),
        ([0.30, 0.30], "undecided"),
    ],
)
def test_searched_networks_are_counted_at_the_papers_size_search_by_search(savings, status):
    energies = [[200, 88, 200 * (1 - saving), 157, 165, 185] for saving in savings]
    verdict = judge("acghostnet-c13", models([90] * 6, energies, seeds=len(savings)))
    assert (verdict.status, verdict.seeds) == (status, len(savings))
    small = judge("acghostnet-c13", models([90] * 6, energies, seeds=len(savings), paper_size=False))
    assert small.status == NOT_INFORMATIVE and "paper's size" in small.evidence


def test_a_mixed_claim_takes_its_energies_exactly_and_its_accuracies_by_tests():
    above = [90, 80, 90, 92, 92, 92]
    assert judge("acghostnet-c15", models(above)).status == "reproduced"
    dear = judge("acghostnet-c15", models(above, (196, 88, 135, 157, 165, 200)))
    assert dear.status == "not reproduced"
    assert judge("acghostnet-c15", models([90, 80, 90, 92, 92, 90])).status == "undecided"
    assert judge("acghostnet-c15", models(above, paper_size=False)).status == NOT_INFORMATIVE


def test_a_margin_is_not_counted_into_the_difference_that_is_shown():
    verdict = judge("acghostnet-c14", models([90, 80, 89.9, 92, 92, 92], sd=0.02))
    assert verdict.status == "reproduced"
    (low, high) = verdict.intervals[0]
    assert low < -0.1 < high and "ACGhostNet-A minus GhostNet-1.0x -0.1 points" in verdict.evidence


def test_the_papers_networks_are_called_proposed():
    verdict = judge("acghostnet-c18", models([90, 80, 90, 92, 92, 92]))
    assert "energy_uj[proposed]" in verdict.evidence and "ours == 1" not in verdict.evidence


def test_trainings_of_one_search_are_one_seed():
    ours = models([90, 80, 90, 92, 92, 92], seeds=4)
    frame = ours["acghostnet_t04"]
    searched = frame["model"].str.startswith("ACGhostNet")
    runs = with_facts(frame.assign(search_seed=(frame["seed"] // 2).where(searched)), **frame.attrs["extra"])
    assert judge("acghostnet-c14", {"acghostnet_t04": runs}).seeds == 2  # two searches, whatever was trained of them
    assert judge("acghostnet-c14", ours).seeds == 4


# ------------------------------------------------------------------ what decides nothing


def test_networks_at_chance_decide_nothing():
    verdict = judge("acghostnet-c16", models([10.0] * 6))
    assert verdict.status == NOT_INFORMATIVE and "near chance" in verdict.evidence
    one_dead = judge("acghostnet-c16", models([90, 10, 90, 91, 91, 92]))
    assert one_dead.status == NOT_INFORMATIVE and "Adder-GhostNet-1.0x" in one_dead.evidence
    reversed_elsewhere = judge("acghostnet-c15", models([95, 80, 90, 10, 92, 92]))
    assert reversed_elsewhere.status == "not reproduced"  # models C and D are below, whatever B did


def test_chance_is_three_deviations_where_the_images_are_known_and_half_again_where_not():
    def t04(accuracy, keep):
        generator = np.random.default_rng(0)
        right = {}
        for place, name in enumerate(MODELS):
            share = accuracy if name.startswith("Adder") else 60 + 10 * place
            right[name, "accuracy_pct"] = np.array([generator.random(2000) < share / 100 for _ in range(3)])
        sized = models([0] * 6)["acghostnet_t04"].attrs["extra"]["paper_size"]
        ours = from_answers("acghostnet_t04", ["model"], right, keep=keep)
        ours["acghostnet_t04"].attrs["extra"]["paper_size"] = sized
        return ours

    assert judge("acghostnet-c16", t04(13.5, keep=True)).status == "reproduced"  # 2000 images: chance ends at 12.0
    assert judge("acghostnet-c16", t04(13.5, keep=False)).status == NOT_INFORMATIVE
    assert judge("acghostnet-c16", t04(11.0, keep=True)).status == NOT_INFORMATIVE


def test_rows_at_the_ceiling_decide_nothing():
    verdict = judge("acghostnet-c14", models([99.8, 95, 99.9, 99, 99, 99], sd=0.01))
    assert verdict.status == NOT_INFORMATIVE and "nearly every test image is right" in verdict.evidence
    assert judge("acghostnet-c14", models([99.8, 95, 99.0, 99, 99, 99], sd=0.01)).status == "not reproduced"


def test_a_run_without_a_finite_value_is_named():
    ours = models([90, 80, 90, 92, 92, 92])
    frame = ours["acghostnet_t04"]
    lost = (frame["model"] == "ACGhostNet-A") & (frame["seed"] == 1)
    frame.loc[lost, "accuracy_pct"] = np.nan
    verdict = judge("acghostnet-c14", ours)
    assert verdict.status == NOT_INFORMATIVE and "ACGhostNet-A" in verdict.evidence
    frame.loc[lost, "accuracy_pct"] = np.inf
    assert judge("acghostnet-c14", ours).status == NOT_INFORMATIVE


def test_dead_rows_do_not_lend_their_lack_of_spread():
    spread = 3 * np.array([[-1, 1, 1], [1, -1, 1], [0, 0, -2]])
    accuracies = np.column_stack([90 + spread, np.full((3, 3), 10.0)])[:, [0, 3, 1, 2, 4, 5]]
    accuracies[:, 2] -= 8
    alone = judge("acghostnet-c14", models(accuracies, sd=0)).intervals[0]
    lively = judge(
        "acghostnet-c14", models(np.where(accuracies == 10, 60.0 + np.arange(6), accuracies), sd=0)
    ).intervals[0]
    assert np.ptp(alone) > 1.3 * np.ptp(lively)


def test_a_condition_that_is_not_met_leaves_nothing_to_judge():
    frame = pd.DataFrame(
        {"op": op, "layer": layer, "seed": seed, "gaussian_ks": g + 0.001 * seed, "laplace_ks": 0.05 + 0.001 * seed}
        for op, g in (("conv", 0.02), ("adder", 0.09), ("shift", 0.05))
        for layer in (1, 2)
        for seed in range(3)
    )
    for correlation, status in ((0.1, "reproduced"), (0.8, NOT_INFORMATIVE)):
        noise = 0.01 * np.random.default_rng(0).standard_normal(len(frame))
        ours = {"shiftaddaug_f02": with_facts(frame.assign(correlation_with_start=correlation + noise))}
        verdict = judge("shiftaddaug-c71", ours)
        assert verdict.status == status
    assert "condition" in verdict.evidence


# ------------------------------------------------------------------ outcomes per seed


def modules(seeds, *, seed_column=True, spoil=()):
    frame = pd.DataFrame(
        {"model": m, "stage": str(s), "block": b, "first_op": "conv", "seed": seed}
        | {"second_op": "adder" if b or seed in spoil else "conv"}
        for seed in range(seeds)
        for m in "ABCD"
        for s in range(6)
        for b in (0, 1)
    )
    return {"acghostnet_f05": with_facts(frame if seed_column else frame.drop(columns="seed"))}


def test_texts_are_judged_search_by_search():
    assert judge("acghostnet-c40", modules(6)).status == "reproduced"
    assert judge("acghostnet-c40", modules(6, spoil=range(6))).status == "not reproduced"
    assert judge("acghostnet-c40", modules(6, spoil=(1,))).status == "undecided"
    few = judge("acghostnet-c40", modules(5))  # all five agree, as five coins do in 3 % of cases
    assert few.status == "undecided" and "At least 6" in few.evidence
    for one in (modules(1), modules(1, seed_column=False)):
        verdict = judge("acghostnet-c40", one)
        assert (verdict.status, verdict.seeds) == ("undecided", 1)


def test_divergence_counts_only_when_it_is_repeated():
    runs = published("shiftaddaug_t03")[["model", "method", "status"]]
    for seeds, status in ((1, "undecided"), (5, "undecided"), (6, "reproduced")):
        repeated = with_facts(pd.concat([runs.assign(seed=seed) for seed in range(seeds)]), dataset="glyphs")
        verdict = judge("shiftaddaug-c28", {"shiftaddaug_t03": repeated})
        assert (verdict.status, verdict.seeds) == (status, seeds)
    others = runs.assign(status="diverged")
    ours = with_facts(pd.concat([others.assign(seed=seed) for seed in range(6)]), dataset="glyphs")
    assert judge("shiftaddaug-c28", {"shiftaddaug_t03": ours}).status == NOT_INFORMATIVE


def test_ranks_follow_the_means_of_the_seeds_and_not_the_ranks_given():
    frame = published("acghostnet_t03").drop(columns=["search_accuracy_std_pct", "train_accuracy_std_pct"])
    noise = np.random.default_rng(0)
    runs = pd.concat([frame.assign(seed=s, search_rank=1, train_rank=4) for s in range(4)], ignore_index=True)
    runs["search_accuracy_mean_pct"] += 0.01 * noise.standard_normal(len(runs))
    runs["train_accuracy_mean_pct"] += 0.01 * noise.standard_normal(len(runs))
    assert judge("acghostnet-c11", {"acghostnet_t03": with_facts(runs)}).status == "reproduced"


def test_a_figure_is_judged_on_its_scores_and_their_draws():
    heights = {("warmup", "none"): 50, ("warmup", "separate 70%"): 60, ("warmup", "separate 40%"): 40}
    heights |= {("adaptive_lr", "both operators"): 50, ("adaptive_lr", "adders only"): 55}
    scores = pd.DataFrame(
        {"panel": panel, "setting": setting, "seed": seed, "front_score": height + 0.1 * seed}
        for (panel, setting), height in heights.items()
        for seed in range(3)
    )
    points = scores.rename(columns={"front_score": "accuracy_pct"}).assign(model="A", energy_uj=1.0)
    frame = with_facts(points, scores=scores)
    assert judge("acghostnet-c38", {"acghostnet_f03": frame}).status == "reproduced"
    assert judge("acghostnet-c39", {"acghostnet_f03": frame}).status == "not reproduced"
    noise = np.random.default_rng(0)
    draws = pd.DataFrame(
        {"panel": panel, "setting": setting, "column": "front_score", "draw": draw, "value": noise.normal(50, 20)}
        for panel, setting in heights
        for draw in range(100)
    )
    assert (
        judge("acghostnet-c38", {"acghostnet_f03": with_facts(points, scores=scores, draws=draws)}).status
        == "undecided"
    )


def test_a_check_reads_the_cells_of_a_figure_or_the_accuracies_beside_them():
    edges = pd.DataFrame(
        {"strategy": "DARTS", "cell": "normal", "node": 1, "edge": edge, "op": op, "input_index": 0, "seed": seed}
        for seed in range(6)
        for edge, op in enumerate(("skip_connect", "skip_connect", "sep_conv_3x3"), start=1)
    )
    heights = {"topology": 80.0, "DARTS": 60.0, "real-valued space": 90.0}
    scores = pd.DataFrame(
        {"strategy": name, "dataset": dataset, "seed": seed, "accuracy_pct": height + 0.1 * seed}
        for name, height in heights.items()
        for dataset in ("cifar10", "cifar100")
        for seed in range(6)
    )
    frame = {"autoshiftnet_f03": with_facts(edges, preset="study", scores=scores)}
    assert judge("autoshiftnet-c41", frame).status == "reproduced"
    assert judge("autoshiftnet-c37", frame).status == "reproduced"
    # The printed numbers fail the amount that the claim names, not the direction, which alone is judged.
    assert judge("autoshiftnet-c35", frame).status == "not reproduced"
    assert judge("autoshiftnet-c36", frame).status == "not reproduced"
    without = with_facts(edges, preset="study", scores=scores[scores["strategy"] != "real-valued space"])
    assert judge("autoshiftnet-c35", {"autoshiftnet_f03": without}).status == "not run"


# ------------------------------------------------------------------ printed numbers


@pytest.mark.parametrize(
    ("claim_id", "status"),
    [
        ("acghostnet-c06", PRINTED),
        ("autoshiftnet-c42", PRINTED),
        ("cross-c01", PRINTED),
        ("shiftaddnas-c51", "not run"),
    ],
)
def test_claims_that_need_no_tables(claim_id, status):
    assert judge(claim_id, {}).status == status
    if claim_id == "autoshiftnet-c42":
        assert "does not hold" in judge(claim_id, {}).evidence


def test_a_claim_that_the_printed_numbers_fail_too_is_an_agreement():
    frame = published("shiftaddaug_t03")[["model", "method", "latency_ms"]]
    assert claims().set_index("claim_id").loc["shiftaddaug-c24", "published_verdict"] == "false"
    assert judge("shiftaddaug-c24", {"shiftaddaug_t03": frame}).status == AGREES
    assert judge("acghostnet-c18", models([90, 80, 90, 94, 92, 96])).status == AGREES
    assert judge("acghostnet-c18", models([90, 80, 90, 92, 94, 96])).status == "reproduced"


@pytest.mark.parametrize(
    ("behind", "status"),
    [(["MobileNetV2-w0.35"], AGREES), (["MobileNetV2-w0.35", "MCUNet-in3"], "not reproduced"), (["MCUNet-in3"], None)],
    ids=["where the print fails", "there and elsewhere", "elsewhere alone"],
)
def test_only_a_failure_where_the_print_fails_is_an_agreement(behind, status):
    """shiftaddaug-c18: AugShift beats NetAug on every model, which the print denies on one of five."""
    printed = published("shiftaddaug_t03").set_index(["model", "method"])["accuracy_pct"].unstack()
    assert list(printed.index[printed["AugShift"] < printed["NetAug"]]) == ["MobileNetV2-w0.35"]
    frame = pd.DataFrame(
        {"model": model, "method": method, "seed": seed, "accuracy_pct": 60.0 + gain + 0.01 * seed, "status": "ok"}
        for model in printed.index
        for method, gain in (("NetAug", 0.0), ("AugShift", -5.0 if model in behind else 5.0))
        for seed in range(3)
    )
    verdict = judge("shiftaddaug-c18", {"shiftaddaug_t03": with_facts(frame, dataset="cifar10")})
    assert verdict.status == (status or "not reproduced")


@pytest.mark.parametrize(
    ("base", "status"),
    [(["ok", "ok"], "undecided"), (["ok", "diverged"], NOT_INFORMATIVE)],
    ids=["may be met with more seeds", "failed already"],
)
def test_a_condition_that_one_seed_has_failed_is_settled(base, status):
    """shiftaddaug-c55: what else is trained must train; all seeds must agree, so that one against it is enough."""
    rows = published("shiftaddaug_t08")[["model", "method"]].drop_duplicates()
    frame = pd.concat([rows.assign(seed=seed, accuracy_pct=40.0 + seed, status="diverged") for seed in (0, 1)])
    others = ~frame["method"].isin(["ShiftAddNAS", "Linear remap"])
    frame.loc[others, "status"] = frame.loc[others, "seed"].map(dict(enumerate(base)))
    verdict = judge("shiftaddaug-c55", {"shiftaddaug_t08": with_facts(frame, dataset="cifar10")})
    assert verdict.status == status, verdict.evidence
    assert ("condition" in verdict.evidence) == (status == NOT_INFORMATIVE)


def test_unknown_claim_and_wrong_schema_are_refused():
    with pytest.raises(InputError, match="acghostnet-c33"):
        judge("acghostnet-c333", {})
    with pytest.raises(InputError, match="does not belong to acghostnet_t06"):
        judge("acghostnet-c33", {"acghostnet_t06": pd.DataFrame({"accuracy": [1.0]})})


def test_answers_differ_between_methods_only_by_what_is_asked():
    right = answers(80, 3, 5000, np.random.default_rng(0))
    assert right.shape == (3, 5000) and abs(100 * right.mean() - 80) < 3


def test_outcomes_of_runs_count_beside_costs_at_the_papers_size():
    """shiftaddaug-c28 reads `status`, which the frame of costs at the paper's size does not have."""
    printed = published("shiftaddaug_t03")
    costs = ["mult_m", "shift_m", "add_m", "energy_mj", "latency_ms"]
    rows = pd.concat([printed.drop(columns=["gain_pct"]).assign(seed=seed) for seed in range(6)], ignore_index=True)
    size = printed[["model", "method", *costs]]
    ours = with_facts(rows.assign(**{name: 0.1 for name in costs}), dataset="cifar10", paper_size=size)
    assert judge("shiftaddaug-c28", {"shiftaddaug_t03": ours}).status == "reproduced"
    assert "2.345" in judge("shiftaddaug-c20", {"shiftaddaug_t03": ours}).evidence


# ------------------------------------------------------------------ what is one run, and what is none


def _figure_7(difference, wobble):
    """Fits of 9 layers of three networks; `wobble` is common to the layers of a network."""
    return pd.DataFrame(
        {"state": "in memory", "op": "adder", "layer": layer, "seed": seed, "rank_correlation_with_start": 0.1}
        | {"gaussian_ks": 0.1 + 0.001 * layer + wobble * (seed - 1), "laplace_ks": 0.1 + difference + 0.001 * layer}
        for layer in range(9)
        for seed in range(3)
    )


@pytest.mark.parametrize(("wobble", "status"), [(0.001, "reproduced"), (0.02, "undecided")])
def test_layers_of_a_network_are_no_repetitions(wobble, status):
    """What all layers of a network share counts once: 27 numbers of three networks have 2 degrees of freedom."""
    frame = with_facts(_figure_7(0.02, wobble), dataset="glyphs")
    verdict = judge("shiftaddaug-c73", {"shiftaddaug_f07": frame})
    assert verdict.status == status
    low, high = verdict.intervals[-1]
    differences = 0.02 - wobble * np.array([-1.0, 0.0, 1.0])
    reach = 4.302652729749464 * differences.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert sorted(map(abs, (low, high))) == pytest.approx(sorted(map(abs, (0.02 - reach, 0.02 + reach))), rel=1e-6)


def test_forks_of_a_search_are_compared_search_by_search():
    """Arms that share their first half: what differs between searches has no part in the difference."""
    frame = pd.DataFrame(
        {"setting": setting, "seed": seed, "accuracy_pct": 60.0 + 10 * seed + gain + 0.1 * (seed == 1)}
        for setting, gain in (("reset", 2.0), ("no reset", 0.0))
        for seed in range(3)
    )
    for gain, status in (([0.1, -0.1, 0.0], "reproduced"), ([3.0, -2.0, 0.0], "undecided")):
        own = frame.copy()
        own.loc[own["setting"] == "reset", "accuracy_pct"] += gain
        assert judge("autoshiftnet-c38", {"autoshiftnet_f04": with_facts(own)}).status == status


def test_rows_that_hold_the_same_runs_are_one():
    """Two names of one run lend no degrees of freedom to each other."""
    spread = 0.8 * np.array([[-1, 1, 0.5], [1, -1, 0.5], [0, 0, -1.0]])
    accuracies = 60 + np.column_stack([spread, spread[:, [2, 2, 2]]]) + np.array([0, 4, 1, 7, 7, 7])
    others = accuracies + np.array([[0, 0, 0, 0, 0.1, -0.1]])

    def width(numbers):
        return np.ptp(judge("acghostnet-c14", models(numbers, sd=0)).intervals[0])

    assert width(accuracies) > 1.02 * width(others)


def test_a_dead_seed_makes_a_row_uninformative_however_well_the_others_did():
    frame = published("shiftaddaug_t08")[["model", "method"]].drop_duplicates().assign(key=0)
    frame = pd.concat([frame.assign(seed=seed, accuracy_pct=40.0 + seed, status="ok") for seed in range(3)])
    dead = (frame["method"] == "KL-loss only") & (frame["model"] == "MCUNet-in3") & (frame["seed"] == 2)
    frame.loc[dead, ["accuracy_pct", "status"]] = [np.nan, "diverged"]
    ours = evidence.load("shiftaddaug_t08", with_facts(frame.drop(columns="key"), preset="study"), analytic=False)
    assert ours.means.columns["status"].size  # reading them measures the cells
    gates = {quantity.name: quantity.gate for quantity in ours.quantities.values() if quantity.gate}
    assert list(gates) == ["accuracy_pct of KL-loss only, MCUNet-in3"]
    assert "no finite value in 1 of its runs" in next(iter(gates.values()))
