"""Runs, tables and what is said of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import pandas as pd
from matplotlib.figure import Figure

from repro import papers, report, runs
from repro.papers import Drawing, Table, run_table
from repro.report import Decision, Verdict, compare, judge_all
from repro.runs import Engine, Outcome, RunContext, RunSpec, RunStatus


def train_one(recipe: dict[str, float], seed: int, context: RunContext) -> dict[str, float]:
    context.log(epoch=1, loss=0.5)
    context.log(1)  # type: ignore[call-arg]
    return {"accuracy_pct": recipe["width"] * seed}


class OneByOne(Engine):
    """An engine of the user's own."""

    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        return [Outcome(spec, "done", runs.execute(spec, fresh=True)) for spec in specs]


def executed(root: Path) -> list[RunStatus]:
    spec = RunSpec("network", "package.module:run", {"width": 1.0}, seed=0)
    RunSpec("network", "package.module:run", {}, seed="0")  # type: ignore[arg-type]
    outcomes: list[Outcome] = runs.run_many([spec], workers=2, time_limit_s=60)
    runs.run_many(spec)  # type: ignore[arg-type]
    by_key = assert_type(runs.engine("local", workers=2)({"one": spec}), dict[str, Outcome])
    OneByOne()({"one": spec})
    assert_type(runs.forecast_s([spec], 2), float | None)
    assert_type(runs.code_fingerprint("package.module:run", uses=("package.other",)), str)
    if runs.load_result(spec) is None and not runs.earlier_results(spec):
        print(runs.provenance(seeds=[0]), by_key["one"].ok, outcomes[0].message)
    status = assert_type(runs.find_status(spec), RunStatus)
    assert runs.agrees({"width": 1.0}, spec.recipe) or status.state == "missing"
    return runs.scan(root)


def drawn(frame: pd.DataFrame) -> list[Drawing]:
    Drawing(Figure())  # type: ignore[call-arg]
    return [Drawing(Figure(), "what it shows")]


def regenerated(frame: pd.DataFrame) -> list[str]:
    table = Table("mine", computed=lambda: frame, draw=drawn, seeds={papers.PRESETS[0]: [0]})
    Table("mine", draw=5)  # type: ignore[arg-type]
    found = run_table("acghostnet_t06", preset="smoke", seeds=[0], engine="local")
    run_table("acghostnet_t06", seeds=0)  # type: ignore[arg-type]
    papers.check_request("quick", "digits")
    assert_type(papers.check_seeds(None, [0, 1]), list[int])
    papers.computed("acghostnet_t02")
    papers.keep(found)
    pictures: dict[str, Any] = papers.drawings_of(found)
    assert_type(papers.entry("acghostnet_t06"), Table)
    assert_type(papers.file_of("acghostnet_t06"), str | None)
    papers.code_now("acghostnet_t06", found.attrs["provenance"])
    return [table.title, *pictures, *papers.draw_figures(), *papers.list_ids()]


def told(frame: pd.DataFrame, folder: Path) -> str:
    compared = compare("acghostnet_t06", frame)
    compare(frame)  # type: ignore[call-arg]
    shown, sentence = report.compare_with_reference(frame)
    report.printable(compared)
    str(report.render_table(shown, label="ours"))
    report.tidy(frame, digits=4)
    report.save_figure(Figure(), "mine", "what it shows")
    assert_type(report.save_record("acghostnet_t06", frame, {"preset": "smoke"}), Path)
    record = report.latest("acghostnet_t06", dataset="digits", root=folder)
    if record is not None:
        sentence += report.freshness(record, now=None)
    print(report.latest("acghostnet_t06").label)  # type: ignore[union-attr]
    return sentence + str(len(report.load_records("acghostnet_t06")))


def judged(frame: pd.DataFrame, readme: Path) -> Verdict:
    judge_all({"acghostnet_t06": frame}, paper="acghostnet")
    judge_all(frame, paper=5)  # type: ignore[arg-type]
    decided: Decision = report.decide([(frame["a"].to_numpy(), frame["b"].to_numpy())], margin=0.5)
    assert_type(decided.seeds_needed, int | None)
    assert_type(report.judge_published("acghostnet-c01"), bool | None)
    report.verdict_counts(by=("paper",))
    report.status_board(lambda record: {"training": record.label})
    if not report.board_is_current(readme):
        report.update_readme(readme, file_of=papers.file_of)
    return report.judge("acghostnet-c01", {"acghostnet_t06": frame})


def printed() -> list[str]:
    for name in (*report.published_tables(), *report.published_figures()):
        report.published(name)
        report.published_text(name)
    report.published(6)  # type: ignore[arg-type]
    indices = (report.table_index(), report.figure_index(), report.claims(), report.criteria())
    return [str(len(index)) for index in indices]
