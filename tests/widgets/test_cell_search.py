"""A search of cells looked at epoch by epoch: one of four epochs whose alphas, betas and balances are given here."""

from __future__ import annotations

import dataclasses
import html
import math

import pytest
import torch

from repro import runs
from repro.errors import InputError
from repro.pages import cell_search as pages
from repro.runs import Outcome
from repro.search.cell_supernet import OPERATIONS
from repro.search.gradient import CellSearch, CellSearchRecipe, make_architecture
from repro.widgets.cell_search import coefficient_history, edge_names, edge_view, history, phases

RECIPE = CellSearchRecipe(nodes=2, operation_epochs=(1, 1), topology_epochs=(1, 1), temperatures=(0.5, 0.5))
E1, E2, E3 = math.e, math.e**2, math.e**3


def alphas(*edges: dict[str, float]) -> list[list[float]]:
    return [[edge.get(operation, 0.0) for operation in OPERATIONS] for edge in edges]


NORMAL = alphas(
    {"none": 3, "sep_conv_5x5": 1},
    {"skip_connect": 2},
    {"avg_pool_3x3": 2},
    {"sep_conv_3x3": 3, "max_pool_3x3": 0.5},
    {"skip_connect": 1},
)
REDUCE = alphas(*[{"skip_connect": 5, "sep_conv_5x5": 1}] * 5)
EVEN = {
    "normal_pairs": [0.0] * 4, "normal_balance": [[0.0, 0.0]] * 5,
    "reduce_pairs": [0.0] * 4, "reduce_balance": [[0.0, 0.0]] * 5,
}  # fmt: skip
MOVED = EVEN | {
    "normal_pairs": [0.0, 0.0, 0.0, 1.0],
    "normal_balance": [[1e-3, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1e-3], [1e-3, 0.0]],
}


def given(recipe: CellSearchRecipe = RECIPE) -> CellSearch:
    architectures = [
        {"normal": [[0.0] * 8] * 5, "reduce": [[0.0] * 8] * 5}, {"normal": NORMAL, "reduce": REDUCE}, EVEN, MOVED
    ]  # fmt: skip
    rows = [
        {
            "epoch": place + 1,
            "step": "operations" if place < 2 else "topology",
            "phase": "search" if place % 2 else "weights",
            "lr": 0.1 / (place + 1),
            "temperature": [None, None, 1.0, 0.5][place],
            "train_loss": 1.0,
            "train_accuracy_pct": 10.0 + place,
            "held_out_loss": 1.0,
            "held_out_accuracy_pct": 20.0 + place,
            "seconds": [1.0, 3.0, 2.0, 4.0][place],
            "architecture": values,
        }
        for place, values in enumerate(architectures)
    ]
    operations = make_architecture(recipe, "operations")
    operations.load_state_dict({name: torch.tensor(value) for name, value in architectures[1].items()})
    search = CellSearch(recipe, rows, operations.kept())
    search.genotype = search.genotype_at(4)
    return search


@pytest.fixture(scope="module")
def search() -> CellSearch:
    return given()


def test_in_step_one_an_edge_weighs_what_its_best_operation_does(search):
    view = edge_view(search, 2, "normal")
    assert list(zip(view["node"], view["input"])) == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert view["operation"].tolist() == [
        "sep_conv_5x5",
        "skip_connect",
        "avg_pool_3x3",
        "sep_conv_3x3",
        "skip_connect",
    ]
    ones, twos = E1 / (E1 + 3), E2 / (E2 + 3)
    assert view["weight"].tolist() == pytest.approx([ones, twos, twos, E3 / (E3 + 3), E1 / (E1 + 3)])
    assert view["cut"].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("normalize", [False, True])
def test_in_step_two_it_weighs_the_probability_that_the_pair_holds_it(normalize):
    view = edge_view(given(dataclasses.replace(RECIPE, normalize=normalize)), 4, "normal")
    last = E2 / (E2 + 2)  # the pair (1, 2): beta 1 at temperature 0.5 against two of 0
    assert view["weight"].tolist() == pytest.approx([1, 1, 1 - last, (1 + last) / 2, (1 + last) / 2])
    assert view["operation"].tolist() == [
        "sep_conv_5x5",
        "skip_connect",
        "avg_pool_3x3",
        "sep_conv_3x3",
        "skip_connect",
    ]
    assert view["cut"].tolist() == [True, True, False, True, True], "'none' of larger balance leaves the convolution"


def test_an_edge_s_candidates_are_eight_and_then_two(search):
    rows = coefficient_history(search, "normal", edge_names(search)["node 1 → node 2"])
    assert rows.groupby("epoch").size().tolist() == [8, 8, 2, 2]
    assert rows[rows["epoch"] == 1]["coefficient"].tolist() == pytest.approx([0.25] * 8)
    end = rows[rows["epoch"] == 4].set_index("operation")["coefficient"]
    gamma, balance = (1 + E2 / (E2 + 2)) / 2, 1 / (1 + math.exp(-2.0))  # 1e-3 over 1e-3 times the temperature
    assert end["skip_connect"] == pytest.approx(gamma * balance, rel=1e-5)


def test_history_counts_the_edges_that_stay_and_phases_the_seconds(search):
    assert history(search)["edges_as_final"].tolist()[1:] == [7, 6, 8]
    parts = phases(search)
    assert parts["share_pct"].tolist() == pytest.approx([10, 30, 20, 40]) and parts["epochs"].tolist() == [1] * 4
    unfinished = dataclasses.replace(search, genotype=None)
    assert history(unfinished)["edges_as_final"].isna().all()


def test_each_step_tells_what_a_batch_takes_and_its_operators_share(search, monkeypatch):
    profiled = []

    def profile(supernet, images, labels):  # `profile_step` itself is tested on a supernet in tests/search
        profiled.append((len(supernet(images).T), images.shape, labels.shape))
        return {"step_ms": 8.0, "operator_ms": 6.0, "operator_share": 0.75}

    monkeypatch.setattr(pages, "profile_step", profile)
    spent = pages.step_times(search, "smoke")
    assert spent["step"].tolist() == ["operations", "topology"] and spent["operators_pct"].tolist() == [75.0, 75.0]
    batch = search.recipe.batch_size
    assert profiled == [(10, (batch, 1, 8, 8), (batch,))] * 2


def test_the_pictures_of_the_page_show_every_epoch_and_edge(search):
    progress = pages.progress(search)
    assert "After step one 7 of the 8 edges are those of the found cells" in progress.caption
    assert list(progress.figure.axes[2].lines[0].get_ydata())[1:] == [7, 6, 8]
    normal, reduce = pages.weights(search).figure.axes[:2]
    assert normal.images[0].get_array().shape == (5, 4) and len(reduce.collections[0].get_offsets()) == 4 * 4
    cells = pages.after(search, 4)
    assert [drawing.part for drawing in cells] == ["normal", "reduce"]
    edges, cut = cells[0].figure.axes
    widths = [line.get_linewidth() for line in edges.lines]
    assert widths.index(min(widths)) == 2 and len(cut.lines) == 4


def test_a_search_that_gave_nothing_is_one_sentence(monkeypatch):
    monkeypatch.setattr(
        runs,
        "engine",
        lambda *_, **__: lambda specs: {key: Outcome(spec, "failed", message="killed") for key, spec in specs.items()},
    )
    with pytest.raises(InputError, match=r"^the search of seed 3 gave nothing: killed\.$"):
        pages.searched("smoke", seed=3)
    with pytest.raises(InputError, match="search has no epochs"):
        history(CellSearch(RECIPE))
    with pytest.raises(InputError, match="kind='both'"):
        edge_view(given(), 1, "both")


def test_the_explorer_follows_epoch_cell_and_edge(search):
    pytest.importorskip("anywidget", reason="the notebooks extra is not installed")
    from repro.widgets import cell_search_explorer
    from tests.widgets.test_small_widgets import controls, figures, text_of

    view = cell_search_explorer(search)
    (plot,) = figures(view)
    assert "normal cell after epoch 4; would be cut" in text_of(view) and "8 of 8" in text_of(view)
    controls(view, "epoch").value = 2
    said = text_of(view)
    assert html.escape(search.genotype_at(2).as_text()) in said and "one: operations" in said and "7 of 8" in said
    assert plot.chart.layout.shapes[0].x0 == plot.chart.layout.shapes[0].x1 == 2
    controls(view, "cell").value = "reduce"
    assert "reduction cell after epoch 2; would be cut: skip_connect from in 1 into node 1" in text_of(view)
    controls(view, "edge").value = 4
    assert "node 1 → node 2, reduction cell" in plot.chart.layout.title.text
    lines = {trace.name: list(trace.y) for trace in plot.chart.data}
    assert [len(lines[name]) for name in ("skip_connect", "sep_conv_5x5", "none")] == [4, 4, 2]
