"""Published files keep their schema, are read as printed, and unknown names are answered with the nearest."""

import json
import sys

import pandas as pd
import pandera.pandas as pa
import pytest

from repro.errors import InputError
from repro.paths import published_root
from repro.report import claims, criteria, figure_index, published, published_text, table_index
from repro.report.published import claim, printed_decimals, table_ids, table_spec, unit
from repro.report.verdicts import KINDS

TABLES = table_ids()
SCHEMA = json.loads((published_root() / "schema.json").read_text(encoding="utf-8"))
DECLARED = SCHEMA["tables"]
ROLES = ("key", "descriptor", "definition", "analytic", "empirical", "cost", "status", "note")
TYPES = {"text": None, "number": float, "integer": float, "flag": float}


def column_schema(raw):
    checks = [pa.Check.isin(raw["allowed"])] if "allowed" in raw else []
    checks += [pa.Check.ge(raw["min"])] if "min" in raw else []
    checks += [pa.Check.le(raw["max"])] if "max" in raw else []
    checks += [pa.Check.isin([0, 1])] if raw["type"] == "flag" else []
    checks += [pa.Check(lambda cells: cells % 1 == 0, name="whole")] if raw["type"] == "integer" else []
    return pa.Column(TYPES[raw["type"]], checks, nullable=not raw.get("required", False), coerce=True)


def table_schema(table_id):
    """The pandera schema that schema.json declares for a table."""
    raw = DECLARED[table_id]
    columns = {name: column_schema(column) for name, column in raw["columns"].items()}
    rows = pa.Check(lambda frame: len(frame) == raw["rows"], name="rows")
    return pa.DataFrameSchema(columns, rows, unique=raw["key"], strict=True, ordered=True)


def listing_schema(key, count, **columns):
    """The schema of index.csv and its like: a key without repetition, columns with a fixed set of values."""
    closed = {name: pa.Column(str, pa.Check.isin(allowed)) for name, allowed in columns.items()}
    rows = pa.Check(lambda frame: len(frame) == count, name="rows")
    return pa.DataFrameSchema({key: pa.Column(str, pa.Check.str_length(min_value=1), unique=True)} | closed, rows)


def test_the_listings_are_complete_and_use_the_declared_words():
    papers = sorted(set(table_index()["paper"]))
    content = ["results", "definitions"]
    listing_schema("table_id", 39, content=content).validate(table_index())
    listing_schema("figure_id", 30, paper=papers, content=content).validate(figure_index())
    verdicts, origins = ["true", "false", "na"], ["stated", "implied"]
    listing_schema("claim_id", 232, published_verdict=verdicts, origin=origins).validate(claims())
    listing_schema("claim_id", 232, kind=KINDS).validate(criteria())
    assert list(table_index()["table_id"]) == TABLES


def test_no_column_is_named_as_a_field_of_the_frames_that_keep_answers_and_draws():
    fields = {"column", "outcome", "examples", "correct", "draw", "value"}
    named = {name: set(table["columns"]) for name, table in DECLARED.items()}
    named |= {name: set(columns) for name, columns in SCHEMA["figures"].items()}
    assert {name: columns & fields for name, columns in named.items() if columns & fields} == {}


@pytest.mark.parametrize("table_id", TABLES)
def test_a_table_keeps_its_schema_and_agrees_with_the_index(table_id):
    table_schema(table_id).validate(published(table_id), lazy=True)
    spec, row = table_spec(table_id), table_index().set_index("table_id").loc[table_id]
    assert {column.role for column in spec.columns.values()} <= set(ROLES)
    assert DECLARED[table_id]["rows"] == row["n_rows"]
    assert [name for name in row["metrics"].split(";") if name] == spec.named("analytic", "empirical", "cost")


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


@pytest.mark.parametrize(
    ("table_id", "row", "column", "value"),
    [
        ("acghostnet_t06", 1, "kendall_tau", 1.2),
        ("acghostnet_t06", 1, "kendall_tau", float("nan")),
        ("acghostnet_t06", 1, "adaptive_lr", 2),
        ("acghostnet_t06", 0, "separate_warmup", 1),
        ("acghostnet_t03", 0, "search_rank", 1.5),
        ("shiftaddaug_t03", 0, "status", "fine"),
    ],
)
def test_a_damaged_cell_breaks_the_schema(table_id, row, column, value):
    frame = published(table_id).astype({column: object})
    frame.loc[row, column] = value
    with pytest.raises(pa.errors.SchemaErrors):
        table_schema(table_id).validate(frame, lazy=True)


def test_a_lost_row_breaks_the_schema():
    with pytest.raises(pa.errors.SchemaError):
        table_schema("acghostnet_t06").validate(published("acghostnet_t06").iloc[:3])


@pytest.fixture
def other_folder(tmp_path, monkeypatch):
    """An empty folder in place of data/published, its schema already read."""
    module = sys.modules["repro.report.published"]
    table_spec("acghostnet_t06")
    monkeypatch.setattr(module, "published_root", lambda: tmp_path)
    for cached in (module._text, module._parsed):
        cached.cache_clear()
    yield tmp_path
    for cached in (module._text, module._parsed):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("", "is no table"),
        ("adaptive_lr,kendall_tau\n0,1\n", "declared are adaptive_lr, separate_warmup, kendall_tau"),
        ("adaptive_lr,separate_warmup,kendall_tau\n0,0,high\n", "column kendall_tau holds numbers"),
    ],
)
def test_a_missing_or_unreadable_file_is_named(other_folder, text, message):
    if text is not None:
        (other_folder / "acghostnet_t06.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        published("acghostnet_t06")


def test_the_schema_keeps_empty_cells_empty():
    frame = published("shiftaddaug_t03")
    diverged = frame[frame["status"] == "diverged"]
    assert len(diverged) == 2
    assert diverged["accuracy_pct"].isna().all()
    assert isinstance(frame, pd.DataFrame)
