"""The table and the picture of page 04."""

import json

import pandas as pd

from repro.pages import judging
from repro.pages.execute import notebooks_folder
from repro.report.board import STATUSES_ON_BOARD
from repro.report.figures import save_figure


def test_wrong_verdicts_shows_both_rates_of_every_claim():
    columns = ["setting", "claim", "seeds", "false_reproduced_pct", "false_not_reproduced_pct"]
    rows = [("x", "B", 3, 2.25, 1.0), ("x", "B", 10, 0.0, 5.0), ("x", "A", 3, 1.0, 0.5), ("y", "B", 3, 0.25, 0.0)]
    shown = judging.wrong_verdicts(pd.DataFrame(rows, columns=columns))
    assert list(shown.columns) == ["setting", "claim", "3 seeds", "10 seeds"], "in the order given"
    assert shown.loc[0].tolist() == ["x", "B", "2.2 / 1.0", "0.0 / 5.0"]
    assert shown["claim"].tolist() == ["B", "A", "B"]


def test_power_curves_have_a_panel_a_setting_and_a_line_a_number_of_seeds(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    rows = [(name, seeds, gap, 10.0 * gap * seeds) for name in ("x", "y") for seeds in (3, 5) for gap in (0.0, 1.0)]
    drawing = judging.power_curves(pd.DataFrame(rows, columns=["setting", "seeds", "gap", "reproduced_pct"]))
    panels = drawing.figure.axes
    assert [axis.get_title() for axis in panels] == ["x", "y"]
    assert [line.get_ydata().tolist() for line in panels[1].lines] == [[0.0, 30.0], [0.0, 50.0]]
    assert {axis.get_ylim() for axis in panels} == {(-2.0, 102.0)}, "one scale"
    assert save_figure(drawing.figure, "judging_power", drawing.caption).exists()


def test_the_page_explains_every_status_and_no_other():
    page = json.loads((notebooks_folder() / "04_how_claims_are_judged.ipynb").read_text(encoding="utf-8"))
    lines = "".join("".join(cell["source"]) + "\n" for cell in page["cells"]).splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows == ["verdict", *STATUSES_ON_BOARD]
