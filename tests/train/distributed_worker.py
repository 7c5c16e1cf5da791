"""Run by torchrun in test_distributed: trains with the processes of the group and writes what process 0 holds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from repro.train import save_checkpoint
from repro.train.distributed import fit_distributed, process_group
from tests.train.test_distributed import RECIPE, network
from tests.train.test_loop import stripes


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group() as (rank, world):
        model = network(seed=rank)  # process 0's weights count
        history = fit_distributed(model, stripes(70), stripes(33, 1), RECIPE, seed=0, checkpoint=folder / "run.pt")
        save_checkpoint(folder / f"rank{rank}.pt", model)
        (folder / f"rank{rank}.json").write_text(
            json.dumps({"world": world, "outcome": history.outcome, "rows": history.rows})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    # gloo's threads abort the process at exit once in a while, after all work is done and written.
    os._exit(0)
