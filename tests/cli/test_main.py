"""The command line: help for everything, one sentence for what is wrong, tables that are read, piped and parsed."""

import io
import json
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

from repro import papers, runs, runtime
from repro.cli import doctor
from repro.cli import main as command_line
from repro.cli.main import parse_seeds
from repro.errors import InputError
from repro.papers import run_table, status
from repro.paths import check_writable, records_root, repo_root

TABLE = ["table", "shiftaddaug_t03", "--columns", "analytic"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for variable in ("RUNS", "OUTPUT"):
        monkeypatch.setenv(f"REPRO_{variable}", str(tmp_path / variable.lower()))
    monkeypatch.setenv("REPRO_REFERENCE", "0")  # a command that sets it is undone
    return tmp_path


@pytest.fixture
def call(capsys, monkeypatch):
    """Call the command line as `python -m repro` does: (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["repro", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return call


@pytest.mark.parametrize("command", ["tables", "table", "figures", "status", "data", "bench", "app", "doctor"])
def test_every_command_has_help(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0 and "Usage" in out


@pytest.mark.parametrize("command", [["table", "acghostnet_t03"], ["weights", "shiftaddaug_f02"]], ids=" ".join)
def test_a_run_store_that_is_no_folder_is_one_sentence(call, command, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "file" / "runs"))
    code, out, err = call(*command, "--preset", "smoke")
    assert code == 2 and out == ""
    assert err.startswith("Error: cannot read the run folder ") and err.count("\n") == 1 and "set REPRO_RUNS" in err


@pytest.mark.parametrize(
    "command",
    [
        ["table", "shiftaddaug_f02"],
        ["tables", "--tables", "shiftaddaug_f02"],
        ["tune", "acghostnet"],
        ["weights", "shiftaddaug_f02"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("output", ["file/out", "/dev/null"])
def test_an_output_that_cannot_be_written_is_told_before_anything_runs(call, command, output, folders, monkeypatch):
    (folders / "file").write_text("")
    monkeypatch.setenv("REPRO_OUTPUT", str(folders / output))
    for variable in ("REPRO_FIGURES", "REPRO_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    code, out, err = call(*command, *["--preset", "smoke"][: 2 * (command[0] != "tune")])
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("Error: cannot write to folder ") and "(Not a directory); free some space" in err
    assert not runs.scan()


def test_asking_whether_a_folder_can_be_written_leaves_nothing(folders):
    assert check_writable(folders / "a" / "b") == folders / "a" / "b" and list(folders.iterdir()) == []
    with pytest.raises(InputError, match=r"cannot write to folder /proc/x .*or name another\.$"):
        check_writable("/proc/x", advice="name another")


def test_version_names_the_git_revision(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith(f"repro 0.1.0, revision {runs.provenance()['git_revision']}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "acghostnet_t6"], "Did you mean 'acghostnet_t06'?"),
        (["table", "acghostnet_t06", "--preset", "quik"], "Did you mean 'quick'?"),
        (["table", "acghostnet_t06", "--seeds", "0 one"], "'one' is not a whole number"),
        (["table", "acghostnet_t06", "--preset", "smoke", "--engine", "locl"], "Did you mean 'local'?"),
        (["table", "acghostnet_t06", "--csv", "--json"], "--csv and --json exclude each other"),
        (["tables", "--tables", "acghostnet_t99"], "is not known"),
        (["tables", "--dataset", "cifar"], "Did you mean 'cifar10'?"),
        (["tables", "--engine", "locl"], "Did you mean 'local'?"),
        (["tables", "--tables", "acghostnet_t03", "--preset", "smoke", "--dataset", "fashion-mnist"], "fashion-mnist"),
        (["tables", "--time-limit", "0"], "time_limit=0.0 is not allowed"),
        (["tables", "--seeds", "\u00b2"], "is not a whole number of at least 0"),
        (["tables", "--seeds", str(2**63)], "at most 9223372036854775807"),
        (["search", "cells", "--preset", "smoke", "--seed", str(2**63)], "seed=9223372036854775808 is not allowed"),
        (
            ["app", "--port", "99999"],
            "port=99999 is not allowed; it must be a whole number at least 0 and at most 65535",
        ),
        (["app", "--port", "-5"], "port=-5 is not allowed"),
        (["forecast", "acghostnet_t06", "--preset", "smoke", "--gpus", "1 \u00b2"], "gpus='\u00b2' is not allowed"),
        (["forecast", "acghostnet_t06", "--preset", "smoke", "--price", "nan"], "price=nan is not allowed"),
        (["forecast", "acghostnet_t06", "--preset", "smoke", "--price", "-1"], "price=-1.0 is not allowed"),
        (["verify", "acghostnet_t02"], "table_id='acghostnet_t02' is not allowed; it has no record of trainings"),
        (["verify", "acghostnet_t01", "--preset", "paper"], "it has no record of trainings at paper"),
        (["verify", "acghostnet_f06"], "its record holds no answers to compare with"),
        (["verify", "acghostnet_t01", "--runs", "0"], "runs=0 is not allowed; it must be a whole number at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gives_one_sentence_and_exit_code_2(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2 and message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("variable", ["REPRO_DATA", "REPRO_RUNS", "REPRO_OUTPUT"])
def test_a_folder_in_an_unknown_home_is_one_sentence(call, monkeypatch, variable):
    monkeypatch.setenv(variable, "~nobody-of-this-name/x")
    code, _, err = call("data", "list")
    assert (
        code == 2
        and err == f"Error: {variable}='~nobody-of-this-name/x' is not allowed; there is no such home folder.\n"
    )
    monkeypatch.setenv(variable, "~/x")
    assert call("--version")[0] == 0


def test_impossible_jobs_are_refused_before_anything_starts(call, monkeypatch):
    monkeypatch.setenv("JOBS", "0")
    code, out, err = call("tables", "--preset", "smoke")
    assert (code, out) == (
        2,
        "",
    ) and err == "Error: JOBS='0' is not allowed; it must be a whole number of at least 1.\n"


def test_absent_data_are_explained(call, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "nothing"))
    code, _, err = call("table", "acghostnet_t03", "--dataset", "cifar10", "--preset", "study")
    assert code == 2 and "data fetch cifar10" in err


def test_a_table_on_a_pipe_is_plain_text_that_nothing_is_cut_from(call):
    code, out, _ = call(*TABLE)
    assert code == 0 and out.isascii()
    rows = [line for line in out.splitlines() if line.startswith("MobileNetV2-w0.35 ")]
    assert rows and all(line == line.rstrip() for line in rows)
    assert any("params_m" in line and "0.524" in line for line in rows)


def test_a_table_of_words_prints_words(call):
    _, out, _ = call("table", "acghostnet_t02", "--columns", "analytic", "--csv")
    assert "nan" not in out and "adder" in out


def test_formats_print_nothing_else(call):
    _, text, _ = call(*TABLE, "--csv")
    frame = pd.read_csv(io.StringIO(text))
    rows = json.loads(call(*TABLE, "--json")[1])
    assert len(rows) == len(frame) and set(rows[0]) == set(frame.columns) >= {"published", "ours", "note"}
    _, latex, _ = call(*TABLE, "--latex")
    assert latex.startswith("\\begin{tabular}") and latex.endswith("\\end{tabular}\n") and "params\\_m" in latex


def test_a_table_keeps_its_record_in_the_output_folder(call, folders):
    call(*TABLE)
    assert list((folders / "output" / "records" / "shiftaddaug_t03").glob("*.csv"))


def test_the_reference_is_written_only_when_asked_for(call, folders, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(folders / "reference"))
    call(*TABLE)
    assert not (folders / "reference").exists()
    call(*TABLE, "--reference")
    assert list((folders / "reference" / "shiftaddaug_t03").glob("*.csv"))


def test_options_reach_run_table(call, monkeypatch):
    asked = {}

    def note(table_id, **request):
        asked.update(request, table_id=table_id)
        return run_table("shiftaddaug_t03", columns="analytic")

    monkeypatch.setattr(papers, "run_table", note)
    options = [
        "--preset",
        "smoke",
        "--dataset",
        "digits",
        "--seeds",
        "0 3",
        "--engine",
        "torchrun",
        "--fresh",
        "--time-limit",
        "9",
        "--gpus",
        "2",
    ]
    call("table", "shiftaddaug_t03", *options)
    assert asked == {
        "table_id": "shiftaddaug_t03",
        "preset": "smoke",
        "dataset": "digits",
        "seeds": [0, 3],
        "columns": "all",
        "fresh": True,
        "engine": "torchrun",
        "time_limit_s": 9.0,
        "gpus": 2.0,
    }


def test_under_torchrun_only_the_first_process_speaks(call, folders, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, out, _ = call(*TABLE)
    assert (code, out) == (0, "") and not (folders / "output").exists()


def test_figures_are_drawn_from_the_reference_into_figures(call, monkeypatch):
    seen = []
    monkeypatch.setattr(papers, "draw_figures", lambda: seen.append(records_root()))
    assert call("figures")[0] == 0
    assert seen == [repo_root() / "data" / "results"]


def test_status_reads_the_store_once_and_names_what_failed(call, folders, monkeypatch):
    calls = []
    known = [
        runs.store.RunStatus("network", folders / "runs" / "network" / "abc", "failed", 0, None, "out of [memory]"),
        runs.store.RunStatus("network", folders / "runs" / "network" / "def", "done", 1, 90.0, ""),
    ]
    monkeypatch.setattr(runs, "scan", lambda: calls.append(1) or known)
    code, out, _ = call("status")
    assert code == 0 and len(calls) == 1
    assert "network/abc: out of [memory]" in out
    assert "shiftaddaug_supp_t03" in out and "code" in out


@pytest.mark.slow
def test_a_trained_table_is_printed_and_its_runs_are_reused(call, shared_smoke_runs, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(shared_smoke_runs))
    code, once, err = call("table", "acghostnet_t03", "--preset", "smoke")
    assert code == 0, err
    assert "published" in once and "72.6" in once
    _, again, err = call("table", "acghostnet_t03", "--preset", "smoke")
    assert "10 of 10 runs are finished and reused" in err and again == once


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (TABLE, "Stopped. Finished runs are kept; the same command goes on from here.\n"),
        (["status"], "Stopped.\n"),
    ],
    ids=["table", "status"],
)
def test_a_stopped_command_says_what_is_kept(call, monkeypatch, arguments, sentence):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(papers, "run_table", stop)
    monkeypatch.setattr(runs, "scan", stop)
    assert call(*arguments) == (130, "", sentence)


def test_ctrl_c_ends_a_training_with_one_sentence(folders):
    model = ["resnet20", "--dataset", "digits", "--set", "width=0.25", "--train-images", "100", "--epochs", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", "train", *model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=repo_root(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background begins without it
    )
    try:
        assert process.stdout.readline().startswith("epoch 1 ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "Stopped. A training that is stopped keeps nothing; the same command begins it again.\n"


def test_doctor_finds_working_back_ends(call):
    code, out, err = call("doctor")
    assert code == 0, out + err
    for word in ("torch", "back end reference", "back end cpu", "digits", "browser"):
        assert word in out


@pytest.mark.parametrize(("gpu", "advice"), [(True, "slower back end 'reference'"), (False, "only needed on a GPU")])
def test_doctor_says_what_serves_where_triton_does_not(monkeypatch, gpu, advice):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla K80")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (3, 5))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: name)
    found = doctor._backend_finding("triton")
    assert found.state == "missing" and advice in found.advice
    assert ("Tesla K80 has compute capability 3.5" in found.found) == gpu


def test_importing_the_package_stays_light():
    code = "import sys, repro; print([m for m in ('torch', 'numba', 'triton', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=repo_root())
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(("text", "seeds"), [("", []), ("0 1 2", [0, 1, 2]), ("3,5", [3, 5])])
def test_seeds_are_read_from_text(text, seeds):
    assert parse_seeds(text) == seeds


def test_a_board_that_cannot_be_made_leaves_the_runs_to_see(call, monkeypatch):
    def damaged():
        raise InputError("row 3 of criteria.csv is damaged.")

    monkeypatch.setattr(status, "status_board", damaged)
    code, out, _ = call("status")
    assert code == 1 and "No runs yet" in out and "row 3 of criteria.csv is damaged" in out


@pytest.mark.parametrize(
    "text", ["-1", "1.5", "a", "1 1", "1 01", "\u00b2", pytest.param("9" * 5000, id="5000 digits")]
)
def test_seeds_that_are_not_distinct_whole_numbers_are_refused(text):
    with pytest.raises(InputError, match="seeds="):
        parse_seeds(text)
