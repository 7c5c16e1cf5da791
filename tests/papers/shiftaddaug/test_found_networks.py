"""Ablations of a found network, the long run's sentences, channels as frames; nothing is trained."""

from __future__ import annotations

import dataclasses
import re

import pandas as pd
import pytest
import torch

from repro.augment import Window
from repro.augment.network import is_extra
from repro.papers.shiftaddaug import channels, explained, f01, found, supp_f01, t06, t11
from repro.papers.shiftaddaug.recipes import presets
from repro.papers.shiftaddaug.searched import without_depth, without_mutation
from repro.papers.shiftaddaug.searches import FOUND
from repro.papers.shiftaddaug.two_stage import TargetSpace
from repro.runs import Outcome
from repro.search.elastic import ElasticSpace

SPACE = ElasticSpace(stem=12, first=12, stages=((16, 2),), widths=(0.75, 1.0), depths=(1, 2, 3))
SUBNET = SPACE.spec(SPACE.largest)


def target(depth: int):
    """A TargetNet of shift blocks with the first `depth` of the stage's three, in a window."""
    space = TargetSpace(SUBNET)
    asked = dict(zip(space.genes.names, (options[0] for options in space.genes.blocks)))
    asked |= {"depth 1": depth, "op 1": "shift", "start": 10, "stop": 60}
    return space.target(tuple(asked.values()))


def test_table_11_takes_away_one_augmentation_at_a_time_from_one_network():
    whole, rows = target(2), {}
    for row, flags in t11.FLAGS.items():
        subnet, found = t11._ablated(SUBNET, whole, **flags)
        recipe = found.recipe
        rows[row] = (recipe.mutation is not None, recipe.depth is not None, len(subnet.blocks))
        assert found.deployed == whole.deployed and found.op == whole.op
        assert recipe.mutation in (None, Window(0.1, 0.6)) and recipe.depth in (None, Window(0.1, 0.6))
    blocks = len(SUBNET.blocks)
    assert rows == {
        "Aug. Width & Expand": (False, False, blocks - 1),
        "Aug. Width & Expand & Depth": (False, True, blocks),
        "Aug. Width & Expand, Mutation": (True, False, blocks - 1),
        "All": (True, True, blocks),
    }


def test_a_network_that_keeps_every_block_has_no_depth_augmentation_to_lose():
    whole = target(3)
    assert all(whole.keep) and without_depth(SUBNET, whole)[0] == SUBNET
    assert without_mutation(whole).recipe.mutation is None


def test_both_searches_of_table_6_have_one_limit_and_train_on_all_images():
    for (preset, _), recipe in FOUND.items():
        assert recipe.free.target.limit == recipe.hybrid.target.limit
        assert "conv" not in recipe.free.choices.operators and "conv" in recipe.hybrid.choices.operators
        job = t06.searched.job(recipe.free, recipe.train, SUBNET, target(2))
        assert job.data == dataclasses.replace(recipe.free.data, held_out=0.0) and job.augmented
        if preset != "paper":
            assert job.data.facts["side"] == 16


def test_a_found_network_starts_as_wide_as_its_subnet_and_takes_the_scales_that_it_is_given():
    hybrid = dataclasses.replace(target(2), op={"blocks.1.expand.*": "adder", "blocks.2.*": "shift"})
    data, train = FOUND["smoke", "glyphs"].free.data, FOUND["smoke", "glyphs"].train
    job = found.FoundJob(data, train, SUBNET, hybrid, adder_scale={"blocks.1.expand.conv": 2.5})
    inside, alone = (found.new_network(dataclasses.replace(job, augmented=a), 3) for a in (True, False))
    for (name, layer), (_, bare) in zip(inside.wide_layers(), alone.wide_layers()):
        bound = layer.weight[0].numel() ** -0.5
        assert 0.8 * bound < layer.raw_target_weight().abs().max() <= bound
        if layer.op == "adder":
            assert layer.remap.scale == 2.5 and bare.remap is None and bare.raw_target_weight().std() > 0.7
        else:
            assert torch.equal(layer.weight, bare.weight) and bare.remap is None, name


def test_rows_of_table_11_start_alike_with_and_without_depth_augmentation():
    data, train = FOUND["smoke", "glyphs"].free.data, FOUND["smoke", "glyphs"].train
    starts = []
    for depth_aug in (False, True):
        subnet, chosen = t11._ablated(SUBNET, target(2), depth_aug=depth_aug, mutation=True)
        network = found.new_network(found.FoundJob(data, train, subnet, chosen), 3)
        starts.append([layer.weight for name, layer in network.wide_layers() if not is_extra(name)])
    assert len(starts[0]) == len(starts[1]) and all(map(torch.equal, *starts))


def failed(specs):
    """An engine whose runs all fail."""
    return {key: Outcome(spec=spec, state="failed", value=None, message="no memory") for key, spec in specs.items()}


@pytest.mark.parametrize("table", [t06, t11])
def test_a_search_that_failed_leaves_its_row_empty_and_says_so(table):
    frame = table.trained(dataclasses.replace(table.TABLE.recipes["quick", "glyphs"]), [0], failed)
    assert len(frame) and frame["note"].str.contains("no memory").all()
    assert "accuracy_pct" not in frame or frame["accuracy_pct"].isna().all()


def test_figure_1_without_a_training_is_empty():
    assert f01.trained(f01.TABLE.recipes["smoke", "glyphs"], [0], failed).empty


def test_the_long_run_tells_length_from_augmentation():
    rows = [
        ("Base", 12, 40.0, 41.0),
        ("Base", 100, 50.0, 49.0),
        ("NetAug", 12, 40.0, 40.0),
        ("NetAug", 100, 52.0, 52.0),
    ]
    rows += [
        ("Shift", 12, 30.0, 31.0),
        ("Shift", 100, 48.0, 45.0),
        ("AugShift", 12, 33.0, 32.0),
        ("AugShift", 100, 47.0, 46.0),
    ]
    columns = ["method", "epochs", "train_accuracy_pct", "accuracy_pct"]
    base, shift = supp_f01.long_sentences(pd.DataFrame(rows, columns=columns))
    assert base.startswith("Base: 100 epochs for 12 give +8.0 points; augmentation gives -1.0 at 12 and +3.0 at 100.")
    assert "After 100 the training batches are +1.0 points ahead" in base
    assert shift.startswith(
        "Shift: 100 epochs for 12 give +14.0 points; augmentation gives +1.0 at 12 and +1.0 at 100."
    )


@pytest.mark.parametrize(
    ("longer", "wider", "verdict"),
    [
        (8.0, 0.0, "length is missing: more epochs still help, and augmentation does not"),
        (8.0, 8.0, "length is missing: more epochs still help; whether capacity is, too, shows only once they do not"),
        (0.0, 8.0, "capacity is missing, not length"),
        (0.0, 0.0, "neither is missing"),
        (0.0, -8.0, "neither is missing"),
        (0.5, 8.0, "whether more epochs still help stays open; augmentation helps"),
        (0.5, 0.5, "both stay open"),
    ],
)
def test_the_long_run_says_whether_length_or_capacity_is_missing(longer, wider, verdict):
    noises = (-0.5, 0.0, 0.5)
    rows = [
        (method, epochs, 40 + noise + longer * (epochs == 100) + wider * (method in supp_f01.DIRECT), seed)
        for method in supp_f01.LONG
        for epochs in (12, 50, 100)
        for seed, noise in enumerate(noises)
    ]
    rows = [(*row[:2], row[2] - 20 * (row[1] == 12), row[3]) for row in rows]  # the short run decides nothing
    long = pd.DataFrame(rows, columns=["method", "epochs", "accuracy_pct", "seed"])
    base, shift = supp_f01.missing_sentences(long)
    assert base.startswith(f"Base: {verdict}") and shift.startswith(f"Shift: {verdict}")
    # t of 24 degrees of freedom is 2.064; the standard error of a difference of means of three is 0.5 * sqrt(2 / 3).
    reach = 2.0639 * 0.5 * (2 / 3) ** 0.5
    assert f"(100 epochs for 50 {longer - reach:+.1f} to {longer + reach:+.1f} points" in base
    assert f"augmentation at 100 {wider - reach:+.1f} to {wider + reach:+.1f} points; 95 %" in base
    few = supp_f01.missing_sentences(long[long["seed"] == 0])
    assert few == [f"{name}: too few trainings to say what is missing." for name in ("Base", "Shift")]


@pytest.mark.parametrize(
    ("even", "bare", "words"),
    [
        (48.0, 50.0, "r's slope explains it: even steps of R\\(W\\) gives \\+7"),
        (32.0, 50.0, "r's slope does not explain it"),
        (40.4, 50.0, "r's slope: it stays open"),
    ],
)
def test_controls_say_whether_the_slope_of_r_is_what_harms_adders(even, bare, words):
    means = {"AugAdd": 40.0, "Add": 40.0}
    beside = {"Add with HWS": 33.0, "AugAdd, r with even steps": even, "AugAdd, r's scale alone": bare}

    def rows(name, table):
        return pd.DataFrame(
            {"model": "V2", name: row, "accuracy_pct": mean + noise, "seed": seed}
            for row, mean in table.items()
            for seed, noise in enumerate((-0.4, 0.0, 0.4))
        )

    frame = rows("method", means)
    frame.attrs["extra"] = {"controls": rows("row", beside)}
    (sentence,) = explained.adder_sentences(frame)
    assert re.match(f"V2: {words}", sentence) and sentence.endswith("(95 % intervals over seeds).")
    frame.attrs["extra"] = {"controls": rows("row", beside).query("row != 'Add with HWS'")}
    assert explained.adder_sentences(frame) == ["V2: too few trainings to say why adders do not gain."]


def test_controls_say_whether_the_scale_matters_to_adders_and_whether_equation_5_helps_them():
    means = {"AugAdd": 40.0, "AugAdd without HWS": 40.2, "AugAdd, b of adders' start": 30.0}
    rows = [("V2", row, mean + noise) for row, mean in means.items() for noise in (-0.4, 0.0, 0.4)]
    frame = pd.DataFrame(rows[:3], columns=["model", "method", "accuracy_pct"])
    controls = pd.DataFrame(rows[3:], columns=["model", "row", "accuracy_pct"])
    scales = pd.DataFrame({"model": "V2", "scale": [10.4, 12.0, 14.7]})
    frame.attrs["extra"] = {"controls": controls, "scales": scales}
    scale, equation, _ = explained.adder_sentences(frame)
    told = "the measured scale b (10.4 to 14.7 over layers and seeds) in place of that of adders' start (0.71) gains +9"
    assert scale.startswith(f"V2: {told}")
    assert "equation 5 with the measured scale, against AugAdd without it, is not told apart, -1" in equation


def test_trainings_that_are_lost_at_the_scale_of_adders_start_are_counted():
    means = {"AugAdd": 40.0, "Add": 40.0}
    frame = pd.DataFrame({"model": "V2", "method": row, "accuracy_pct": mean} for row, mean in means.items())
    row = "Add with HWS, b of adders' start"
    notes = ["dead: 10.0 % is no better than chance", "", "diverged: gradient is not finite"]
    controls = pd.DataFrame({"model": "V2", "row": row, "accuracy_pct": [10.0, 30.0, None], "note": notes})
    frame.attrs["extra"] = {"controls": controls}
    assert f"V2: {row}: 2 of 3 trainings are dead or diverge." in explained.adder_sentences(frame)


def test_every_study_has_the_long_run_of_a_hundred_epochs():
    longs = {key: recipe.long_epochs for key, recipe in supp_f01.TABLE.recipes.items() if key[0] != "smoke"}
    assert longs == {key: 100 * (key[0] == "study") for key in longs}
    methods = presets(("MobileNetV2-w0.35",))["study", "glyphs"]
    job = supp_f01.TABLE.recipes["study", "glyphs"].job("MobileNetV2-w0.35", supp_f01.AUGSHIFT)
    assert job == methods.job("MobileNetV2-w0.35", supp_f01.AUGSHIFT), "the short runs are those of table 3"


NOTES = [
    {"epoch": 0, "layer": f01.LAYER, "target": 2, "channel": [0, 1, 2, 3], "importance": [1.0, 4.0, 3.0, 2.0]},
    {"epoch": 1, "layer": f01.LAYER, "target": 2, "channel": [1, 2, 3, 0], "importance": [5.0, 1.0, 2.0, 3.0]},
    {"epoch": 2, "layer": f01.LAYER, "target": 2, "channel": [1, 0, 3, 2], "importance": [5.0, 3.0, 2.0, 1.0]},
]


def test_places_say_which_channels_moved():
    places = channels.places(NOTES)
    moved = places[places["moved"]]
    assert set(zip(moved["epoch"], moved["channel"], moved["in_target"])) == {
        (1, 2, True), (1, 0, False), (2, 0, True), (2, 2, False),
    }  # fmt: skip


def test_figure_1_shows_what_the_next_exchange_brings():
    own = channels.places(NOTES).drop(columns="layer").assign(seed=0)
    weight = pd.DataFrame({"output": [0, 0, 0, 0], "place": [0, 1, 2, 3], "weight": [1.0, -2.0, 3.0, 4.0], "seed": 0})
    own.attrs["extra"] = {"weight": weight.assign(in_target=weight["place"] < 2)}
    (drawing,) = f01.draw(own)
    _, bars, paths = drawing.figure.axes
    coming = [patch.get_x() + 0.5 for patch in bars.containers[2]]
    assert coming == [3.0], "channel 0, which lies at place 3 after the first epoch"
    assert len(paths.lines) == 2 and "In the end 0 of the deployed ones" in drawing.caption
