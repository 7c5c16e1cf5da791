"""Settings chosen on held-out images: what is tried, what is chosen, and that recipes hold what was chosen."""

import dataclasses
import importlib
from types import SimpleNamespace

import pandas as pd
import pytest

from repro.errors import DamagedError, InputError
from repro.papers import tuning
from repro.papers.data import load_splits
from repro.paths import results_root
from repro.runs import Outcome


def test_candidates_are_tested_on_images_that_train_nothing_and_are_no_test_images():
    tried = tuning.tuning_of("acghostnet", "digits").candidates()
    assert {network for network, _ in tried} == {"convolution", "adder", "both"}
    assert ("both", "adders, eta 1/15") in tried and ("convolution", "adders, eta 1/15") not in tried
    for job in tried.values():
        splits = load_splits(job.data)
        assert (splits.test.images == splits.held_out.images).all() and len(splits.train) > 3 * len(splits.held_out)


def test_the_best_mean_over_seeds_is_chosen_and_a_divergence_puts_a_setting_out():
    asked = tuning.Tuning({}, {}, seeds=(0, 1))
    assert tuning.tune(asked, lambda specs: {key: Outcome(spec, "done") for key, spec in specs.items()}).empty
    rows = [("net", "a", 0, 50.0), ("net", "a", 1, 60.0), ("net", "b", 0, 90.0), ("net", "b", 1, float("nan"))]
    rows += [("net", "c", 0, 54.0), ("net", "c", 1, 54.0), ("other", "c", 0, 1.0)]
    assert tuning.best_settings(pd.DataFrame(rows, columns=tuning.COLUMNS)) == {"net": "a", "other": "c"}


def test_networks_of_a_kind_choose_one_setting_with_the_best_mean():
    rows = [
        ("deep: 20", "a", 0, 90.0),
        ("deep: 20", "b", 0, 80.0),
        ("deep: 50", "a", 0, 10.0),
        ("deep: 50", "b", 0, 60.0),
    ]
    assert tuning.best_settings(pd.DataFrame(rows, columns=tuning.COLUMNS)) == {"deep": "b"}


@pytest.mark.parametrize("path", sorted((results_root() / "tuning").glob("*.csv")), ids=lambda p: p.stem)
def test_recipes_hold_what_the_record_chose(path):
    paper, dataset = path.stem.split("-", 1)
    named = {
        "shiftaddaug_resnets": "shiftaddaug.f05",
        "shiftaddnas_networks": "shiftaddnas.networks",
        "shiftaddnas_fbnet": "shiftaddnas.fbnet_space",
        "shiftaddnas_translation": "shiftaddnas.translation_recipes",
    }
    where = named.get(paper, f"{paper}.recipes")
    tuned_by_dataset = importlib.import_module(f"repro.papers.{where}").TUNED
    tuned, stored = tuning.kept_tuning(path)
    assert tuning.best_settings(tuned) == tuned_by_dataset[dataset] == stored["chosen"]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_flipped_byte_of_a_tuning_record_shows(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path))
    rows = pd.DataFrame([("conv", "a", 0, 54.0), ("conv", "b", 0, 50.0)], columns=tuning.COLUMNS)
    path = tuning.keep_tuning("acghostnet", "digits", rows, {"device": "a processor"})
    assert tuning.kept_tuning(path)[1]["chosen"] == {"conv": "a"}
    damaged = path.with_suffix(suffix)
    damaged.write_bytes(damaged.read_bytes().replace(b"54.0", b"44.0").replace(b"a processor", b"b processor"))
    with pytest.raises(DamagedError, match="damaged"):
        tuning.kept_tuning(path)


def test_every_tuning_of_a_paper_is_known_by_name():
    names = tuning.tuned_papers()
    parts = {"shiftaddaug_resnets", "shiftaddnas_fbnet", "shiftaddnas_networks", "shiftaddnas_translation"}
    assert set(names) == {"acghostnet", "autoshiftnet", "shiftaddaug", "shiftaddnas"} | parts
    smallest = {name: "glyphs" if name.startswith("shiftaddaug") else "digits" for name in names}
    smallest["shiftaddnas_translation"] = "multi30k"
    assert all(tuning.tuning_of(name, dataset).candidates() for name, dataset in smallest.items())


def test_a_costly_data_set_tries_what_a_cheaper_one_chose_and_its_neighbours():
    skips = tuning.all_but_near(["net: a", "net: b", "other"], ["1", "2", "3", "4"], {"net": "3", "odd": "1"})
    assert skips == {("net: a", "1"), ("net: b", "1")}, "the other network chose nothing yet"
    assert tuning.all_but_near(["net"], ["1", "2", "3"], {"net": "1"}) == {("net", "3")}
    for name in ("shiftaddnas", "shiftaddnas_networks", "shiftaddnas_fbnet"):
        whole, near = (tuning.tuning_of(name, dataset) for dataset in ("digits", "cifar10"))
        chosen = tuning.kept_tuning(results_root() / "tuning" / f"{name}-digits.csv")[1]["chosen"]
        tried = {}
        for network, setting in near.candidates():
            tried.setdefault(network, []).append(setting)
        assert tried.keys() == near.jobs.keys() and len(near.candidates()) < len(whole.candidates())
        for network, settings in tried.items():
            assert chosen[network.partition(": ")[0]] in settings and 2 <= len(settings) <= 3


def test_a_tuning_by_another_quality_keeps_its_name():
    """Of translation networks, BLEU of the validation sentences, which are not the tested ones."""
    asked = tuning.tuning_of("shiftaddnas_translation", "multi30k")
    scored = {}
    bleu = {"adam 0.0025": 20.0, "adam 0.005": 29.5, "adam 0.01": None, "adam 0.02": 29.4}

    def run(specs):
        scored.update(specs)
        return {key: Outcome(spec, "done", {"bleu": bleu[key[0][1]]}) for key, spec in specs.items()}

    without_data = dataclasses.replace(asked, spec=lambda job, seed: SimpleNamespace(recipe=job, seed=seed))
    tuned = tuning.tune(without_data, run)
    assert tuned.columns[-1] == "validation_bleu" and tuned["validation_bleu"].isna().sum() == len(asked.jobs)
    assert tuning.best_settings(tuned) == dict.fromkeys(
        ("attention alone", "Evolved Trans.", "8 bit", "all block types"), "adam 0.005"
    )
    assert {spec.recipe.tested_on for spec in scored.values()} == {"validation"}


def test_unknown_papers_and_data_sets_are_refused():
    with pytest.raises(InputError, match="Did you mean 'acghostnet'"):
        tuning.tuning_of("acghostnets", "digits")
    with pytest.raises(InputError, match="dataset='cifar100' is not allowed"):
        tuning.tuning_of("acghostnet", "cifar100")
