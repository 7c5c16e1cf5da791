"""Train the networks of an ACGhostNet table with several processes each (Sec. 4.1: batch 1024 on 8 GPUs).

    torchrun --standalone --nproc-per-node 8 -m repro.papers.distributed acghostnet_t05 --preset paper

The networks are trained one after another, every process taking its share of each batch. Finished networks are skipped,
an interrupted one goes on from its last epoch, and `make tables` then finds all of them done. The search that a table
builds on is not distributed: it must have been run before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer

from repro.errors import InputError
from repro.papers.acghostnet.networks import FUNCTION
from repro.papers.registry import check_seeds, experiment
from repro.runs import RunContext, RunSpec, load_result, run_many
from repro.runs.store import execute
from repro.train.distributed import process_group


class FollowerContext(RunContext):
    """The context of the processes that help: they read the run's checkpoint and write nothing."""

    def log(self, **metrics: Any) -> None:
        """Process 0 writes the metrics, which are the same on all."""


def train_together(table_id: str, *, preset: str, dataset: str | None, seeds: Sequence[int] | None) -> int:
    """Train every network of a table that is not finished; called by every process. Returns how many were trained.

    Raises: InputError for a table without such networks, or one whose search has not been run.
    """
    entry = experiment(table_id)
    recipe, _ = entry.recipe(preset, dataset)
    seed_list = check_seeds(seeds, entry.seeds[preset])
    planned = entry.plan(recipe, seed_list)
    networks = [spec for spec in planned if spec.function == FUNCTION]
    if not networks and entry.follow is None:
        raise InputError(f"table={table_id!r} is not allowed; networks are trained for acghostnet_t01, _t04 and _t05.")
    _check_searched(planned, table_id, preset)
    count = _train(networks)
    if entry.follow is not None:
        found = entry.follow(recipe, seed_list, run_many(planned, progress=False))
        count += _train([spec for spec in found if spec not in networks])
    return count


def _check_searched(planned: Sequence[RunSpec], table_id: str, preset: str) -> None:
    for spec in planned:
        if spec.function != FUNCTION and load_result(spec) is None:
            raise InputError(
                f"table={table_id!r} trains what a search finds, and that search is not finished; run it first: "
                f"python -m repro table acghostnet_f05 --preset {preset} --dataset {spec.recipe.data.dataset}"
            )


def _train(specs: Sequence[RunSpec]) -> int:
    trained = 0
    for spec in specs:
        # One process looks, all agree: a folder that changes meanwhile must not part them.
        wanted = torch.tensor([int(_leads() and load_result(spec) is None)])
        if dist.is_initialized():
            wanted = wanted.to("cuda" if dist.get_backend() == "nccl" else "cpu")
            dist.broadcast(wanted, src=0)
        if not wanted.item():
            continue
        trained += 1
        if _leads():
            result = execute(spec)
            print(
                f"{spec.recipe.network} {spec.recipe.path} seed {spec.seed}: {result['value']['top1_pct']}", flush=True
            )
        else:
            spec.load_function()(spec.recipe, spec.seed, FollowerContext(spec.folder))
    return trained


def _leads() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def command(
    table_id: Annotated[str, typer.Argument(help="acghostnet_t01, acghostnet_t04 or acghostnet_t05.")],
    preset: Annotated[str, typer.Option(help="smoke, quick or paper.")] = "paper",
    dataset: Annotated[str, typer.Option(help="Data set; empty for the preset's default.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, for example '0 1 2'; empty for the preset's default.")] = "",
) -> None:
    """Train the networks of a table with all processes that torchrun started."""
    from repro.cli.main import parse_seeds

    with process_group():
        count = train_together(table_id, preset=preset, dataset=dataset or None, seeds=parse_seeds(seeds) or None)
        if _leads():
            print(f"{count} networks trained; 'make tables PRESET={preset} TABLES={table_id}' shows them.", flush=True)


if __name__ == "__main__":
    from repro.cli.main import run_command

    run_command(command)
