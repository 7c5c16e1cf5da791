"""Tables on a terminal of 80 columns and on a pipe: ids are whole, numbers are as whole as they are."""

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from repro.cli import text
from repro.cli.text import PIPE_WIDTH, cell, print_frame

BOARD = pd.DataFrame(
    {
        "id": ["shiftaddaug_supp_t03", "acghostnet_t01"],
        "state": ["regenerated", "not yet"],
        "record": ["quick random-images", ""],
        "code": ["code changed since", ""],
        "claims": ["1 reproduced, 4 not reproduced, 9 not run", "2 undecided"],
    }
)
COMPARED = pd.DataFrame(
    {
        "model": ["MobileNetV2-w0.35"] * 2 + ["MCUNet"],
        "method": ["Shift"] * 3,
        "column": ["an_unusually_long_name_of_a_metric_pct", "energy_mj", "energy_mj"],
        "published": [70.59, 2.345, 1.0],
        "ours": [70.5875, 2.3448, 1.0],
        "difference": [-0.0025, -0.0002, 0.0],
    }
)


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Lines that a terminal of 80 columns shows."""
    monkeypatch.setattr(text, "console", lambda: Console(width=80, highlight=False))

    def lines(*arguments, **options):
        print_frame(*arguments, **options)
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3.0, "3"),
        (np.float64(12), "12"),
        (np.int64(7), "7"),
        (98.88888549804688, "98.89"),
        (0.00012345, "0.0001234"),
        (123456.7, "123457"),
        (float("nan"), ""),
        (None, ""),
        (pd.NA, ""),
        (True, "True"),
        ("1.50", "1.50"),
        (float("inf"), "inf"),
    ],
)
def test_cells_are_as_short_as_they_can_be(value, shown):
    assert cell(value) == shown


def test_a_board_fits_80_columns_with_its_ids_whole(terminal):
    lines = terminal(BOARD, title="Tables and figures")
    assert lines[0] == "Tables and figures" and max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "_t0" in line] == list(BOARD["id"])
    words = " ".join(lines).split()
    assert {"regenerated", "random-images", "reproduced,", "undecided"} <= set(words)


def test_columns_that_do_not_fit_become_lines_above_their_rows(terminal):
    lines = terminal(COMPARED, by=["model", "method"])
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("model ")] == [
        "model MobileNetV2-w0.35, method Shift",
        "model MCUNet, method Shift",
    ]
    assert sum("energy_mj" in line for line in lines) == 2


def test_markup_in_a_cell_is_text(terminal):
    assert terminal(pd.DataFrame({"what": ["[red]x[/red]"]}))[1] == "[red]x[/red]"


def test_a_pipe_gets_one_line_for_each_row_however_long(capsys):
    long = BOARD.assign(claims="word " * 100)
    print_frame(long)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(long) and len(lines[1]) > 500
    assert max(map(len, lines)) < PIPE_WIDTH


def test_numbers_stand_to_the_right_and_words_to_the_left(capsys):
    print_frame(pd.DataFrame({"name": ["a", "bb"], "value": ["1", "100"]}))
    assert capsys.readouterr().out.splitlines() == ["name  value", "a         1", "bb      100"]


def test_a_negative_zero_is_shown_as_zero():
    assert [cell(value) for value in (-0.0, -0.5, -20_000.4)] == ["0", "-0.5", "-20000"]
