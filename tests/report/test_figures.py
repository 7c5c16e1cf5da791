"""Figures are byte-stable, labelled and saved with their captions."""

import math

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError
from repro.report.figures import fit_line, new_figure, ranking_scatter, save_figure


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "figures"))
    return tmp_path / "figures"


def points(seeds=(0, 1)):
    generator = np.random.default_rng(0)
    rows = [
        {
            "adaptive_lr": a,
            "separate_warmup": w,
            "seed": s,
            "path": f"p{i}",
            "predicted_accuracy_pct": 50 + sign * i + generator.normal(),
            "true_accuracy_pct": 60 + i,
        }
        for (a, w), sign in {(0, 0): -1, (0, 1): 0, (1, 0): 0.5, (1, 1): 1}.items()
        for s in seeds
        for i in range(64)
    ]
    return pd.DataFrame(rows)


def test_ranking_scatter_has_four_panels_of_64_points_with_tau_and_line(figures):
    figure, caption = ranking_scatter(points(), name="acghostnet_f04", label="quick, digits")
    assert len(figure.axes) == 4
    assert all(len(axes.collections[0].get_offsets()) == 64 and len(axes.lines) == 1 for axes in figure.axes)
    assert "tau = -0.9" in figure.axes[0].get_title() and "tau = 0.9" in figure.axes[3].get_title()
    assert "64 architectures" in caption and "quick, digits" in caption


def test_saved_figures_are_the_same_bytes_and_lie_beside_their_captions(figures):
    written = []
    for _ in range(2):
        figure, caption = ranking_scatter(points(), name="acghostnet_f04", label="quick, digits")
        path = save_figure(figure, "acghostnet_f04-quick-digits", caption)
        written.append([path.read_bytes(), path.with_suffix(".txt").read_bytes()])
    assert written[0] == written[1]
    assert len(written[0][0]) < 200 * 1024
    assert b"true accuracy (%)" in written[0][0] and b"dc:date" not in written[0][0]
    assert sorted(p.suffix for p in figures.iterdir()) == [".svg", ".txt"]


@pytest.mark.parametrize(
    ("name", "caption", "label", "message"),
    [
        ("../escape", "A caption.", "x (ms)", "plain file name"),
        ("fine", " ", "x (ms)", "must state what"),
        ("fine", "A caption.", "", "axes without a label"),
    ],
)
def test_unlabelled_or_misnamed_figures_are_refused(figures, name, caption, label, message):
    figure, axes = new_figure()
    axes[0, 0].plot([1, 2], [3, 4])
    axes[0, 0].set(xlabel=label, ylabel=label)
    with pytest.raises(InputError, match=message):
        save_figure(figure, name, caption)
    assert not figures.exists()


def test_fit_line_recovers_a_line_and_ignores_gaps():
    slope, intercept = fit_line([0, 1, 2, math.nan], [1, 3, 5, 7])
    assert (slope, intercept) == (pytest.approx(2), pytest.approx(1))
    assert math.isnan(fit_line([1, 1], [2, 3])[0])


def test_ranking_scatter_names_what_is_missing():
    with pytest.raises(InputError, match="true_accuracy_pct"):
        ranking_scatter(points().drop(columns="true_accuracy_pct"), name="acghostnet_f04", label="")
