"""What data movement leaves of the savings of tables 4 and 5."""

from __future__ import annotations

import functools

import pandas as pd

from repro.cost import model_cost, operation_energy_pj, skeleton
from repro.errors import check_choice
from repro.report.published import published


@functools.cache
def traffic_mj(resolution: int, num_classes: int) -> tuple[float, float]:
    """Smallest and largest energy (mJ) of data movement of any of the 8^16 networks, every operator paying its own.

    At equal word widths an operator does not change what is moved, so only the groups of each block matter; the bounds
    add the cheaper, or the dearer, choice of every block.
    """
    sums = []
    for choice in ("CCg1", "CCg2"):
        form = "cifar" if resolution < 64 else "imagenet"
        model = skeleton("acghostnet", choices=choice, num_classes=num_classes, form=form)
        layers = model_cost(model, resolution, "unbiased").layers
        block = layers["name"].str.extract(r"^blocks\.(\d+)\.")[0].fillna("rest")
        sums.append((layers["energy_mj"] - layers["compute"]).groupby(block).sum())
    both = pd.concat(sums, axis=1)
    return float(both.min(axis=1).sum()), float(both.max(axis=1).sum())


def savings(table_id: str) -> pd.DataFrame:
    """ACGhostNet's savings over GhostNet-1.0x: as its energy column has them, and with data movement added.

    The searched networks are not published, but their operator counts are, and the space bounds their traffic. The
    counts are the printed ones, so this is what the printed counts imply, not a regenerated energy.

    Columns: model, operations_only_pct, and with data movement with_traffic_low_pct and with_traffic_high_pct.
    """
    check_choice("table_id", table_id, ("acghostnet_t04", "acghostnet_t05"))
    pixels, classes = (32, 10) if table_id == "acghostnet_t04" else (224, 1000)
    printed = published(table_id).set_index("model")
    low, high = traffic_mj(pixels, classes)
    base_model = skeleton("ghostnet", num_classes=classes, form="cifar" if pixels == 32 else "imagenet")
    base_cost = model_cost(base_model, pixels, "unbiased")
    rows = []
    for letter in "ABCD":
        row = printed.loc[f"ACGhostNet-{letter}"]
        reference = printed.loc["GhostNet-1.0x"]
        operations, base_operations = (operation_energy_pj(r["fadd_m"], r["fmul_m"]) * 1e-3 for r in (row, reference))
        base = base_cost.energy_mj - base_cost.by_level["compute"] + base_operations
        rows.append(
            {
                "model": f"ACGhostNet-{letter}",
                "operations_only_pct": 100 * (1 - operations / base_operations),
                "with_traffic_low_pct": 100 * (1 - (high + operations) / base),
                "with_traffic_high_pct": 100 * (1 - (low + operations) / base),
            }
        )
    return pd.DataFrame(rows)
