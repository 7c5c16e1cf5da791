"""Tables of ours as claims read them: exact columns per seed, measured cells with their seeds and test examples.

A column is exact if it follows from the network (counts, modelled energy, definitions, texts): it is read seed by seed,
and where a network was found by a search its seed is that of the search, so that numbers may differ between searches.
A measured column holds a number per seed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from repro.errors import InputError
from repro.report.claims import published_table
from repro.report.conform import Cell, conform, folded, is_empty, row_finder
from repro.report.examples import unpack
from repro.report.expressions import Table, as_array
from repro.report.published import figure_columns, is_figure, one_run_a_seed, table_spec, unit

MEASURED = ("empirical", "cost")
JOINED = " + "
"""Between the data sets of records that are read as one table."""
CEILING_PCT, CEILING_WRONG, CHANCE_FACTOR, CHANCE_SD = 99.5, 5, 1.5, 3.0
# By folded name; reading them from the registry of `repro.datasets` would load torch to show a board.
CLASSES = {
    "digits": 10,
    "glyphs": 10,
    "eyes": 4,
    "fashionmnist": 10,
    "cifar10": 10,
    "cifar100": 100,
    "pets": 37,
    "food101": 101,
    "flower102": 102,
    "flowers102": 102,
    "cars": 196,
    "stanfordcars": 196,
    "voc": 21,
    "voc2012": 21,
    "openeds": 4,
    "imagenet": 1000,
}


@dataclass(frozen=True, eq=False)
class Quantity:
    """One measured cell.

    values: (seeds,) in the column's unit.  scores: (seeds, examples) in that unit, None if not kept.
    draws: (draws,) resamples of the population's part, None if there is none.  pool: its table and column.
    gate: why it can decide nothing, or ''.  ceiling: whether nearly every example is right.
    """

    name: str
    pool: tuple[str, str]
    values: np.ndarray
    scores: np.ndarray | None = None
    draws: np.ndarray | None = None
    gate: str = ""
    ceiling: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(self.values.mean())

    @property
    def seeds(self) -> int:
        """Number of seeds (searches, where networks were searched)."""
        return len(self.values)

    @property
    def examples(self) -> int:
        """Number of test examples whose outcomes are kept; 0 if none are."""
        return 0 if self.scores is None else self.scores.shape[1]


def by_search(frame: pd.DataFrame, key: Iterable[str]) -> pd.DataFrame:
    """Rows whose network a search found: trainings of one search become one row, its seed that of the search."""
    if "search_seed" not in frame or frame["search_seed"].isna().all():
        return frame.drop(columns="search_seed", errors="ignore")
    searched = frame["search_seed"].notna()
    seeds = frame["seed"] if "seed" in frame else pd.Series(np.nan, frame.index)
    units = frame.assign(seed=frame["search_seed"].where(searched, seeds)).drop(columns="search_seed")
    on = [name for name in (*key, "seed") if name in units]
    how = {
        name: (lambda cells: cells.mean(skipna=False)) if pd.api.types.is_float_dtype(units[name]) else "first"
        for name in units
        if name not in on
    }
    merged = units.groupby(on, sort=False, dropna=False, as_index=False).agg(how) if how else units.drop_duplicates(on)
    merged.attrs = dict(frame.attrs)
    return merged


def at_paper_size(frame: pd.DataFrame) -> pd.DataFrame | None:
    """What a frame says of networks at the paper's size: its extra frame `paper_size`, itself, or None.

    A frame that names neither preset nor data set is taken at its word.
    """
    facts = frame.attrs
    if "paper_size" in facts.get("extra", {}):
        return _bare(facts["extra"]["paper_size"], facts)
    said = facts.get("paper_size", facts.get("provenance", {}).get("paper_size", False))
    own = facts.get("dataset") == "architecture" or facts.get("preset") == "paper" or bool(said)
    return _bare(frame) if own or (facts.get("preset") is None and facts.get("dataset") is None) else None


def _bare(frame: pd.DataFrame, facts: Mapping | None = None) -> pd.DataFrame:
    """A frame with no more facts than reading it takes: pandas copies `attrs`, extra frames and all, at every step."""
    facts, bare = frame.attrs if facts is None else facts, pd.DataFrame(frame)
    bare.attrs = {name: facts[name] for name in ("preset", "dataset", "stands_for") if name in facts}
    return bare


@dataclass
class Ours:
    """One table or figure of ours; `frame` is that of its measured columns, `exact` that of the others.

    extra: frames that come with it (`examples`, `draws`).  unit: what a seed repeats ("training", "search"), or ''.
    searched: its rows whose networks a search found; None where it does not tell these from others.
    all_exact: every column is judged seed by seed, the ones with numbers too.
    small: counts and energies are those of smaller networks than the paper's.
    """

    table_id: str
    frame: pd.DataFrame
    exact: pd.DataFrame
    extra: Mapping[str, pd.DataFrame]
    unit: str = ""
    searched: pd.DataFrame | None = None
    all_exact: bool = False
    small: bool = False
    quantities: dict[tuple[str, int], Quantity] = field(default_factory=dict)

    @property
    def preset(self) -> str | None:
        """Preset of the run, where known."""
        return self._fact("preset")

    @property
    def dataset(self) -> str | None:
        """Data set of the run, where known."""
        return self._fact("dataset")

    def _fact(self, name: str) -> str | None:
        given = [self.frame.attrs.get(name), *(self.frame[name] if name in self.frame and not self.figure else ())]
        return next((str(value) for value in given if not is_empty(value)), None)

    @property
    def figure(self) -> bool:
        """Whether it is a figure's table."""
        return is_figure(self.table_id)

    @property
    def one_run(self) -> bool:
        """Whether the rows of a seed are parts of one run (layers, epochs), so that claims are judged seed by seed."""
        return one_run_a_seed(self.table_id)

    def is_measured(self, column: str) -> bool:
        """Whether a column is judged by its seeds' mean and spread."""
        if self.all_exact:
            return False
        if self.figure:
            return "seed" in self.frame and column in self.frame and pd.api.types.is_float_dtype(self.frame[column])
        spec = table_spec(self.table_id).columns.get(column)
        return spec is not None and spec.role in MEASURED and spec.numeric

    def is_trained(self, column: str) -> bool:
        """Whether an exact column is an outcome of training or of a search: one run then shows one case."""
        if self.figure:
            return self.dataset not in (None, "architecture") and not self.all_exact
        spec = table_spec(self.table_id).columns.get(column)
        return spec is not None and spec.role == "status"

    def is_small(self, column: str) -> bool:
        """Whether a column counts networks that are smaller than the paper's."""
        return self.small and table_spec(self.table_id).columns[column].role == "analytic"

    def unit_of(self, row: int) -> str:
        """What a seed repeats in a row: the table's unit, but a training where only other rows were searched."""
        if self._searched_rows is None:
            return self.unit
        searched = self.unit if self.unit in SEARCHED_UNITS else "search"
        return searched if row in self._searched_rows else "training"

    @functools.cached_property
    def _searched_rows(self) -> set[int | None] | None:
        if self.searched is None or self.figure:
            return None
        return set(map(row_finder(self.table_id, self.frame), self.searched.to_dict("records")))

    @functools.cached_property
    def means(self) -> Table:
        """Every cell at its mean over seeds."""
        if self.all_exact:
            return next(iter(self.by_seed.values()))
        return self._figure_table(self.frame) if self.figure else self._table(self.frame, measure=True)

    @functools.cached_property
    def by_seed(self) -> dict[object, Table]:
        """The exact columns per seed; the single key is None where there is no seed."""
        frame = self.exact
        seeds = sorted(frame["seed"].dropna().unique()) if "seed" in frame else []
        if not seeds:
            return {None: self._exact_table(frame)}
        parts = {seed: frame[(frame["seed"] == seed) | frame["seed"].isna()] for seed in seeds}
        for part in parts.values():
            part.attrs = dict(frame.attrs)
        return {seed: self._exact_table(part) for seed, part in parts.items()}

    def _exact_table(self, frame: pd.DataFrame) -> Table:
        if not self.figure:
            return self._table(frame)
        columns = {name: as_array(_numbers_if_all(frame[name])) for name in frame.columns if name != "seed"}
        return Table(columns, tuple(name for name in columns if not pd.api.types.is_float_dtype(frame[name])))

    def _table(self, frame: pd.DataFrame, *, measure: bool = False) -> Table:
        """What a row is comes from the paper; what was computed or measured from us."""
        conformed, printed = conform(self.table_id, frame), published_table(self.table_id)
        columns = {name: printed.columns[name] for name in conformed.spec.named("key", "descriptor", "note")}
        for name in conformed.spec.metrics:
            cells = conformed.cells[name][: conformed.n_published]
            if conformed.spec.columns[name].numeric:
                columns[name] = np.array([[cell.mean for cell in cells]])
            else:
                columns[name] = as_array(pd.Series([cell.text for cell in cells], dtype=object))
        if measure:
            self._measure_table(conformed, columns)
        recompute(self.table_id, columns)
        return Table(columns, printed.key, printed.descriptors)

    def _figure_table(self, frame: pd.DataFrame) -> Table:
        """Rows that differ only in `seed` are one row."""
        measured = [name for name in frame.columns if self.is_measured(name)]
        key = [name for name in frame.columns if name not in (*measured, "seed")]
        groups = [group for _, group in frame.groupby(key, sort=False, dropna=False)] if key else [frame]
        firsts = pd.DataFrame([group[key].iloc[0] for group in groups], columns=key)
        columns = {name: as_array(_numbers_if_all(firsts[name])) for name in key}
        places = {tuple(map(str, first)): row for row, first in enumerate(firsts.itertuples(index=False))}

        def find(row: dict) -> int | None:
            return places.get(tuple(str(row.get(name)) for name in key))

        scores, draws = self._extra("examples", find), self._extra("draws", find)
        for name in measured:
            cells = [Cell([float(value) for value in group[name].dropna()]) for group in groups]
            columns[name] = np.array([[cell.mean for cell in cells]])
            for row, (cell, group) in enumerate(zip(cells, groups)):
                label = row_label({part: group[part].iloc[0] for part in key})
                classes = self._classes(name, None)
                self._measure(name, row, cell, label, group["seed"].nunique(), classes, scores, draws)
        return Table(columns, tuple(key))

    # -------------------------------------------------------------- measured cells

    def _measure_table(self, conformed, columns: dict[str, np.ndarray]) -> None:
        spec, find = conformed.spec, row_finder(self.table_id, self.frame)
        runs: dict[int, set] = {}
        for row in self.frame.to_dict("records"):
            if not is_empty(row.get("seed")):
                runs.setdefault(find(row), set()).add(row["seed"])
        scores, draws = self._extra("examples", find), self._extra("draws", find)
        for name in (name for name in spec.metrics if self.is_measured(name)):
            for row, cell in enumerate(conformed.cells[name][: conformed.n_published]):
                label = row_label({part: columns[part][0, row] for part in spec.key})
                classes = self._classes(name, None if "dataset" not in columns else columns["dataset"][0, row])
                self._measure(name, row, cell, label, len(runs.get(row, ())), classes, scores, draws)

    def _measure(self, column, row, cell, label, n_runs, classes, scores, draws) -> None:
        if not cell.values:
            return
        name, every = f"{column} of {label}", _values(cell)
        values = every[np.isfinite(every)]
        kept = _scores(scores.get((column, row)), values, name)
        gate = ""
        if len(values) < len(every) or (cell.given_n is None and len(values) < n_runs):
            gate = f"{name} has no finite value in {max(n_runs, len(every)) - len(values)} of its runs"
        elif unrepeatable := self._unrepeatable(column):
            gate = unrepeatable
        elif classes and values.mean() <= _chance_limit(column, classes, kept):
            gate = f"{name} is {values.mean():.3g} %, near chance ({_chance(column, classes):.3g} %)"
        wrong = None if kept is None else (1 - kept.mean() / 100) * kept.shape[1]
        top = classes is not None and (values.mean() >= CEILING_PCT if wrong is None else wrong < CEILING_WRONG)
        drawn = draws.get((column, row))
        if drawn is not None:
            drawn = np.array([value for _, value in sorted(drawn)], dtype=float)
            known = np.isfinite(drawn)  # a resample may leave nothing to rank
            drawn = np.where(known, drawn, drawn[known].mean()) if known.any() else None
        quantity = Quantity(name, (self.table_id, column), values, kept, drawn, gate, bool(top))
        self.quantities[column, row] = quantity

    def _unrepeatable(self, column: str) -> str:
        """Why a rank correlation says nothing: trainings of the same networks do not agree beyond chance; or ''."""
        known = self.extra.get("repeatability")
        if known is None or column not in known or "networks" not in known:
            return ""
        row = known.iloc[0]
        seeds, limit = int(row["seeds"]), chance_agreement(column, int(row["networks"]), int(row["seeds"]))
        if not row[column] <= limit:  # NaN with one training
            return ""
        return (
            f"{seeds} trainings of the same {row['networks']:g} networks agree with {column} {row[column]:.2f} only "
            f"(by chance up to {limit:.2f}), so there is no order to predict"
        )

    def _extra(self, name: str, find) -> dict[tuple[str, int], list]:
        """Rows of the extra frame `examples` or `draws` by column and row of the published table."""
        found: dict[tuple[str, int], list] = {}
        extra = self.extra.get(name)
        for row in () if extra is None else extra.to_dict("records"):
            if name == "draws":
                entry = (row["draw"], row["value"])
            elif is_empty(row["correct"]):  # a run without answers
                continue
            else:
                search = row.get("search_seed")
                entry = (row["seed"] if is_empty(search) else search, 100.0 * unpack(row["correct"], row["examples"]))
            found.setdefault((row["column"], find(row)), []).append(entry)
        return found

    def _classes(self, column: str, row_dataset: str | None) -> int | None:
        """Classes of the data set behind an accuracy; None where there is none or it is not known."""
        if not is_accuracy(self.table_id, column):
            return None
        ours, stands_for = self.dataset, self.frame.attrs.get("stands_for", {})
        if JOINED in (ours or ""):
            printed = {folded(stands_for.get(name, name)): name for name in ours.split(JOINED)}
            return n_classes(printed.get(folded(row_dataset or "")))
        if "cifar100" in column and folded(ours or "") == "cifar10" and "CIFAR100" not in stands_for.values():
            ours = "cifar100"
        elif row_dataset and row_dataset not in stands_for.values() and n_classes(row_dataset):
            ours = row_dataset if ours is None or n_classes(ours) is None or self.preset == "paper" else ours
        return n_classes(ours)


def row_label(key: dict) -> str:
    """A row's key in words: 'ACGhostNet-A', or 'adaptive_lr 1, separate_warmup 0'."""
    told = {name: cell for name, cell in key.items() if not is_empty(cell)}
    return ", ".join(cell if isinstance(cell, str) else f"{name} {cell:g}" for name, cell in told.items())


def _numbers_if_all(column: pd.Series) -> pd.Series:
    """Texts that are all numbers as numbers: a stage is '2' in a run and 2 in a record."""
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _values(cell: Cell) -> np.ndarray:
    """A cell's values per seed (seeds,); a mean with a deviation as values that have both."""
    if len(cell.values) > 1 or cell.n < 2 or math.isnan(cell.std):
        return np.array(cell.values, dtype=float)
    line = np.linspace(-1.0, 1.0, cell.n)
    return cell.mean + cell.std * line / line.std(ddof=1)


def _scores(rows: list | None, values: np.ndarray, name: str) -> np.ndarray | None:
    """Outcomes (seeds, examples) in per cent, the trainings of one search averaged; None where not every seed has them.

    Raises: InputError where they do not give the accuracies in the table.
    """
    if rows is None:
        return None
    lengths = {len(outcome) for _, outcome in rows}
    if len(lengths) > 1:
        raise InputError(
            f"the examples of {name} number {' and '.join(map(str, sorted(lengths)))}; all must be the same."
        )
    seeds = sorted({seed for seed, _ in rows})
    scores = np.array([np.mean([outcome for own, outcome in rows if own == seed], axis=0) for seed in seeds])
    if len(scores) != len(values):
        return None
    if not np.allclose(np.sort(scores.mean(axis=1)), np.sort(values), atol=0.01):
        raise InputError(f"the examples of {name} do not give its values; they belong to another run.")
    return scores


SEARCHED_UNITS = ("search", "supernet")
"""Units of replication that are no mere training: three of them are the least that decide."""


def is_accuracy(table_id: str, column: str) -> bool:
    """Whether a measured column of a table is a share of right answers."""
    accurate = any(part in column for part in ("accuracy", "top1", "top5"))
    return accurate and unit(column) == "%" and not any(part in column for part in ("diff", "gain", "gap", "std"))


def n_classes(dataset: str | None) -> int | None:
    """Number of classes of a data set, by any spelling of its name; None if it is not known."""
    return CLASSES.get(folded(dataset or ""))


def _chance(column: str, classes: int) -> float:
    return min(100.0, (500.0 if "top5" in column else 100.0) / classes)


def _chance_limit(column: str, classes: int, scores: np.ndarray | None) -> float:
    """Accuracy in per cent up to which a network may be one that guesses."""
    chance = _chance(column, classes)
    if scores is None:
        return min(CHANCE_FACTOR * chance, (100.0 + chance) / 2)
    share = chance / 100
    return chance + CHANCE_SD * 100 * math.sqrt(share * (1 - share) / scores.shape[1])


def chance_agreement(statistic: str, networks: int, seeds: int) -> float:
    """What unrelated rankings stay below in 97.5 % of cases: mean over all pairs of `seeds` rankings of `networks`."""
    if networks < 3 or seeds < 2:
        return math.nan
    kendall = 2 * (2 * networks + 5) / (9 * networks * (networks - 1))
    variance = kendall if statistic == "kendall_tau" else 1 / (networks - 1)
    return 1.96 * math.sqrt(variance / math.comb(seeds, 2))


def recompute(table_id: str, columns: dict[str, np.ndarray]) -> None:
    """Fill in ranks and differences from the columns (resamples, rows) that they follow from, where these are there."""
    for name, column in table_spec(table_id).columns.items():
        if column.rank_of and not np.isnan(columns[column.rank_of]).any():
            of, family = columns[column.rank_of], columns[column.within][0]
            better = of[:, None, :] > of[:, :, None]
            columns[name] = 1.0 + (better & (family[:, None] == family)).sum(2)
        elif column.difference:
            difference = columns[column.difference[0]] - columns[column.difference[1]]
            columns[name] = np.where(np.isnan(difference), columns[name], difference)


def reads_scores(table_id: str, frame: pd.DataFrame, columns: Collection[str]) -> bool:
    """Whether a check that reads these columns of a figure reads the extra frame `scores` beside its points."""
    scores = frame.attrs.get("extra", {}).get("scores")
    return is_figure(table_id) and scores is not None and set(columns) <= set(scores)


def load(table_id: str, frame: pd.DataFrame, *, analytic: bool, scores: bool = False) -> Ours | None:
    """A frame of ours for one kind of criterion; None where an analytic one is not of the paper's size.

    Args:
        scores: read the extra frame of that name; see `reads_scores`.
    Raises: InputError for a frame that does not fit its schema.
    """
    facts, sized = frame.attrs, at_paper_size(frame)
    if analytic and sized is None:
        return None
    extra, figure = facts.get("extra", {}), is_figure(table_id)
    own = _bare(extra["scores"] if scores else frame, facts)
    if declared := figure_columns(table_id) if figure else []:
        # What is told beside (which fit is better, say) is no part of what a row is about.
        own = _bare(own[[name for name in own if name in (*declared, "search_seed")]], facts)
    exact = own
    if analytic:
        exact = sized
    elif sized is not None and not figure:
        exact = _at_size(own, sized, table_spec(table_id).key)
    read = exact if analytic else own
    searched = read[read["search_seed"].notna()] if "search_seed" in read else None
    own, exact = (by_search(part, _discrete(part) if figure else table_spec(table_id).key) for part in (own, exact))
    return Ours(
        table_id,
        exact if analytic else own,
        exact,
        extra,
        facts.get("provenance", facts).get("unit", ""),
        searched,
        all_exact=analytic,
        small=sized is None and not figure,
    )


def _at_size(own: pd.DataFrame, sized: pd.DataFrame, key: Iterable[str]) -> pd.DataFrame:
    """What was run, with the counts and energies of the same networks at the paper's size."""
    on = [name for name in (*key, "seed", "search_seed") if name in own and name in sized]
    others = [name for name in own if name in on or name not in sized]
    if not on or len(others) == len(on):
        return sized
    exact = own[others].merge(sized, on=on, how="outer", sort=False)
    exact.attrs = dict(sized.attrs)
    return exact


def _discrete(frame: pd.DataFrame) -> list[str]:
    skipped = ("seed", "search_seed")
    return [n for n in frame.columns if n not in skipped and not pd.api.types.is_float_dtype(frame[n])]
