"""The benchmark: what is timed, that nothing wrong is timed, how times and rows come about. No test asserts a time."""

import dataclasses
import math
import os

import pandas as pd
import pytest
import torch
from torch.nn import functional

from repro.augment.layers import WideConv2d
from repro.bench import bars, ceiling, engines, gate, peers, records, registry, run, selection, summary, timer, training
from repro.bench.ceiling import Ceiling
from repro.bench.registry import Case
from repro.bench.shapes import NETWORKS, ConvShape, Network, all_shapes, network_shapes, quick_shapes
from repro.cpu import simd
from repro.errors import BackendError, InputError
from repro.layers import AdderConv2d
from repro.ops import adder_conv2d, reference
from repro.papers.shiftaddaug.networks import SMALL
from repro.report import judge, published
from repro.search.pnsga import select

TINY = ConvShape("test", 3, 4, 6, 9, 8, (3, 3), 2, (1, 1))
DEPTHWISE = ConvShape("test", 3, 6, 6, 7, 8, (3, 3), 1, (1, 1), 6)
LIMITS = Ceiling(1e9, 1e9, 1e9, {1.0: 1e9})
BRIEF = timer.Effort(seconds=0.0, rounds=2, warmup=1, sample_seconds=0.0, max_rounds=2)


def reference_op(x, weight, **options):
    return adder_conv2d(x, weight, backend="reference", **options)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setattr(records, "committed_folder", lambda: tmp_path / "committed")
    return run.Setting("cpu", torch.get_num_threads(), True, records.context("cpu", 1, "quick"), BRIEF, BRIEF)


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_resnet20_has_its_six_distinct_layers():
    shapes = network_shapes(NETWORKS[0])
    described = {(s.in_channels, s.out_channels, s.height, s.stride) for s in shapes}
    assert described == {
        (3, 16, 32, 1),
        (16, 16, 32, 1),
        (16, 32, 32, 2),
        (32, 32, 16, 1),
        (32, 64, 16, 2),
        (64, 64, 8, 1),
    }
    assert all(s.batch == 128 and s.kernel == (3, 3) and s.padding == (1, 1) for s in shapes)


def test_shapes_are_distinct_and_cover_dense_and_depthwise_layers_of_all_networks():
    shapes = all_shapes()
    assert len({dataclasses.replace(s, network="") for s in shapes}) == len(shapes)
    assert {(s.network, s.kind) for s in shapes} == {
        *((network.model, "dense") for network in NETWORKS),
        ("ghostnet", "depthwise"),
        ("mobilenet_v2", "depthwise"),
    }


def test_output_size_and_terms_of_a_shape_are_those_of_the_convolution():
    inputs = gate.make_inputs(TINY)
    y = functional.conv2d(inputs.x, inputs.weight, **TINY.options)
    assert tuple(y.shape[2:]) == TINY.out_size and y.numel() == TINY.y_elements == inputs.grad.numel()
    assert TINY.terms == y.numel() * inputs.weight[0].numel()


def test_quick_shapes_are_a_few_of_the_kind():
    chosen = quick_shapes("depthwise", 3)
    assert len(chosen) == 3 and set(chosen) <= set(all_shapes()) and all(s.kind == "depthwise" for s in chosen)


# --- peers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [TINY, DEPTHWISE], ids=str)
def test_cdist_layer_computes_the_adder_convolution(shape):
    inputs = gate.make_inputs(shape, dtype=torch.float64)
    ours = peers.cdist_adder_conv2d(inputs.x, inputs.weight, **shape.options)
    assert torch.allclose(ours, reference_op(inputs.x, inputs.weight, **shape.options), rtol=1e-12)


def test_broadcast_baseline_has_the_surrogate_gradients():
    inputs = gate.make_inputs(TINY, dtype=torch.float64)
    gate.check_adder(peers.broadcast_adder_conv2d, TINY, inputs, backward=True)


# --- timer -----------------------------------------------------------------------------------------------------------


class FakeClock:
    """Time passes only when work is done."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, *seconds):
        durations = list(seconds)

        def call():
            self.now += durations[0] if len(durations) == 1 else durations.pop(0)

        return call


def test_timer_reports_medians_and_percentiles_per_call():
    clock = FakeClock()
    effort = timer.Effort(seconds=0.0, rounds=5, warmup=1, sample_seconds=0.0, max_rounds=5)
    slow = clock.work(9, 9, 1, 2, 3, 4, 5)  # two warm-up calls, then five samples
    found = timer.measure({"slow": slow, "fast": clock.work(0.5)}, effort, clock=clock, disturbances=lambda: 0)
    assert found["slow"].p50 == 3000 and found["slow"].p20 == pytest.approx(1800)
    assert found["fast"] == timer.Timing(500, 500, 500, 5)


def test_timer_repeats_short_calls_within_a_sample():
    clock = FakeClock()
    effort = timer.Effort(seconds=0.0, rounds=3, warmup=1, sample_seconds=1.0, max_rounds=3)
    found = timer.measure({"short": clock.work(0.125)}, effort, clock=clock, disturbances=lambda: 0)
    assert found["short"].p50 == 125 and clock.now == 0.125 * (2 + 3 * 8)


def test_timer_leaves_out_samples_during_which_the_core_was_taken_away():
    clock, taken = FakeClock(), [0]
    durations = iter([1, 1, 1, 100, 1, 1, 100, 1])

    def work():
        seconds = next(durations)
        taken[0] += seconds > 1
        clock.now += seconds

    effort = timer.Effort(seconds=0.0, rounds=6, warmup=1, sample_seconds=0.0, max_rounds=6)
    found = timer.measure({"work": work}, effort, clock=clock, disturbances=lambda: taken[0])["work"]
    assert found.samples == 4 and found.p80 == 1000


def test_timer_alternates_between_functions():
    order = []
    timer.measure({name: lambda name=name: order.append(name) for name in "ab"}, BRIEF)
    assert order[-4:] == ["a", "b", "b", "a"]


# --- the check before any time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [TINY, DEPTHWISE], ids=str)
def test_check_passes_the_reference(shape):
    gate.check_adder(reference_op, shape, gate.make_inputs(shape), backward=True)


class WrongGradient(torch.autograd.Function):
    """The right forward with the sign as input gradient, as `torch.cdist` has it."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return reference.adder_conv2d_fwd(x, weight, (2, 2), (1, 1), (1, 1), 1)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        geometry = (2, 2), (1, 1), (1, 1), 1
        return torch.zeros_like(x), reference.adder_conv2d_bwd_weight(grad, x, weight, *geometry)


@pytest.mark.parametrize(
    ("op", "backward", "message"),
    [
        (lambda x, w, **options: 1.001 * reference_op(x, w, **options), False, "y is off"),
        (lambda x, w, **options: reference_op(x, w, **options)[:, :-1], False, "has shape"),
        (lambda x, w, **options: reference_op(x, w, **options) * math.nan, False, "y is off"),
        (lambda x, w, **options: WrongGradient.apply(x, w), True, "dx is off"),
        (peers.cdist_adder_conv2d, True, "dx is off"),
    ],
)
def test_check_refuses_a_wrong_operator(op, backward, message):
    with pytest.raises(gate.CheckFailed, match=message):
        gate.check_adder(op, TINY, gate.make_inputs(TINY), backward)


def test_a_failed_check_gives_no_row_and_is_reported(setting, monkeypatch):
    timed = []

    def prepare():
        def check():
            raise gate.CheckFailed("y is off by 1")

        return registry.Prepared(lambda: timed.append(1), {}, check, 1, {"l1": 1})

    case = Case("adder_conv2d", "forward", "dense", "tiny", "cpu", prepare, backend="cpu")
    monkeypatch.setitem(run.GROUPS, "forward", lambda device, quick: iter([case]))
    outcome = run.run(["forward"], setting, limits=LIMITS, progress=lambda line: None)
    assert not outcome.rows and not timed
    assert outcome.refused == ["adder_conv2d forward at tiny: y is off by 1; not timed"]


# --- registry, rows, records -----------------------------------------------------------------------------------------

BUILDERS = [
    registry._forward,
    registry._forward_backward,
    registry._one_gradient("input"),
    registry._one_gradient("weight"),
    registry._shift,
]


@pytest.mark.parametrize("shape", [TINY, DEPTHWISE], ids=str)
@pytest.mark.parametrize("build", BUILDERS)
def test_every_convolution_case_checks_and_gives_complete_rows(build, shape, setting):
    case = Case("adder_conv2d", "forward", shape.kind, str(shape), "cpu", lambda: build(shape, "cpu"), backend="cpu")
    rows = run.case_rows(case, setting, LIMITS)
    assert {row.peer for row in rows} >= {"conv2d"}
    for row in rows:
        empty = {name for name, value in dataclasses.asdict(row).items() if value in (None, "")}
        sums = build in BUILDERS[:2]
        assert empty <= {"peak_mem_mib", "triton", *(() if sums else ("form",))}
        assert row.form == (f"{'max' if shape is TINY else 'sub+and'}+{simd.SUM}" if sums else "")
        assert row.ratio == pytest.approx(row.ms_p50 / row.peer_ms_p50)
        assert row.ms_p20 <= row.ms_p50 <= row.ms_p80


def test_int8_case_is_exact_or_says_that_there_is_no_kernel(setting):
    try:
        prepared = registry._int8(TINY, "cpu")
    except BackendError as problem:
        assert "8-bit" in str(problem)
        return
    prepared.check()
    assert prepared.ours().dtype == torch.int32 and list(prepared.peers) == ["adder float32"]


def test_packed_case_multiplies_by_the_packed_weights(setting):
    try:
        prepared = registry._packed(2, (32, 24), "cpu")
    except BackendError as problem:
        assert "packed" in str(problem)
        return
    prepared.check()
    assert prepared.ours().shape == (2, 24)


def _row(**changes):
    base = dict.fromkeys(records.COLUMNS, "") | {"op": "adder_conv2d", "backend": "cpu", "mode": "forward"}
    base |= {"kind": "dense", "shape": "s", "peer": "conv2d", "ratio": 1.5, "ms_p50": 3.0, "peer_ms_p50": 2.0}
    base |= {"threads": 2, "device": "d", "dtype": "float32", "date": "2026-01-01", "peak_mem_mib": None}
    return records.Row(**(base | changes))


def test_rows_are_appended_and_never_edited(setting):
    path = records.append("forward", [_row()])
    before = path.read_text()
    records.append("forward", [_row(ratio=0.5, date="2026-01-02")])
    assert path.read_text().startswith(before)
    assert list(records.read()["ratio"]) == [1.5, 0.5]
    assert list(records.latest(records.read())["ratio"]) == [0.5]


@pytest.mark.parametrize(
    "old,new", [(b"1.5", b"1.6"), (b"s,float32", b"s;float32"), (b"conv2d", b"con\xff2d"), (b",d,", b',"d,')]
)
def test_a_damaged_row_is_left_out_and_said(old, new, setting):
    path = records.append("forward", [_row(), _row(device="e, and more", ratio=0.5)])
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(old, new), *lines[2:]]))
    with pytest.warns(RuntimeWarning, match=r"forward\.csv: 1 damaged row"):
        found = records.read()
    assert list(found["ratio"]) == [0.5] and list(found["device"]) == ["e, and more"]


def test_the_newest_machine_is_shown_and_quick_rows_are_not(setting):
    rows = [_row(device=d, date=day, preset="full") for d, day in (("old", "2026-01-01"), ("new", "2026-01-02"))]
    records.append("forward", [*rows, _row(device="quick", date="2026-01-03", preset="quick")])
    assert list(records.of_newest_machine(records.read())["device"]) == ["new"]
    with pytest.raises(InputError, match="no full benchmark records"):
        records.of_newest_machine(records.read().query("preset == 'quick'"))


def test_records_of_the_checkout_are_read_beside_your_own(setting):
    own = records.append("forward", [_row()])
    (records.committed_folder()).mkdir(parents=True)
    (records.committed_folder() / "forward.csv").write_text(own.read_text())
    assert len(records.read()) == 2


def test_a_record_file_of_other_columns_is_left_alone(setting):
    path = records.append("forward", [_row()])
    path.write_text("a,b\n1,2\n")
    for refused in (records.check_files, lambda: records.append("forward", [_row()])):
        with pytest.raises(InputError, match="other columns"):
            refused()
    assert path.read_text() == "a,b\n1,2\n"


def _flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 128]) + whole[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda whole: whole[:-7], [1.5]),  # the last row is cut
        (lambda whole: whole[:-1], [1.5, 2.5]),  # only its newline is
        (lambda whole: _flipped(whole, len(whole) - 30), [1.5]),  # no UTF-8 any more
        (lambda whole: _flipped(whole, 3), [1.5, 2.5]),  # in the header
        (lambda whole: _flipped(whole, whole.index(b"\n")), [2.5]),  # header and first row are one line
        (lambda whole: b"", []),
    ],
    ids=["cut row", "cut newline", "row", "header", "end of header", "empty"],
)
@pytest.mark.filterwarnings("ignore:forward.csv. . damaged rows:RuntimeWarning")
def test_whatever_was_damaged_the_rows_appended_after_it_are_read(damage, kept, setting, capsys):
    path = records.append("forward", [_row(), _row(ratio=2.5)])
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    records.check_files()
    records.append("forward", [_row(ratio=3.5), _row(ratio=4.5)])
    assert list(records.read()["ratio"]) == [*kept, 3.5, 4.5]
    after = path.read_bytes()
    assert after.startswith(whole.partition(b"\n")[0] + b"\n")
    assert all(line in after.splitlines() for line in damage(whole).splitlines()[1:]), "what is damaged stays"
    header = slice(len(records._HEAD) + 1)
    told = "header of forward.csv was damaged" in capsys.readouterr().err
    assert told == (damage(whole)[header] not in (b"", whole[header]))


# --- bars and summaries ----------------------------------------------------------------------------------------------


def test_bars_take_the_median_over_shapes_and_say_what_is_missing():
    measured = records.frame([_row(shape=str(i), ratio=ratio) for i, ratio in enumerate((0.5, 1.0, 9.0))])
    judged = bars.judge(measured).set_index("what")
    forward = judged.loc["adder forward, dense, against conv2d"]
    assert forward["reached"] == 1.0 and forward["cases"] == 3 and forward["met"]
    assert pd.isna(judged.loc["adder forward, dense, against the cdist layer", "met"])
    assert judged.loc["adder input gradient, share of the bound", "note"] == run.NO_GPU


def test_a_bar_at_the_peers_peak_leaves_out_layers_where_the_peer_is_slow_or_the_kernel_another():
    rows = [
        _row(shape=f"net 2x4x8x8 {kernel} to 4", terms_per_s=rate / ratio, ratio=ratio, pct_of_bound=60.0)
        for kernel, rate, ratio in (("3x3", 90e9, 1.9), ("3x3", 79e9, 9.0), ("1x1", 100e9, 8.0), ("3x3", 81e9, 1.7))
    ]
    judged = bars.judge(records.frame(rows)).set_index("what")
    line = judged.loc["adder forward, 3x3 layers where conv2d is at its peak, against conv2d"]
    assert line["cases"] == 2 and line["reached"] == 1.9 and line["met"]  # the worst: every such layer is meant
    assert line["pct_of_bound"] == 60 and pd.isna(judged.loc["ResNet-20 shift (Q) training step", "pct_of_bound"])


def test_the_ceiling_is_the_best_of_the_known_loops():
    found = ceiling.cpu_ceiling(1, repeats=1, seconds=1e-4)
    assert list(found.forms) == list(ceiling.FORMS) and found.l1 == max(found.forms.values())
    assert all(form in run._describe(found) for form in ceiling.FORMS)


def test_a_speed_up_bar_is_read_from_the_ratio():
    measured = records.frame([_row(peer="cdist", ratio=0.1)])
    judged = bars.judge(measured).set_index("what")
    line = judged.loc["adder forward, dense, against the cdist layer"]
    assert line["reached"] == pytest.approx(10) and not line["met"]


def test_memory_bar_names_the_worst_shape():
    rows = [
        _row(mode="forward extra memory", peer="allowance", ratio=ratio, shape=str(ratio)) for ratio in (0.1, 0.2, 4.5)
    ]
    judged = bars.judge(records.frame(rows)).set_index("what")
    line = judged.loc["extra memory of an adder forward beyond its output"]
    assert line["met"] and line["reached"] == 0.2 and "worst 4.5" in line["note"]


def test_speed_ups_are_grouped_by_the_terms_of_an_output():
    rows = [
        _row(peer="cdist", ratio=ratio, shape=f"toy 2x{channels}x8x8 {side}x{side} to 4")
        for ratio, channels, side in ((0.5, 16, 1), (0.25, 16, 3), (0.05, 16, 3), (0.1, 200, 3))
    ]
    found = summary.by_terms_per_output(records.frame(rows), "cdist").set_index("terms")
    assert list(found.index) == ["up to 32", "129 to 512", "above 512"]
    assert list(found["shapes"]) == [1, 2, 1]
    assert found.loc["129 to 512", "speedup"] == pytest.approx((4 + 20) / 2)


def test_training_ratios_stand_beside_the_published_ones():
    rows = [
        _row(op=f"mobilenet_v2 {op}", mode="training step", peer="conv", ms_p50=ms, peak_mem_mib=mib)
        for op, ms, mib in (("conv", 100.0, 50.0), ("shift", 110.0, 55.0))
    ]
    ours = summary.training_table(records.frame(rows))
    ratios = summary.training_ratios(published(summary.TABLE_ID), ours).set_index("method")
    assert ratios.loc["Shift", "time ours"] == pytest.approx(1.1)
    assert ratios.loc["Shift", "memory ours"] == pytest.approx(1.1)
    assert ratios.loc["NetAug", "status"] == "not run" and pd.isna(ratios.loc["NetAug", "time ours"])


@pytest.mark.parametrize(
    ("backends", "preset", "status"),
    [
        (("auto", "auto"), "quick", "not informative at this preset"),
        (("cuda", "auto"), "quick", "not informative at this preset"),
        (("cuda", "cuda"), "paper", "not run"),  # NetAug and the adders were not timed
    ],
)
def test_steps_on_a_gpu_are_judged_as_the_papers_and_those_on_a_cpu_are_not(backends, preset, status):
    rows = [
        _row(op=f"mobilenet_v2 {op}", mode="training step", peer="conv", backend=backend, peak_mem_mib=50.0)
        for op, backend in zip(("conv", "shift"), backends)
    ]
    table = summary.training_table(records.frame(rows))
    assert (table.attrs["preset"], table.attrs["provenance"]["preset"]) == (preset, preset)
    assert judge("shiftaddaug_supp-c06", {summary.TABLE_ID: table}).status == status


# --- training steps --------------------------------------------------------------------------------------------------

SMALL_NETWORK = Network("resnet20", 2, 8, (("num_classes", 3),))


@pytest.mark.parametrize("op", ["shift", "shiftadd"])
def test_layers_of_a_network_agree_with_the_reference(op):
    training.check_step(SMALL_NETWORK, op)
    loss = training.make_step(SMALL_NETWORK, op)()
    assert torch.isfinite(loss)


def test_a_wrong_layer_in_a_network_is_named(monkeypatch):
    original = AdderConv2d.forward
    wrong = lambda self, x: original(self, x) * (1.01 if self.backend == "auto" else 1)  # noqa: E731
    monkeypatch.setattr(AdderConv2d, "forward", wrong)
    with pytest.raises(gate.CheckFailed, match=r"y of layer \S+ is off"):
        training.check_step(SMALL_NETWORK, "adder")


# --- choices and a whole small run -----------------------------------------------------------------------------------


def test_choices_are_checked():
    with pytest.raises(InputError, match="Did you mean 'forward'"):
        run.choose_groups(["foward"], False)
    with pytest.raises(InputError, match="device='gpu'"):
        run.settle("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="no CUDA device"):
            run.settle("cuda")


def test_a_small_run_goes_from_ceiling_to_records(setting, monkeypatch):
    monkeypatch.setattr(registry, "quick_shapes", lambda kind, count: (TINY if kind == "dense" else DEPTHWISE,))
    monkeypatch.setattr(run, "ceiling", lambda device, threads: LIMITS)
    lines = []
    outcome = run.run(["forward", "depthwise"], setting, progress=lines.append, keep=run.save)
    assert not outcome.refused and {row.kind for row in outcome.rows} == {"dense", "depthwise"}
    files = {path.name for path in records.folder().iterdir()}
    assert files == {f"{run.record_name(row)}.csv" for row in outcome.rows}
    assert len(records.read()) == len(outcome.rows)
    assert not summary.summary(records.read()).empty and lines[0].startswith("Ceiling")


def test_measured_ceiling_is_a_positive_rate_for_every_loop():
    from repro.bench.ceiling import cpu_ceiling

    found = cpu_ceiling(1, repeats=1, seconds=0.002)
    assert min(found.multiply, found.l1, found.clip, *found.copy.values()) > 0
    assert found.bound_ms(l1=found.l1) == pytest.approx(1000)


# --- selection -------------------------------------------------------------------------------------------------------


def test_selection_is_timed_only_if_it_is_right(setting):
    case = next(selection.cases("cpu", True))
    rows = run.case_rows(case, setting, LIMITS)
    assert [row.peer for row in rows] == ["nsga2", "nsga3"] and all(row.terms_per_s is None for row in rows)
    accuracy, energy = selection.make_candidates(64)
    right = select(accuracy, energy, 32)
    selection.check(accuracy, energy, right, 32)
    dropped = dataclasses.replace(right, kept=right.kept[1:] + right.kept[:1])
    plain = select(accuracy, energy, 32, method="nsga2")
    for wrong in (dropped, plain, dataclasses.replace(right, front=[0] * 64)):
        with pytest.raises(gate.CheckFailed):
            selection.check(accuracy, energy, wrong, 32)


@pytest.mark.timeout(300)
def test_engines_are_timed_beside_processes_that_store_nothing_if_their_answers_are_right(setting, monkeypatch):
    before = os.environ.get("REPRO_RUNS")
    outcome = run.run(["engines"], setting)
    rows = {row.op: row for row in outcome.rows}
    row = rows["engine local"]
    assert row.peer == engines.BARE and row.ms_p50 > 0 and row.ratio == pytest.approx(row.ms_p50 / row.peer_ms_p50)
    assert run.record_name(row) == "engines" and os.environ.get("REPRO_RUNS") == before
    assert ("engine ray" in rows) == (engines.NO_RAY not in outcome.left_out)

    monkeypatch.setattr(engines, "load_result", lambda spec: None)
    assert run.run(["engines"], setting).refused == ["engines: engine local did not store its runs; not timed"]


def test_a_bar_in_milliseconds_is_met_from_below():
    bar = next(bar for bar in bars.BARS if bar.value == "ms_p50")
    frame = records.frame([_row(**bar.where, kind="search", ratio=2.0, ms_p50=19.0)])
    line = bars.judge(frame, ("cpu",)).set_index("what").loc[bar.what]
    assert line["met"] and line["bar"] == "at most 20 ms"
    assert not bars.judge(frame.assign(ms_p50=21.0), ("cpu",)).set_index("what").loc[bar.what, "met"]


# --- augmented trainings ---------------------------------------------------------------------------------------------

SMALL_TARGET = Network("mobilenet_v2", 2, 16, (("spec", SMALL["MobileNetV2-w0.35"]), ("num_classes", 4)))


@pytest.mark.parametrize("op", list(training.AUGMENTED))
def test_an_augmented_step_is_checked_by_equation_4(op):
    training.check_step(SMALL_TARGET, op)
    assert torch.isfinite(training.make_step(SMALL_TARGET, op)())


def test_a_wide_layer_that_is_wrong_is_named(monkeypatch):
    original = WideConv2d.forward
    monkeypatch.setattr(WideConv2d, "forward", lambda self, x: 1.01 * original(self, x))
    with pytest.raises(gate.CheckFailed, match=r"y of wide layer stem\S* is off"):
        training.check_step(SMALL_TARGET, "augadd")


def test_augmented_steps_stand_beside_netaug_of_the_same_run(setting, monkeypatch):
    speed = {"conv": 1.0, "adder": 1.0, "shift": 1.0, "shiftadd": 2.0, "netaug": 2.5, "augshift": 3.0, "augadd": 5.5}
    monkeypatch.setattr(training, "STEP_NETWORKS", (training.MOBILENET,))
    monkeypatch.setattr(training, "check_step", lambda *args: None)
    monkeypatch.setattr(training, "make_step", lambda network, op, device: op)
    monkeypatch.setattr(run.memory, "step_mib", lambda *args: 10.0)
    measured = lambda device, steps, effort: {op: timer.Timing(speed[op], 1, 1) for op in steps}  # noqa: E731
    monkeypatch.setattr(run.timer, "measure_on", measured)
    rows = records.frame(list(run.step_rows(dataclasses.replace(setting, quick=False), run.Outcome())))
    assert len(rows) == 7 + 3 and set(rows["peer"]) == {"conv", "netaug"}
    judged = bars.judge(rows, ("cpu",)).set_index("what")
    shift, add = (judged.loc[f"{name} training step against NetAug's"] for name in ("AugShift", "AugAdd"))
    assert shift["reached"] == 1.2 and shift["met"] and add["reached"] == 2.2 and not add["met"]
    table = summary.training_table(rows).set_index("method")
    assert set(table.index) == set(published(summary.TABLE_ID)["method"])
    assert table.loc["NetAug", "speed_it_per_s"] == 400
