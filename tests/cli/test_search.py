"""`repro search cells` prints cells that the cell network takes, keeps its search, and refuses in one sentence."""

from __future__ import annotations

import pytest

from repro import runs
from repro.errors import InputError
from repro.models import create
from repro.models.genotypes import genotype, read_genotype
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.recipes import NETWORKS, REAL_SPACE, SEARCHES
from repro.runs import Outcome


@pytest.fixture
def call(call_here):
    """`repro search cells` in this very process: (exit code, stdout, stderr)."""
    return lambda *arguments: call_here("search", "cells", *arguments)


def test_a_search_prints_cells_that_the_network_takes_and_is_not_done_twice(call, tmp_path, monkeypatch):
    code, out, err = call("--preset", "smoke")
    assert code == 0 and "on held-out images after 2 epochs" in err
    assert create("cells", genotype=out.strip(), layers=3, channels=2).recipe["genotype"] == out.strip()
    monkeypatch.setattr(found, "search_cells", None)  # whoever searched again would fail
    file, picture = tmp_path / "cells.json", tmp_path / "of cells" / "cells.svg"
    code, again, _ = call("--preset", "smoke", "--out", str(file), "--picture", str(picture))
    assert code == 0 and again == out and read_genotype(file) == genotype(out.strip())
    assert "normal cell" in picture.read_text() or picture.stat().st_size > 5000


@pytest.fixture
def asked(monkeypatch):
    """What the command would have run, nothing of which is: (spec, fresh) of each call."""
    asked = []

    def engine(*_, fresh):
        def run(specs):
            asked.append((specs["cells"], fresh))
            return {key: Outcome(spec, "failed", message="killed") for key, spec in specs.items()}

        return run

    monkeypatch.setattr(runs, "engine", engine)
    return asked


def test_options_reach_the_search(call, asked):
    options = {"strategy": "darts", "space": "real", "reset": "own", "l2": "paper", "seed": "3"}
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    code, _, err = call("--preset", "smoke", *arguments, "--fresh")
    assert code == 1 and err == "The search found no cells: killed\n"
    ((spec, fresh),) = asked
    search = spec.recipe.search
    assert (search.strategy, search.space, search.reset, search.l2) == ("darts", "real", "own", "paper")
    assert spec.seed == 3 and fresh


@pytest.mark.parametrize(("preset", "dataset"), [key for key, recipe in NETWORKS.items() if recipe.variants])
def test_a_search_with_real_weights_is_that_of_table_4_and_figure_3(call, asked, preset, dataset):
    call("--preset", preset, "--dataset", dataset, "--space", "real")
    ((spec, _),) = asked
    recipe = NETWORKS[preset, dataset]
    assert spec == found.spec(found.variant(recipe.searches["cifar10"], **recipe.variants[REAL_SPACE]), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "smok"], "Did you mean 'smoke'"),
        (["--preset", "smok", "--space", "real"], "Did you mean 'smoke'"),
        (["--preset", "quick", "--dataset", "cifar10"], "there is one on digits"),
        (["--strategy", "dart"], "Did you mean 'darts'"),
        (["--picture", "cells.doc"], "must end in .svg, .png or .pdf"),
        (["--seed", "-1"], "seed=-1 is not allowed"),
        (["--picture", "/dev/null/cells.svg"], "cannot write to folder /dev/null"),
        (["--out", "/dev"], "file '/dev' is not allowed; it is a folder"),
        (["--out", "/dev/null/cells.json"], "cannot write to folder /dev/null"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_sentence(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_every_preset_has_a_search():
    assert {preset for preset, _ in SEARCHES} == {"smoke", "quick", "study", "paper"}
    with pytest.raises(InputError, match="preset='all' is not known"):
        found.recipe_of("all")
