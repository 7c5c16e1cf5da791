"""Scores that are no mean over test examples, with other examples: these are drawn anew and their counts added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def resampled_scores(
    rows: Iterable[tuple[Mapping[str, Any], str, Sequence[np.ndarray | None]]],
    score: Callable[[np.ndarray], np.ndarray],
    *,
    column: str,
    count: int = 200,
) -> pd.DataFrame:
    """The extra frame `draws` of an entry: a score with other test examples, the mean over a row's seeds.

    Args:
        rows: (key, data set, counts (examples, ...) of each of its seeds, None for a run without result). Rows of one
            data set are judged on the same examples and share their resamples, so that differences between them can be
            judged.
        score: sums of counts (draws, ...) -> scores (draws,).
    Returns: key columns, column, draw, value; none for a row with a run that has no result, and none for a data set
        whose rows were not tested on the same number of examples.
    """
    found: dict[str, list[tuple[Mapping[str, Any], Sequence[np.ndarray]]]] = {}
    for key, dataset, counts in rows:
        if counts and all(one is not None for one in counts):
            found.setdefault(dataset, []).append((key, counts))
    frames = []
    for tested_rows in found.values():
        sizes = {len(one) for _, counts in tested_rows for one in counts}
        if len(sizes) > 1:
            continue
        (size,) = sizes
        generator = np.random.default_rng(0)
        drawn = generator.integers(size, size=(count, size))
        times = np.stack([np.bincount(rows, minlength=size) for rows in drawn])  # how often a draw holds an example
        for key, counts in tested_rows:
            values = np.mean([score(np.tensordot(times, one, axes=1)) for one in counts], axis=0)
            frames.append(pd.DataFrame({**key, "column": column, "draw": range(count), "value": values}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["column", "draw", "value"])
