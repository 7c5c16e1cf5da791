"""The committed records against the code of today: computed ones are what the code gives, figures can be drawn."""

import pandas as pd
import pytest

from repro import report
from repro.papers import code_now, computed, draw_figures, drawings_of, entry, list_ids
from repro.papers.table import ARCHITECTURE
from repro.report import load_records, save_figure
from repro.report.records import freshness

COMPUTED = [name for name in list_ids() if entry(name).computed is not None]


@pytest.mark.parametrize("table_id", COMPUTED)
def test_a_computed_record_is_what_the_code_gives_now(table_id, tmp_path):
    now = computed(table_id)
    record = next(
        record
        for record in load_records(table_id)
        if (record.preset, record.dataset) == (now.attrs["preset"], now.attrs["dataset"])
    )
    now.to_csv(tmp_path / "now.csv", index=False)
    again = pd.read_csv(tmp_path / "now.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(again, record.frame, rtol=1e-9)
    assert freshness(record, code_now(table_id, record.provenance)) == "as made"


def test_a_record_of_other_code_is_told_from_one_of_todays():
    record = next(record for record in load_records("acghostnet_t02"))
    now = code_now("acghostnet_t02", record.provenance)
    assert freshness(record, now | {"computed": "0" * 12}) == "code changed since"


def test_the_figures_of_the_records_are_drawn_by_id(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    written = {}

    def first_of_each(figure, name, caption):  # half a second each: one data set stands for the others
        if name.split("-")[0] not in written:
            written[name.split("-")[0]] = save_figure(figure, name, caption)

    monkeypatch.setattr(report, "save_figure", first_of_each)
    drawn = draw_figures()
    assert len(set(drawn)) == len(drawn) > len(written)
    assert set(tmp_path.glob("*.svg")) == set(written.values())
    assert written.keys() == {name.split("-")[0] for name in drawn}
    trained = [
        record
        for name in list_ids()
        if entry(name).draw
        for record in load_records(name)
        if record.dataset != ARCHITECTURE
    ]
    assert trained and all(any(name.startswith(record.table_id) for name in drawn) for record in trained)
    assert not list(tmp_path.glob("*.csv"))


def test_an_entry_without_rows_draws_nothing():
    frame = load_records("acghostnet_t01")[0].frame
    assert drawings_of(frame) and not drawings_of(frame.iloc[:0])
