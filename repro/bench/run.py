"""Running the benchmark: check, time, write down; one group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from repro.bench import engines, memory, records, selection, timer, training
from repro.bench.ceiling import Ceiling, cpu_ceiling
from repro.bench.gate import CheckFailed
from repro.bench.records import Row
from repro.bench.registry import GROUPS as OPERATOR_GROUPS
from repro.bench.registry import Case, Prepared, backend_of
from repro.bench.shapes import all_shapes, quick_shapes
from repro.errors import BackendError, check_choice, check_int

GROUPS = {**OPERATOR_GROUPS, "selection": selection.cases}
FURTHER_GROUPS = ("steps", "memory", "engines")
GROUP_NAMES = (*GROUPS, *FURTHER_GROUPS)
CPU_ONLY = ("memory", "selection", "engines")
QUICK_GROUPS = ("forward", "training", "depthwise", "int8", "steps", "memory")

NO_GPU = "no CUDA device: GPU rows are not measured"


@dataclass
class Outcome:
    """What a run gave: rows, refusals (a red check: no number) and what could not run here."""

    rows: list[Row] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """How to run: "cpu" or "cuda", number of threads, quick or full, and the columns that say so."""

    device: str
    threads: int
    quick: bool
    context: dict[str, object]
    effort: timer.Effort = timer.FULL
    step_effort: timer.Effort = timer.STEP


def settle(device: str = "auto", threads: int = 2, quick: bool = False) -> Setting:
    """Check the choices and set torch's thread count.

    Raises: InputError for an unknown device or a thread count below 1; BackendError for "cuda" without a GPU.
    """
    import torch

    check_choice("device", device, ("auto", "cpu", "cuda"))
    check_int("threads", threads, minimum=1)
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"{NO_GPU}.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(threads)
    timer.keep_freed_memory()
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    context = records.context(device, threads, "quick" if quick else "full")
    if quick:
        return Setting(device, threads, quick, context, timer.QUICK, timer.QUICK_STEP)
    return Setting(device, threads, quick, context)


def choose_groups(only: list[str], quick: bool) -> list[str]:
    """The groups to run: those asked for, else all (quick: a selection)."""
    for name in only:
        check_choice("only", name, GROUP_NAMES)
    return only or list(QUICK_GROUPS if quick else GROUP_NAMES)


def run(
    groups: list[str],
    setting: Setting,
    *,
    limits: Ceiling | None = None,
    progress: Callable[[str], object] = print,
    keep: Callable[[list[Row]], object] | None = None,
) -> Outcome:
    """Check and time the cases of `groups`.

    Args:
        groups: from `GROUP_NAMES`.
        setting: from `settle`.
        limits: the machine's ceiling if it was measured already.
        progress: called with one line of text per group.
        keep: called with the rows of each group when it is done, so that a stopped run loses one group at most.
    Returns: an `Outcome`; a case whose check fails is in `refused` and has no row.
    """
    outcome = Outcome()
    if limits is None and any(name in GROUPS for name in groups):
        limits = ceiling(setting.device, setting.threads)
        progress(_describe(limits))
    for name in groups:
        before = len(outcome.rows)
        if name in CPU_ONLY and setting.device != "cpu":
            outcome.left_out.append(f"{name}: measured on the CPU only")
            continue
        for row in _group_rows(name, setting, limits, outcome):
            outcome.rows.append(row)
        if keep is not None:
            keep(outcome.rows[before:])
        progress(f"{name}: {len(outcome.rows) - before} rows")
    return outcome


def ceiling(device: str, threads: int) -> Ceiling:
    """The ceiling of "cpu" or "cuda"."""
    if device == "cuda":
        from repro.bench.gpu_ceiling import gpu_ceiling  # loads Triton

        return gpu_ceiling()
    return cpu_ceiling(threads)


def _describe(limits: Ceiling) -> str:
    loops = ", ".join(f"{form} {rate / 1e9:.1f}" for form, rate in limits.forms.items())
    copies = ", ".join(f"{rate / 1e9:.0f} GB/s at {mib:g} MiB" for mib, rate in limits.copy.items())
    return (
        f"Ceiling ({limits.how}): {limits.l1 / 1e9:.1f} G |x-w| terms/s{f' ({loops})' if loops else ''}, "
        f"{limits.clip / 1e9:.1f} G clipped terms/s, {limits.multiply / 1e9:.1f} G multiply-adds/s; copies {copies}."
    )


def _group_rows(name: str, setting: Setting, limits: Ceiling | None, outcome: Outcome) -> Iterator[Row]:
    if name == "steps":
        yield from step_rows(setting, outcome)
    elif name == "memory":
        yield from memory_rows(setting, outcome)
    elif name == "engines":
        yield from engine_rows(setting, outcome)
    else:
        for case in GROUPS[name](setting.device, setting.quick):
            try:
                yield from case_rows(case, setting, limits)
            except CheckFailed as problem:
                outcome.refused.append(f"{case.op} {case.mode} at {case.shape}: {problem}; not timed")
            except BackendError as problem:
                outcome.left_out.append(f"{name}: {problem}")
                return


def case_rows(case: Case, setting: Setting, limits: Ceiling) -> list[Row]:
    """Check, then time one case; one row for each peer. Raises CheckFailed before anything is timed."""
    prepared = case.prepare()
    prepared.check()
    timings = timer.measure_on(case.device, {"ours": prepared.ours, **prepared.peers}, setting.effort)
    ours = timings.pop("ours")
    bound = limits.bound_ms(**prepared.bound) if prepared.bound else None
    return [_row(case, prepared, ours, peer, timing, bound, setting) for peer, timing in timings.items()]


def _row(case: Case, prepared: Prepared, ours, peer: str, theirs, bound_ms: float | None, setting: Setting) -> Row:
    return Row(
        op=case.op,
        backend=case.backend,
        mode=case.mode,
        kind=case.kind,
        shape=case.shape,
        dtype=case.dtype,
        ms_p50=ours.p50,
        ms_p20=ours.p20,
        ms_p80=ours.p80,
        peer=peer,
        peer_ms_p50=theirs.p50,
        ratio=ours.p50 / theirs.p50,
        terms_per_s=None if prepared.terms is None else prepared.terms / ours.p50 * 1e3,
        peak_mem_mib=None,
        pct_of_bound=None if bound_ms is None else 100 * bound_ms / ours.p50,
        form=prepared.form,
        **setting.context,
    )


def step_rows(setting: Setting, outcome: Outcome) -> Iterator[Row]:
    """Training steps of each network, its methods side by side; quick runs take ResNet-20 only, without memory.

    Augmented trainings have a second row, whose peer is the augmented training with convolutions.
    """
    for network in training.STEP_NETWORKS[: 1 if setting.quick else None]:
        steps = {}
        for op in training.methods(network):
            try:
                training.check_step(network, op, setting.device)
            except CheckFailed as problem:
                outcome.refused.append(f"{network.model} {op} training step: {problem}; not timed")
                continue
            steps[op] = training.make_step(network, op, setting.device)
        timings = timer.measure_on(setting.device, steps, setting.step_effort)
        for op, timing in timings.items():
            peak = None
            if not setting.quick:
                try:
                    peak = memory.step_mib(network, op, setting.threads, setting.device)
                except BackendError as problem:
                    outcome.left_out.append(f"memory of a training step: {problem}")
            for peer in ("conv", "netaug") if op in training.AUGMENTED else ("conv",):
                if peer in timings:
                    yield _step_row(network, op, timing, peer, timings[peer], peak, setting)


def _step_row(network, op: str, timing, peer: str, base, peak: float | None, setting: Setting) -> Row:
    return _timed_row(
        op=f"{network.model} {op}",
        backend="auto" if setting.device == "cpu" else "cuda",
        mode="training step",
        kind="network",
        shape=f"{network.batch}x3x{network.size}x{network.size}",
        dtype="float32",
        timings=(timing, peer, base),
        peak_mem_mib=peak,
        setting=setting,
    )


def _timed_row(*, timings, setting: Setting, peak_mem_mib: float | None = None, **about: str) -> Row:
    """A row without a count of terms; `timings`: ours, the peer's name, the peer's."""
    ours, peer, theirs = timings
    return Row(
        **about,
        ms_p50=ours.p50,
        ms_p20=ours.p20,
        ms_p80=ours.p80,
        peer=peer,
        peer_ms_p50=theirs.p50,
        ratio=ours.p50 / theirs.p50,
        terms_per_s=None,
        peak_mem_mib=peak_mem_mib,
        pct_of_bound=None,
        **setting.context,
    )


def memory_rows(setting: Setting, outcome: Outcome) -> Iterator[Row]:
    """Extra memory of an adder forward beyond its output, against the allowance of the memory bar."""
    shapes = list(quick_shapes("dense", 3) + quick_shapes("depthwise", 1) if setting.quick else all_shapes())
    try:
        extras = memory.forward_extra_mib(shapes, setting.threads)
    except BackendError as problem:
        outcome.left_out.append(f"memory: {problem}")
        return
    for shape, extra in zip(shapes, extras):
        yield Row(
            op="adder_conv2d",
            backend=backend_of("cpu"),
            mode="forward extra memory",
            kind=shape.kind,
            shape=f"{shape.network} {shape}",
            dtype="float32",
            ms_p50=None,
            ms_p20=None,
            ms_p80=None,
            peer="allowance",
            peer_ms_p50=None,
            ratio=max(0.0, extra) / memory.allowance_mib(shape, setting.threads),
            terms_per_s=None,
            peak_mem_mib=max(0.0, extra),
            pct_of_bound=None,
            **setting.context,
        )


def engine_rows(setting: Setting, outcome: Outcome) -> Iterator[Row]:
    """Milliseconds a run that does nothing, a row for each engine; quick runs take few of them, once."""
    runs, rounds = (50, 1) if setting.quick else (engines.RUNS, engines.ROUNDS)
    try:
        timings = engines.measured(runs, rounds)
    except CheckFailed as problem:
        outcome.refused.append(f"engines: {problem}; not timed")
        return
    if engines.RAY not in timings:
        outcome.left_out.append(engines.NO_RAY)
    for name, peer in engines.PEERS.items():
        if name in timings:
            yield _timed_row(
                op=f"engine {name}",
                backend="cpu",
                mode="overhead of a run",
                kind="runs",
                shape=f"{runs} runs on {engines.WORKERS} workers",
                dtype="",
                timings=(timings[name], peer, timings[peer]),
                setting=setting,
            )


def save(rows: list[Row]) -> list[str]:
    """Append rows to the records, one file per kind of measurement; returns the file names."""
    files: dict[str, list[Row]] = {}
    for row in rows:
        files.setdefault(record_name(row), []).append(row)
    return [records.append(name, rows).name for name, rows in files.items()]


def record_name(row: Row) -> str:
    """The file a row belongs to: networks, memory, engines, or operator and mode."""
    if row.op.startswith("engine "):
        return "engines"
    if row.mode == "training step":
        return "training_step"
    if row.mode == "forward extra memory":
        return "forward_memory"
    return f"{row.op}-{row.mode}".replace(" ", "_").replace("+", "_")
