"""Figures are byte-stable, labelled and saved with their captions."""

import math

import pytest

from repro.errors import InputError
from repro.report.figures import fit_line, new_figure, save_figure


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "figures"))
    return tmp_path / "figures"


def curve():
    figure, axes = new_figure()
    axes[0, 0].plot([1, 2], [3, 4])
    axes[0, 0].set(xlabel="true accuracy (%)", ylabel="predicted accuracy (%)")
    return figure


def test_saved_figures_are_the_same_bytes_and_lie_beside_their_captions(figures):
    written = []
    for _ in range(2):
        path = save_figure(curve(), "acghostnet_f04-quick-digits", "A rising line.")
        written.append([path.read_bytes(), path.with_suffix(".txt").read_bytes()])
    assert written[0] == written[1]
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
