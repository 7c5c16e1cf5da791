"""The engine "ray": runs on the nodes of a Ray cluster, or on one that it starts on this machine.

The run store stays the truth. A node that sees the driver's store works in it, as a local process does: a run that a
lost node began goes on from its checkpoint. Any other node works in a folder of its own and sends the finished run
back. A task that Ray sends twice finds the run finished or waits for its lock.

Code travels as a wheel of this package (`repro.runs.wheel`); tasks are names of functions with recipes. Ray itself
trusts whoever reaches its ports, so a cluster belongs into a network of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from repro.errors import ClusterError, InputError, require
from repro.paths import atomic_path, data_root, repo_root, runs_root, write_text
from repro.runs.abstract import Engine
from repro.runs.executor import Outcome, announce, attempt, finished, outcome_of
from repro.runs.spec import RunSpec
from repro.runs.store import LOCK, RESULT, clear, files_of, find_status, load_result, record_failure
from repro.runs.wheel import write_wheel

RETRIES = 3
"""How often a run begins again whose worker or node died; then it has crashed."""

HEALTH_S = 120
"""Seconds in which a head must say that it is one; Ray's own limit is shorter on an idle machine."""

GIB = 2**30

LIBRARIES = ("torch", "numpy")
"""Their versions must be the driver's on every node, or a run would not be what its key says."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a node is asked to do.

    Attributes:
        spec: the run.
        code: the driver's fingerprint of its code.
        store, mark: the driver's run store, and a file in it that tells a node that it sees the same store.
        data: the driver's data root, which a node takes that has such a folder and no $REPRO_DATA of its own.
        threads: of torch.
        fresh: whether it is done again where it is finished.
        versions: the driver's, see `versions`.
    """

    spec: RunSpec
    code: str
    store: str
    mark: str
    data: str
    threads: int
    fresh: bool
    versions: Mapping[str, str] = dataclasses.field(default_factory=lambda: versions())


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a node sends back.

    Attributes:
        kind, payload: what `attempt` returned; or "refused" and a sentence that says why this node may not do the run.
        files: the run's folder, from a node without the driver's store.
        node: Ray's id of a node that refuses.
    """

    kind: str
    payload: dict | str
    files: dict[str, bytes] | None = None
    node: str = ""


class _Again(Exception):
    """What came of a run is lost, not the run's fault: it is to be sent again. The message says why."""


def versions() -> dict[str, str]:
    """Versions that a driver and its nodes must share; builds of one version (for a CPU, for CUDA) are alike here."""
    return {"Python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _other_versions(node: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """A sentence without its end that names what differs on a node; "" where nothing does."""
    differ = [f"{name} {theirs[name]} where the driver has {own}" for name, own in ours.items() if theirs[name] != own]
    return f"Node {node} has {', '.join(differ)}; install the same versions there" if differ else ""


def work(task: Task) -> Answer:
    """On a node: do one run."""
    import torch

    torch.set_num_threads(task.threads)
    if not os.environ.get("REPRO_DATA") and Path(task.data).is_dir():
        os.environ["REPRO_DATA"] = task.data
    if Path(task.store, task.mark).is_file():
        os.environ["REPRO_RUNS"] = task.store
        return _done(task)
    with tempfile.TemporaryDirectory() as store:
        os.environ["REPRO_RUNS"] = store
        answer = _done(task)
        folder = task.spec.folder
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_of(folder)}
        return dataclasses.replace(answer, files=files)


def _done(task: Task) -> Answer:
    refused = _other_versions(platform.node(), versions(), task.versions)
    if not refused and task.spec.code != task.code:
        refused = (
            f"Node {platform.node()} has other code than the driver; install the same version of this package there"
        )
    return Answer("refused", refused, node=_own_id()) if refused else Answer(*attempt(task.spec, task.fresh))


def _own_id() -> str:
    """Ray's id of the node that this process works on."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else ""


def keep_files(spec: RunSpec, files: Mapping[str, bytes], *, fresh: bool = False) -> None:
    """Write a run that a node did elsewhere into the store: its whole folder, by paths in it, or nothing.

    One that is finished here stays as it is, unless the new one was asked for afresh. A run that failed goes beside the
    checkpoint that an earlier try left here.

    Raises: ClusterError where the store cannot be written.
    """
    folder = spec.folder
    if not files:  # the node never began
        return
    with _store(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            if not fresh and load_result(spec, locked=True) is not None:
                return
            with contextlib.ExitStack() as written:  # which is left in reverse: the result takes its place last
                for name in sorted(files, key=lambda name: name != RESULT):
                    written.enter_context(atomic_path(folder / name)).write_bytes(files[name])
                if fresh or RESULT in files:
                    clear(folder)


@contextlib.contextmanager
def _store(folder: Path):
    """ClusterError where the driver's store does not serve: every run would meet the same."""
    try:
        yield
    except InputError as error:
        raise ClusterError(str(error)) from error
    except OSError as error:
        raise ClusterError(
            f"cannot keep a run in {folder} ({error.strerror or error}); free some space, make it writable, or "
            "set REPRO_RUNS to another folder."
        ) from error


class RayEngine(Engine):
    """Runs as Ray tasks; see `repro.runs.engine`."""

    def __init__(
        self,
        *,
        address: str | None,
        workers: int | None,
        threads: int,
        gpus: float,
        fresh: bool,
        progress: bool | None,
        known: Mapping[str, float] | None,
    ) -> None:
        super().__init__()
        self._ray = _import_ray()
        self._address, self._workers, self._threads, self._gpus = address, workers, threads, gpus
        self._fresh, self._progress, self._known = fresh, progress, known
        self._refused: dict[str, str] = {}

    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        with _store(runs_root()):
            outcomes = {} if self._fresh else finished(specs)
        waiting = [index for index in range(len(specs)) if index not in outcomes]
        if not waiting:
            announce(specs, waiting, 1, self._known)
            return [outcomes[index] for index in range(len(specs))]
        self._connect()
        slots = self._slots([specs[index] for index in waiting])
        announce(specs, waiting, min(slots, len(waiting)), self._known)
        hidden = None if self._progress is None else not self._progress
        bar = tqdm(total=len(specs), initial=len(outcomes), unit="run", disable=hidden, file=sys.stderr)
        with bar, _mark() as mark:
            self._collect(specs, waiting, outcomes, mark, bar)
        return [outcomes[index] for index in range(len(specs))]

    def _need(self, spec: RunSpec) -> dict[str, float]:
        """What a run asks of its node, in Ray's names and units."""
        memory = int(spec.memory_gib * GIB)
        return {"CPU": spec.cpus or self._threads, "GPU": spec.gpus or self._gpus, "memory": memory}

    def _connect(self) -> None:
        ray = self._ray
        if ray.is_initialized():
            return
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if self._address is None:
            cores = (self._workers or _cores() // self._threads or 1) * self._threads
            path = os.pathsep.join([str(repo_root()), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._init(address="local", num_cpus=cores, runtime_env={"env_vars": {"PYTHONPATH": path}}, **quiet)
            return
        check_answers(self._address)
        check_is_ray(self._address)
        with _brought() as environment:
            self._init(address=self._address, runtime_env=environment, **quiet)
        self._check_nodes()

    def _init(self, **options) -> None:
        """Ray's own beginning; ClusterError for what it refuses: another Python, a driver that is no node."""
        try:
            self._ray.init(**options)
        except Exception as error:  # what Ray raises has no common class
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise _refusal(
                f"Ray does not start for this driver ({reason}); a driver must be a node of the cluster ('ray start') "
                "with the Python and the Ray of the others"
            ) from error

    def _check_nodes(self) -> None:
        """Every node must answer with the driver's versions, before any run starts."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self._ray.remote(num_cpus=0)(versions)
        nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in self._ray.nodes() if node["Alive"]}
        asked = {
            name: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            for node, name in nodes.items()
        }
        for name, answer in asked.items():
            try:
                theirs = self._ray.get(answer)
            except Exception as error:  # whatever keeps the package from being imported there
                raise _refusal(
                    f"Node {name} cannot run this package ({_line(error)}); install it there, "
                    "or take the node out of the cluster"
                ) from error
            if differ := _other_versions(name, theirs, versions()):
                raise _refusal(differ)

    def _nodes(self) -> list[dict[str, float]]:
        """What each node has that may do runs: all that live but those that refused one."""
        alive = [node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in self._refused]
        return [node["Resources"] for node in alive]

    def _slots(self, specs: Sequence[RunSpec]) -> int:
        """Runs that fit side by side if each asks for the most that one does.

        Raises: ClusterError if no run fits on a node, InputError if one of them asks for too much itself.
        """
        nodes, most = self._nodes(), {"CPU": 0.0, "GPU": 0.0, "memory": 0.0}
        for spec in specs:
            need = self._need(spec)
            self._check_fits(spec, need, nodes)
            most = {name: max(most[name], amount) for name, amount in need.items()}
        each = [min(node.get(name, 0) // amount for name, amount in most.items() if amount) for node in nodes]
        return max(1, int(sum(each)))

    def _check_fits(self, spec: RunSpec, need: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> None:
        own = {"CPU": ("cpus", spec.cpus), "GPU": ("gpus", spec.gpus), "memory": ("memory_gib", spec.memory_gib)}
        engines = {"CPU": ("threads", self._threads), "GPU": ("gpus", self._gpus)}
        for resource, amount in need.items():
            largest = max((node.get(resource, 0) for node in nodes), default=0)
            if amount > largest:
                of_run = own[resource][1]
                name, asked = own[resource] if of_run else engines[resource]
                has = f"{largest / GIB if resource == 'memory' else largest:.4g}"
                unit = {"CPU": " cores", "GPU": "", "memory": " GiB"}[resource]
                text = f"{name}={asked:g} is not allowed; the cluster has {has}{unit} on its largest node"
                raise InputError(f"{text}.") if of_run else _refusal(text)
        if not any(all(node.get(name, 0) >= amount for name, amount in need.items()) for node in nodes):
            every = ", ".join(f"{name}={value:g}" for name, value in own.values() if value)
            raise InputError(f"{every} is not allowed; no node of the cluster has all of it.")

    def _collect(self, specs, waiting, outcomes: dict[int, Outcome], mark: str, bar: tqdm) -> None:
        ray, lost = self._ray, Counter[int]()
        running = {self._send(specs[index], mark): index for index in waiting}
        try:
            looked = 0.0
            while running:
                ready, _ = ray.wait(list(running), num_returns=1, timeout=1)
                if time.monotonic() - looked > 1:
                    looked = time.monotonic()
                    failed = sum(not outcome.ok for outcome in outcomes.values())
                    bar.set_postfix(nodes=sum(node["Alive"] for node in ray.nodes()), failed=failed)
                for answer in ready:
                    index = running.pop(answer)
                    try:
                        outcomes[index] = self._outcome(specs[index], answer, last=lost[index] == RETRIES)
                    except _Again as again:
                        lost[index] += bool(str(again))
                        running[self._send(specs[index], mark)] = index
                        continue
                    bar.update(1)
        except BaseException as stopped:
            for answer in running:
                ray.cancel(answer, force=True)
            if isinstance(stopped, KeyboardInterrupt):
                print("Stopped; finished runs are kept, the others go on from their checkpoints.", file=sys.stderr)
            raise

    def _send(self, spec: RunSpec, mark: str) -> Any:
        """Hand a run to Ray; returns what its answer is asked for by. No node gets it that refused one."""
        need, store, data = self._need(spec), str(runs_root().resolve()), str(data_root().resolve())
        options: dict[str, Any] = {
            "num_cpus": need["CPU"],
            "num_gpus": need["GPU"] or None,
            "memory": need["memory"] or None,
        }
        if self._refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({', '.join(self._refused)})"}
        do = self._ray.remote(max_retries=RETRIES)(work)
        task = Task(spec, spec.code, store, mark, data, self._threads, self._fresh)
        return do.options(**options, name=f"{spec.kind} seed {spec.seed}").remote(task)

    def _refuse(self, spec: RunSpec, given: Answer) -> None:
        """Send nothing more to a node that may not do runs, and say so once.

        Raises: ClusterError if no other node can do the run.
        """
        known = given.node in self._refused
        self._refused[given.node] = str(given.payload)
        try:
            self._check_fits(spec, self._need(spec), self._nodes())
        except InputError as error:
            raise _refusal(str(given.payload)) from error
        if not known:
            tqdm.write(f"{given.payload}; until then it gets no runs.", file=sys.stderr)

    def _outcome(self, spec: RunSpec, answer: Any, last: bool) -> Outcome:
        """What came of a run; `_Again` if it must be sent again, which it may not where this was its `last` try."""
        errors = self._ray.exceptions
        try:
            given: Answer = self._ray.get(answer)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            return _crashed(spec, f"its worker died {RETRIES + 1} times ({_line(error)})")
        except (errors.ObjectLostError, errors.OutOfDiskError, errors.RuntimeEnvSetupError) as error:
            if last:
                return _crashed(spec, f"its answer was lost {RETRIES + 1} times ({_line(error)})")
            # Its node was lost with the answer, could not keep it, or could not begin.
            raise _Again(_line(error)) from error
        except errors.RayTaskError as error:
            return Outcome(spec, "failed", message=f"it cannot be done on the cluster ({_line(error)})")
        except errors.RayError as error:
            raise _refusal(
                f"The cluster no longer answers ({_line(error)}); finished runs are kept, and the same command goes on "
                "from them"
            ) from error
        if given.kind == "refused":
            self._refuse(spec, given)
            raise _Again
        if given.files is not None:
            keep_files(spec, given.files, fresh=self._fresh)
        if given.kind == "failed" and find_status(spec).state == "missing":
            return Outcome(spec, "failed", message=str(given.payload))
        return outcome_of(spec, given.kind, given.payload)


def _crashed(spec: RunSpec, message: str) -> Outcome:
    with _store(spec.folder):
        record_failure(spec, message)
    return Outcome(spec, "crashed", message=message)


def _import_ray():
    # Nothing is sent to Ray's makers, and a busy machine may take its time to start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for setting in ("RAY_raylet_start_wait_time_s", "RAY_agent_register_timeout_ms"):
        os.environ.setdefault(setting, "120" if setting.endswith("_s") else "120000")
    try:
        ray = require("ray", extra="cluster")
        require("ray.exceptions", extra="cluster")
    except InputError as error:
        raise _refusal(str(error).rstrip(".")) from error
    return ray


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_answers(address: str) -> None:
    """ClusterError unless something answers at "host:port"; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise _no_cluster(address, "it is no host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, _line(error)) from error


def check_is_ray(address: str) -> None:
    """ClusterError unless what answers at "host:port" is a Ray head; Ray itself would ask another server for ever."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, timeout=HEALTH_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"what does says nothing for {HEALTH_S} s") from error
    if asked.returncode:
        raise _no_cluster(address, "what does is another server, or a head of another version")


def _no_cluster(address: str, reason: str) -> ClusterError:
    return _refusal(
        f"RAY_ADDRESS={address!r} is not allowed: no Ray cluster answers there ({reason}); start one with "
        "'ray start --head' and give host:port, or leave it empty to use this machine"
    )


def _refusal(sentence: str) -> ClusterError:
    """The sentence with the way out; nothing is trained here that was asked of a cluster."""
    return ClusterError(f"{sentence}; ENGINE=local needs no cluster.")


@contextlib.contextmanager
def _mark():
    """A file in the run store by whose name a node knows the store, while runs are out."""
    name = f".driver-{secrets.token_hex(8)}"
    with _store(runs_root()):
        mark = write_text(runs_root() / name, "")
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):  # the store has gone, and its runs were told of
            mark.unlink()


@contextlib.contextmanager
def _brought():
    """What Ray installs on every node before it works for this driver."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        yield {"py_modules": [str(write_wheel(Path(folder)))]}


def _line(error: object) -> str:
    """The last line of an error that says something."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1][:200]
