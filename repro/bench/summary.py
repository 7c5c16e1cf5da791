"""Records in a few lines: medians over shapes, and the training-step table in the schema of the published one."""

from __future__ import annotations

import pandas as pd

from repro.bench.bars import select
from repro.bench.records import CONTEXT
from repro.bench.training import METHODS, MOBILENET

TABLE_ID = "shiftaddaug_supp_t03"
GROUP = ["op", "mode", "kind", "peer"]
TERMS, TERM_LABELS = [0, 32, 128, 512, 1 << 30], ["up to 32", "33 to 128", "129 to 512", "above 512"]
SUMMARY = ["shapes", "ratio", "20 to 80 %", "worst", "g_terms_per_s", "pct_of_bound"]


def summary(records: pd.DataFrame) -> pd.DataFrame:
    """One line per operator, mode, kind and peer: shapes, median ratio with its spread, median rate and share of bound.

    `ratio` is ours over the peer's time (or memory over its allowance); below 1 is better.
    """
    lines = []
    for key, rows in records.groupby(GROUP, sort=False):
        ratio = pd.to_numeric(rows["ratio"])
        lines.append(
            {
                **dict(zip(GROUP, key)),
                "shapes": len(rows),
                "ratio": ratio.median(),
                "20 to 80 %": f"{ratio.quantile(0.2):.2f} to {ratio.quantile(0.8):.2f}",
                "worst": ratio.max(),
                "g_terms_per_s": pd.to_numeric(rows["terms_per_s"]).median() / 1e9,
                "pct_of_bound": pd.to_numeric(rows["pct_of_bound"]).median(),
            }
        )
    return pd.DataFrame(lines, columns=[*GROUP, *SUMMARY])


def losses(records: pd.DataFrame) -> pd.DataFrame:
    """The eight operator rows that lose most against the ordinary convolution, worst first."""
    rows = records[(records["peer"] == "conv2d") & (records["ratio"] > 1)]
    worst = rows.sort_values("ratio", ascending=False).head(8)
    return worst[["op", "mode", "shape", "ms_p50", "peer_ms_p50", "ratio", "pct_of_bound"]].reset_index(drop=True)


def by_terms_per_output(records: pd.DataFrame, peer: str) -> pd.DataFrame:
    """A dense adder's forward against a peer by the number of terms that one output sums (C_in times filter size).

    Columns terms, shapes, speedup (the peer's time over ours, median), g_terms_per_s, pct_of_bound. What a tile costs
    besides its terms, and bringing its pixels in and its outputs out, weighs most where few terms are summed.
    """
    rows = select(records, {"op": "adder_conv2d", "mode": "forward", "kind": "dense", "peer": peer}).copy()
    sizes = rows["shape"].str.extract(r"(\d+)x(\d+)x\d+x\d+ (\d+)x(\d+) to").astype(int)
    rows["terms"] = pd.cut(sizes[1] * sizes[2] * sizes[3], TERMS, labels=TERM_LABELS)
    rows["speedup"] = 1 / pd.to_numeric(rows["ratio"])
    rows["g_terms_per_s"] = pd.to_numeric(rows["terms_per_s"]) / 1e9
    rows["pct_of_bound"] = pd.to_numeric(rows["pct_of_bound"])
    groups = rows.groupby("terms", observed=True)
    medians = groups[["speedup", "g_terms_per_s", "pct_of_bound"]].median()
    return medians.assign(shapes=groups.size()).reset_index()[
        ["terms", "shapes", "speedup", "g_terms_per_s", "pct_of_bound"]
    ]


def training_table(records: pd.DataFrame) -> pd.DataFrame:
    """Steps a second and peak memory of each method as the supplement's table 3 lists them (method, it/s, MB).

    Rows that are not measured are absent. MB are 2^20 bytes; of an augmented method those of its widest network.
    `attrs` say where the records come from, as those of `repro.papers.run_table` do.
    """
    lines, sources = [], []
    for method, op in METHODS.items():
        rows = records[(records["op"] == f"{MOBILENET.model} {op}") & (records["mode"] == "training step")]
        if not rows.empty:
            row = rows.iloc[-1]
            sources.append(row)
            lines.append(
                {"method": method, "speed_it_per_s": 1e3 / row["ms_p50"], "memory_mb": float(row["peak_mem_mib"])}
            )
    table = pd.DataFrame(lines, columns=["method", "speed_it_per_s", "memory_mb"])
    about = {"preset": _preset(sources), "dataset": "random-images", "seeds": [0]}
    table.attrs = {"table_id": TABLE_ID, "failed": []} | about
    if sources:
        table.attrs |= {"scale": _scale(sources[0]), "provenance": about | _provenance(sources[-1])}
    return table


def _preset(rows: list[pd.Series]) -> str:
    """`paper` for steps that were all timed on a GPU, as the paper's were; else `quick`, minutes of a CPU."""
    return "paper" if rows and all(row["backend"] == "cuda" for row in rows) else "quick"


def _scale(row: pd.Series) -> str:
    return (
        f"The paper's network, image size and batch ({row['shape']}), on random images, timed on {row['device']} with "
        f"{row['threads']} threads; the paper used a GPU (RTX 3090), so only ratios to Base can be compared."
    )


def _provenance(row: pd.Series) -> dict[str, object]:
    """What a result record needs to know, from one row of the benchmark."""
    commit = str(row["commit"])
    return {
        "git_revision": commit.rstrip("+"),
        "git_clean": not commit.endswith("+"),
        "versions": {name: str(row[name]) for name in ("torch", "triton", "numba") if str(row[name])},
        "device": str(row["device"]),
        "threads": int(row["threads"]),
        "date": str(row["date"]),
    }


def training_ratios(published: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Time and memory of each method relative to Base, the paper's beside ours; empty where we ran nothing."""

    def relative(frame: pd.DataFrame) -> pd.DataFrame:
        indexed = frame.set_index("method")
        base = indexed.loc["Base"] if "Base" in indexed.index else indexed.iloc[:0].sum() * float("nan")
        return pd.DataFrame(
            {
                "time": base["speed_it_per_s"] / indexed["speed_it_per_s"],
                "memory": indexed["memory_mb"] / base["memory_mb"],
            }
        )

    theirs = relative(published)
    mine = relative(ours).reindex(theirs.index)
    return pd.DataFrame(
        {
            "method": theirs.index,
            "time published": theirs["time"].to_numpy(),
            "time ours": mine["time"].to_numpy(),
            "memory published": theirs["memory"].to_numpy(),
            "memory ours": mine["memory"].to_numpy(),
            "status": ["measured" if known else "not run" for known in mine["time"].notna()],
        }
    )


def conditions(records: pd.DataFrame) -> pd.DataFrame:
    """Where and when the records were made, one line per distinct set of circumstances."""
    columns = [name for name in CONTEXT if name != "date"]
    found = records.groupby(columns, sort=False, dropna=False)["date"].agg(["min", "max", "size"]).reset_index()
    return found.rename(columns={"min": "from", "max": "until", "size": "rows"})


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Column names of an aggregate on one line."""
    return frame.set_axis([" ".join(filter(None, names)) for names in frame.columns], axis=1)
