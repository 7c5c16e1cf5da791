"""The Ray engine: equal results, and nothing lost with a worker, a node or the driver (`make test-cluster`)."""

import contextlib
import dataclasses
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from repro.errors import BackendError, ClusterError, InputError
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.paths import repo_root, runs_root
from repro.runs import RunSpec, engine, execute, find_status, run_many, store
from repro.runs import cluster as on_cluster
from repro.runs.store import WEIGHTS, load_result
from repro.train import TrainRecipe
from tests.runs.run_functions import SumRecipe


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def spec_of(seed, function="add_up", **recipe):
    return RunSpec("sums", f"tests.runs.run_functions:{function}", SumRecipe(**recipe), seed)


def test_without_ray_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"ray is not installed; it comes with the extra \[cluster\]"):
        engine("ray")


@pytest.mark.parametrize("name, options", [("local", {"gpus": 1}), ("ray", {"time_limit_s": 3}), ("ray", {"gpus": -1})])
def test_options_that_an_engine_does_not_have_are_refused(name, options):
    with pytest.raises(InputError, match="is not allowed"):
        engine(name, **options)


def test_a_run_that_a_node_did_elsewhere_comes_back_whole(tmp_path, monkeypatch):
    """What a node without the driver's store sends becomes the run's folder; what is finished here stays."""
    spec, home = spec_of(3), os.environ["REPRO_RUNS"]
    task = on_cluster.Task(spec, spec.code, str(tmp_path / "runs"), "no-such-mark", str(tmp_path), 1, False)
    with monkeypatch.context() as patch:
        patch.setenv("REPRO_RUNS", home)
        patch.setenv("REPRO_DATA", "")
        answer = on_cluster.work(task)
        assert os.environ["REPRO_DATA"] == str(tmp_path)  # the driver's; the node has none of its own
    monkeypatch.setenv("REPRO_RUNS", home)
    assert find_status(spec).state == "missing" and set(answer.files) == {"config.json", "metrics.jsonl", "result.json"}
    on_cluster.keep_files(spec, answer.files)
    assert find_status(spec).state == "done" and execute(spec)["value"] == {"total": 9}
    kept = (spec.folder / "result.json").read_bytes()
    on_cluster.keep_files(spec, {"result.json": "{}"})
    assert (spec.folder / "result.json").read_bytes() == kept


def _elsewhere(spec, monkeypatch, fresh=False):
    """What a node sends that does not see the driver's store."""
    with monkeypatch.context() as patch:
        patch.setenv("REPRO_RUNS", os.environ["REPRO_RUNS"])
        home = os.environ["REPRO_RUNS"]
        return on_cluster.work(on_cluster.Task(spec, spec.code, home, "no-such-mark", home, 1, fresh))


def _content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in store.files_of(folder)}


def test_whatever_a_run_keeps_beside_its_weights_comes_back(monkeypatch):
    """At any depth and under any name; locks, checkpoints and what a killed writer left stay where they are."""
    spec = spec_of(3, "keep_more")
    for name in ("checkpoint/step", "supernet", "left over", ".weights.x.part"):  # of a driver that was killed
        path = spec.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    answer = _elsewhere(spec, monkeypatch)
    own = {"supernet", ".hidden", "pictures/first.bin", "pictures/result.json"}
    assert set(answer.files) == own | {"config.json", "result.json"}
    on_cluster.keep_files(spec, answer.files)
    assert find_status(spec).state == "done" and _content(spec.folder) == answer.files
    assert not (spec.folder / "checkpoint").exists()


@pytest.mark.parametrize("name", ["local", "elsewhere"])
def test_a_fresh_run_takes_the_place_of_the_stored_one(name, monkeypatch):
    """Whole, wherever it was done: nothing of the former run stays beside it."""
    spec = spec_of(3, "keep_more")
    first = execute(spec)
    (spec.folder / "former").write_text("")
    if name == "local":
        (again,) = run_many([spec], workers=1, fresh=True)
        assert again.ok
    else:
        answer = _elsewhere(spec, monkeypatch, fresh=True)
        on_cluster.keep_files(spec, answer.files, fresh=True)
        assert _content(spec.folder) == answer.files
    assert load_result(spec)["value"]["named"] > first["value"]["named"]
    assert not (spec.folder / "former").exists() and (spec.folder / "supernet").exists()


@pytest.mark.parametrize("name", ["local", "elsewhere"])
def test_a_fresh_run_that_fails_leaves_no_result(name, tmp_path, monkeypatch):
    spec = spec_of(3, "keep_once", tally=str(tmp_path / "tally"))
    execute(spec)
    if name == "local":
        run_many([spec], workers=1, fresh=True)
    else:
        on_cluster.keep_files(spec, _elsewhere(spec, monkeypatch, fresh=True).files, fresh=True)
    status = find_status(spec)
    assert status.state == "failed" and "it was done before" in status.message
    assert set(_content(spec.folder)) == {"config.json", "error.json"}


def test_a_disk_that_fills_while_a_fresh_run_comes_back_costs_nothing(monkeypatch):
    """What was stored stays until the new run is written whole."""
    spec = spec_of(3, "keep_more")
    execute(spec)
    before = _content(spec.folder)
    answer = _elsewhere(spec, monkeypatch, fresh=True)

    def full(path, content, write=Path.write_bytes):
        if ".supernet." in path.name:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"supernet \(No space left on device\); free some space"):
        on_cluster.keep_files(spec, answer.files, fresh=True)
    assert _content(spec.folder) == before and not list(spec.folder.rglob("*.part"))


def test_a_node_that_never_began_a_fresh_run_takes_nothing_away():
    spec = spec_of(3)
    execute(spec)
    on_cluster.keep_files(spec, {}, fresh=True)
    assert find_status(spec).state == "done"


@pytest.mark.parametrize("shared", [True, False], ids=["shared store", "own stores"])
def test_a_task_that_is_sent_twice_is_one_run(shared, tmp_path, monkeypatch):
    """The second waits for the first, or what it sends back changes nothing."""
    tally = tmp_path / "tally"
    spec, home = spec_of(3, tally=str(tally), sleep_s=0.3), str(runs_root())
    runs_root().mkdir()
    (runs_root() / "mark").touch()
    mark = "mark" if shared else "no-such-mark"
    task = on_cluster.Task(spec, spec.code, home, mark, str(tmp_path), 1, False)
    if not shared:
        answers = [on_cluster.work(task) for _ in range(2)]
        monkeypatch.setenv("REPRO_RUNS", home)
        for answer in answers:
            on_cluster.keep_files(spec, answer.files)
            kept = (spec.folder / "result.json").read_bytes()
        assert json.loads(kept)["provenance"] == json.loads(answers[0].files["result.json"])["provenance"]
    else:
        with ThreadPoolExecutor() as both:
            first, second = both.map(on_cluster.work, [task, task])
        assert first.payload == second.payload and first.kind == second.kind == "result"
        assert len(tally.read_text().split()) == 1
    assert find_status(spec).state == "done" and execute(spec)["value"] == {"total": 9}


def test_a_node_with_other_code_does_no_run(tmp_path):
    spec = spec_of(3)
    answer = on_cluster.work(
        on_cluster.Task(spec, "0123456789ab", str(tmp_path), "no-such-mark", str(tmp_path / "none"), 1, False)
    )
    assert answer.kind == "refused" and "has other code than the driver" in answer.payload
    assert set(answer.files) == set()


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ({"torch": "1.0"}, "torch {torch} where the driver has 1.0"),
        ({"numpy": "1.0", "Python": "3.9.9"}, "numpy {numpy} where the driver has 1.0"),
    ],
    ids=["one", "two"],
)
@pytest.mark.parametrize("shared", [True, False], ids=["shared store", "own stores"])
def test_a_node_with_other_versions_does_no_run(theirs, sentence, shared, tmp_path, monkeypatch):
    """Each run asks, so a node that joined after the first look is found out, too."""
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path))
    (tmp_path / "mark").touch()
    spec, mark, own = spec_of(3), "mark" if shared else "no-such-mark", on_cluster.versions()
    task = on_cluster.Task(spec, spec.code, str(tmp_path), mark, str(tmp_path), 1, False, own | theirs)
    answer = on_cluster.work(task)
    assert answer.kind == "refused" and not answer.files and not list(tmp_path.rglob("result.json"))
    assert answer.payload.startswith("Node ") and "\n" not in answer.payload
    assert sentence.format(**own) in answer.payload and answer.payload.endswith("; install the same versions there")


def test_a_library_that_a_node_does_not_have_is_another_version(monkeypatch):
    def none(name):
        raise on_cluster.importlib.metadata.PackageNotFoundError(name)

    ours = on_cluster.versions()
    monkeypatch.setattr(on_cluster.importlib.metadata, "version", none)
    told = on_cluster._other_versions("attic", on_cluster.versions(), ours)
    assert told.startswith(f"Node attic has torch none where the driver has {ours['torch']}, numpy none")


class Ray:
    """Stands in for Ray: nodes by name with what they have, which do tasks at once; `answers` come before theirs."""

    ERRORS = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "RayTaskError", "ObjectLostError")
    ERRORS += ("OutOfDiskError", "RuntimeEnvSetupError")
    exceptions = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in ERRORS}, RayError=Exception)

    def __init__(self, nodes=None, answers=()):
        self.there = nodes or {"attic": {"CPU": 2, "memory": 2**32}}
        self.answers, self.sent, self.cancelled = list(answers), [], 0

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"NodeID": name, "Alive": True, "Resources": has} for name, has in self.there.items()]

    def remote(self, **_):
        return lambda function: self

    def options(self, **options):
        def remote(task):
            self.sent.append((task, options))
            return len(self.sent) - 1

        return SimpleNamespace(remote=remote)

    def wait(self, running, **_):
        return running[:1], running[1:]

    def get(self, number):
        task, home = self.sent[number][0], os.environ["REPRO_RUNS"]
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        try:
            return answer or on_cluster.work(task)
        finally:
            os.environ["REPRO_RUNS"] = home

    def cancel(self, *_, **__):
        self.cancelled += 1


@pytest.fixture
def ray_of(monkeypatch, tmp_path):
    """An engine on a stand-in: (engine, stand-in). The nodes do not see the driver's store if `shared` is False."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))

    def make(*, shared=True, nodes=None, answers=(), **options):
        ray = Ray(nodes, answers)
        monkeypatch.setattr(on_cluster, "_import_ray", lambda: ray)
        if not shared:
            monkeypatch.setattr(on_cluster, "_mark", lambda: contextlib.nullcontext("no-such-mark"))
        return engine("ray", progress=False, **options), ray

    return make


@pytest.mark.parametrize("name", ["ObjectLostError", "OutOfDiskError", "RuntimeEnvSetupError"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared store", "own stores"])
def test_a_run_whose_answer_is_lost_with_its_node_is_done_again(name, shared, ray_of):
    """And the others go on: the job does not end."""
    lost = getattr(Ray.exceptions, name)("its node died")
    there, ray = ray_of(shared=shared, answers=[lost, None, lost])
    done = there({seed: spec_of(seed) for seed in range(3)})
    assert [outcome.value for outcome in done.values()] == [{"total": 6 + seed} for seed in range(3)]
    assert len(ray.sent) == 5 and all(find_status(spec_of(seed)).state == "done" for seed in range(3))


def test_a_run_whose_answer_is_always_lost_has_crashed_and_the_others_go_on(ray_of):
    lost = [Ray.exceptions.ObjectLostError("its node died")]
    there, ray = ray_of(answers=[*lost, None, *lost * 3])
    done = there({seed: spec_of(seed) for seed in range(2)})
    assert [outcome.state for outcome in done.values()] == ["crashed", "done"] and len(ray.sent) == 5
    assert done[0].message == "its answer was lost 4 times (its node died)" == find_status(spec_of(0)).message


def test_a_cluster_that_is_gone_ends_the_job_and_leaves_nothing_running(ray_of):
    there, ray = ray_of(answers=[Exception("no head")])
    with pytest.raises(ClusterError, match=r"no longer answers \(no head\); finished runs are kept") as told:
        there({seed: spec_of(seed) for seed in range(3)})
    assert ray.cancelled == 2 and str(told.value).endswith("ENGINE=local needs no cluster.")


def test_a_fresh_run_of_a_node_without_the_store_takes_the_stored_ones_place(ray_of, tmp_path):
    tally = tmp_path / "tally"
    spec = spec_of(3, "keep_more", tally=str(tally))
    first = execute(spec)
    there, _ = ray_of(shared=False, fresh=True)
    outcome = there({"a": spec})["a"]
    assert outcome.value["named"] > first["value"]["named"] and load_result(spec)["value"] == outcome.value


def _refusing(node):
    return on_cluster.Answer(
        "refused", f"Node {node} has torch 1.0 where the driver has 2.0; install them there", node=node
    )


def test_a_node_that_may_not_do_runs_gets_none_and_others_do_them(ray_of, capsys):
    """It would answer at once and so take every run that waits."""
    nodes = {name: {"CPU": 1} for name in ("attic", "cellar", "shed")}
    there, ray = ray_of(nodes=nodes, answers=[_refusing("attic"), _refusing("attic"), _refusing("shed")])
    done = there({seed: spec_of(seed) for seed in range(4)})
    assert all(outcome.ok for outcome in done.values())
    selectors = [options.get("label_selector") for _, options in ray.sent]
    assert selectors[:4] == [None] * 4 and selectors[4:] == [
        {"ray.io/node-id": "!in(attic)"},
        {"ray.io/node-id": "!in(attic)"},
        {"ray.io/node-id": "!in(attic, shed)"},
    ]
    told = [line for line in capsys.readouterr().err.splitlines() if "torch 1.0" in line]
    assert [line.split()[1] for line in told] == ["attic", "shed"]
    assert all(line.endswith("; until then it gets no runs.") for line in told)


def test_a_cluster_without_a_node_that_may_do_a_run_ends_the_job(ray_of):
    there, _ = ray_of(nodes={"attic": {"CPU": 1}, "cellar": {"CPU": 1}}, answers=map(_refusing, ("attic", "cellar")))
    with pytest.raises(ClusterError, match=r"^Node cellar has torch 1\.0 where .*; ENGINE=local needs no cluster\.$"):
        there({seed: spec_of(seed) for seed in range(3)})
    assert find_status(spec_of(0)).state == "missing"


def test_a_run_asks_for_the_cores_gpus_and_memory_that_its_spec_names(ray_of):
    there, ray = ray_of(nodes={"attic": {"CPU": 8, "GPU": 2, "memory": 2**36}}, threads=2, gpus=0.5)
    there({0: spec_of(0), 1: dataclasses.replace(spec_of(1), cpus=6, memory_gib=1.5, gpus=2)})
    asked = [[options[name] for name in ("num_cpus", "num_gpus", "memory")] for _, options in ray.sent]
    assert asked == [[2, 0.5, None], [6, 2, 3 * 2**29]]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cpus": 3}, "cpus=3 is not allowed; the cluster has 2 cores on its largest node."),
        ({"gpus": 2}, "gpus=2 is not allowed; the cluster has 1 on its largest node."),
        ({"memory_gib": 9}, "memory_gib=9 is not allowed; the cluster has 4 GiB on its largest node."),
        ({"cpus": 2, "gpus": 1}, "cpus=2, gpus=1 is not allowed; no node of the cluster has all of it."),
    ],
    ids=["cores", "GPUs", "memory", "together"],
)
def test_a_run_that_no_node_can_hold_is_refused_and_does_not_wait_for_ever(asked, sentence, ray_of):
    """Two nodes with a GPU each have no place for a run that asks for two."""
    nodes = {"attic": {"CPU": 2, "memory": 2**32}, "cellar": {"CPU": 1, "GPU": 1}, "shed": {"CPU": 1, "GPU": 1}}
    there, ray = ray_of(nodes=nodes)
    with pytest.raises(InputError) as told:
        there({"a": dataclasses.replace(spec_of(0), **asked)})
    assert str(told.value).endswith(sentence) and not isinstance(told.value, ClusterError) and ray.sent == []


@pytest.mark.parametrize(("option", "amount"), [("gpus", 2), ("threads", 4)])
def test_an_engine_that_asks_every_node_for_too_much_serves_no_table(option, amount, ray_of):
    there, _ = ray_of(nodes={"attic": {"CPU": 2, "GPU": 1}, "cellar": {"CPU": 2, "GPU": 1}}, **{option: amount})
    with pytest.raises(ClusterError, match=rf"^{option}={amount} is not allowed; the cluster has [12]"):
        there({"a": spec_of(0)})


@pytest.mark.parametrize("asked", [{"gpus": -1}, {"gpus": 1.5}, {"cpus": float("nan")}, {"memory_gib": "4"}], ids=str)
def test_a_spec_that_asks_for_what_there_cannot_be_is_refused(asked):
    (name,) = asked
    with pytest.raises(InputError, match=rf"^{name}=.* is not allowed; it must be "):
        dataclasses.replace(spec_of(0), **asked)


def test_what_a_run_asks_of_a_node_does_not_change_what_it_is():
    spec = spec_of(0)
    asks = dataclasses.replace(spec, gpus=1, cpus=4, memory_gib=8)
    assert asks == spec and (asks.folder, asks.recipe_digest) == (spec.folder, spec.recipe_digest)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "nowhere", "auto", "ray://127.0.0.1:1"])
def test_an_address_where_no_cluster_answers_is_refused_at_once(address):
    with pytest.raises(InputError, match=f"RAY_ADDRESS='{address}' is not allowed: no Ray cluster answers there"):
        on_cluster.check_answers(address)


@pytest.mark.parametrize(("command", "reason"), [("exit 1", "another server"), ("sleep 60", "says nothing for 1 s")])
def test_a_server_that_is_no_head_is_refused_in_a_sentence(monkeypatch, tmp_path, command, reason):
    """Ray's question to a head is put by a stand-in for Python here, and by Ray itself below."""
    asking = tmp_path / "python"
    asking.write_text(f"#!/bin/sh\n{command}\n")
    asking.chmod(0o755)
    monkeypatch.setattr(on_cluster.sys, "executable", str(asking))
    monkeypatch.setattr(on_cluster, "HEALTH_S", 1)
    with pytest.raises(InputError, match=f"RAY_ADDRESS='127.0.0.1:80' .*no Ray cluster answers there .*{reason}"):
        on_cluster.check_is_ray("127.0.0.1:80")


class BareNode:
    """Stands in for Ray, with one node, where asking it for its versions gives `answer`."""

    def __init__(self, answer):
        self.answer = answer

    def nodes(self):
        return [{"NodeID": "1", "NodeManagerHostname": "attic", "Alive": True}]

    def remote(self, **_):
        return lambda function: self

    def options(self, **_):
        return SimpleNamespace(remote=lambda: None)

    def get(self, _):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ImportError("trace\nNo module named 'torch'"), "Node attic cannot run this package (No module named 'torch')"),
        (on_cluster.versions() | {"torch": "1.0"}, "Node attic has torch 1.0 where the driver has "),
    ],
    ids=["a package is absent", "other versions"],
)
def test_a_node_that_cannot_do_the_runs_is_named_and_local_work_goes_on(answer, sentence, monkeypatch):
    place = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: None)
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", place)
    monkeypatch.setattr(on_cluster, "_import_ray", lambda: BareNode(answer))
    there = engine("ray")
    monkeypatch.setattr(there, "_connect", there._check_nodes)
    with pytest.raises(BackendError) as told:
        there({"a": spec_of(0)})
    assert str(told.value).startswith(sentence) and "\n" not in str(told.value)
    assert find_status(spec_of(0)).state == "missing"
    assert engine("local", workers=1)({"a": spec_of(0)})["a"].value == {"total": 6}


@pytest.mark.parametrize("address", [None, "127.0.0.1:80"])
def test_what_ray_itself_refuses_is_one_sentence(address, monkeypatch):
    """It compares Python's version before any node of ours is asked, and finds no node where the driver is none."""

    def init(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Python: 3.11.7\nThis process: 3.11.9")

    monkeypatch.setattr(on_cluster, "_import_ray", lambda: SimpleNamespace(init=init, is_initialized=lambda: False))
    for asked in ("check_answers", "check_is_ray"):
        monkeypatch.setattr(on_cluster, asked, lambda address: None)
    monkeypatch.setattr(on_cluster, "_brought", contextlib.nullcontext)
    there = engine("ray")
    there._address = address
    with pytest.raises(
        BackendError, match=r"started with: Python: 3\.11\.7 This process: 3\.11\.9\); a driver must be"
    ) as told:
        there({"a": spec_of(0)})
    assert "\n" not in str(told.value)


def test_builds_of_one_version_are_alike(monkeypatch):
    for build in ("2.13.0+cpu", "2.13.0+cu130", "2.13.0"):
        monkeypatch.setattr(on_cluster.importlib.metadata, "version", lambda name, build=build: build)
        assert on_cluster.versions()["torch"] == "2.13.0"


def _driver(folder):
    """A script that asks the cluster for nine runs, which leave a line each in the file "tally"."""
    script = folder / "drive.py"
    script.write_text(
        "from tests.runs.test_cluster import spec_of\n"
        "from repro.runs import engine\n"
        "from repro.runs import cluster\n"
        "import contextlib\n"
        "cluster._brought = contextlib.nullcontext\n"
        f"done = engine('ray')({{s: spec_of(s, tally={str(folder / 'tally')!r}, sleep_s=0.3) for s in range(9)}})\n"
        "print(sum(outcome.ok for outcome in done.values()))\n"
    )
    return script


def _brought_packages() -> list[str]:
    """Run on a node: packages in what a job brought along."""
    brought = [Path(place) for place in sys.path if "py_modules" in place]
    return [found.parent.name for place in brought for found in place.glob("*/__init__.py")]


def _wait_for_results(count, driver):
    while len(list(runs_root().glob("sums/*/result.json"))) < count:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)


@pytest.mark.timeout(900)
class TestOnRay:
    """With Ray installed; each test has a cluster of its own, which a busy machine takes minutes to start."""

    @pytest.fixture(autouse=True)
    def ray(self, runs_folder):
        pytest.importorskip("ray", reason="Ray is not installed (make test-cluster)")
        ray = on_cluster._import_ray()
        yield ray
        ray.shutdown()

    @pytest.fixture
    def cluster(self, ray, monkeypatch):
        """A head with one core and a node with two, on loopback."""
        from ray.cluster_utils import Cluster

        monkeypatch.setenv("PYTHONPATH", str(repo_root()))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.node = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        monkeypatch.setattr(on_cluster, "_brought", contextlib.nullcontext)  # the nodes are this machine
        yield cluster
        ray.shutdown()
        cluster.shutdown()

    def test_results_are_those_of_local_processes(self, tmp_path, monkeypatch):
        specs = {seed: spec_of(seed) for seed in range(6)} | {"odd": spec_of(7, "fail_on_odd")}
        there = engine("ray", workers=2)(specs)
        assert not list(runs_root().glob(".driver-*"))
        monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "others"))
        here = dict(zip(specs, run_many(list(specs.values()), workers=2)))
        for key, outcome in there.items():
            assert (outcome.state, outcome.value) == (here[key].state, here[key].value)
        assert "seed 7 is odd" in there["odd"].message

    def test_progress_shows_runs_nodes_and_the_time_left(self, cluster, capsys):
        engine("ray", progress=True)({seed: spec_of(seed, sleep_s=0.5) for seed in range(6)})
        shown = capsys.readouterr().err.split("\r")
        assert any(re.search(r"[1-5]/6 \[\d\d:\d\d<\d\d:\d\d, .*failed=0, nodes=2\]", line) for line in shown), shown

    def test_a_worker_that_dies_is_another_try_from_the_checkpoint(self):
        outcome = engine("ray", workers=1)({"one": spec_of(0, "resume")})["one"]
        assert outcome.value == {"started_at": 2}

    def test_a_run_that_always_kills_its_worker_is_crashed_and_the_rest_go_on(self):
        done = engine("ray", workers=1)({seed: spec_of(seed, "die_on_two") for seed in range(4)})
        assert [outcome.state for outcome in done.values()] == ["done", "done", "crashed", "done"]
        assert "its worker died 4 times" in done[2].message

    def test_a_node_that_dies_loses_nothing(self, cluster, tmp_path):
        """The node with two of three cores is killed when four of twelve runs have begun."""
        tally = tmp_path / "tally"
        specs = {seed: spec_of(seed, tally=str(tally), sleep_s=0.3) for seed in range(12)}

        def kill():
            while not tally.exists() or len(tally.read_text().split()) < 4:
                time.sleep(0.05)
            cluster.remove_node(cluster.node, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        done = engine("ray")(specs)
        killer.join()
        assert [outcome.value["total"] for outcome in done.values()] == [6 + seed for seed in range(12)]
        assert len(tally.read_text().split()) <= 12 + 2

    def test_a_driver_that_dies_is_started_again_and_repeats_no_finished_run(self, cluster, tmp_path):
        tally, script = tmp_path / "tally", _driver(tmp_path)
        command = [sys.executable, str(script)]
        environment = os.environ | {"PYTHONPATH": str(repo_root())}
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _wait_for_results(3, first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        finished = len(list(runs_root().glob("sums/*/result.json")))
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert again.stdout.split()[-1] == "9", again.stderr
        assert len(tally.read_text().split()) <= 9 + 3 and finished >= 3

    def test_a_head_that_restarts_loses_no_finished_run(self, cluster, tmp_path, monkeypatch):
        """Its cluster is gone with it; the same command on the new one does what is left."""
        from ray.cluster_utils import Cluster

        tally, script = tmp_path / "tally", _driver(tmp_path)
        environment = os.environ | {"PYTHONPATH": str(repo_root()), "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
        command = [sys.executable, str(script)]
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        _wait_for_results(3, first)
        cluster.shutdown()
        _, told = first.communicate(timeout=200)
        assert first.returncode != 0, told
        finished = len(list(runs_root().glob("sums/*/result.json")))
        new = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            again = subprocess.run(
                command, env=environment | {"RAY_ADDRESS": new.address}, capture_output=True, text=True, check=False
            )
        finally:
            new.shutdown()
        assert again.stdout.split()[-1] == "9", again.stderr
        assert 3 <= finished and len(tally.read_text().split()) <= 9 + 3

    def test_another_server_at_the_address_is_refused_in_a_sentence(self, ray, monkeypatch):
        """And local work goes on."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(InputError, match=r"no Ray cluster answers there .*another server"):
                engine("ray")({"one": spec_of(0)})
        finally:
            server.shutdown()
        assert engine("local")({"one": spec_of(0)})["one"].ok

    def test_the_code_travels_as_a_wheel_and_a_training_there_is_the_one_here_bit_for_bit(
        self, ray, tmp_path, monkeypatch
    ):
        """The driver's wheel is unpacked on the node, where workers import from.

        On one machine Ray puts the driver's own path in front, so that it is not what they import here.
        """
        from ray.cluster_utils import Cluster

        monkeypatch.delenv("PYTHONPATH", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        try:
            job = jobs.Job("resnet20", {"width": 0.25}, DataRecipe("digits", train_images=64), TrainRecipe(epochs=1))
            spec = jobs.spec(job, 0)
            outcome = engine("ray")({"one": spec})["one"]
            found = ray.get(ray.remote(_brought_packages).remote())
            (sent,) = ray.get_runtime_context().runtime_env["py_modules"]
        finally:
            ray.shutdown()
            cluster.shutdown()
        assert outcome.ok, outcome.message
        assert sent.endswith(".whl") and found == ["repro"]  # no other package comes with it
        there = load_file(spec.folder / WEIGHTS)
        monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "others"))
        (local,) = run_many([spec], workers=1)
        here = load_file(spec.folder / WEIGHTS)
        assert not local.reused and local.value == outcome.value
        assert here.keys() == there.keys() and len(here) > 20
        for name, tensor in here.items():
            assert tensor.dtype == there[name].dtype and torch.equal(tensor, there[name]), name

    def test_a_run_that_wants_a_gpu_goes_to_the_node_that_has_one(self, cluster):
        cluster.add_node(num_cpus=1, num_gpus=1)
        cluster.wait_for_nodes()
        specs = {"without": spec_of(0, "gpus_seen")}
        specs["with"] = dataclasses.replace(spec_of(1, "gpus_seen"), gpus=1)
        done = engine("ray")(specs)
        assert {key: outcome.value["visible"] for key, outcome in done.items()} == {"without": "", "with": "0"}

    def test_a_node_with_other_versions_that_joins_later_gets_no_runs(self, cluster, tmp_path, capsys):
        assert engine("ray")({"first": spec_of(99)})["first"].ok
        (tmp_path / "sitecustomize.py").write_text(
            "import importlib.metadata as metadata\n"
            "version = metadata.version\n"
            "metadata.version = lambda name: '1.0' if name == 'torch' else version(name)\n"
        )
        cluster.add_node(num_cpus=2, env_vars={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(repo_root())])})
        cluster.wait_for_nodes()
        done = engine("ray")({seed: spec_of(seed, sleep_s=0.2) for seed in range(8)})
        assert [outcome.value["total"] for outcome in done.values()] == [6 + seed for seed in range(8)]
        told = [line for line in capsys.readouterr().err.splitlines() if "has torch 1.0 where the driver has" in line]
        assert len(told) == 1 and told[0].endswith("; install the same versions there; until then it gets no runs.")

    def test_cores_and_memory_can_be_asked_for(self):
        run = engine("ray", workers=2)
        assert run({"a": dataclasses.replace(spec_of(0), cpus=2, memory_gib=0.25)})["a"].ok
        with pytest.raises(InputError, match=r"cpus=3 is not allowed; the cluster has 2 cores on its largest node"):
            run({"b": dataclasses.replace(spec_of(1), cpus=3)})

    def test_a_node_without_the_store_sends_the_whole_folder_afresh_too(self, cluster, monkeypatch):
        monkeypatch.setattr(on_cluster, "_mark", lambda: contextlib.nullcontext("no-such-mark"))
        spec = spec_of(3, "keep_more")
        first = engine("ray")({"a": spec})["a"]
        assert {"supernet", "pictures/first.bin"} < set(_content(spec.folder))
        again = engine("ray", fresh=True)({"a": spec})["a"]
        assert again.value["named"] > first.value["named"] and load_result(spec)["value"] == again.value

    def test_a_node_with_other_versions_is_named(self, cluster, monkeypatch):
        monkeypatch.setattr(on_cluster.platform, "python_version", lambda: "3.9.9")
        with pytest.raises(BackendError, match=r"Node \S+ has Python 3\.\S+ where the driver has 3\.9\.9; install"):
            engine("ray")({"a": spec_of(0)})

    def test_more_gpus_than_there_are_is_one_sentence(self):
        with pytest.raises(InputError, match=r"gpus=2 is not allowed; the cluster has 0"):
            engine("ray", workers=1, gpus=2)({"a": spec_of(0)})
