"""How fast is fast enough: the bars this package set itself, and whether records reach them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Bar:
    """One bar: a value's median over the rows that match `where`, or with `every` its worst, against `limit`.

    value: "speedup" (the peer's time over ours), "ratio" (ours over the peer's), "pct_of_bound" or "ms_p50".
    peak_kernel: only layers of this kernel, "3x3", at which the peer comes within a fifth of its best rate.
    note: the paper's figure, or what the rows do not say by themselves.
    """

    what: str
    device: str
    where: dict[str, str]
    value: str
    limit: float
    note: str = ""
    peak_kernel: str = ""
    every: bool = False

    @property
    def at_least(self) -> bool:
        """Whether larger is better."""
        return self.value in ("speedup", "pct_of_bound")

    @property
    def text(self) -> str:
        """The bar in words."""
        if self.value == "pct_of_bound":
            return f"at least {self.limit:g} %"
        if self.value == "ms_p50":
            return f"at most {self.limit:g} ms"
        return f"at least {self.limit:g}× faster" if self.at_least else f"at most {self.limit:g}×"


def _dense(mode: str, peer: str, op: str = "adder_conv2d") -> dict[str, str]:
    return {"op": op, "mode": mode, "kind": "dense", "peer": peer}


def _step(network: str, op: str, peer: str = "conv") -> dict[str, str]:
    return {"op": f"{network} {op}", "mode": "training step", "peer": peer}


BARS = (
    Bar("adder forward, dense, against the cdist layer", "cpu", _dense("forward", "cdist"), "speedup", 12),
    Bar("adder forward, dense, against conv2d", "cpu", _dense("forward", "conv2d"), "ratio", 1.1),
    Bar(
        "adder forward, 3x3 layers where conv2d is at its peak, against conv2d",
        "cpu",
        _dense("forward", "conv2d"),
        "ratio",
        2.0,
        peak_kernel="3x3",
        every=True,
    ),
    Bar("adder forward + backward, dense, against conv2d", "cpu", _dense("forward+backward", "conv2d"), "ratio", 1.9),
    Bar(
        "depthwise adder forward + backward against depthwise conv2d",
        "cpu",
        {**_dense("forward+backward", "conv2d"), "kind": "depthwise"},
        "ratio",
        1.5,
    ),
    Bar("ResNet-20 adder training step, batch 128", "cpu", _step("resnet20", "adder"), "ratio", 1.9),
    Bar("ResNet-20 shift (Q) training step", "cpu", _step("resnet20", "shift"), "ratio", 1.15, "paper: 1.38×"),
    Bar("ResNet-20 ShiftAdd training step", "cpu", _step("resnet20", "shiftadd"), "ratio", 3, "paper: 19×"),
    Bar(
        "AugShift training step against NetAug's",
        "cpu",
        _step("mobilenet_v2", "augshift", "netaug"),
        "ratio",
        1.5,
        "paper: 2.0×",
    ),
    Bar(
        "AugAdd training step against NetAug's",
        "cpu",
        _step("mobilenet_v2", "augadd", "netaug"),
        "ratio",
        2,
        "paper: 2.8×",
    ),
    Bar(
        "extra memory of an adder forward beyond its output",
        "cpu",
        {"op": "adder_conv2d", "mode": "forward extra memory", "peer": "allowance"},
        "ratio",
        1,
        "of an allowance of 10 % of the input and 1 MiB a thread",
    ),
    Bar(
        "8-bit adder forward against float32 adder forward",
        "cpu",
        _dense("forward", "adder float32", "adder_conv2d_int8"),
        "speedup",
        2,
    ),
    Bar(
        "selection of 128 among 256 candidates (pNSGA-III)",
        "cpu",
        {"op": "pnsga3_select", "mode": "selection", "shape": "128 of 256 candidates", "peer": "nsga2"},
        "ms_p50",
        20,
    ),
    Bar("adder forward, share of the float32 bound", "cuda", _dense("forward", "conv2d"), "pct_of_bound", 70),
    Bar("adder input gradient, share of the bound", "cuda", _dense("input gradient", "conv2d"), "pct_of_bound", 45),
    Bar(
        "packed 4-bit shift linear, batch 1 to 16, against float16",
        "cuda",
        {"op": "shift_linear_packed", "mode": "forward", "peer": "linear"},
        "speedup",
        2.5,
    ),
    Bar("ResNet-20 adder training step, batch 128", "cuda", _step("resnet20", "adder"), "ratio", 2, "no TF32"),
)

BAR_COLUMNS = ("what", "bar", "reached", "spread", "cases", "met", "pct_of_bound", "note")
PEAK_SHARE = 0.8


def select(records: pd.DataFrame, where: dict[str, str]) -> pd.DataFrame:
    """The rows whose columns have these values."""
    mask = pd.Series(True, index=records.index)
    for column, value in where.items():
        mask &= records[column] == value
    return records[mask]


def device_rows(records: pd.DataFrame, device: str) -> pd.DataFrame:
    """Rows measured on the CPU ("cpu") or on a GPU ("cuda"), told apart by the back end that ran."""
    on_gpu = records["backend"].isin(["triton", "cuda"])
    return records[on_gpu if device == "cuda" else ~on_gpu]


def _rows(bar: Bar, records: pd.DataFrame) -> pd.DataFrame:
    rows = select(device_rows(records, bar.device), bar.where)
    if bar.peak_kernel:
        rate = pd.to_numeric(rows["terms_per_s"]) * pd.to_numeric(rows["ratio"])  # the peer's
        rows = rows[(rate >= PEAK_SHARE * rate.max()) & rows["shape"].str.contains(f" {bar.peak_kernel} ")]
    return rows


def values(bar: Bar, records: pd.DataFrame) -> pd.Series:
    """The bar's quantity for every row it is about."""
    rows = _rows(bar, records)
    column = pd.to_numeric(rows["ratio" if bar.value == "speedup" else bar.value])
    return (1 / column if bar.value == "speedup" else column).dropna()


def judge(records: pd.DataFrame, devices: tuple[str, ...] = ("cpu", "cuda")) -> pd.DataFrame:
    """Every bar with the value reached and whether it is met; `met` is NA where nothing was measured.

    Columns: what, bar, reached (the median over cases, or the worst), spread (20th to 80th percentile over cases),
    cases, met, pct_of_bound (the median share of the machine's ceiling, missing where none is measured), note (with the
    worst case).
    """
    lines = []
    for bar in BARS:
        if bar.device not in devices:
            continue
        found = values(bar, records)
        line = {"what": bar.what, "bar": bar.text, "cases": len(found), "note": bar.note}
        if found.empty:
            why = "no CUDA device: GPU rows are not measured" if bar.device == "cuda" else "not measured"
            line |= {"reached": float("nan"), "spread": "", "met": pd.NA, "note": why}
        else:
            worst = float(found.min() if bar.at_least else found.max())
            reached = worst if bar.every else float(found.median())
            met = reached >= bar.limit if bar.at_least else reached <= bar.limit
            spread = f"{found.quantile(0.2):.2f} to {found.quantile(0.8):.2f}" if len(found) > 1 else ""
            note = "; ".join(filter(None, [bar.note, f"worst {worst:.3g}" if len(found) > 1 else ""]))
            share = pd.to_numeric(_rows(bar, records)["pct_of_bound"]).median()
            line |= {"reached": reached, "spread": spread, "met": bool(met), "pct_of_bound": share, "note": note}
        lines.append(line)
    table = pd.DataFrame(lines, columns=BAR_COLUMNS)
    table["met"] = table["met"].astype("boolean")
    return table
