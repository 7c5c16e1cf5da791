"""Published tables: the schema holds, is enforced, and unknown names are answered with the nearest."""

import pandas as pd
import pytest

from repro.errors import InputError
from repro.report import claims, figure_index, published, published_text, table_index
from repro.report.published import claim, figure_ids, parse_table, printed_decimals, table_ids, table_spec, unit

TABLES = table_ids()


def test_there_are_39_tables_30_figures_and_228_claims():
    assert (len(TABLES), len(figure_ids()), len(claims())) == (39, 30, 228)
    assert list(table_index()["table_id"]) == TABLES
    assert set(figure_index()["paper"]) == set(table_index()["paper"])


@pytest.mark.parametrize("table_id", TABLES)
def test_table_agrees_with_its_schema_and_the_index(table_id):
    frame, spec = published(table_id), table_spec(table_id)
    row = table_index().set_index("table_id").loc[table_id]
    assert list(frame.columns) == list(spec.columns)
    assert len(frame) == spec.rows == row["n_rows"]
    assert not frame.duplicated(subset=list(spec.key)).any()
    assert [name for name in row["metrics"].split(";") if name] == spec.named("analytic", "empirical", "cost")
    for name, column in spec.columns.items():
        if column.numeric:
            assert frame[name].dtype in ("float64", "int64")


def test_published_text_keeps_trailing_zeros():
    text = published_text("acghostnet_t01").set_index("model")
    assert text.loc["GhostNet-0.5x", "addernet_accuracy_pct"] == "68.30"
    assert published("acghostnet_t01").set_index("model").loc["GhostNet-0.5x", "addernet_accuracy_pct"] == 68.3


def test_published_returns_a_copy():
    frame = published("acghostnet_t06")
    frame.loc[0, "kendall_tau"] = 1.0
    assert published("acghostnet_t06").loc[0, "kendall_tau"] == -0.359


@pytest.mark.parametrize(
    ("text", "decimals"), [("68.30", 2), ("43", 0), ("-0.359", 3), ("1e3", 0), ("", None), ("ok", None)]
)
def test_printed_decimals(text, decimals):
    assert printed_decimals(text) == decimals


def test_units_follow_the_suffix():
    assert [unit(c) for c in ("energy_mj", "top1_pct", "search_cost_gpu_days", "kendall_tau")] == [
        "mJ",
        "%",
        "GPU days",
        "",
    ]


def test_unknown_ids_name_the_nearest():
    with pytest.raises(InputError, match="acghostnet_t06"):
        published("acghostnet_t6")
    with pytest.raises(InputError, match="acghostnet-c33"):
        claim("acghostnet_c33")


def broken(table_id, edit):
    text = published_text(table_id)
    edit(text)
    return parse_table(text, table_spec(table_id), f"{table_id}.csv")


def put(row, column, value):
    def edit(text):
        text.loc[row, column] = value

    return edit


@pytest.mark.parametrize(
    ("table_id", "row", "column", "value", "message"),
    [
        ("acghostnet_t06", 1, "kendall_tau", "1.2", "row 2 column kendall_tau is '1.2'; it must lie between -1 and 1"),
        ("acghostnet_t06", 1, "kendall_tau", "nan", "must lie between"),
        ("acghostnet_t06", 1, "kendall_tau", "high", "a number is required"),
        ("acghostnet_t06", 1, "kendall_tau", "", "is empty; a value is required"),
        ("acghostnet_t06", 1, "adaptive_lr", "2", "0 or 1 is required"),
        ("acghostnet_t06", 0, "separate_warmup", "1", "keys must be unique"),
        ("acghostnet_t03", 0, "search_rank", "1.5", "a whole number is required"),
        ("shiftaddaug_t03", 0, "status", "fine", "allowed are ok, diverged, not_converged"),
    ],
)
def test_a_damaged_cell_is_refused(table_id, row, column, value, message):
    with pytest.raises(InputError, match=message):
        broken(table_id, put(row, column, value))


def test_a_lost_row_is_refused():
    text = published_text("acghostnet_t06").iloc[:3]
    with pytest.raises(InputError, match="3 rows; 4 are declared"):
        parse_table(text, table_spec("acghostnet_t06"), "acghostnet_t06.csv")


def test_the_schema_keeps_empty_cells_empty():
    frame = published("shiftaddaug_t03")
    diverged = frame[frame["status"] == "diverged"]
    assert len(diverged) == 2
    assert diverged["accuracy_pct"].isna().all()
    assert isinstance(frame, pd.DataFrame)
