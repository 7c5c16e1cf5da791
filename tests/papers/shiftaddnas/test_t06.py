"""Table 6 on outcomes made by hand: what is compared with what, and what T adds to its control."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from repro.papers.shiftaddnas import recipes, t06
from repro.papers.shiftaddnas.path_search import COSTS
from repro.papers.shiftaddnas.sharing import PRINTED
from repro.runs import Outcome

MODES = ("w/o WS", "w/ Naive WS", "naive, N(0, 1)", "one factor", "T fitted", "HWS w/o KL", "w/ HWS")
RECIPE = dataclasses.replace(recipes.RECIPES["study", "digits"], modes=MODES)
NOISE = {"T fitted": 0.1, "one factor": 100.0}
"""Of a supernet's losses, where it is not 1, the deviation of the paths' qualities."""


def run(specs):
    """Losses are a path's quality and noise; a training alone has as much noise as there is quality."""
    plain = dict(zip(RECIPE.ranked(), np.random.default_rng(0).normal(size=RECIPE.paths)))
    done = {}
    for (asked, seed), spec in specs.items():
        with_conv = asked[0] == "conv"
        name = asked[1] if with_conv else asked
        quality = {path: -each for path, each in plain.items()} if with_conv else plain  # other shortcuts, other order
        draw = np.random.default_rng([seed, sum(map(ord, "".join(name)))])
        if name in MODES:
            losses = {path: each + NOISE.get(name, 1.0) * draw.normal() for path, each in quality.items()}
            scores = {
                "-".join(path): {"loss": loss, "accuracy_pct": 50.0, "test_loss": loss + draw.normal()}
                for path, loss in losses.items()
            }
            value = {"outcome": "done", "scores": scores, "seconds": {"train": 1.0}}
        else:
            value = {"outcome": "done", "loss": quality[name] + draw.normal(), "top1_pct": 50.0}
        done[asked, seed] = Outcome(spec, "done", value, {})
    return done


@pytest.fixture(scope="module")
def frame():
    return t06.trained(RECIPE, [0, 1, 2], run)


def test_what_t_adds_is_told_with_an_interval_beside_its_control(frame):
    found = frame.attrs["extra"]["differences"].set_index(["mode", "column"])
    assert len(found) == 2 * 3 and found.loc["T fitted", "control"].eq("one factor").all()
    assert (found["low"] < found["difference"]).all() and (found["difference"] < found["high"]).all()
    clear, none = (found.loc[(mode, "kendall_tau")] for mode in t06.CONTROLS)
    assert clear["low"] > 0 and none["low"] < 0 < none["high"]
    tau = frame.attrs["extra"]["modes"].groupby("mode")["kendall_tau"].mean()
    assert clear["difference"] == pytest.approx(tau["T fitted"] - tau["one factor"])


def test_a_dead_training_alone_is_told_apart():
    def with_a_dead_one(specs):
        done = run(specs)
        path = RECIPE.ranked()[0]
        value = {"outcome": "dead", "loss": 100.0, "top1_pct": 10.0}
        return done | {(path, 0): Outcome(specs[path, 0], "done", value, {})} if (path, 0) in done else done

    clean, found = (t06.trained(RECIPE, [0, 1, 2], each).attrs["extra"] for each in (run, with_a_dead_one))
    alone = clean["points"].query("mode == 'T fitted'").pivot_table(index="path", columns="seed", values="alone_loss")
    others = alone.drop("-".join(RECIPE.ranked()[0]))
    pairs = [np.corrcoef(others[a], others[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found["repeatability"]["pearson_r_without_dead"].item() == pytest.approx(np.mean(pairs))
    assert found["repeatability"]["pearson_r"].item() != pytest.approx(np.mean(pairs), abs=0.01)
    assert clean["repeatability"]["pearson_r_without_dead"].item() == clean["repeatability"]["pearson_r"].item()
    assert found["modes"]["pearson_r_without_dead"].notna().all()
    assert found["modes"]["note"].str.contains("1 trainings alone end at chance").all()


def test_convolutions_on_shortcuts_are_compared_with_their_own_trainings(frame):
    extra = frame.attrs["extra"]
    assert {name.removeprefix("conv_") for name in extra if name.startswith("conv_")} == set(t06.COMPARED)
    assert list(dict.fromkeys(extra["conv_modes"]["mode"])) == list(RECIPE.conv_shortcuts)
    loss = {name: extra[name].query("mode == 'T fitted' and seed == 0")["loss"] for name in ("points", "conv_points")}
    assert np.corrcoef(*loss.values())[0, 1] < 0
    tau = {name: extra[name].groupby("mode")["kendall_tau"].mean()["T fitted"] for name in ("modes", "conv_modes")}
    assert min(tau.values()) > 0.3
    assert set(extra["conv_differences"]["mode"]) == set(t06.CONTROLS)


def test_a_supernet_is_compared_with_single_trainings_as_their_ceiling_is(frame):
    extra = frame.attrs["extra"]
    points = extra["points"].query("mode == 'T fitted'")
    alone = points.pivot(index="path", columns="seed", values="alone_loss")
    mine = points[points["seed"] == 1].set_index("path")["loss"].loc[alone.index]
    told = extra["modes"].set_index(["mode", "seed"]).loc[("T fitted", 1), "pearson_r"]
    assert told == pytest.approx(alone.corrwith(mine).mean())
    between = alone.corr().to_numpy()[np.triu_indices(3, 1)].mean()
    assert extra["repeatability"]["pearson_r"].item() == pytest.approx(between)
    released = extra["points"].query("mode == 'w/o WS' and seed == 1").set_index("path")["loss"].loc[alone.index]
    told = extra["modes"].set_index(["mode", "seed"]).loc[("T fitted", 1)]
    assert told["kendall_tau_against_own"] == pytest.approx(stats.kendalltau(mine, released).statistic)
    assert told["spearman_rho_against_own"] == pytest.approx(stats.spearmanr(mine, released).statistic)
    own = extra["modes"].set_index("mode").loc["w/o WS"]
    assert (own[["kendall_tau_against_own", "pearson_r_against_own", "spearman_rho_against_own"]] > 0.999).all(
        axis=None
    )


def test_correlations_by_test_loss_stand_beside_those_by_held_out_loss(frame):
    extra = frame.attrs["extra"]
    points = extra["points"].query("mode == 'T fitted'")
    alone = points.pivot(index="path", columns="seed", values="alone_loss")
    mine = points[points["seed"] == 1].set_index("path")["test_loss"].loc[alone.index]
    told = extra["modes"].set_index(["mode", "seed"]).loc[("T fitted", 1)]
    tau = np.mean([stats.kendalltau(mine, alone[seed]).statistic for seed in alone])
    assert told["kendall_tau_by_test_loss"] == pytest.approx(tau) != pytest.approx(told["kendall_tau"])
    assert told["pearson_r_by_test_loss"] == pytest.approx(alone.corrwith(mine).mean())


def test_every_way_of_sharing_has_tau_with_an_interval_and_all_have_one_ceiling(frame):
    extra = frame.attrs["extra"]
    spans = extra["intervals"].query("column == 'kendall_tau'").set_index("name")
    taus = extra["modes"].groupby("mode")["kendall_tau"].mean()
    assert set(spans.index) == set(taus.index) == set(MODES)
    top = extra["repeatability"].iloc[0]
    assert top["kendall_tau_low"] < top["kendall_tau"] < top["kendall_tau_high"]
    taus = taus.loc[spans.index]
    assert (spans["low"] < taus).all() and (taus < spans["high"]).all()
    shown = frame.copy()
    shown.attrs = frame.attrs | {"dataset": "digits"}
    drawing, with_conv = t06.draw(shown)
    marked = [text.get_text() for text in drawing.figure.axes[0].get_yticklabels()]
    assert marked == list(reversed(MODES))
    marked = [text.get_text() for text in with_conv.figure.axes[0].get_yticklabels()]
    assert marked == list(reversed(RECIPE.conv_shortcuts)) and "Convolutions in place of adders" in with_conv.caption


def test_what_the_printed_ways_search_out_is_trained_alone():
    path, alone = RECIPE.ranked()[0], {}

    def searching(specs):
        winners = {key for key, spec in specs.items() if key[0] in PRINTED and spec.kind == "shiftaddnas_path"}
        done = run({key: spec for key, spec in specs.items() if key not in winners})
        for key, spec in specs.items():
            if key in winners:
                alone[key] = spec.recipe
                value = {"outcome": "done", "top1_pct": 90.0 + key[1], "examples": 0, "correct": {}}
                done[key] = Outcome(spec, "done", value, {})
            elif key[0] in PRINTED:
                costs = dict.fromkeys(COSTS, 2.5)
                found = {"path": list(path), "loss": 0.5, **costs, "limits": {"macs_m": 3.0}}
                done[key] = dataclasses.replace(done[key], value=done[key].value | {"found": found})
        return done

    frame = t06.trained(RECIPE, [0, 1], searching)
    assert set(alone) == {(mode, seed) for mode in PRINTED for seed in (0, 1)}
    assert {(job.path, job.train) for job in alone.values()} == {(path, RECIPE.found)}
    assert frame.set_index(["method", "seed"])["top1_pct"].to_dict() == {key: 90.0 + key[1] for key in alone}
    found = frame.attrs["extra"]["found"]
    assert len(found) == 4 and (found[[*COSTS]] == 2.5).all(axis=None) and (found["macs_m_limit"] == 3.0).all()


def test_each_pair_is_told_with_its_answer(frame):
    differences = frame.attrs["extra"]["differences"]
    sentences = t06.told(differences)
    assert len(sentences) == len(t06.CONTROLS) == 2
    assert sentences[0].startswith("T fitted against one factor: tau +") and sentences[0].endswith(": better.")
    turned = differences.assign(low=-differences["high"], high=-differences["low"])
    assert t06.told(turned)[0].endswith(": worse.")
    assert all(each.endswith(": undecided.") for each in t06.told(differences.assign(low=-1.0, high=1.0)))
