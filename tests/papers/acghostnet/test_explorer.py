"""Editing an ACGhostNet: every change can be undone, budgets hold, files come back, a click gives the next type."""

import json

import pytest

from repro.errors import InputError
from repro.papers.acghostnet import explorer


def test_editor_undoes_every_change():
    editor = explorer.GhostEditor(seed=1)
    start = editor.choices
    editor.mutate()
    assert sum(a != b for a, b in zip(start, editor.choices)) == 1
    editor.random()
    editor.set_block(15, "AAg2")
    assert editor.choices[15] == "AAg2"
    while editor.undo():
        pass
    assert editor.choices == start and not editor.undo()


def test_best_under_keeps_the_budget_and_beats_the_other_samples():
    inputs = next(iter(explorer.INPUTS))
    editor = explorer.GhostEditor(seed=0)
    tight = editor.best_under(0.12, inputs)
    loose = editor.best_under(0.18, inputs)
    assert tight["energy_pj"] <= 0.12e9 and loose["energy_pj"] <= 0.18e9
    assert loose["fmul"] > tight["fmul"]
    assert explorer.lookup(inputs).score(list(editor.choices))["energy_pj"].item() == loose["energy_pj"]
    with pytest.raises(InputError, match=r"budget=0\.01"):
        editor.best_under(0.01, inputs)


def test_architectures_survive_the_file():
    editor = explorer.GhostEditor(seed=3)
    editor.random()
    text = explorer.to_json(editor.choices, next(iter(explorer.INPUTS)))
    assert explorer.from_json(text) == editor.choices
    assert ",".join(editor.choices) in explorer.training_command(editor.choices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("3", "list of 16"),
        ('{"model": "resnet20", "choices": []}', "model='resnet20'"),
        (json.dumps(["CCg1"] * 15), "15 entries"),
        (json.dumps(["CCg3"] * 16), "Did you mean 'CCg"),
    ],
)
def test_malformed_architectures_say_why(text, message):
    with pytest.raises(InputError, match=message):
        explorer.from_json(text)


def test_a_click_on_a_block_gives_its_next_type():
    pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
    pytest.importorskip("anywidget", reason="the notebooks extra is not installed")
    from repro.papers.acghostnet.explorer_view import GhostExplorer
    from tests.widgets.test_views import sent

    view = GhostExplorer()
    charts = sent(view, "drawing", "energy")
    view.drawing._handle_custom_msg({"trace": 0, "point": 4}, [])
    assert view.editor.choices[4] != "CCg1" and view.dropdowns[4].value == view.editor.choices[4]
    assert sorted(charts) == ["drawing", "energy"]
    view.dropdowns[4].value = "CCg1"
    assert view.editor.steps == 2
