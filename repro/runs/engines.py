"""Engines: where runs happen, behind one call. `run = engine("local")`, then `run({key: spec}) -> {key: outcome}`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from repro.errors import InputError, check_choice, check_int
from repro.runs.abstract import Engine
from repro.runs.executor import Outcome, announce, attempt, finished, outcome_of, run_many
from repro.runs.spec import RunSpec, check_gpus
from repro.runs.store import LOCK, RunContext


class LocalEngine(Engine):
    """Worker processes on this machine; see `run_many`."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        return run_many(specs, **self._options)


@contextmanager
def _copy_of(folder: Path) -> Iterator[Path]:
    """The run's folder for a process that helps: it goes on from the same checkpoint and writes into its copy."""
    with tempfile.TemporaryDirectory() as own:
        shutil.copytree(folder, own, ignore=shutil.ignore_patterns(LOCK), dirs_exist_ok=True)
        yield Path(own)


class TorchrunEngine(Engine):
    """The processes that torchrun started, all of which make the same calls within one process group.

    One run after another. Process 0 decides what is finished and executes the rest. In a run that is `parallel` all
    processes call the function together, in any other the rest wait. All get the outcomes. An exception in a parallel
    run ends the job, since processes may be left waiting for one another; the next job resumes the run.
    """

    def __init__(self, *, threads: int, fresh: bool, known: Mapping[str, float] | None) -> None:
        super().__init__()
        import torch
        import torch.distributed as dist

        if "RANK" in os.environ and not dist.is_initialized():
            raise InputError("engine='torchrun' needs a process group; call it inside process_group().")
        torch.set_num_threads(threads)
        self._rank: int
        self._world: int
        self._rank, self._world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        # A group of its own for agreements: others may wait for days while process 0 works alone.
        self._group = dist.new_group(backend="gloo", timeout=timedelta(days=30)) if self._world > 1 else None
        self._fresh, self._known = fresh, known

    def _agree(self, value: Any = None) -> Any:
        """What process 0 passes, on every process."""
        if self._group is None:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        done: dict[int, Outcome] = {}
        if self._rank == 0:
            done = {} if self._fresh else finished(specs)
            announce(specs, [index for index in range(len(specs)) if index not in done], 1, self._known)
        done = self._agree(done)
        for index, spec in enumerate(specs):
            if index not in done:
                done[index] = self._lead(spec) if self._rank == 0 else self._follow(spec)
        return [done[index] for index in range(len(specs))]

    def _lead(self, spec: RunSpec) -> Outcome:
        import torch.distributed as dist

        together = spec.parallel and self._world > 1
        begun = []

        def begin() -> None:
            begun.append(True)
            self._agree("begin")
            dist.barrier(self._group)  # the others have their copies

        outcome = outcome_of(spec, *attempt(spec, self._fresh, begin if together else None))
        if together and begun and not outcome.ok:
            raise RuntimeError(f"{spec.kind} seed {spec.seed}: {outcome.message}")
        print(f"{spec.kind} seed {spec.seed}: {outcome.state} {outcome.message}".rstrip(), file=sys.stderr, flush=True)
        return self._agree(outcome)

    def _follow(self, spec: RunSpec) -> Outcome:
        import torch.distributed as dist

        heard = self._agree()
        if heard == "begin":
            with _copy_of(spec.folder) as own:
                dist.barrier(self._group)
                spec.load_function()(spec.recipe, spec.seed, RunContext(own))
            heard = self._agree()
        return heard


ENGINES = ("local", "ray", "torchrun")


def engine(
    name: str = "local",
    *,
    workers: int | None = None,
    threads: int = 1,
    fresh: bool = False,
    progress: bool | None = None,
    known: Mapping[str, float] | None = None,
    time_limit_s: float | None = None,
    gpus: float = 0,
) -> Engine:
    """The engine of that name.

    Args:
        name: "local" (worker processes on this machine), "ray" (the nodes of the cluster at $RAY_ADDRESS, else one that
            is started here; see `repro.runs.cluster`) or "torchrun" (the processes that torchrun started).
        workers: runs side by side (default: the cores divided by `threads`); torchrun does one after another, and a
            cluster with an address has its own number.
        threads: torch threads of each process.
        fresh: run again even what is finished.
        progress: show a progress bar (default: if stderr is a terminal or a notebook).
        known: seconds by recipe digest or kind, for the forecast; see `forecast_s`.
        time_limit_s: a run that takes longer is ended and has failed (local only).
        gpus: of a cluster's node for each run that does not say so itself (ray only).
    Raises: InputError for another name, or an option that the engine does not have; ClusterError without Ray.
    """
    check_choice("engine", name, ENGINES)
    check_int("threads", threads, minimum=1)
    if gpus and name != "ray":
        raise InputError(f"gpus={gpus!r} is not allowed with engine={name!r}; only a cluster hands them out.")
    if name == "local":
        if workers is not None:
            check_int("workers", workers, minimum=1)
        options = {"threads": threads, "fresh": fresh, "progress": progress, "known": known}
        return LocalEngine(workers=workers, time_limit_s=time_limit_s, **options)
    if time_limit_s is not None:
        raise InputError(f"time_limit_s={time_limit_s!r} is not allowed with engine={name!r}.")
    if name == "ray":
        from repro.runs.cluster import RayEngine

        address = os.environ.get("RAY_ADDRESS", "").strip() or None
        if address and workers is not None:
            raise InputError(f"workers={workers!r} is not allowed with RAY_ADDRESS={address!r}; its nodes have cores.")
        return RayEngine(
            address=address,
            workers=None if workers is None else check_int("workers", workers, minimum=1),
            threads=threads,
            gpus=check_gpus(gpus),
            fresh=fresh,
            progress=progress,
            known=known,
        )
    if workers is not None:
        raise InputError(f"workers={workers!r} is not allowed with engine='torchrun'; give torchrun --nproc-per-node.")
    return TorchrunEngine(threads=threads, fresh=fresh, known=known)
