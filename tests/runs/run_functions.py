"""Run functions for the tests of the store and the executor; they live in a module so that workers can import them."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class SumRecipe:
    terms: tuple[int, ...] = (1, 2, 3)
    tally: str = ""  # a file that gets one line per real execution
    sleep_s: float = 0.0


def _count(recipe: SumRecipe, seed: int) -> None:
    if recipe.tally:
        with Path(recipe.tally).open("a", encoding="utf-8") as file:
            file.write(f"{seed}\n")


def add_up(recipe: SumRecipe, seed: int, context) -> dict:
    _count(recipe, seed)
    total = seed
    for epoch, term in enumerate(recipe.terms):
        time.sleep(recipe.sleep_s)
        total += term
        context.log(epoch=epoch, total=total)
    return {"total": total}


def threads_seen(recipe: SumRecipe, seed: int, context) -> dict:
    import torch

    return {"threads": torch.get_num_threads()}


def gpus_seen(recipe: SumRecipe, seed: int, context) -> dict:
    return {"visible": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def diverge(recipe: SumRecipe, seed: int, context) -> dict:
    return {"outcome": "diverged", "layer": "conv1"}


def fail_on_odd(recipe: SumRecipe, seed: int, context) -> dict:
    if seed % 2:
        raise ValueError(f"seed {seed} is odd")
    return {"seed": seed}


def die_on_two(recipe: SumRecipe, seed: int, context) -> dict:
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return {"seed": seed}


def leave(recipe: SumRecipe, seed: int, context) -> dict:
    raise SystemExit(3)


def unstorable(recipe: SumRecipe, seed: int, context) -> dict:
    return {"value": {1, 2}}


def hang_on_one(recipe: SumRecipe, seed: int, context) -> dict:
    time.sleep(600 if seed == 1 else 0)
    return {"seed": seed}


def resume(recipe: SumRecipe, seed: int, context) -> dict:
    """Counts to three with a checkpoint after each step; dies once after the second."""
    context.checkpoint.mkdir(parents=True, exist_ok=True)
    at = context.checkpoint / "step"
    first = int(at.read_text()) if at.exists() else 0
    for step in range(first, 3):
        context.log(epoch=step, started_at=first)
        at.write_text(str(step + 1))
        if step == 1 and first == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"started_at": first}


def seen_recipe(recipe, seed: int, context) -> dict:
    """The recipe that the function saw, and whether it found a checkpoint."""
    plain = dataclasses.asdict(recipe) if dataclasses.is_dataclass(recipe) else dict(recipe)
    return {**plain, "resumed": context.checkpoint.exists()}


def add_up_together(recipe: SumRecipe, seed: int, context) -> dict:
    """Sums the terms over all processes, each adding its share; alone it adds them all."""
    import torch
    import torch.distributed as dist

    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    total = torch.tensor(sum(recipe.terms[rank::world]) + (seed if rank == 0 else 0))
    if world > 1:
        dist.all_reduce(total)
    context.log(epoch=0, total=total.item())
    return {"total": total.item(), "processes": world}


def network_of():
    """A network whose weights take 40 kB."""
    from torch import nn

    return nn.Linear(100, 100)


def keep_network(recipe: SumRecipe, seed: int, context) -> dict:
    from repro.models.weights import save_weights

    save_weights(network_of(), context.weights)
    return {}


def keep_more(recipe: SumRecipe, seed: int, context) -> dict:
    """Writes files of its own beside those that every run has, a hidden one and one in a folder among them."""
    for name in ("supernet", ".hidden", "pictures/first.bin", "pictures/result.json", "checkpoint/step"):
        path = context.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"{name} of try {recipe.terms}".encode())
    return {"named": time.time_ns()}


def keep_once(recipe: SumRecipe, seed: int, context) -> dict:
    """Keeps a file in its first try; fails in any later one, for which there is a tally."""
    if recipe.tally and Path(recipe.tally).exists():
        raise ValueError("it was done before")
    _count(recipe, seed)
    (context.folder / "supernet").write_bytes(b"whole")
    return {}


def keep_checkpoint(recipe: SumRecipe, seed: int, context) -> dict:
    from repro.train.checkpoint import save_checkpoint

    save_checkpoint(context.checkpoint / "training", network_of())
    return {}
