"""Networks tested on larger images than they were trained on, without fine-tuning (Sec. 4.3, rows with an arrow)."""

from __future__ import annotations

import dataclasses

from repro.models import create
from repro.papers import jobs
from repro.papers.data import load_splits
from repro.papers.kinds import spec_of
from repro.runs import RunContext, RunSpec


@dataclasses.dataclass(frozen=True)
class EnlargedJob(jobs.Job):
    """A training whose network is tested at `test_size` pixels a side; batch norm stays as training images left it."""

    test_size: int = 256


def spec(job: EnlargedJob, seed: int) -> RunSpec:
    """One training; with the same seed its weights are those of the job without enlarged test images."""
    return spec_of("shiftaddnas_enlarged", job, seed, model=job.model, parallel=True)


def train_enlarged(job: EnlargedJob, seed: int, context: RunContext) -> dict:
    """Run function: as `jobs.train_network`, on enlarged test images."""
    model, _, value = jobs.train_and_test(lambda: create(job.model, **job.model_options), job, seed, context)
    if value["outcome"] == "diverged":
        return value
    larger = load_splits(dataclasses.replace(job.data, size=job.test_size))
    return jobs.tested(model, larger.test, classes=job.data.facts["num_classes"], batch_size=job.train.eval_batch_size)
