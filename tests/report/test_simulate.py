"""Verdicts on simulated tables whose truth is known: how often they are wrong, and when they are reached."""

from collections import Counter

import numpy as np
import pytest

from repro.errors import InputError
from repro.papers import ranking
from repro.report import judge, published
from repro.report.simulate import FORMS, SETTINGS, Setting, answers, false_verdicts, power, verdict_rates
from tests.report.evidence_frames import from_answers, taus


@pytest.fixture(scope="module")
def rates():
    return false_verdicts((3, 5), tables=400).set_index(["setting", "claim", "seeds"])


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_at_most_five_per_cent_of_the_verdicts_on_equal_methods_are_wrong(rates, setting, form, seeds):
    """In each of five forms of claims, on 400 tables; single comparisons are wrong now and then, as they must be."""
    wrong = rates.loc[setting, form, seeds]
    assert (wrong <= 5.0).all(), wrong
    if form == "A > B":
        assert (wrong > 0.0).all(), wrong


def test_power_rises_with_the_gap_and_with_seeds():
    found = power(seeds=(3, 8), gaps=(0.0, 2.0, 4.0), tables=100)
    for _, setting in found.groupby("setting"):
        chance = setting.pivot(index="seeds", columns="gap", values="reproduced_pct").to_numpy()
        assert (np.diff(chance, axis=1) > 0).all() and (np.diff(chance[:, 1:], axis=0) > 0).all(), setting
        assert chance[1, 2] > 95


def test_a_reversal_is_found_in_every_form():
    for form in FORMS:
        verdicts = verdict_rates(form, SETTINGS["CIFAR-like"], seeds=5, gap=-6.0, tables=20)
        assert verdicts["not reproduced"] >= 95 and sum(verdicts.values()) == 100, form


def test_two_seeds_decide_only_where_enough_are_pooled():
    setting = SETTINGS["CIFAR-like"]
    for form, lowest, highest in (("A > B", 0, 0), ("A > B on all of 5 models", 100, 100)):
        chance = verdict_rates(form, setting, seeds=2, gap=8.0, tables=20)["reproduced"]
        assert lowest <= chance <= highest, form
    assert verdict_rates("A > B", setting, seeds=1, gap=20.0, tables=5)["undecided"] == 100


def test_simulated_runs_have_the_asked_accuracy_and_spread():
    setting = Setting(examples=1500, accuracy_pct=90.0, seed_sd=1.5)
    right = answers(setting, [90.0, 60.0], 800, np.random.default_rng(3))
    accuracies = 100 * right.mean(axis=2)
    assert accuracies.mean(axis=1) == pytest.approx([90.0, 60.0], abs=2.5), "1500 images vary by 0.8 and 1.3 points"
    assert accuracies.std(axis=1) == pytest.approx([1.6, 1.7], abs=0.2), "the images add a little to 1.5"
    by_image = right.mean(axis=1)
    assert np.corrcoef(by_image)[0, 1] > 0.6, "an image that is hard for one method is hard for the other"


def test_the_same_generator_seed_gives_the_same_rates():
    first, second, other = (
        verdict_rates("A > B", SETTINGS["digits-like"], gap=2.0, tables=40, generator_seed=seed) for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": "A > C"}, "form='A > C'.*Did you mean 'A > B'"),
        ({"seeds": 0}, "seeds=0"),
        ({"tables": 0}, "tables=0"),
        ({"gap": "2"}, "gap='2'"),
        ({"gap": 60.0}, "accuracies_pct=.*between 0 and 100"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, said):
    asked = {"form": "A > B", "setting": SETTINGS["CIFAR-like"], "tables": 1} | change
    with pytest.raises(InputError, match=said):
        verdict_rates(**asked)


def test_a_setting_refuses_what_cannot_be():
    for change in ({"examples": 1}, {"accuracy_pct": 100.0}, {"seed_sd": -1.0}, {"seed_sd": True}):
        with pytest.raises(InputError, match=next(iter(change))):
            Setting(**({"examples": 100, "accuracy_pct": 50.0, "seed_sd": 1.0} | change))


# --- forms that are compiled from a table: mean gains, rank correlations ---------------------------------------------


def _gain_verdict(gaps, seeds, generator):
    """shiftaddaug_supp-c03: AugAdd above Add on eight rows, by the mean gain; `gaps` in points, one a row."""
    setting, right = SETTINGS["CIFAR-like"], {}
    rows = published("shiftaddaug_supp_t02")[["model", "dataset"]].drop_duplicates().itertuples(index=False)
    for (model, dataset), gap in zip(rows, gaps, strict=True):
        pair = answers(setting, [setting.accuracy_pct, setting.accuracy_pct + gap], seeds, generator)
        for method, outcomes in zip(("Add", "AugAdd"), pair):
            right[model, dataset, method, "accuracy_pct"] = outcomes
    tables = from_answers("shiftaddaug_supp_t02", ("model", "dataset", "method"), right, preset="paper", dataset=None)
    return judge("shiftaddaug_supp-c03", tables)


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_mean_gain_of_equal_methods_is_rarely_decided(seeds):
    """Of 500 such tables with three seeds 13 and 14 were decided wrongly, either way; 60 may hold some more."""
    generator = np.random.default_rng(seeds)
    found = Counter(_gain_verdict([0.0] * 8, seeds, generator).status for _ in range(60))
    assert found["reproduced"] <= 6 and found["not reproduced"] <= 6, found
    assert _gain_verdict([4.0] * 8, seeds, generator).status == "reproduced"
    assert _gain_verdict([-4.0] * 8, seeds, generator).status == "not reproduced"


def test_a_mean_gain_is_not_reproduced_where_a_row_is_reversed():
    verdict = _gain_verdict([8.0] * 7 + [-12.0], 3, np.random.default_rng(0))
    assert verdict.status == "undecided" and "1 are reversed" in verdict.evidence


def _tau_verdict(noises, generator, networks=24, seeds=3):
    """acghostnet-c36, a difference of differences of tau; supernets see the networks' quality with these noises."""
    quality = generator.standard_normal(networks)
    truths = quality[:, None] + generator.standard_normal((networks, seeds))
    predicted = {
        place: quality[:, None] + noise * generator.standard_normal((networks, seeds))
        for place, noise in enumerate(noises)
    }
    taus_of = [
        [ranking.agreement(predicted[place][:, seed], truths)["kendall_tau"] for place in predicted]
        for seed in range(seeds)
    ]
    drawn = ranking.resampled(predicted, truths, count=40)
    drawn = drawn[drawn["column"] == "kendall_tau"].pivot(index="draw", columns="name", values="value")
    return judge("acghostnet-c36", taus(*taus_of, draws=drawn.to_numpy().tolist())).status


def test_strategies_that_rank_alike_are_rarely_told_apart_by_tau():
    generator = np.random.default_rng(5)
    found = Counter(_tau_verdict([1.0] * 4, generator) for _ in range(30))
    assert found["reproduced"] <= 1 and found["not reproduced"] <= 1, found
    clear = Counter(_tau_verdict([9.0, 9.0, 0.1, 9.0], generator, networks=64) for _ in range(5))
    assert clear["reproduced"] >= 4, clear
