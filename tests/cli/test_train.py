"""`repro train`: options of a model from the command line, one printed row per epoch, bad options in one sentence."""

import pytest
from typer.testing import CliRunner

from repro.cli import main
from repro.cli.train import parse_options
from repro.errors import InputError
from repro.models import load_model
from repro.papers import jobs
from repro.papers.acghostnet import explorer
from repro.papers.data import DataRecipe, load_splits
from repro.papers.weights import accuracy_interval


@pytest.fixture(scope="module", autouse=True)
def mounted():
    main._mount()


def test_options_are_numbers_words_or_lists():
    parsed = parse_options(["width=0.25", "form=cifar", "choices=CCg1,AAg1", "blocks=(1, 1)"])
    assert parsed == {"width": 0.25, "form": "cifar", "choices": ["CCg1", "AAg1"], "blocks": (1, 1)}
    with pytest.raises(InputError, match="set='width' is not allowed; write name=value"):
        parse_options(["width"])


def test_the_explorers_command_trains_its_network_and_keeps_it_with_a_card(tmp_path):
    command = explorer.training_command(["CCg1"] * 16, dataset="digits", epochs=1).split()
    assert command[:3] == ["python", "-m", "repro"]
    small = ["--set", "width=0.25", "--set", "head=32", "--train-images", "100", "--batch-size", "50"]
    path = tmp_path / "made" / "network.safetensors"
    result = CliRunner().invoke(main.app, [*command[3:], *small, "--save", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "epoch 1" in result.output and "test_accuracy_pct" in result.output and "outcome: finished" in result.output

    model = load_model(path)
    found, images = model.card["accuracy"], load_splits(DataRecipe("digits", test_images=100)).test
    assert jobs.tested(model, images, classes=10)["top1_pct"] == found["top1_pct"]
    assert f"test_accuracy_pct {found['top1_pct']:.4g}" in result.output
    assert found["test_images"] == 100 and found["low_pct"] < found["top1_pct"] < found["high_pct"]
    assert model.card["recipe"]["epochs"] == 1
    assert model.card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    text = path.with_suffix(".md").read_text()
    assert f"{found['top1_pct']:.2f} % top-1 on 100 test images" in text
    assert "Apache-2.0" in text and "width 0.25" in text


def test_the_interval_of_an_accuracy_is_wilsons():
    found = accuracy_interval(50.0, 100)  # (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.95996
    assert found["low_pct"] == pytest.approx(40.383, abs=1e-3) and found["high_pct"] == pytest.approx(59.617, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ghostnt"], "Did you mean 'ghostnet'"),
        (["ghostnt"], "model='ghostnt'"),
        (["translation", "--dataset", "digits"], "^model='translation' does not classify images, which digits holds"),
        (
            ["mobilenet_v2_seg", "--dataset", "digits", "--train-images", "20", "--epochs", "1"],
            r"outputs have shape \(20, 10, 8, 8\), but must be \(images, classes\).* does not classify images",
        ),
        (["ghostnet", "--dataset", "digit"], "Did you mean 'digits'"),
        (["ghostnet", "--dataset", "digits", "--set", "widht=1"], "no option 'widht'"),
        (["ghostnet", "--dataset", "digits", "--adaptive", "some"], "adaptive='some' is not known"),
        (["ghostnet", "--dataset", "digits", "--precision", "half"], "precision='half' is not known"),
        (["ghostnet", "--dataset", "pets", "--train-images", "9"], "train_images=9 .* pets is read from its files"),
        (
            ["ghostnet", "--dataset", "digits", "--train-images", "99999"],
            "^train_images=99999 is not allowed; it must be a whole number at least 0 and at most 1437",
        ),
        (
            ["ghostnet", "--save", "weights.pt"],
            "'weights.pt' is not allowed; name a file that ends in .safetensors",
        ),
        (["ghostnet", "--dataset", "digits", "--seed", str(2**63)], "seed=9223372036854775808 .* at most 922337203685"),
        (["ghostnet", "--dataset", "digits", "--set", "name=x"], "name='x' is not allowed; .* the first argument"),
        (["ghostnet", "--dataset", "digits", "--set", "keep=7"], "keep=7 is not allowed; it must be names"),
        (["ghostnet", "--dataset", "digits", "--set", "keep=(1,)"], r"keep=\(1,\) is not allowed; it must be names"),
        (
            ["ghostnet", "--dataset", "digits", "--set", "op_options=5"],
            "op_options=5 is not allowed; it must be options by",
        ),
        (["ghostnet", "--dataset", "digits", "--set", "op_options={'shift': 3}"], "'shift': 3} is not allowed"),
        (["ghostnet", "--save", "/dev/null/w.safetensors"], "cannot be written .*name another place"),
    ],
)
def test_bad_options_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(main.app, ["train", *arguments], catch_exceptions=False)
