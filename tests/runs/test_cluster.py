"""The Ray engine: equal results, and nothing lost with a worker, a node or the driver (`make test-cluster`)."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from repro.errors import InputError
from repro.paths import repo_root, runs_root
from repro.runs import RunSpec, engine, execute, find_status, run_many
from repro.runs import cluster as on_cluster
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


def test_a_node_with_other_code_does_no_run(tmp_path):
    spec = spec_of(3)
    answer = on_cluster.work(
        on_cluster.Task(spec, "0123456789ab", str(tmp_path), "no-such-mark", str(tmp_path / "none"), 1, False)
    )
    assert answer.kind == "failed" and "has other code than the driver" in answer.payload
    assert set(answer.files) == set()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "nowhere", "ray://127.0.0.1:1"])
def test_an_address_where_no_cluster_answers_is_refused_at_once(address):
    with pytest.raises(InputError, match=f"RAY_ADDRESS='{address}' is not allowed: no Ray cluster answers there"):
        on_cluster.check_answers(address)


class TestOnRay:
    """With Ray installed; each test has a cluster of its own."""

    @pytest.fixture(autouse=True)
    def ray(self, runs_folder):
        ray = pytest.importorskip("ray", reason="Ray is not installed (make test-cluster)")
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
        monkeypatch.setattr(on_cluster, "build_wheel", lambda: None)  # the nodes are this machine
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
        tally = tmp_path / "tally"
        script = tmp_path / "drive.py"
        script.write_text(
            "import sys\n"
            "from tests.runs.test_cluster import spec_of\n"
            "from repro.runs import engine\n"
            "from repro.runs import cluster\n"
            "cluster.build_wheel = lambda: None\n"
            f"done = engine('ray')({{s: spec_of(s, tally={str(tally)!r}, sleep_s=0.3) for s in range(9)}})\n"
            "print(sum(outcome.ok for outcome in done.values()))\n"
        )
        command = [sys.executable, str(script)]
        environment = os.environ | {"PYTHONPATH": str(repo_root())}
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(list(runs_root().glob("sums/*/result.json"))) < 3:
            assert first.poll() is None, first.communicate()
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        finished = len(list(runs_root().glob("sums/*/result.json")))
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert again.stdout.split()[-1] == "9", again.stderr
        assert len(tally.read_text().split()) <= 9 + 3 and finished >= 3

    def test_more_gpus_than_there_are_is_one_sentence(self):
        with pytest.raises(InputError, match=r"gpus=2 is not allowed; the cluster has 0"):
            engine("ray", workers=1, gpus=2)({"a": spec_of(0)})
