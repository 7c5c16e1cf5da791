"""Two views of an evolution: replay it by generation, and pick a model under an energy budget.

The functions without a widget (`generation_view`, `best_within`) do the work; `search_replay` and `budget_picker` lay
out controls, pass values on and draw what comes back. They need a frame `candidates` with the columns `COLUMNS`, one
row per candidate, generation and seed.
"""

from __future__ import annotations

import pandas as pd

from repro.errors import InputError, check_choice, check_int

COLUMNS = ("seed", "generation", "path", "accuracy_pct", "energy_uj", "origin", "kept", "on_front")


def check_candidates(candidates: pd.DataFrame) -> pd.DataFrame:
    """The frame itself. Raises: InputError when it is empty or a column is missing."""
    if not len(candidates):
        raise InputError("candidates is empty; run a search first.")
    for name in COLUMNS:
        check_choice("column of candidates", name, candidates.columns)
    return candidates


def generation_view(candidates: pd.DataFrame, generation: int, seed: int | None = None) -> pd.DataFrame:
    """Candidates of one generation, cheapest first, with `state`: "front", "kept" or "dropped".

    Args:
        seed: of the search; the first one of the frame if omitted.
    Raises: InputError for a generation or seed that the frame does not have.
    """
    check_candidates(candidates)
    seeds = sorted(candidates["seed"].unique().tolist())
    seed = seeds[0] if seed is None else seed
    check_choice("seed", str(seed), [str(known) for known in seeds])
    mine = candidates[candidates["seed"] == seed]
    check_int("generation", generation, minimum=1, maximum=int(mine["generation"].max()))
    view = mine[mine["generation"] == generation].sort_values("energy_uj", kind="stable").reset_index(drop=True)
    state = view["kept"].map({True: "kept", False: "dropped"})
    return view.assign(state=state.mask(view["on_front"].astype(bool), "front"))


def best_within(candidates: pd.DataFrame, budget_uj: float) -> pd.Series:
    """The most accurate survivor of the last generation whose energy keeps a budget in µJ; of equals the cheapest.

    Raises: InputError, with the least energy there is, when none keeps it.
    """
    last = int(check_candidates(candidates)["generation"].max())
    kept = generation_view(candidates, last)
    kept = kept[kept["kept"].astype(bool)].dropna(subset=["accuracy_pct"])
    within = kept[kept["energy_uj"] <= budget_uj]
    if within.empty:
        least = f"the cheapest needs {kept['energy_uj'].min():.4g} µJ" if len(kept) else "no candidate has an accuracy"
        raise InputError(f"budget={budget_uj:.4g} µJ is not met by any network of the last generation; {least}.")
    return within.sort_values(["accuracy_pct", "energy_uj"], ascending=[False, True], kind="stable").iloc[0]


def search_replay(candidates: pd.DataFrame):
    """Step or play through the generations of a search; hovering shows a network's blocks. Returns a widget."""
    import ipywidgets as widgets

    from repro.report.palette import COLOURS
    from repro.widgets.parts import beside, column, control, figure, table_html

    check_candidates(candidates)
    seeds = sorted(candidates["seed"].unique().tolist())
    last = int(candidates["generation"].max())
    generation = control(widgets.IntSlider, "generation", min=1, max=last, value=1)
    seed = control(widgets.Dropdown, "seed of the search", options=seeds)
    play = widgets.Play(min=1, max=last, interval=900, tooltip="play the generations")
    widgets.jslink((play, "value"), (generation, "value"))
    readout = widgets.HTML()
    plot = figure(x="energy per image (µJ)", y="accuracy with inherited weights (%)", width=640, height=420)
    looks = {"dropped": COLOURS["faint"], "kept": COLOURS["conv"], "front": COLOURS["chosen"]}
    for state, colour in looks.items():
        mode = "lines+markers" if state == "front" else "markers"
        plot.chart.add_scatter(mode=mode, name=state, marker={"size": 8, "color": colour}, hovertemplate="%{text}")
    reach = candidates[["energy_uj", "accuracy_pct"]].agg(["min", "max"])
    plot.chart.update_xaxes(range=[0.98 * reach["energy_uj"]["min"], 1.02 * reach["energy_uj"]["max"]])
    plot.chart.update_yaxes(range=[reach["accuracy_pct"]["min"] - 2, reach["accuracy_pct"]["max"] + 2])

    def update(_=None) -> None:
        view = generation_view(candidates, generation.value, seed.value)
        with plot.change() as chart:
            for trace, state in zip(chart.data, looks):
                mine = view[view["state"] == state]
                trace.x, trace.y = mine["energy_uj"], mine["accuracy_pct"]
                trace.text = [
                    f"{item.path}<br>{item.energy_uj:.4g} µJ, {item.accuracy_pct:.1f} %, {item.origin}<extra></extra>"
                    for item in mine.itertuples()
                ]
            chart.layout.title.text = f"Generation {generation.value} of {last}"
        kept = view[view["kept"].astype(bool)]
        readout.value = table_html(
            [
                ("candidates, kept, on the front", f"{len(view)}, {len(kept)}, {int(view['on_front'].sum())}"),
                ("mean accuracy of those kept", f"{kept['accuracy_pct'].mean():.1f} %"),
                ("mean energy of those kept", f"{kept['energy_uj'].mean():.4g} µJ"),
            ]
        )

    for widget in (generation, seed):
        widget.observe(update, "value")
    update()
    return beside(column(seed, generation, play, readout), plot)


def budget_picker(candidates: pd.DataFrame):
    """Set an energy budget and see which network of the last generation one would take. Returns a widget."""
    import ipywidgets as widgets

    from repro.widgets.parts import Message, column, control, guarded, heading, table_html

    last = check_candidates(candidates)[candidates["generation"] == candidates["generation"].max()]
    low, high = float(last["energy_uj"].min()), float(last["energy_uj"].max())
    budget = control(
        widgets.FloatSlider,
        "energy budget (µJ)",
        min=0.95 * low,
        max=1.02 * high,
        step=(high - low) / 200 or low / 200,
        value=(low + high) / 2,
        readout_format=".3g",
    )
    message, readout = Message(), widgets.HTML()

    @guarded(message)
    def update(_=None) -> None:
        readout.value = ""
        chosen = best_within(candidates, budget.value)
        message.clear()
        blocks = chosen["path"].split("-")
        readout.value = table_html(
            [
                ("energy per image", f"{chosen['energy_uj']:.4g} µJ"),
                ("accuracy with inherited weights", f"{chosen['accuracy_pct']:.1f} %"),
                ("found as", chosen["origin"]),
                ("blocks 1 to 8", " ".join(blocks[:8])),
                ("blocks 9 to 16", " ".join(blocks[8:])),
            ]
        )

    budget.observe(update, "value")
    update()
    return column(heading("Pick a network"), budget, message, readout)
