"""Claims about figures 6, 7 and 9 are decided by frames as the figures give them; numbers made by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from repro.report import judge
from repro.report.verdicts import tables_of

FACTS = {"preset": "study", "dataset": "digits", "provenance": {"unit": "search"}}


def framed(rows, **extra):
    frame = pd.DataFrame(rows)
    frame.attrs |= FACTS | {"extra": {name: pd.DataFrame(part) for name, part in extra.items()}}
    return frame


def front(accuracy, energy, preset="paper"):
    """Three seeds of networks of each family; ours have this accuracy and energy, all others 80 % and 1 mJ."""
    others = {"AdderNet": "Mult.-free", "ResNet-50": "CNN", "BossNAS-T0": "CNN + Trans.", "BossNAS-T1": "CNN + Trans."}
    ours = {"ShiftAddNAS-T0": "Hybrid", "ShiftAddNAS-T1": "Hybrid", "found w/ HWS": "searched here"}
    rows = [
        {"family": family, "model": model, "seed": seed, "energy_mj": joules, "top1_pct": mean + 0.1 * seed}
        for models, mean, joules in ((others, 80.0, 1.0), (ours, accuracy, energy))
        for (model, family), seed in itertools.product(models.items(), range(3))
    ]
    frame = framed(rows)
    frame.attrs |= {"preset": preset, "dataset": "cifar100" if preset == "paper" else "digits"}
    return {"shiftaddnas_f06": frame}


@pytest.mark.parametrize("claim", ["c51", "c52"])
def test_accuracy_and_energy_must_both_be_better(claim):
    def status(*numbers):
        return judge(f"shiftaddnas-{claim}", front(*numbers)).status

    assert status(85.0, 0.5) == "reproduced"
    assert status(75.0, 0.5) == "not reproduced" and status(85.0, 1.5) == "not reproduced"
    assert status(80.0, 0.5) == "undecided"


@pytest.mark.parametrize("claim", ["c51", "c52"])
def test_energies_of_small_networks_decide_nothing(claim):
    """Those of networks for images of a few pixels have other ratios than the paper's."""
    verdict = judge(f"shiftaddnas-{claim}", front(85.0, 0.5, "study"))
    assert verdict.status == "not informative at this preset" and "judged at paper" in verdict.evidence


def distributions(correlation, with_kl, start=0.2):
    """Figures 3 and 7: distances 0.05 for the right family, 0.1 for the other, `with_kl` in supernets with the loss."""
    fits = {"conv": ("gaussian_ks", "laplace_ks"), "adder": ("laplace_ks", "gaussian_ks")}
    rows = {"shiftaddnas_f07": [], "shiftaddnas_f03": []}
    for (op, (right, wrong)), seed, place in itertools.product(fits.items(), range(3), range(2)):
        jitter = 0.001 * seed
        about = {"op": op, "seed": seed, wrong: 0.1 + jitter, "correlation_with_start": correlation}
        own = {**about, "setting": "w/o WS", "level": place}
        rows["shiftaddnas_f03"].append({**own, right: 0.05 + jitter, "correlation_with_start": start})
        for setting, distance in (("w/o WS", 0.07), ("HWS w/o KL", 0.05), ("w/ HWS", with_kl)):
            rows["shiftaddnas_f07"].append({**about, "setting": setting, "level": place, right: distance + jitter})
    return {name: framed(each) for name, each in rows.items()}


def test_the_initialisation_decides_nothing_about_distributions():
    def status(*numbers):
        return judge("shiftaddnas-c53", distributions(*numbers)).status

    assert status(0.2, 0.02) == "reproduced" and status(0.2, 0.08) == "not reproduced"
    assert status(0.9, 0.02) == status(0.2, 0.02, 0.9) == "not informative at this preset"
    assert tables_of("shiftaddnas-c53") == ["shiftaddnas_f03", "shiftaddnas_f07"]


def test_shares_of_the_best_paths_are_judged_by_their_rank():
    def status(sign):
        shares = [
            {"method": "w/ HWS", "rank": rank, "seed": seed, "shift_add_pct": 50.0 + sign * rank + np.sin(rank + seed)}
            for rank, seed in itertools.product(range(1, 11), range(3))
        ]
        return judge("shiftaddnas-c54", {"shiftaddnas_f09": framed([{"block": 1}], scores=shares)}).status

    assert status(+2) == "reproduced" and status(-2) == "not reproduced"
