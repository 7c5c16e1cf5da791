"""Weights behind a table: kept by every training, taken out with a card, and the network that was tested."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from repro.cli import main
from repro.errors import InputError
from repro.models import create, load_model
from repro.models.quantized import quantized_layers
from repro.papers import jobs
from repro.papers.data import load_splits
from repro.papers.shiftaddaug.recipes import presets
from repro.papers.weights import _named, _Noting, quality, slug, weights_of
from repro.runs import store


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Table 4 of ShiftAddAug at smoke: where its runs lie, and its weights."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_RUNS", str(folder / "runs"))
        yield folder, weights_of("shiftaddaug_t04", folder / "out", preset="smoke")


def test_every_network_of_a_table_comes_with_a_card_and_is_the_one_that_was_tested(table):
    _, files = table
    assert [path.name for path in files] == [
        "shiftaddaug_t04-mobilenetv2-w0-35-augshift-glyphs.safetensors",
        "shiftaddaug_t04-mobilenetv2-w0-35-shift-glyphs.safetensors",
    ]
    recipe = presets(("MobileNetV2-w0.35",))["smoke", "glyphs"]
    test = load_splits(recipe.data).test
    for path in files:
        model = load_model(path)
        found = jobs.tested(model, test, classes=10)
        assert model.card["accuracy"] == quality(found)
        assert model.card["method"]["method"]["op"] == "shift" and model.card["recipe"]["epochs"] == 1
        assert model.card["seed"] == 0 and model.card["data"]["dataset"] == "glyphs"
        text = path.with_suffix(".md").read_text()
        assert f"{found['top1_pct']:.2f} % top-1 on 100 test images" in text and "Apache-2.0" in text
        assert "says nothing about the claims" in text and "spec (in the file)" in text and "op shift" in text
        again = create("mobilenet_v2", weights=path)  # its small form is part of the file
        x = next(test.input_batches(2))
        assert torch.equal(again(x), model(x))
        assert sum(p.numel() for p in again.parameters()) == model.card["parameters"] < 20_000


def test_finished_runs_are_not_trained_again_and_damage_is_said(table, tmp_path, monkeypatch):
    folder, files = table
    kept = sorted((folder / "runs").glob(f"*/*/{store.WEIGHTS}"))
    times = [path.stat().st_mtime_ns for path in kept]
    again = weights_of("shiftaddaug_t04", tmp_path / "again", preset="smoke")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]
    assert [path.stat().st_mtime_ns for path in kept] == times
    body = bytearray(kept[0].read_bytes())
    body[-3] ^= 4
    kept[0].write_bytes(body)
    with pytest.raises(InputError, match=r"weights file weights.safetensors cannot be read .*digest"):
        weights_of("shiftaddaug_t04", tmp_path / "damaged", preset="smoke")
    body[-3] ^= 4
    kept[0].write_bytes(body)


def test_shift_layers_can_be_packed_and_answer_as_before(table, tmp_path):
    _, files = table
    packed = weights_of("shiftaddaug_t04", tmp_path, preset="smoke", packed=True)
    assert [path.name for path in packed] == [path.name for path in files]
    images = next(load_splits(presets(("MobileNetV2-w0.35",))["smoke", "glyphs"].data).test.input_batches(8))
    shifts = 0
    for path, whole in zip(packed, files, strict=True):
        network, original = load_model(path), load_model(whole)
        shifts += bool(quantized_layers(network))
        with torch.no_grad():
            torch.testing.assert_close(network(images), original(images))
        assert "form: shift layers as codes of 4 or 5 bits" in path.with_suffix(".md").read_text(encoding="utf-8")
    assert shifts


def test_the_command_writes_them_and_refuses_what_trains_nothing(table, tmp_path):
    main._mount()
    arguments = ["weights", "shiftaddaug_t04", "--preset", "smoke", "--to", str(tmp_path)]
    result = CliRunner().invoke(main.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and len(list(tmp_path.glob("*.safetensors"))) == len(list(tmp_path.glob("*.md"))) == 2
    with pytest.raises(InputError, match=r"shiftaddaug_t01.*nothing in it is trained"):
        weights_of("shiftaddaug_t01", tmp_path)


def test_without_a_folder_they_go_to_the_output_and_an_impossible_one_is_refused_first(table, tmp_path, monkeypatch):
    main._mount()
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path / "moved"))
    CliRunner().invoke(main.app, ["weights", "shiftaddaug_t04", "--preset", "smoke"], catch_exceptions=False)
    assert len(list((tmp_path / "moved" / "weights").glob("*.safetensors"))) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    with pytest.raises(InputError, match=r"cannot write to folder .*out \(Not a directory\); .* or name another\."):
        weights_of("shiftaddaug_t04", tmp_path / "file" / "out", preset="smoke")
    assert not (tmp_path / "runs").exists()


def test_runs_without_weights_are_told(table, tmp_path, monkeypatch):
    folder, _ = table
    shutil.copytree(folder / "runs", tmp_path / "runs")
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    for path in (tmp_path / "runs").glob(f"*/*/{store.WEIGHTS}"):
        path.unlink()
    with pytest.raises(InputError, match="none of its runs of preset smoke holds weights"):
        weights_of("shiftaddaug_t04", tmp_path, preset="smoke")


class Asked:
    """Runs that are done as asked, without doing anything."""

    def __call__(self, specs):
        return {key: SimpleNamespace(spec=spec, ok=True) for key, spec in specs.items()}


def test_every_run_has_a_name_of_its_own():
    noted = _Noting(Asked())

    def spec(place, kind="tiny"):
        return SimpleNamespace(folder=place, seed=0, kind=kind)

    noted({key: spec(place) for place, key in enumerate([(32, 0), (128, 0), ("T0", 0), 0])})
    noted({("T0↑", 0): spec(9), ("t0", 0): spec(8, "two_stage"), ("t0", 1): spec(7, "two_stage")})
    noted({("t0",): spec(6, "two_stage")})
    noted({("T0", 0): spec(2)})  # the same run again
    noted({("another column", 0): spec(2)})  # and under another name
    folders = {name: outcome.spec.folder for name, outcome in _named(noted.noted.values()).items()}
    expected = {"32": 0, "128": 1, "t0": 2, "": 3, "t0-up": 9, "t0-two-stage": 8, "t0-1": 7, "t0-two-stage-2": 6}
    assert folders == expected


def test_a_run_that_failed_is_told(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("repro.runs.engine", lambda name, **options: lambda specs: failing(specs))

    def failing(specs):
        done = {
            key: SimpleNamespace(spec=spec, ok=True, state="done", message="", folder=spec.folder)
            for key, spec in specs.items()
        }
        first = next(iter(done))
        return done | {first: SimpleNamespace(spec=specs[first], ok=False, state="failed", message="MemoryError")}

    monkeypatch.setattr("repro.papers.shiftaddaug.comparing.method_rows", lambda *_, **__: pd.DataFrame())
    assert len(weights_of("shiftaddaug_t04", tmp_path, preset="smoke")) == 1
    assert "No weights of a run of kind tiny: failed, MemoryError" in capsys.readouterr().err


def test_rows_become_names_of_files():
    assert slug("AugShift, W + small Laplace") == "augshift-w-small-laplace"
    assert slug("MobileNetV2-w0.35") == "mobilenetv2-w0-35"


def test_a_segmenter_is_told_by_its_mean_iou():
    assert quality({"miou_pct": 61.5, "examples": 40}) == {"miou_pct": 61.5, "test_images": 40}
