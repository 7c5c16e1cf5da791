"""What changes when the accounting does: claims, rankings and savings, and sentences computed from them.

The energies come from `repro.papers.accountings.networks`; here they are compared, always among networks that do
the same work (images of one size class, or translation), and turned into verdicts and sentences.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd

from repro import report
from repro.cost import ACCOUNTINGS, layers_cost, model_cost, operation_energy_pj, skeleton
from repro.cost.eyeriss import LEVELS
from repro.cost.skeleton import traced
from repro.errors import check_choice
from repro.papers.accountings.networks import ENERGY_TABLES, accountings, energy_tables, savings

COLUMNS_OF_ENERGY = re.compile(r"\b(energy|latency)_(mj|uj|ms)\b")
MODELLED = {"conv": "convolution", "shift": "shift", "adder": "adder", "shiftadd": "shift and adder"}


def workload(paper: str, resolution_px: float) -> str:
    """What a network of one paper is asked to do; only energies of the same workload are ranked."""
    if pd.isna(resolution_px):
        return "translation"
    return "CIFAR-10" if resolution_px < 64 else "CIFAR-100 at 160" if paper == "ShiftAddAug" else "ImageNet"


def ranked() -> pd.DataFrame:
    """Energy (mJ) of every network under each accounting, with its rank among networks of the same workload.

    Columns: paper, workload, network, operator, the three accountings, rank_* of each (1 is the cheapest).
    """
    frame = accountings()
    frame = frame.assign(workload=[workload(row.paper, row.resolution_px) for row in frame.itertuples()])
    keys = ["paper", "workload", "network", "operator"]
    wide = frame.pivot(index=keys, columns="accounting", values="energy_mj")[list(ACCOUNTINGS)].reset_index()
    wide = frame[keys].drop_duplicates().merge(wide, on=keys)
    for accounting in ACCOUNTINGS:
        wide[f"rank_{accounting}"] = wide.groupby(["paper", "workload"])[accounting].rank(method="min").astype(int)
    return wide


def order_changes(wide: pd.DataFrame | None = None) -> pd.DataFrame:
    """Pairs of networks of one workload whose order by energy differs from the published accounting.

    Columns: paper, workload, accounting, cheaper_published, cheaper_now.
    """
    wide = ranked() if wide is None else wide
    rows = []
    for (paper, work), group in wide.groupby(["paper", "workload"], sort=False):
        for accounting in ACCOUNTINGS[1:]:
            for first, second in combinations(group.itertuples(), 2):
                if first.published > second.published:
                    first, second = second, first
                if first.published < second.published and getattr(first, accounting) > getattr(second, accounting):
                    names = [f"{row.network} ({row.operator})" for row in (first, second)]
                    rows.append((paper, work, accounting, *names))
    return pd.DataFrame(rows, columns=["paper", "workload", "accounting", "cheaper_published", "cheaper_now"])


def order_summary(wide: pd.DataFrame | None = None) -> pd.DataFrame:
    """Per paper and workload: networks, pairs, and pairs whose order changes under each accounting."""
    wide = ranked() if wide is None else wide
    changes = order_changes(wide)
    rows = []
    for (paper, work), group in wide.groupby(["paper", "workload"], sort=False):
        size = len(group)
        row = {"paper": paper, "workload": work, "networks": size, "pairs": size * (size - 1) // 2}
        for accounting in ACCOUNTINGS[1:]:
            hit = changes[(changes["paper"] == paper) & (changes["workload"] == work)]
            row[f"changed_{accounting}"] = int((hit["accounting"] == accounting).sum())
        rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ claims


def energy_claims() -> pd.DataFrame:
    """The claims whose check reads an energy or latency column of a table that the accountings give."""
    known = report.claims()
    reads = known["check"].map(lambda check: bool(COLUMNS_OF_ENERGY.search(check)))
    tables = set(ENERGY_TABLES)
    here = known["table_or_figure"].map(lambda places: bool(set(places.split(";")) & tables))
    return known[reads & here]


def outcome(verdict: report.Verdict) -> str:
    """A verdict in a few words; what is known of a claim that cannot be decided is kept."""
    if verdict.status == "not run":
        known = re.search(r"On what was run the criterion (holds|does not hold)", verdict.evidence)
        return f"not run ({known.group(1)} for the known rows)" if known else "not run"
    return verdict.status


def claims_by_accounting(table_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Every claim about an energy or latency column, with its verdict under each accounting.

    Args:
        table_ids: only claims about these tables (default: all).
    Returns: id, claim, printed (what the printed numbers say), and one column per accounting.
    """
    tables = {accounting: energy_tables(accounting) for accounting in ACCOUNTINGS}
    rows = []
    for claim in energy_claims().itertuples():
        if table_ids is not None and not set(claim.table_or_figure.split(";")) & set(table_ids):
            continue
        judged = {name: outcome(report.judge(claim.claim_id, tables[name])) for name in ACCOUNTINGS}
        rows.append({"id": claim.claim_id, "claim": claim.claim, "printed": claim.published_verdict, **judged})
    return pd.DataFrame(rows, columns=["id", "claim", "printed", *ACCOUNTINGS])


def rounded_as_printed(table_id: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Ours with every number rounded to the digits that the table prints, as a reader of the table would have it."""
    from repro.report.published import printed_decimals, published_text

    printed, result = published_text(table_id), frame.copy()
    for name in result.select_dtypes("number").columns.intersection(printed.columns):
        digits = [printed_decimals(text) for text in printed[name]]
        result[name] = [v if d is None else round(v, d) for v, d in zip(result[name], digits)]
    result.attrs = dict(frame.attrs)
    return result


# ------------------------------------------------------------------ where the energy goes


@functools.cache
def _levels(name: str, options: tuple, pixels: int, op: str, accounting: str) -> dict[str, float]:
    return layers_cost(traced(name, pixels, op=op, **dict(options))[1], accounting=accounting).by_level


def level_energies(
    name: str,
    pixels: int,
    operators: Sequence[str] = ("conv", "shift", "adder"),
    accounts: Sequence[str] = ACCOUNTINGS,
    **options,
) -> pd.DataFrame:
    """Energy (mJ) of one model by level of the memory hierarchy, per operator and accounting, long form."""
    rows = []
    for accounting in accounts:
        for op in operators:
            split = _levels(name, tuple(sorted(options.items())), pixels, op, accounting)
            rows += [(accounting, op, level, split[level]) for level in LEVELS]
    return pd.DataFrame(rows, columns=["accounting", "operator", "level", "energy_mj"])


# ------------------------------------------------------------------ ACGhostNet: what data movement leaves of a saving


@functools.cache
def acghostnet_traffic(resolution: int, num_classes: int) -> tuple[float, float]:
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


def acghostnet_savings(table_id: str) -> pd.DataFrame:
    """ACGhostNet's savings over GhostNet-1.0x: as its energy column has them, and with data movement added.

    The searched networks are not published, but their operator counts are, and the space bounds their traffic. The
    counts are the printed ones, so this is what the printed counts imply, not a regenerated energy.

    Columns: model, operations_only_pct, and with data movement with_traffic_low_pct and with_traffic_high_pct.
    """
    check_choice("table_id", table_id, ("acghostnet_t04", "acghostnet_t05"))
    pixels, classes = (32, 10) if table_id == "acghostnet_t04" else (224, 1000)
    printed = report.published(table_id).set_index("model")
    low, high = acghostnet_traffic(pixels, classes)
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


# ------------------------------------------------------------------ sentences


def _span(values: pd.Series, digits: int = 0) -> str:
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def saving_sentences(frame: pd.DataFrame | None = None) -> list[str]:
    """One sentence per paper and operator: the saving over convolutions under the published and unbiased accounting."""
    frame = savings() if frame is None else frame
    sentences = []
    for (paper, op), group in frame.groupby(["paper", "operator"], sort=False):
        sentences.append(
            f"**{paper}, {MODELLED[op]} networks:** saving over convolutions {_span(group['published_pct'])} as "
            f"published, {_span(group['corrected_pct'])} with slips corrected, {_span(group['unbiased_pct'])} when "
            f"every operator pays its own traffic at equal word widths ({len(group)} "
            f"network{'s' if len(group) > 1 else ''})."
        )
    return sentences


def conclusion(claims: pd.DataFrame, wide: pd.DataFrame | None = None, saved: pd.DataFrame | None = None) -> list[str]:
    """What the energy columns really say, as sentences computed from the numbers.

    Args:
        claims: from `claims_by_accounting`.
        wide, saved: from `ranked` and `savings` (computed if not given).
    """
    wide = ranked() if wide is None else wide
    saved = savings() if saved is None else saved
    single = saved[saved["operator"].isin(["shift", "adder"])]
    drop = single["published_pct"].median(), single["unbiased_pct"].median()
    summary = order_summary(wide)
    pairs, changed = int(summary["pairs"].sum()), int(summary["changed_unbiased"].sum())
    held = {name: int((claims[name] == "reproduced").sum()) for name in ACCOUNTINGS}
    lost = claims[(claims["published"] == "reproduced") & (claims["unbiased"] == "not reproduced")]
    open_ = int(claims["published"].str.startswith("not run").sum())
    share = 100 * (1 - drop[1] / drop[0])
    sentences = [
        f"Replacing convolutions by shift or adder layers saves {drop[0]:.0f} % of the modelled energy in the median "
        f"network as the papers account for it, and {drop[1]:.1f} % when all operators move words of the same width "
        f"and pay for it: {share:.0f} % of the published saving comes from the accounting.",
        f"Of {pairs} pairs of networks with the same work, {changed} ({100 * changed / pairs:.0f} %) change their "
        f"order between the published and the unbiased accounting; correcting slips alone changes "
        f"{int(summary['changed_corrected'].sum())}.",
        f"Of {len(claims)} claims about energy or latency, {held['published']} hold under the published accounting, "
        f"{held['corrected']} with slips corrected and {held['unbiased']} without bias; {open_} cannot be judged "
        "because the paper does not publish the networks.",
    ]
    if len(lost):
        sentences.append(f"Claims that hold only because of the accounting: {', '.join(lost['id'])}.")
    return sentences


def slip_sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """ShiftAddAug's Shift rows: what counting the stem twice and leaving the classifier out costs them."""
    frame = tables["shiftaddaug_t03"].attrs["extra"]["accountings"]
    shift = frame[frame["op"] == "shift"].pivot(index="model", columns="accounting", values=["energy_mj", "latency_ms"])
    energy = 100 * (1 - shift["energy_mj"]["corrected"] / shift["energy_mj"]["published"])
    latency = 100 * (1 - shift["latency_ms"]["corrected"] / shift["latency_ms"]["published"])
    return [
        f"The slip works against the Shift rows: with every layer counted once their energies are {_span(energy, 1)} "
        f"and their latencies {_span(latency, 1)} lower."
    ]


# ------------------------------------------------------------------ word widths

WIDTHS = {
    "conv, 32-bit words": ("conv", 32, None),
    "shift, 32-bit words": ("shift", 32, None),
    "adder, 32-bit words": ("adder", 32, None),
    "shift, 16-bit activations, 5-bit weights": ("shift", 32, (16, 5, 16)),
    "conv, 8-bit words": ("conv", 8, None),
    "adder, 8-bit words": ("adder", 8, None),
}


@functools.cache
def word_widths() -> pd.DataFrame:
    """Energy (mJ) of ShiftAddAug's models without bias, each term at its own explicit word width.

    Columns: setting (operator and widths), one per model; the published accounting's 10-bit shift is the first row.
    """
    from repro.papers.shiftaddaug.counts import CLASSES, MODELS, RESOLUTION

    rows = {"shift as published (10-bit words, 32-bit convolutions)": {}} | {name: {} for name in WIDTHS}
    for model, (name, options) in MODELS.items():
        networks = {
            op: traced(name, RESOLUTION, op=op, num_classes=CLASSES, **options)[1] for op in ("conv", "shift", "adder")
        }
        first = next(iter(rows))
        rows[first][model] = layers_cost(networks["shift"], accounting="corrected").energy_mj
        for setting, (op, bits, words) in WIDTHS.items():
            cost = layers_cost(networks[op], accounting="unbiased", bits=bits, word_bits=words)
            rows[setting][model] = cost.energy_mj
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting").reset_index()


# ------------------------------------------------------------------ figures and blocks


def analytic_figure(figure_id: str, frame: pd.DataFrame, convention: str) -> pd.DataFrame:
    """A frame behind a published figure, stamped like an analytic table so that it can be kept as a record."""
    from repro.runs import provenance

    check_choice("figure_id", figure_id, report.published_figures())
    about = {"preset": "paper", "dataset": "architecture", "seeds": [], "convention": convention}
    frame = frame.copy()
    frame.attrs = {"table_id": figure_id, "scale": "", "failed": [], "extra": {}} | about
    frame.attrs["provenance"] = provenance(**about)
    return frame


def acghostnet_blocks(resolution: int, num_classes: int) -> pd.DataFrame:
    """What each of ACGhostNet's blocks can cost, over its eight module types.

    Columns: block (1 to 16), quantity ("taps_m", which FLOPs go by, or "energy_uj"), low, high, mean.
    """
    from repro.papers.acghostnet.energy import EnergyLookup

    table = EnergyLookup(resolution, num_classes).table
    table = table.assign(taps_m=(table["fadd"] + table["fmul"]) / 2e6, energy_uj=table["energy_pj"] * 1e-6)
    long = table.melt(["block", "module_type"], ["taps_m", "energy_uj"], var_name="quantity", value_name="value")
    found = long.groupby(["quantity", "block"])["value"].agg(["min", "max", "mean"]).reset_index()
    found["block"] += 1
    return found.rename(columns={"min": "low", "max": "high"})[["block", "quantity", "low", "high", "mean"]]


def block_sentences(frame: pd.DataFrame) -> list[str]:
    """Which blocks have the most operations and the most energy, on average over the module types.

    Block numbers count from 1; the paper does not say where it starts.
    """
    sentences = []
    for quantity, text in (("taps_m", "operations"), ("energy_uj", "energy")):
        mine = frame[frame["quantity"] == quantity].nlargest(3, "mean")
        listed = ", ".join(f"block {row.block} ({row.mean:.2f})" for row in mine.itertuples())
        sentences.append(f"Most {text}, averaged over the eight module types: {listed}.")
    return sentences


def width_sentences() -> list[str]:
    """What narrower words do, from `word_widths`."""
    table = word_widths().set_index("setting")
    eight, shift = table.loc["conv, 8-bit words"], table.loc["shift, 16-bit activations, 5-bit weights"]
    full = table.loc["conv, 32-bit words"]
    return [
        f"Shift layers with 16-bit activations and 5-bit weights need {_span(100 * (1 - shift / full))} less energy "
        "than convolutions at 32 bit: what they save is width, not arithmetic.",
        f"Convolutions at 8 bit need {_span(100 * (1 - eight / shift))} less than these shift layers."
        if (eight < shift).all()
        else f"Convolutions at 8 bit need less than these shift layers in {int((eight < shift).sum())} of {len(eight)} "
        "networks.",
    ]


def addition_sentences(imagenet: pd.DataFrame) -> list[str]:
    """How AutoShiftNet's printed additions relate to one addition per tap.

    Args:
        imagenet: ours of autoshiftnet_t02.
    """
    honest = imagenet.attrs["extra"]["honest_additions"].set_index("model")["add_m"]
    printed = report.published("autoshiftnet_t02").set_index("model")["add_m"]
    ratio = (printed / honest.reindex(printed.index)).dropna()
    near = ratio[(ratio - 0.5).abs() <= 0.025]
    return [
        f"Printed additions are within 5 % of half of ours for {len(near)} of {len(ratio)} networks: "
        f"{', '.join(near.index)}.",
        "The others, printed over ours: "
        + ", ".join(f"{name} {value:.2f}" for name, value in ratio.drop(near.index).items())
        + ".",
    ]
