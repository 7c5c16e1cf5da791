"""What a claim without its numbers advises to run: commands that exist, at a preset and on data that judge it."""

import re

import pytest

from repro.errors import MissingDataError
from repro.papers import entry, kinds
from repro.papers.acghostnet.t05 import BASELINES, HYBRID
from repro.papers.shiftaddnas.translation_recipes import ROWS
from repro.papers.status import offers_of
from repro.report import claims, published
from repro.report.claims import places
from repro.report.conform import row_finder
from repro.report.expressions import parse, references
from repro.report.published import is_figure
from repro.report.verdicts import Judge, _rows_read, _why_not_applicable, criterion, tables_of
from repro.runs import Outcome

COMMAND = re.compile(r"python -m repro table (\w+) --preset (\w+) --dataset ([\w-]+)")


@pytest.fixture(scope="module")
def advised():
    """Claim -> [(table, preset, data set)] of the commands that it advises where nothing was run."""
    judged = Judge(offers_of)
    return {claim: COMMAND.findall(judged(claim, {}).evidence) for claim in claims()["claim_id"]}


@pytest.fixture(scope="module")
def rows_of():
    """(table, preset, data set) -> the printed rows for which its entry asks for runs, all of which fail here."""
    known = {}

    def run(specs):
        return {key: Outcome(spec, "failed") for key, spec in specs.items()}

    def rows(table_id, preset, dataset):
        if (table_id, preset, dataset) not in known:
            table = entry(table_id)
            frame = table.trained(table.recipes[preset, dataset], [0], run)
            frame.attrs = {"dataset": dataset, "stands_for": frame.attrs.get("stands_for", {})}
            find = row_finder(table_id, frame)
            known[table_id, preset, dataset] = {find(row) for row in frame.to_dict("records")}
        return known[table_id, preset, dataset]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "data_fingerprint", lambda recipe: recipe.dataset)
        yield rows


def test_measured_claims_have_a_command_unless_no_run_has_their_rows(advised):
    asked = {claim: criterion(claim) for claim in advised}
    assert {asked[claim].kind for claim in advised if advised[claim]} == {"direction", "magnitude", "figure"}
    without = [claim for claim in advised if asked[claim].kind in ("direction", "magnitude") and not advised[claim]]
    assert without == [
        *(f"acghostnet-c{number}" for number in (27, 28, 29, 30)),  # other papers' CNNs
        *(f"shiftaddaug-c{number}" for number in (43, 44)),  # networks of other searches
        *(f"shiftaddaug_supp-c0{number}" for number in (6, 7, 8, 9)),  # timed by the benchmark
        *(f"shiftaddnas-c{number}" for number in WITHOUT),
    ]
    assert [dataset for _, _, dataset in advised["shiftaddaug-c31"]] == ["flowers102"]
    assert [dataset for _, _, dataset in advised["shiftaddnas-c33"]] == ["cifar100"]


WITHOUT = (17, 18, 19, 20, 21, 23, 24, 27, 38, 46, 47, 48)
"""Rows of networks whose architecture is not published, a number on ImageNet that is searched on CIFAR-100, and costs
of other papers' searches."""


def test_claims_that_no_preset_fills_say_so_and_none_of_them_is_left_to_a_small_run(advised):
    """Claims of ShiftAddNAS, and counts of which some row is not known: see `WITHOUT`."""
    said = [claim for claim in advised if "no preset fills it: " in criterion(claim).note]
    assert said == [f"shiftaddnas-c{number}" for number in sorted((*WITHOUT, 22, 25))]
    assert {criterion(claim).presets for claim in said} == {"paper", "any"}
    for number, table, column in ((22, "shiftaddnas_t11", "macs_g"), (25, "shiftaddnas_t04", "macs_g")):
        counted = entry(table).computed().dropna(subset=column)["model"]
        read = _rows_read(table, references(parse(criterion(f"shiftaddnas-c{number}").check), table))
        assert set(published(table)["model"][sorted(read)]) - set(counted), number


def test_an_advised_run_exists_and_is_one_that_the_claim_is_judged_on(advised):
    for claim_id, commands in advised.items():
        asked = criterion(claim_id)
        if commands:
            assert {table for table, _, _ in commands} == set(tables_of(claim_id)), claim_id
            assert len({preset for _, preset, _ in commands}) == 1, claim_id
            # several runs of a table are judged together only where the claim reads no other
            assert len(commands) == len(tables_of(claim_id)) or len(tables_of(claim_id)) == 1, claim_id
        for table_id, preset, dataset in commands:
            table = entry(table_id)
            assert (preset, dataset) in table.recipes and preset in asked.presets.split(";"), claim_id
            assert not _why_not_applicable(asked, table_id, preset, dataset, table.stands_for or {}), claim_id


def test_the_runs_of_the_advised_commands_have_every_row_that_the_claim_reads(advised, rows_of):
    checked = 0
    for claim_id, commands in advised.items():
        tree, default = parse(criterion(claim_id).check) if commands else None, next(iter(places(claim_id)), None)
        for table_id in {table for table, _, _ in commands}:
            if is_figure(table_id) or entry(table_id).unit == "search":  # whose rows wait for what a search finds
                continue
            try:
                filled = set().union(*(rows_of(*command) for command in commands if command[0] == table_id))
            except MissingDataError:  # the classes of a data set are named in its files
                continue
            assert _rows_read(table_id, references(tree, default)) <= filled, claim_id
            checked += 1
    assert checked > 50


SAID = ("shiftaddnas_t04", "shiftaddnas_t08", "shiftaddnas_t09", "shiftaddnas_t11")


@pytest.mark.parametrize("table_id", SAID)
def test_the_rows_that_an_entry_says_it_fills_are_those_it_asks_for(table_id, rows_of):
    (offer,) = (offer for offer in offers_of(table_id) if offer.preset == "paper")
    assert rows_of(table_id, offer.preset, offer.dataset) == offer.rows


def test_tables_with_rows_of_other_papers_say_which_are_ours():
    printed = published("acghostnet_t05")
    ours = printed["model"].isin(BASELINES) | (printed["group"] == HYBRID)
    assert all(offer.rows == set(printed.index[ours]) for offer in offers_of("acghostnet_t05"))
    printed = published("shiftaddnas_t03")
    assert all(offer.rows is None for offer in offers_of("shiftaddnas_t03")) and set(printed["row"]) == set(ROWS)
    printed = published("shiftaddaug_t06")
    ours = (printed["method"] == "ShiftAddAug") & (printed["dataset"] == "CIFAR100")
    assert next(o for o in offers_of("shiftaddaug_t06") if o.preset == "paper").rows == set(printed.index[ours])
