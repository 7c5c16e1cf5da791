"""`repro tables --engine ray` where the cluster does not serve: one sentence, and nothing is trained here instead."""

import sys
from types import SimpleNamespace

import pytest

from repro.cli import main as command_line
from repro.errors import BackendError, ClusterError, InputError
from repro.pages import execute as notebooks
from repro.paths import runs_root
from repro.runs import cluster

TABLES = "shiftaddaug_t12 autoshiftnet_t03 acghostnet_t06"
"""Of three notebooks."""


@pytest.fixture
def tables(tmp_path, monkeypatch, capsys):
    """`repro tables --engine ray` with a Ray that is not asked: (exit code, stdout, stderr, notebooks executed)."""
    for variable in ("RUNS", "OUTPUT"):
        monkeypatch.setenv(f"REPRO_{variable}", str(tmp_path / variable.lower()))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(cluster, "_import_ray", lambda: SimpleNamespace(is_initialized=lambda: False))
    executed = []

    def execute(name, *_, **__):
        executed.append(name)
        return notebooks.NotebookResult(name, "executed")

    monkeypatch.setattr(notebooks, "execute", execute)

    def call():
        words = ["repro", "tables", "--preset", "smoke", "--engine", "ray", "--tables", TABLES]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err, executed

    return call


def no_cluster(_):
    """Nothing listens at port 1."""


def other_versions(monkeypatch):
    def check(engine):
        raise cluster._refusal("Node attic has torch 1.0 where the driver has 2.0; install the same versions there")

    monkeypatch.setattr(cluster.RayEngine, "_connect", check)


def full_store(monkeypatch):
    def full(*_):
        raise InputError("cannot write to folder runs (No space left on device); free some space.")

    monkeypatch.setattr(cluster.RayEngine, "_connect", lambda engine: None)
    monkeypatch.setattr(cluster.RayEngine, "_slots", lambda engine, *_: 1)
    monkeypatch.setattr(cluster, "write_text", full)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (no_cluster, "RAY_ADDRESS='127.0.0.1:1' is not allowed: no Ray cluster answers there ("),
        (other_versions, "Node attic has torch 1.0 where the driver has 2.0; install"),
        (full_store, "cannot write to folder runs (No space left on device)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_serves_no_table_is_told_once_and_nothing_is_trained_here(tables, monkeypatch, fault, sentence):
    fault(monkeypatch)
    code, out, err, executed = tables()
    told = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert code == 2 and len(told) == 1 and (out + err).count(sentence) == 1 and sentence in told[0]
    assert executed == [] and not list(runs_root().rglob("result.json"))
    assert fault is full_store or "ENGINE=local needs no cluster" in told[0]


def test_without_the_extra_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"extra \[cluster\].*; ENGINE=local needs no cluster\.$"):
        cluster._import_ray()


def test_a_cluster_that_cannot_be_used_is_bad_input_and_a_back_end_that_fails():
    assert issubclass(ClusterError, InputError) and issubclass(ClusterError, BackendError)


def test_runs_that_failed_on_the_cluster_are_not_done_here_by_a_notebook(tables, monkeypatch):
    """The notebooks of the other tables are executed."""

    def run_table(table_id, **request):
        if table_id == "acghostnet_t06":
            return SimpleNamespace(attrs={"failed": []})
        if table_id == "autoshiftnet_t03":
            raise InputError("dataset='digits' is not allowed.")
        return SimpleNamespace(attrs={"failed": ["tiny seed 0: crashed, its worker died 4 times"]})

    monkeypatch.setattr("repro.papers.run_table", run_table)
    code, out, _, executed = tables()
    assert code == 1 and executed == notebooks.choose(["acghostnet_t06"])
    for table_id in ("autoshiftnet_t03", "shiftaddaug_t12"):
        (name,) = notebooks.choose([table_id])
        told = f"{name}: not executed, since the cluster has not done all runs of {table_id}"
        assert told in " ".join(out.split())
