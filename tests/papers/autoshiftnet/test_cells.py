"""Tables 5 and 6: printed cells beside those of a search; searches are given here, none is run."""

from __future__ import annotations

import itertools

import pytest

from repro.models.genotypes import NAMED, Genotype
from repro.papers import computed, entry
from repro.papers.autoshiftnet import cells, found
from repro.papers.autoshiftnet.recipes import SEARCHES
from repro.report import compare
from repro.runs import Outcome

PRINTED = NAMED["autoshiftnet_cifar10"]
RECIPE = SEARCHES["quick", "digits"]


def engine(results: dict[int, tuple[str, float] | None]):
    """An engine that gives a genotype and its held-out accuracy by seed; None is a run that failed."""

    def run(specs):
        outcomes = {}
        for seed, spec in specs.items():
            if results[seed] is None:
                outcomes[seed] = Outcome(spec, "failed", None, "killed")
                continue
            name, accuracy = results[seed]
            plain = {"outcome": "done", "detail": "", "genotype": NAMED[name].as_dict(), "kept": None}
            outcomes[seed] = Outcome(spec, "done", {**plain, "rows": [{"held_out_accuracy_pct": accuracy}]}, "")
        return outcomes

    return run


def test_equal_cells_share_everything_and_order_inside_a_node_does_not_matter():
    swapped = Genotype(PRINTED.normal[1::-1] + PRINTED.normal[2:], PRINTED.reduce)
    part = cells.overlap(swapped, PRINTED)
    assert part["edges_shared"].tolist() == part["inputs_shared"].tolist() == [8, 8]
    assert part["skips"].tolist() == part["skips_printed"].tolist() == [2, 3]


def test_chance_is_the_mean_over_all_pairs_of_inputs():
    part = cells.overlap(PRINTED, PRINTED).iloc[0]
    total = 0.0
    for node in range(4):
        pairs = list(itertools.combinations(range(node + 2), 2))
        total += sum(len(set(one) & set(other)) for one in pairs for other in pairs) / len(pairs) ** 2
    assert part["inputs_by_chance"] == pytest.approx(total)
    assert part["edges_by_chance"] == pytest.approx(total / 7)


def test_a_search_whose_accuracy_is_not_a_number_is_not_the_best():
    outcomes = {0: ("darts_v1", float("nan")), 1: ("dots_cifar10", 70.0)}
    frame = cells.searched_table("autoshiftnet_cifar10", RECIPE, [0, 1], engine(outcomes))
    assert frame["note"][0].startswith("seed 1, the best of 2 searches")


def test_the_best_search_on_held_out_images_is_the_row_and_all_are_kept():
    frame = cells.searched_table(
        "autoshiftnet_cifar10", RECIPE, [0, 1, 2], engine({0: ("darts_v1", 60.0), 1: ("dots_cifar10", 70.0), 2: None})
    )
    assert frame["op"].tolist() == [op for op, _ in (*NAMED["dots_cifar10"].normal, *NAMED["dots_cifar10"].reduce)]
    assert frame["note"][0].startswith("seed 1, the best of 2 searches on held-out images; 6 of 16 edges as printed")
    extra = frame.attrs["extra"]
    assert sorted(set(extra["cells"]["seed"])) == [0, 1] and len(extra["cells"]) == 32
    assert len(extra["overlap"]) == 4
    compared = compare("autoshiftnet_t05", frame)
    assert len(compared) == 32 and not (compared["ours"].isna() & compared["ours_text"].eq("")).any()
    frame.attrs["dataset"] = "digits"
    pictures = entry("autoshiftnet_t05").draw(frame)
    assert [picture.part for picture in pictures] == ["printed", "ours"]
    labels = {text.get_text() for text in pictures[1].figure.axes[0].texts}
    assert {"sep 3×3", "skip", "dil 3×3"} <= labels


def test_without_any_search_the_rows_are_empty_and_say_so():
    frame = cells.searched_table("autoshiftnet_cifar10", RECIPE, [0], engine({0: None}))
    assert frame["op"].isna().all() and set(frame["note"]) == {"no search found cells"}
    assert [picture.part for picture in entry("autoshiftnet_t05").draw(frame)] == ["printed"]


@pytest.mark.parametrize("table_id", ["autoshiftnet_t05", "autoshiftnet_t06"])
def test_the_printed_cells_are_drawn_without_a_search(table_id):
    assert [picture.part for picture in entry(table_id).draw(computed(table_id))] == ["printed"]


def test_a_search_that_diverged_or_failed_has_no_cells():
    spec = found.spec(RECIPE, 0)
    assert found.found(Outcome(spec, "failed", None, "out of memory")) is None
    plain = {"outcome": "diverged", "detail": "epoch 1", "genotype": None, "kept": None, "rows": []}
    result = found.found(Outcome(spec, "done", plain, ""))
    assert (result.outcome, result.detail, result.genotype) == ("diverged", "epoch 1", None)
