"""Tables 1 to 4 and 7, figures 3, 5 and 6 from given outcomes, every claim judged on them, and one real training."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from repro.cost.skeleton import skeleton
from repro.errors import InputError
from repro.models.genotypes import NAMED, genotype
from repro.papers import entry, kinds, tuning
from repro.papers.autoshiftnet import f03, f06, found, t04, training
from repro.papers.autoshiftnet.networks import network
from repro.papers.autoshiftnet.recipes import (
    CIFAR_TRAINING,
    CNN_ROWS,
    IMAGENET_TRAINING,
    NAS_ROWS,
    NETWORKS,
    NO_L2,
    REAL_SPACE,
    ROUNDED_L2,
    SEARCHES,
    TUNED,
)
from repro.papers.data import load_splits
from repro.report import judge, judge_all
from repro.report.examples import pack, unpack
from repro.report.published import published
from repro.runs import Outcome, RunContext
from repro.search.gradient import CellSearch

TRAINED = ["t01", "t02", "t03", "t04", "t07", "f03", "f05", "f06"]
CURVE = [
    {
        "epoch": e,
        "steps": 10,
        "lr": 0.1,
        "train_loss": 1.0,
        "train_accuracy_pct": 30.0 + e,
        "test_accuracy_pct": 30.0 + e,
    }
    for e in (1, 2)
]


# Of step one, whose every edge likes skips best; of step two nothing is read but its accuracy.
ALPHAS = [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]] * 14
STEPS = [
    {"step": "operations", "architecture": {"normal": ALPHAS, "reduce": [edge[::-1] for edge in ALPHAS]}},
    {"step": "topology", "architecture": {}},
]


def answers(spec) -> dict:
    """What a training might give: right answers of 400 images, drawn from seed and network."""
    job = spec.recipe
    generator = np.random.default_rng([spec.seed, *job.model.encode(), len(str(job.options)), job.domain == "R"])
    share = 0.8 - 0.1 * (job.domain == "BS") + 0.1 * (job.model == "cells")
    right = {"top1_pct": generator.random(400) < share}
    right["top5_pct"] = right["top1_pct"] | (generator.random(400) < 0.5)
    shares = {name: 100 * hits.mean() for name, hits in right.items()}
    packed = {name: pack(hits) for name, hits in right.items()}
    return {"outcome": "done", "detail": "", **shares, "examples": 400, "correct": packed, "curve": CURVE}


def run(specs):
    """An engine that gives outcomes: cells by strategy and seed, and answers."""
    outcomes = {}
    for key, spec in specs.items():
        value = None
        if spec.kind == "autoshiftnet_search":
            name = "darts_v1" if spec.recipe.search.strategy == "darts" else ("dots_cifar10", "gdas")[spec.seed % 2]
            rows = [{"held_out_accuracy_pct": 50.0 + spec.seed, "seconds": 1.0, **step} for step in STEPS]
            value = {"outcome": "done", "detail": "", "genotype": NAMED[name].as_dict(), "kept": None, "rows": rows}
        else:
            value = answers(spec)
        outcomes[key] = Outcome(spec, "done", value)
    return outcomes


@pytest.fixture(scope="module")
def study():
    """(frames of the study preset with three seeds, the runs that they asked for)."""
    found, asked = {}, {}

    def watching(specs):
        asked.setdefault(name, []).extend(specs.values())
        return run(specs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "data_fingerprint", lambda recipe: recipe.dataset)
        for name in TRAINED:
            table = entry(f"autoshiftnet_{name}")
            frame = table.trained(table.recipes["study", "cifar10"], [0, 1, 2], watching)
            frame.attrs |= {"preset": "study", "dataset": "cifar10", "table_id": f"autoshiftnet_{name}"}
            frame.attrs["unit"] = table.unit
            found[f"autoshiftnet_{name}"] = frame
    return found, asked


@pytest.fixture
def frames(study):
    """The frames alone."""
    return study[0]


def test_rows_are_those_of_the_paper(frames):
    for name in ("t01", "t03", "t04", "t07"):
        table, key = f"autoshiftnet_{name}", ["model", "domain"] if name in ("t03", "t07") else ["model"]
        key = ["id"] if name == "t04" else key
        ours, printed = frames[table][key].drop_duplicates(), published(table)[key]
        assert sorted(map(tuple, ours.to_numpy())) == sorted(map(tuple, printed.to_numpy()))
    assert set(frames["autoshiftnet_t02"]["model"]) == set(published("autoshiftnet_t02")["model"])
    assert {*CNN_ROWS, *NAS_ROWS} == set(published("autoshiftnet_t01").query("group != 'ours'")["model"])


def test_a_seed_of_ours_is_a_search_and_best_is_trained_from_new_seeds(study):
    frames, asked = study
    frame = frames["autoshiftnet_t01"].set_index("model")
    average, best = frame.loc["AutoShiftNet (Avg)"], frame.loc["AutoShiftNet (Best)"]
    assert average["search_seed"].tolist() == average["seed"].tolist() == [0, 1, 2]
    assert best["search_seed"].isna().all() and best["seed"].tolist() == [100, 101, 102]
    searches = frames["autoshiftnet_t01"].attrs["extra"]["searches"]
    chosen = searches.loc[searches["held_out_accuracy_pct"].idxmax(), "genotype"]
    assert chosen == NAMED["dots_cifar10"].as_text()  # that of seed 2
    (job,) = {str(spec.recipe.options["genotype"]) for spec in asked["t01"] if spec.seed >= 100}
    assert job == str(NAMED["dots_cifar10"].as_dict())


def test_best_has_the_size_of_the_best_search_alone_and_average_the_mean(frames):
    sized = frames["autoshiftnet_t01"].attrs["extra"]["paper_size"].set_index("model")["params_cifar10_m"]
    dots, gdas = (
        sum(p.numel() for p in skeleton("cells", genotype=NAMED[name], num_classes=10).parameters())
        for name in ("dots_cifar10", "gdas")
    )
    assert sized["AutoShiftNet (Best)"] == pytest.approx(dots / 1e6) != gdas / 1e6  # that of seed 2
    assert sized["AutoShiftNet (Avg)"] == pytest.approx((2 * dots + gdas) / 3e6)
    verdict = judge("autoshiftnet-c06", {"autoshiftnet_t01": frames["autoshiftnet_t01"]})
    assert verdict.status == "reproduced" and f"(Best)'] {dots / 1e6:.4g} million" in verdict.evidence


def test_differences_are_of_the_same_seed(frames):
    frame = frames["autoshiftnet_t03"].set_index(["model", "seed", "domain"])["cifar10_accuracy_pct"].unstack()
    ours = frames["autoshiftnet_t03"].query("domain == 'BS'").set_index(["model", "seed"])["cifar10_diff_pct"]
    assert (ours - (frame["BS"] - frame["R"]).reindex(ours.index)).abs().max() < 1e-9
    schemes = frames["autoshiftnet_t04"].pivot(index="seed", columns="id", values="cifar10_accuracy_pct")
    told = frames["autoshiftnet_t04"].pivot(index="seed", columns="id", values="cifar10_diff_pct")
    assert told[1].isna().all() and np.allclose(told[3], schemes[3] - schemes[1])
    assert set(frames["autoshiftnet_t04"].attrs["extra"]["variants"]["variant"]) == set(
        NETWORKS["study", "cifar10"].variants
    )


def test_the_curve_of_rates_is_measured_on_held_out_images_in_both_domains(study):
    """What a user of shift layers most needs: accuracy against the sum of the rates, for two lengths."""
    frames, asked = study
    recipe, curve = NETWORKS["study", "cifar10"], frames["autoshiftnet_t03"].attrs["extra"]["rates"]
    assert set(curve["domain"]) == {"R", "BS"} and set(curve["lr"]) == set(recipe.rates)
    assert set(curve["epochs"]) == {1, 6} and len(curve) == 2 * 2 * 5 * 3
    assert curve["rate_sum"].tolist() == pytest.approx(
        (20 * curve["lr"] / 2).tolist()
    )  # 2 epochs of 10 steps are given
    rated = [spec.recipe for spec in asked["t03"] if getattr(spec.recipe, "data", None).tested_on == "held out"]
    assert len(rated) == len(curve) and {job.train.optimizer for job in rated} == {"radam"}
    assert all(job.data.held_out == 0.2 and job.model == "resnet20" for job in rated)
    parts = {drawing.part: drawing.figure for drawing in entry("autoshiftnet_t03").draw(frames["autoshiftnet_t03"])}
    assert [len(axes.lines) for axes in parts["rates"].axes] == [2, 2]
    assert all(axes.get_xlabel() == "sum of the learning rates" for axes in parts["rates"].axes)


def test_schemes_are_those_of_table_4_and_both_readings_of_the_l2_term_are_beside_them(study):
    printed = published("autoshiftnet_t04").set_index("id")
    for scheme, fields in t04.SCHEMES.items():
        l2 = {1: "code", 0: "conventional"}[printed.loc[scheme, "l2r"]]
        reset = {1: "whole", 0: "none"}[printed.loc[scheme, "lrr"]]
        assert fields == {"l2": l2, "reset": reset}
    searches = [spec.recipe.search for spec in study[1]["t04"] if spec.kind == "autoshiftnet_search"]
    asked = {(search.l2, search.reset, search.space) for search in searches}
    schemes = {(fields["l2"], fields["reset"], "shift") for fields in t04.SCHEMES.values()}
    further = {ROUNDED_L2: ("paper", "whole", "shift"), NO_L2: ("none", "whole", "shift")}
    further[REAL_SPACE] = ("code", "whole", "real")
    assert asked == schemes | {*further.values()} and set(NETWORKS["study", "cifar10"].variants) == set(further)


def test_figure_3_searches_one_space_by_two_strategies_and_counts_the_skips_of_each_search(study):
    frames, asked = study
    searches = [spec.recipe.search for spec in asked["f03"] if spec.kind == "autoshiftnet_search"]
    assert {(search.strategy, search.space) for search in searches} == {
        ("darts", "shift"),
        ("two steps", "shift"),
        ("two steps", "real"),
    }
    about = frames["autoshiftnet_f03"].attrs["extra"]["accuracies"].set_index(["strategy", "seed"])
    for (_, seed), row in about.iterrows():
        cells = NAMED["darts_v1"] if row.name[0] == "DARTS" else NAMED[("dots_cifar10", "gdas")[seed % 2]]
        assert row["skips_normal"] == [op for op, _ in cells.normal].count("skip_connect")
        assert row["skips_reduction"] == [op for op, _ in cells.reduce].count("skip_connect")
    assert about["skips_normal"].groupby("strategy").apply(list).to_dict() == {
        "DARTS": [3, 3, 3],
        "topology": [2, 4, 2],
    }
    halfway = frames["autoshiftnet_f03"].attrs["extra"]["step_one"]  # as the rows of the searches have it
    assert list(halfway["strategy"]) == ["topology"] * 3 and list(halfway["seed"]) == [0, 1, 2]
    assert set(halfway["skips_normal"]) == {8} and set(halfway["skips_reduction"]) == {0}
    assert genotype(halfway["genotype"][0]).reduce[0] == ("sep_conv_3x3", 0)


def test_at_paper_figure_3_has_the_cells_of_both_data_sets_and_each_must_have_few_skips(monkeypatch):
    """Claim c28 is about the best cells of tables 5 and 6, one of each data set."""
    cells = {"cifar10": NAMED["dots_cifar10"], "cifar100": NAMED["gdas"]}
    monkeypatch.setattr(kinds, "data_fingerprint", lambda recipe: recipe.dataset)
    few = {column: [op for op, _ in one.normal].count("skip_connect") for column, one in cells.items()}

    def trained(genotypes):
        def searched(specs):
            outcomes = run(specs)
            for spec, outcome in zip(specs.values(), outcomes.values()):
                if spec.kind == "autoshiftnet_search" and spec.recipe.search.strategy == "two steps":
                    outcome.value["genotype"] = genotypes[spec.recipe.data.dataset].as_dict()
            return outcomes

        table = entry("autoshiftnet_f03")
        frame = table.trained(table.recipes["paper", "cifar10"], range(6), searched)
        frame.attrs |= {"preset": "paper", "dataset": "cifar10", "table_id": "autoshiftnet_f03"}
        return frame

    frame = trained(cells)
    about = frame.attrs["extra"]["accuracies"].groupby("strategy")["skips_normal"].first().to_dict()
    assert about == {"DARTS": 3, "topology": few["cifar100"], "topology on CIFAR-10": few["cifar10"]}
    assert {drawing.part for drawing in f03.draw(frame)} == {"darts", "topology", "topology-on-cifar-10"}
    assert judge("autoshiftnet-c28", {"autoshiftnet_f03": frame}).status == "reproduced"
    skips = dataclasses.replace(cells["cifar10"], normal=tuple(("skip_connect", i) for _, i in cells["cifar10"].normal))
    for column in cells:  # skips of one data set do not hide behind the other's cell
        dominated = trained(cells | {column: skips})
        assert judge("autoshiftnet-c28", {"autoshiftnet_f03": dominated}).status == "not reproduced"


def test_figure_5_has_every_epoch_of_the_trainings_of_the_best_row(study):
    frames, asked = study
    frame = frames["autoshiftnet_f05"]
    assert set(frame["column"]) == {"cifar10", "cifar100"} and set(frame["seed"]) == {100, 101, 102}
    assert frame.groupby(["column", "seed"])["epoch"].apply(list).map(tuple).unique().tolist() == [(1, 2)]
    best = {str(spec.recipe) for spec in asked["t01"] if spec.seed >= 100}
    assert best == {str(spec.recipe) for spec in asked["f05"] if spec.seed >= 100}


def test_the_settings_at_paper_are_printed():
    """Sec. 5.1 and 5.2, appendix B; figure 6's batches."""
    cifar = {"epochs": 200, "batch_size": 128, "optimizer": "radam", "lr": 0.01, "weight_decay": 3e-4, "cutout": 16}
    image = {"epochs": 90, "batch_size": 1024, "optimizer": "radam", "lr": 0.01, "weight_decay": 3e-4}
    image |= {"warmup_epochs": 5, "label_smoothing": 0.1}
    for recipe, printed in ((CIFAR_TRAINING, cifar), (IMAGENET_TRAINING, image)):
        assert {name: getattr(recipe, name) for name in printed} == printed and recipe.schedule == "cosine"
    at_paper = NETWORKS["paper", "cifar10"]
    assert (at_paper.drop_path, list(at_paper.data), set(at_paper.searches)) == (
        0.2,
        [*at_paper.searches],
        {*at_paper.data},
    )
    assert all(found.recipe_of("paper", column) == search for column, search in at_paper.searches.items())
    for name in ("t02", "t07", "f06"):
        recipe = entry(f"autoshiftnet_{name}").recipes["paper", "imagenet"]
        assert recipe.data["imagenet"].facts["side"] == 224
        assert recipe.train.batch_size == (256 if name == "f06" else 1024)


def test_a_search_judges_its_supernet_on_training_images_that_train_nothing_and_never_on_test_images(
    tmp_path, monkeypatch
):
    given = {}

    def search_cells(recipe, train_data, held_out, **options):
        given.update(train=train_data, held_out=held_out)
        return CellSearch(recipe)

    monkeypatch.setattr(found, "search_cells", search_cells)
    recipe = SEARCHES["quick", "digits"]
    found.search(recipe, 0, RunContext(tmp_path))
    splits = load_splits(recipe.data)
    every = load_splits(dataclasses.replace(recipe.data, held_out=0.0)).train

    def contents(data):
        return {image.numpy().tobytes() for image in data.images}

    train, held_out, test = (contents(data) for data in (given["train"], given["held_out"], splits.test))
    assert train | held_out == contents(every) and not train & held_out and not (train | held_out) & test
    assert len(given["held_out"]) == round(0.2 * len(every))


def test_every_claim_that_a_study_may_judge_is_judged(frames):
    verdicts = judge_all(frames, "autoshiftnet").set_index("claim_id")
    found = verdicts["status"].to_dict()
    left = {claim for claim, status in found.items() if status == "not run"}
    assert left == {"autoshiftnet-c38"}, verdicts.loc[sorted(left), "evidence"].tolist()  # figure 4, searches only
    assert found["autoshiftnet-c41"] == "not reproduced"  # the share of skips is a number of each search
    assert found["autoshiftnet-c20"] == "reproduced"  # the given bit-shift networks lose ten points


@pytest.mark.parametrize(
    ("table", "number", "told"),
    [
        ("t01", "01", "3 seeds, 400 test images"),  # Best: trainings of one search's cells
        ("t01", "05", "3 seeds, 400 test images"),
        ("t01", "04", "3 seeds or searches, 400 test images"),
        ("t03", "23", "3 seeds"),
        ("t03", "17", "3 seeds or searches"),
        ("t07", "32", "3 seeds"),
        ("t04", "25", "3 searches, 400 test images"),
    ],
)
def test_searches_are_told_of_rows_that_were_searched_only(frames, table, number, told):
    table, claim = f"autoshiftnet_{table}", f"autoshiftnet-c{number}"
    evidence = judge(claim, {table: frames[table]}).evidence
    assert re.search(rf"95 % interval [^;]*?, {told}[,.]", evidence), evidence


def test_scores_of_figure_3_are_judged_on_the_answers_behind_them(frames):
    extra = frames["autoshiftnet_f03"].attrs["extra"]
    key = ["strategy", "dataset", "seed"]
    scores, examples = (extra[name].set_index(key) for name in ("scores", "examples"))
    assert set(examples["column"]) == {"accuracy_pct"} and len(examples) == len(scores) == 3 * 2 * 3
    shares = examples["correct"].map(lambda packed: 100 * unpack(packed, 400).mean())
    assert (shares - scores["accuracy_pct"]).abs().max() < 1e-9
    assert "examples" in entry("autoshiftnet_f03").keeps
    verdict = judge("autoshiftnet-c37", frames)
    assert verdict.seeds == 3 and "400 test images" in verdict.evidence


def test_a_training_that_ends_below_half_of_its_best_has_not_converged():
    status, job = (
        entry("autoshiftnet_t02").trained.__globals__["status"],
        NETWORKS["smoke", "digits"].job("DOTS", "cifar10"),
    )
    value = {"outcome": "done", "top1_pct": 20.0, "curve": [{"train_accuracy_pct": 41.0}, {"train_accuracy_pct": 25.0}]}
    told = [status(Outcome(job, "done", {**value, **more})) for more in ({}, {"top1_pct": 21.0}, {"outcome": "dead"})]
    assert told == ["not_converged", "ok", "not_converged"]
    assert status(Outcome(job, "failed", None)) == "diverged"


def test_a_training_has_converged_with_95_of_100_of_its_own_last_accuracy(frames):
    frame = frames["autoshiftnet_f06"]
    assert frame["batch_size"].unique().tolist() == [32, 128] and frame["epochs"].eq(6).all()
    curves = frame.attrs["extra"]["epochs"].groupby(["batch", "seed"])["test_accuracy_pct"].apply(list)
    for row in frame.itertuples():
        curve = curves[f"batch {row.batch_size}", row.seed]
        assert (
            curve[int(row.epochs_to_reach) - 1]
            >= 0.95 * curve[-1]
            > max(curve[: int(row.epochs_to_reach) - 1], default=-1.0)
        )
    assert f06.epochs_to_reach([50.0, 94.0, 96.0, 100.0]) == 3.0 == f06.epochs_to_reach([10.0, 18.0, 19.5, 20.0])
    assert f06.lost_points([50.0, 60.0, 55.0, 70.0, 69.0]) == 6.0 and f06.lost_points([1.0, 2.0]) == 0.0


@pytest.mark.parametrize("name", sorted({*TRAINED} - {"t02"}))  # whose pictures are those of its computed part
def test_every_frame_is_drawn(name, frames):
    drawings = entry(f"autoshiftnet_{name}").draw(frames[f"autoshiftnet_{name}"])
    assert drawings and all(any(a.lines or a.collections for a in d.figure.axes) for d in drawings)


def test_both_domains_differ_in_their_layers_and_settings_only():
    recipe = NETWORKS["quick", "digits"]
    shift, real = (recipe.job("ResNet20", "cifar10", domain) for domain in ("BS", "R"))
    assert (shift.model, shift.options, shift.data) == (real.model, real.options, real.data)
    layers = [{type(m).__name__ for m in training.build(job).modules()} for job in (shift, real)]
    assert "ShiftConv2d" in layers[0] and not {"Conv2d", "Linear"} & layers[0]
    assert "Conv2d" in layers[1] and not {"ShiftConv2d", "ShiftLinear"} & layers[1]
    with pytest.raises(InputError, match="domain='bs' is not known"):
        training.NetworkJob(shift.model, shift.options, shift.data, shift.train, "bs")
    with pytest.raises(InputError, match="size"):
        network("ResNet20", "cifar10", "tiny")


def test_a_network_of_p_and_s_is_trained_tested_and_resumed(tmp_path):
    context = RunContext(tmp_path)
    job = NETWORKS["smoke", "digits"].job("DOTS", "cifar10", curve=True)
    first = training.train_network(job, 0, context)
    assert first["examples"] == 60 and first["outcome"] in ("done", "dead")
    assert first["curve"][0]["test_accuracy_pct"] == pytest.approx(first["top1_pct"])
    assert context.weights.is_file()
    again = training.train_network(job, 0, context)
    assert again == first and len(context.metrics()) == 1


def test_what_is_tuned_is_each_domain_and_kind_of_network():
    asked = tuning.tuning_of("autoshiftnet", "digits")
    assert {name.partition(": ")[0] for name in asked.jobs} == TUNED["digits"].keys()
    assert all(job.data.tested_on == "held out" for job in asked.candidates().values())
    tried, cells = asked.candidates(), "cells: AutoShiftNet"
    assert (f"R {cells}", "sgd 0.1") in tried and (f"BS {cells}", "sgd 0.1") not in tried
    assert asked.spec(asked.jobs["BS CNN: ResNet50"], 0).kind == "autoshiftnet_network"
