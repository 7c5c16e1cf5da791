"""ACGhostNet tables 3 and 6: what they judge on which images, how far trainings agree, and how tau would vary."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from repro.papers.acghostnet import ranking, t03, t06
from repro.papers.data import load_splits
from repro.report.examples import unpack


@pytest.fixture(scope="module")
def table_3(smoke_table):
    return smoke_table("acghostnet_t03")


def test_table_3_judges_the_supernet_on_held_out_images_and_keeps_every_answer(table_3):
    data = load_splits(t03.TABLE.recipes["smoke", "digits"].data)
    sizes = {t03.SEARCHED: len(data.held_out), t03.TRAINED: len(data.test)}
    kept = table_3.attrs["extra"]["examples"]
    assert len(table_3) == 8 and len(kept) == 16
    for row in kept.itertuples():
        accuracy = table_3.set_index("model").loc[row.model, row.column]
        assert row.examples == sizes[row.column]
        assert 100 * unpack(row.correct, row.examples).mean() == pytest.approx(accuracy, abs=1e-4)


def test_a_large_space_keeps_no_answers_and_predicts_on_held_out_images(monkeypatch):
    asked = []
    monkeypatch.setattr(ranking, "evaluate_paths", lambda net, paths, data, calibration: asked.append(data) or [])
    recipe = t06._supernet(t06.RECIPES["smoke", "digits"], 1, 0)
    context = type("Context", (), {"log": lambda self, **row: None, "checkpoint": _Nowhere()})()
    monkeypatch.setattr(ranking, "train_supernet", lambda *args, **options: type("H", (), _FINISHED)())
    with pytest.raises(ValueError, match="shorter"):  # no result for any path
        ranking.train_shared(recipe, 0, context)
    assert asked == [load_splits(recipe.data).held_out]


_FINISHED = {"outcome": "finished", "detail": "", "warmup": ()}


class _Nowhere:
    def __truediv__(self, name):
        return None


def test_draws_of_tau_vary_with_architectures_and_trainings():
    generator = np.random.default_rng(1)
    paths, quality = [f"p{i:02}" for i in range(40)], np.linspace(40, 60, 40)
    truths = pd.DataFrame(
        [(path, seed, q + generator.normal(0, 2)) for seed in range(3) for path, q in zip(paths, quality)],
        columns=["path", "seed", "accuracy_pct"],
    )
    points = pd.DataFrame(
        [
            (a, 0, seed, path, (q if a else 100 - q) + generator.normal(0, 2))
            for a in (0, 1)
            for seed in (0, 1)
            for path, q in zip(paths, quality)
        ],
        columns=["adaptive_lr", "separate_warmup", "seed", "path", "predicted_accuracy_pct"],
    )
    draws = t06.tau_draws(points, truths)
    assert draws.equals(t06.tau_draws(points, truths)) and len(draws) == 2 * 200
    middle = draws.groupby("name")["value"].mean()
    assert middle[1, 0] > 0.6 and middle[0, 0] < -0.6
    assert 0.01 < draws[draws["name"] == (1, 0)]["value"].std() < 0.1
    one = truths[truths["seed"] == 0].set_index("path")["accuracy_pct"]
    mine = points[(points["adaptive_lr"] == 1) & (points["seed"] == 0)].set_index("path")["predicted_accuracy_pct"]
    assert middle[1, 0] == pytest.approx(stats.kendalltau(mine, one[mine.index]).statistic, abs=0.1)
    assert t06.tau_draws(points[points["path"] < "p05"], truths).empty
