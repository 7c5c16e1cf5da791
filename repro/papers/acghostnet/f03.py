"""ACGhostNet figure 3 (Sec. 4.4): energy and accuracy of what the search finds, by warm-up and by learning rate.

Left: separate warm-up to several thresholds t, and none (uniform sampling for as long). Right: the adaptive rate on
both operators, and on adders only. Every setting is a search of its own (CARS with pNSGA-III), judged as in table 4:
models A to D of its last front, each trained by itself.

The paper searches 16 blocks of 8 module types. At `smoke` and `quick` there are six blocks, one per stage, with the
same 8 types: 262,144 networks, and a search of a fraction of the time.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.models.acghostnet import TOY_BLOCKS
from repro.papers import jobs
from repro.papers.acghostnet import found
from repro.papers.acghostnet.front import front_scores, score_draws
from repro.papers.acghostnet.models import front_of
from repro.papers.acghostnet.networks import ghost_job
from repro.papers.acghostnet.recipes import MODELS, SEARCHES, SearchRun, small_search
from repro.papers.data import DataRecipe
from repro.papers.table import Drawing, Table
from repro.report.examples import unpack
from repro.report.figures import new_figure
from repro.report.palette import SERIES
from repro.train import TrainRecipe

KEY = ["panel", "setting", "seed"]
POINT = ["path", "energy_uj", "inherited_accuracy_pct"]


@dataclasses.dataclass(frozen=True)
class FrontRecipe:
    """A search, the thresholds t (percent) of the left panel, and how the found networks are trained by themselves.

    `search` is the setting that both panels share: separate warm-up, adaptive rate on both operators.
    `calibration_images` is explained at `repro.papers.jobs.Job`.
    """

    search: SearchRun
    thresholds_pct: tuple[float, ...]
    data: DataRecipe
    train: TrainRecipe
    calibration_images: int = 0


def settings(recipe: FrontRecipe) -> dict[tuple[str, str], SearchRun]:
    """(panel, setting) of every curve -> its search; a search that serves both panels stands in each."""
    base = recipe.search

    def changed(**changes):
        return dataclasses.replace(base, search=dataclasses.replace(base.search, **changes))

    curves = {("warmup", "none"): changed(separate=None)}
    for t in recipe.thresholds_pct:
        warmup = dataclasses.replace(base.search.separate, threshold_pct=t)
        curves["warmup", f"separate {t:g}%"] = changed(separate=warmup)
    curves["adaptive_lr", "both operators"] = base
    curves["adaptive_lr", "adders only"] = changed(train=dataclasses.replace(base.search.train, adaptive="adder"))
    return curves


def network(recipe: FrontRecipe, path):
    """A found network, as it is trained by itself."""
    calibration = recipe.calibration_images
    return ghost_job(
        "acghostnet", recipe.data, recipe.search.shape, recipe.train, path=path, calibration_images=calibration
    )


def trained(recipe, seeds, run):
    """Long table: panel, setting, seed, model, path, energy_uj, inherited_accuracy_pct, accuracy_pct (trained alone).

    A network is trained with the seed of its search. `attrs["extra"]`: fronts, the whole last front of every search
    with inherited accuracies; scores, how high each curve lies, and draws of them (`front`); warmup, how each
    sub-supernet's warm-up ended, a search that two curves share once.
    """
    curves = settings(recipe)
    searches = run({(*key, seed): found.spec(search, seed) for key, search in curves.items() for seed in seeds})
    models = {(*key, name): c for key, outcome in searches.items() for name, c in found.models(outcome).items()}
    alone = run({key: jobs.spec(network(recipe, c.path), key[2]) for key, c in models.items()})
    ordered = sorted(models.items(), key=lambda item: list(searches).index(item[0][:3]))
    rows = [(*key, *_point(c), jobs.accuracy_of(alone[key])) for key, c in ordered]
    answers = {
        place: unpack(alone[key].value["correct"]["top1_pct"], alone[key].value["examples"])
        for place, (key, _) in enumerate(ordered)
        if (alone[key].value or {}).get("correct")
    }
    fronts, warmups = [], {}
    for key, outcome in searches.items():
        fronts += [(*key, *_point(c)) for c in front_of(found.judged(outcome))]
        told = [{**dict(zip(KEY, key)), **group} for group in (outcome.value or {}).get("warmup", [])]
        warmups.setdefault(outcome.spec.folder, told)
    frame = pd.DataFrame(rows, columns=[*KEY, "model", *POINT, "accuracy_pct"]).astype({"accuracy_pct": float})
    frame.attrs["extra"] = {
        "fronts": pd.DataFrame(fronts, columns=[*KEY, *POINT]),
        "scores": front_scores(frame),
        "draws": score_draws(frame, answers),
        "warmup": pd.DataFrame([row for told in warmups.values() for row in told]),
    }
    return frame


def _point(candidate):
    return "-".join(candidate.path), candidate.energy / 1e6, candidate.accuracy_pct


def draw(ours):
    """A colour per setting: the searches' last fronts (above), their models trained alone (below).

    A dot is a network. A line per seed is what one would take within an energy: above the best of the front, below the
    model that the search holds for best. Records made before fronts were kept have no upper row.
    """
    titles = {"warmup": "separate warm-up to", "adaptive_lr": "adaptive rate on"}
    fronts = ours.attrs.get("extra", {}).get("fronts")
    rows = [(ours, "accuracy_pct", "accuracy alone (%)")]
    rows = rows if fronts is None else [(fronts, "inherited_accuracy_pct", "inherited accuracy (%)"), *rows]
    figure, panels = new_figure(len(rows), 2, height_in=2.9, share_x="col", share_y="row")
    for row, (points, column, label) in enumerate(rows):
        for axis, (panel, title) in zip(panels[row], titles.items()):
            mine = points[points["panel"] == panel]
            for number, (setting, curves) in enumerate(mine.groupby("setting", sort=False)):
                colour, name = SERIES[number % len(SERIES)], setting.removeprefix("separate ")
                axis.scatter(curves["energy_uj"], curves[column], s=14, color=colour, label=name, zorder=3)
                for _, curve in curves.sort_values("energy_uj").groupby("seed"):
                    taken = curve["inherited_accuracy_pct"].expanding().apply(lambda known: known.argmax(), raw=True)
                    height = curve[column].to_numpy()[taken.astype(int)]
                    axis.step(curve["energy_uj"], height, where="post", linewidth=1, color=colour)
            axis.set(xlabel="energy per image (µJ)", ylabel=label)
            if row == 0:
                axis.set(title=title)
                if axis.lines:
                    axis.legend(fontsize=8)
    caption = "Energy and accuracy of what each setting's search finds: its front (above), its models alone (below)."
    return [Drawing(figure, caption if fronts is not None else "Energy and accuracy of the models of each search.")]


def _six_blocks(preset, dataset, search, thresholds_pct, *, epochs) -> FrontRecipe:
    """Data, channels and training of the preset's full search and of table 4, but one block per stage."""
    full, networks = SEARCHES[preset, dataset], MODELS[preset, dataset]
    return FrontRecipe(
        SearchRun(full.data, dataclasses.replace(full.shape, blocks=TOY_BLOCKS), search),
        thresholds_pct,
        networks.data,
        dataclasses.replace(networks.train_of("both"), epochs=epochs),
        networks.calibration_images,
    )


_DIGITS = _six_blocks(
    "quick",
    "digits",
    small_search(30, 18, 1, 16, 70.0, evaluate_images=360, probes=2, adaptive="all"),
    (70.0, 90.0),
    epochs=4,
)
RECIPES = {
    ("smoke", "digits"): _six_blocks(
        "smoke", "digits", small_search(4, 3, 1, 4, 70.0, probes=1, adaptive="all"), (70.0,), epochs=1
    ),
    ("quick", "digits"): _DIGITS,
    ("study", "cifar10"): _six_blocks(
        "study",
        "cifar10",
        small_search(39, 21, 2, 16, 30.0, evaluate_images=1000, probes=2, adaptive="all"),
        (30.0, 40.0, 70.0),
        epochs=10,
    ),
    ("study", "digits"): _DIGITS,
    ("paper", "cifar10"): FrontRecipe(
        SEARCHES["paper", "cifar10"],
        (60.0, 70.0, 80.0),
        MODELS["paper", "cifar10"].data,
        MODELS["paper", "cifar10"].train_of("both"),
    ),
}
_SCALED = (
    "Six blocks for the paper's 16, a quarter of the channels, small images, 30 epochs (CIFAR-10: 39) for 500, "
    "population 16 for 128, eta 0.5 for 1/15; networks trained 4 epochs (10), their batch norm re-estimated "
    "before the test. On CIFAR-10 70 % is out of reach: that warm-up runs to its limit of 7 epochs each."
)

TABLE = Table(
    title="Energy and accuracy of what the search finds, by warm-up and by adaptive rate",
    trained=trained,
    draw=draw,
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2)},
    scale={
        "smoke": "One generation in six blocks: checks that everything runs, says nothing about the claims.",
        "quick": f"{_SCALED} One search of each setting.",
        "study": _SCALED,
        "paper": "The paper's settings where it states them; how four models are picked from each front is ours.",
    },
    keeps=("fronts", "scores", "draws"),
    unit="search",
)
