"""What the energy columns really say: every model of the four papers under three accountings.

published   each paper's own way: operation energies without traffic (ACGhostNet), the row-stationary script with
            its slips (ShiftAddAug, ShiftAddNAS); AutoShiftNet prints no energy, its networks are priced by the
            script's rules for shift layers.
corrected   the same prices without slips: every layer once, grouped convolutions as they are, one array size, true
            query widths, every light branch at its own operator.
unbiased    32-bit words for all, every operator pays its own traffic, a multiply-accumulate pays its addition, an
            adder tap two, one tap per PE and cycle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from repro.cost import ACCOUNTINGS, CONVENTIONS, ModelCost, layers_cost, operation_energy_pj, translation_cost
from repro.cost.counting import layer_operations
from repro.cost.skeleton import traced
from repro.errors import check_choice
from repro.papers.acghostnet import t04 as acghostnet_t04
from repro.papers.acghostnet import t05 as acghostnet_t05
from repro.papers.autoshiftnet import t02 as autoshiftnet_t02
from repro.papers.shiftaddaug import counts as shiftaddaug
from repro.papers.shiftaddaug import t03 as shiftaddaug_t03
from repro.papers.shiftaddnas import counts as shiftaddnas
from repro.papers.shiftaddnas import t03 as shiftaddnas_t03
from repro.papers.shiftaddnas import t06 as shiftaddnas_t06

COLUMNS = ["paper", "network", "operator", "resolution_px", "accounting", "energy_mj", "latency_ms"]

# Claims about energy or latency columns can be judged on these tables, one set per accounting.
ENERGY_TABLES: dict[str, Callable[[str], pd.DataFrame]] = {
    "acghostnet_t04": acghostnet_t04.computed,
    "acghostnet_t05": acghostnet_t05.computed,
    "shiftaddaug_t03": shiftaddaug_t03.computed,
    "shiftaddnas_t03": shiftaddnas_t03.computed,
    "shiftaddnas_t06": shiftaddnas_t06.computed,
}


def energy_tables(accounting: str) -> dict[str, pd.DataFrame]:
    """The published tables that have energy or latency columns, with ours under one accounting."""
    check_choice("accounting", accounting, ACCOUNTINGS)
    return {table_id: make(accounting) for table_id, make in ENERGY_TABLES.items()}


def _priced(name: str, pixels: int, accounting: str, options: Mapping | None = None, **how) -> ModelCost:
    return layers_cost(traced(name, pixels, **(options or {}))[1], accounting=accounting, **how)


def _acghostnet(accounting: str) -> list[tuple]:
    networks = [
        (f"{'Adder-' if operator == 'adder' else ''}GhostNet-{width}x {data}", name, operator, pixels, options)
        for data, pixels, classes, form in (("CIFAR10", 32, 10, "cifar"), ("ImageNet", 224, 1000, "imagenet"))
        for name, operator, widths in (("ghostnet", "conv", (0.5, 1.0, 1.3)), ("adder_ghostnet", "adder", (1.0, 1.55)))
        for width in (widths if data == "ImageNet" else (1.0,))
        for options in ({"width": width, "num_classes": classes, "form": form},)
    ]
    rows = []
    for network, name, operator, pixels, options in networks:
        if accounting == "unbiased":
            cost = _priced(name, pixels, accounting, options)
            energy, latency = cost.energy_mj, cost.latency_ms
        else:
            _, layers = traced(name, pixels, **options)
            counted = [layer_operations(layer, CONVENTIONS["acghostnet"]) for layer in layers]
            adds, mults = (sum(counts[kind] for counts in counted) for kind in ("adds", "mults"))
            energy, latency = operation_energy_pj(adds, mults) * 1e-9, float("nan")
        rows.append(("ACGhostNet", network, operator, pixels, accounting, energy, latency))
    return rows


def _shiftaddaug(accounting: str) -> list[tuple]:
    frame = shiftaddaug.accountings()
    frame = frame[frame["accounting"] == accounting]
    pixels = shiftaddaug.RESOLUTION
    return [
        ("ShiftAddAug", row.model, row.op, pixels, accounting, row.energy_mj, row.latency_ms)
        for row in frame.itertuples()
    ]


def _shiftaddnas(accounting: str) -> list[tuple]:
    rows = []
    depthwise = "ungrouped" if accounting == "published" else "single"
    for network, (name, pixels) in shiftaddnas.SEARCHED.items():
        if network == "ShiftAddNAS-T1↑":
            continue  # the same network as rank 1
        cost = _priced(name, pixels, accounting, depthwise=depthwise)
        operator = "conv" if network.startswith("BossNAS") else "hybrid"
        rows.append(("ShiftAddNAS", network, operator, pixels, accounting, cost.energy_mj, cost.latency_ms))
    for network in ("ResNet-50", "AdderNet", "DeepShift-Q", "ShiftAddNet"):
        name, operator, options, _ = shiftaddnas.RESNETS[network]
        cost = _priced(name, 224, accounting, options | {"op": operator, "version": "v1"}, depthwise=depthwise)
        rows.append(("ShiftAddNAS", network, operator, 224, accounting, cost.energy_mj, cost.latency_ms))
    for name, _ in dict.fromkeys(shiftaddnas_t03.TRANSLATION.values()):
        cost = translation_cost(name, accounting=accounting)
        operator = "hybrid" if name.startswith("shiftaddnas") else "conv"
        rows.append(("ShiftAddNAS", name, operator, float("nan"), accounting, cost.energy_mj, cost.latency_ms))
    return rows


def _autoshiftnet(accounting: str) -> list[tuple]:
    rows = []
    for network, (name, options, _) in autoshiftnet_t02.IMAGENET.items():
        # 227 pixels where 224 gives the stem a prime number of rows, which the script cannot map.
        pixels = 227 if network == "SqueezeNet1.0" else 224
        for operator in ("conv", "shift"):
            built = options | {"op": operator, "keep": (), "num_classes": 1000}
            cost = _priced(name, pixels, accounting, built, shift_slip=False)
            rows.append(("AutoShiftNet", network, operator, pixels, accounting, cost.energy_mj, cost.latency_ms))
    return rows


_PAPERS = {
    "ACGhostNet": _acghostnet,
    "ShiftAddAug": _shiftaddaug,
    "ShiftAddNAS": _shiftaddnas,
    "AutoShiftNet": _autoshiftnet,
}
# Networks whose counterpart with convolutions has another name.
_CONV_COUNTERPART = {"AdderNet": "ResNet-50", "DeepShift-Q": "ResNet-50", "ShiftAddNet": "ResNet-50"}


@functools.cache
def _paper_accountings(paper: str) -> pd.DataFrame:
    return pd.DataFrame([row for accounting in ACCOUNTINGS for row in _PAPERS[paper](accounting)], columns=COLUMNS)


def accountings(papers: Iterable[str] = tuple(_PAPERS)) -> pd.DataFrame:
    """Modelled energy (mJ) and latency (ms) of every known network under the three accountings, long form.

    Columns: paper, network, operator ("conv", "shift", "adder", "shiftadd" or "hybrid"), resolution_px, accounting,
    energy_mj, latency_ms (empty where the paper's own model has none).
    """
    return pd.concat([_paper_accountings(check_choice("paper", p, _PAPERS)) for p in papers], ignore_index=True)


def savings(papers: Iterable[str] = tuple(_PAPERS)) -> pd.DataFrame:
    """Energy saved over the same network with convolutions, in %, by operator and accounting.

    Columns: paper, network, operator, and one per accounting; negative where the operator costs more.
    """
    frame = accountings(papers)
    wide = frame.pivot(index=["paper", "network", "operator"], columns="accounting", values="energy_mj").reset_index()
    wide = frame[["paper", "network", "operator"]].drop_duplicates().merge(wide)
    base = wide[wide["operator"] == "conv"].set_index(["paper", "network"])
    rows = []
    for row in wide[wide["operator"].isin(["shift", "adder", "shiftadd"])].itertuples():
        network = row.network.removeprefix("Adder-")
        counterpart = (row.paper, _CONV_COUNTERPART.get(network, network))
        if counterpart in base.index:
            saved = {f"{a}_pct": 100 * (1 - getattr(row, a) / base.loc[counterpart, a]) for a in ACCOUNTINGS}
            rows.append({"paper": row.paper, "network": row.network, "operator": row.operator, **saved})
    return pd.DataFrame(rows)
