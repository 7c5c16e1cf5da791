"""ShiftAddAug table 11 (Sec. 4.6): depth augmentation and block mutation.

The paper's networks are not published. Ours is the network that the two-stage search found, in all four rows, so that
energy and latency are equal and a difference is the augmentation's. `by_hand` has the same four rows for a network
that was not searched (extra blocks behind each stage, mutation in a fixed window), and one that mutates all at once.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.augment import Window
from repro.papers import jobs
from repro.papers.shiftaddaug import found, searched
from repro.papers.shiftaddaug.comparing import measured_scales, method_rows, train_all
from repro.papers.shiftaddaug.found import TwoStageRun
from repro.papers.shiftaddaug.methods import AUGSHIFT, MUTATION, Method
from repro.papers.shiftaddaug.recipes import MethodsRecipe, presets
from repro.papers.shiftaddaug.searches import FOUND, FOUND_SCALE, SEARCH_SEEDS
from repro.papers.table import Table
from repro.train import TrainRecipe

METHODS = {
    "Aug. Width & Expand": AUGSHIFT,
    "Aug. Width & Expand & Depth": dataclasses.replace(AUGSHIFT, depth=1),
    "Aug. Width & Expand, Mutation": dataclasses.replace(AUGSHIFT, mutation=MUTATION),
    "All": dataclasses.replace(AUGSHIFT, depth=1, mutation=MUTATION),
}
AT_ONCE = {
    "All, mutation at once": dataclasses.replace(METHODS["All"], mutation=Window(MUTATION.start, MUTATION.start))
}
"""What becomes of "All" where the units do not mutate one by one."""


def _flags(method: Method) -> dict[str, int]:
    return {"depth_aug": int(method.depth > 0), "mutation": int(method.mutation is not None)}


FLAGS = {row: _flags(method) for row, method in METHODS.items()}


@dataclasses.dataclass(frozen=True)
class AblationRecipe:
    """A search, the training of what it finds, and the network of table 3 beside it where there is time for it."""

    search: TwoStageRun
    train: TrainRecipe
    by_hand: MethodsRecipe | None = None


def trained(recipe, seeds, run):
    """The search of figure 4, then four trainings of its TargetNet; "All" is the multiplication-free row of table 6.

    `attrs["extra"]`: examples; losses, accuracy and test loss (nats) of every training, that of the TargetNet by itself
    among them, on which b of adder layers is measured; by_hand.
    """
    searches = run({seed: found.spec(recipe.search, seed) for seed in seeds})
    networks = {seed: found.networks(outcome) for seed, outcome in searches.items()}
    networks = {seed: pair for seed, pair in networks.items() if pair is not None}

    def spec(seed, pair, **options):
        return found.found_spec(searched.job(recipe.search, recipe.train, *pair, **options), seed)

    alone = run({seed: spec(seed, pair, augmented=False) for seed, pair in networks.items()})
    scales = {seed: measured_scales(outcome) for seed, outcome in alone.items()}
    done = run(
        {
            (row, seed): spec(seed, _ablated(*pair, **flags), adder_scale=scales[seed])
            for seed, pair in networks.items()
            for row, flags in FLAGS.items()
        }
    )
    rows = []
    for row, flags in FLAGS.items():
        for seed, search in searches.items():
            mine = {"method": row, **flags, "dataset": recipe.search.data.dataset, "seed": seed}
            if (row, seed) not in done:
                rows.append({**mine, "note": searched.note(search)})
                continue
            costs = searched.costs(recipe.search, networks[seed][1])
            measured = {"accuracy_pct": jobs.accuracy_of(done[row, seed])}
            measured |= {name: costs[name] for name in ("energy_mj", "latency_ms")}
            alike = "the search kept every block: no depth augmentation" if all(networks[seed][1].keep) else ""
            told = "; ".join(filter(None, [searched.note(search, done[row, seed]), alike]))
            rows.append({**mine, **measured, "note": told})
    answers = (({"method": row}, seed, "accuracy_pct", outcome, "top1_pct") for (row, seed), outcome in done.items())
    frame = pd.DataFrame(rows)
    trainings = done | {("by itself", seed): outcome for seed, outcome in alone.items()}
    losses = [
        {"row": row, "seed": seed, **{name: (outcome.value or {}).get(name) for name in ("test_loss", "top1_pct")}}
        for (row, seed), outcome in trainings.items()
    ]
    frame.attrs["extra"] = {"examples": jobs.answers_frame(answers), "losses": pd.DataFrame(losses)}
    if recipe.by_hand is not None:
        methods = METHODS | AT_ONCE
        key = lambda model, row: {"method": row, **_flags(methods[row]), "model": model}  # noqa: E731
        frame.attrs["extra"]["by_hand"] = method_rows(
            recipe.by_hand, train_all(recipe.by_hand, seeds, run, methods), key
        )
    return frame


def _ablated(subnet, target, *, depth_aug, mutation):
    """(SubNet, TargetNet) with so much of the augmentation."""
    if not depth_aug:
        subnet, target = searched.without_depth(subnet, target)
    return subnet, target if mutation else searched.without_mutation(target)


_BY_HAND = presets(("MobileNetV2-w0.35",))
RECIPES = {
    key: AblationRecipe(recipe.free, recipe.train, _BY_HAND[key] if key[0] in ("smoke", "study") else None)
    for key, recipe in FOUND.items()
}

TABLE = Table(
    title="Depth augmentation and block mutation",
    trained=trained,
    recipes=RECIPES,
    seeds=SEARCH_SEEDS,
    scale=FOUND_SCALE,
    keeps=("examples", "losses", "by_hand"),
    unit="search",
)
