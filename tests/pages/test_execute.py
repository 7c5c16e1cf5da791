"""Every notebook is thin, committed without outputs, and runs at smoke; a failing one is named and kept."""

import ast
import json
import pydoc
import re

import pytest

from repro.errors import InputError
from repro.pages import execute as notebooks
from repro.pages import show
from repro.report import published_figures, published_tables

NAMES = list(notebooks.list_notebooks())
PARAMETERS = {"preset": "smoke", "dataset": "", "seeds": [], "tables": [], "interactive": False}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for variable in ("RUNS", "OUTPUT"):
        monkeypatch.setenv(f"REPRO_{variable}", str(tmp_path / variable.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def read(name):
    return json.loads((notebooks.notebooks_folder() / f"{name}.ipynb").read_text(encoding="utf-8"))


def code_cells(name):
    return [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]


NAMED_ONLY = [name for name in NAMES if name not in notebooks.choose()]
"""Pages that `make tables` makes when they are named; `make test-pages` executes them, `make test` reads them."""


@pytest.mark.notebook
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.pages] * (n in NAMED_ONLY)) for n in NAMES])
def test_notebook_runs_at_smoke(name, folders, shared_smoke_runs, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(shared_smoke_runs))
    result = notebooks.execute(name, PARAMETERS, progress=False)
    assert result.state == "executed", result.message
    page = result.page.read_text(encoding="utf-8")
    assert "Traceback" not in page and str(folders) not in page
    assert all("architecture" in path.name for path in (folders / "output" / "records").rglob("paper-*"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_thin_and_committed_without_outputs(name):
    notebook = read(name)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code_cells(name))
    assert all("\n".join("".join(cell["source"]).splitlines()).count("\n") < 25 for cell in code_cells(name))
    assert notebook["cells"][0]["cell_type"] == "markdown" and notebook["cells"][0]["source"][0].startswith("# ")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_plain_literals(name):
    (cell,) = [cell for cell in code_cells(name) if "parameters" in cell["metadata"].get("tags", [])]
    for statement in ast.parse("".join(cell["source"])).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


@pytest.mark.parametrize("name", NAMES)
def test_covered_tables_exist(name):
    assert set(notebooks.list_notebooks()[name]) <= {*published_tables(), *published_figures()}


def test_no_notebook_imports_everything_or_changes_paths():
    for name in NAMES:
        source = "\n".join("".join(cell["source"]) for cell in code_cells(name))
        assert "import *" not in source and "sys.path" not in source and "pip install" not in source


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_that_its_text_names_exist(name):
    text = "\n".join("".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == "markdown")
    for dotted in sorted(set(re.findall(r"`(repro(?:\.\w+)+)", text))):
        assert pydoc.locate(dotted) is not None, dotted


def small_notebook(folder, *sources):
    cells = [
        {"cell_type": "code", "id": str(i), "metadata": {}, "source": [s], "execution_count": None, "outputs": []}
        for i, s in enumerate(sources)
    ]
    cells[0]["metadata"]["tags"] = ["parameters"]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "90_small.ipynb").write_text(json.dumps(content))


@pytest.mark.notebook
def test_a_failing_notebook_is_named_kept_and_run_again(folders, monkeypatch):
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folders)
    small_notebook(folders, "n = 1", "print('before', n)", "1 / 0", "print('after')")
    result = notebooks.execute("90_small", {"n": 7, "unknown": 3}, progress=False)
    assert result.state == "failed" and "cell 4" in result.message and "ZeroDivisionError" in result.message
    copy = json.loads((folders / "output" / "pages" / "90_small.ipynb").read_text())
    assert "before 7" in json.dumps(copy) and "after\\n" not in json.dumps([c.get("outputs") for c in copy["cells"]])
    assert "ZeroDivisionError" in result.page.read_text()

    small_notebook(folders, "n = 1", "print('before', n)")
    assert notebooks.execute("90_small", {"n": 7}, progress=False).state == "executed"
    assert notebooks.execute("90_small", {"n": 7}, progress=False).state == "up to date"
    assert notebooks.execute("90_small", {"n": 8}, progress=False).state == "executed"
    assert notebooks.execute("90_small", {"n": 8}, fresh=True, progress=False).state == "executed"
    stored = (folders / "output" / "pages" / "90_small.ipynb").read_text()
    assert str(folders) not in stored
    for file in (result.page, result.page.with_suffix(".ipynb"), notebooks._stamp_of("90_small")):
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
        assert notebooks.execute("90_small", {"n": 8}, progress=False).state == "executed"


def killed(*arguments):
    raise KeyboardInterrupt


@pytest.mark.notebook
def test_a_kill_before_the_page_is_written_leaves_no_other_page_up_to_date(folders, monkeypatch):
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folders)
    small_notebook(folders, "n = 1", "print('it is', n)")
    notebooks.execute("90_small", {"n": 7}, progress=False)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(notebooks, "_read_into_page", killed)
        notebooks.execute("90_small", {"n": 8}, progress=False)
    result = notebooks.execute("90_small", {"n": 8}, progress=False)
    assert result.state == "executed" and "it is 8" in result.page.read_text()


@pytest.mark.parametrize(
    "damage", [b'{"cells": [', b"[" * 100_000, b"\xff\xfe", b"[]"], ids=lambda data: repr(data[:4])
)
def test_a_damaged_notebook_is_one_sentence_and_hides_no_other(folders, monkeypatch, damage):
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folders)
    small_notebook(folders, "n = 1")
    (folders / "91_damaged.ipynb").write_bytes(damage)
    assert notebooks.list_titles()["91_damaged"] == "(damaged)"
    assert list(notebooks.list_notebooks()) == ["90_small", "91_damaged"] == notebooks.choose()
    with pytest.raises(InputError, match=r"notebook 91_damaged\.ipynb is damaged"):
        notebooks.execute("91_damaged", {}, progress=False)
    show.reading_order()


@pytest.mark.notebook
def test_a_page_is_made_again_when_the_records_it_may_show_have_changed(folders, monkeypatch):
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folders)
    small_notebook(folders, "n = 1")
    notebooks.execute("90_small", {}, progress=False)
    record = folders / "output" / "records" / "acghostnet_t06" / "smoke-digits.csv"
    record.parent.mkdir(parents=True)
    record.write_text("kendall_tau\n0.5\n")
    assert notebooks.execute("90_small", {}, progress=False).state == "executed"


def test_notebooks_without_a_page_get_a_note(folders, monkeypatch):
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folders)
    small_notebook(folders, "n = 1")
    notebooks.note_missing_pages()
    assert "make tables" in (folders / "output" / "pages" / "90_small.html").read_text()


def test_choosing_by_table_or_name():
    assert notebooks.choose(["acghostnet_t06"]) == ["10_acghostnet_ranking"]
    assert notebooks.choose(names=["00_start_here"]) == ["00_start_here"]
    usual = notebooks.choose()
    assert "10_acghostnet_ranking" in usual and "12_acghostnet_search" not in usual
    assert "acghostnet_t06" in notebooks.tables_to_train(usual)
    assert "acghostnet_t04" not in notebooks.tables_to_train(usual)
    with pytest.raises(InputError, match="Did you mean 'acghostnet_t06'"):
        notebooks.choose(["acghostnet_t006"])
