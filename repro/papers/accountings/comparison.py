"""What changes when the accounting does: claims, rankings and savings, and sentences computed from them.

The energies come from `repro.papers.accountings.networks`; here they are compared, always among networks that do
the same work (images of one size class, or translation), and turned into verdicts and sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from repro import report
from repro.cost import ACCOUNTINGS
from repro.papers.accountings.networks import ENERGY_TABLES, accountings, energy_tables, savings
from repro.papers.analytic import span
from repro.papers.table import Drawing
from repro.report.charts import rank_lines, savings_by_accounting

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


# ------------------------------------------------------------------ sentences


def saving_sentences(frame: pd.DataFrame | None = None) -> list[str]:
    """One sentence per paper and operator: the saving over convolutions under the published and unbiased accounting."""
    frame = savings() if frame is None else frame
    sentences = []
    for (paper, op), group in frame.groupby(["paper", "operator"], sort=False):
        sentences.append(
            f"**{paper}, {MODELLED[op]} networks:** saving over convolutions {span(group['published_pct'])} as "
            f"published, {span(group['corrected_pct'])} with slips corrected, {span(group['unbiased_pct'])} when "
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


# ------------------------------------------------------------------ pictures


def drawings() -> dict[str, Drawing]:
    """The two pictures that go across papers, by file name."""
    return {
        "accountings_savings": Drawing(
            savings_by_accounting(savings()),
            "Energy saved over the same network with convolutions: most goes when every operator pays its traffic.",
        ),
        "accountings_ranks": Drawing(
            rank_lines(ranked()),
            "Rank by energy under each accounting: operators sort the networks as published, sizes without bias.",
        ),
    }
