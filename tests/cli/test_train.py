"""`repro train`: options of a model from the command line, one printed row per epoch, bad options in one sentence."""

import pytest
from typer.testing import CliRunner

from repro.cli import main
from repro.cli.train import parse_options
from repro.errors import InputError
from repro.papers.acghostnet import explorer


@pytest.fixture(scope="module", autouse=True)
def mounted():
    main._mount()


def test_options_are_numbers_words_or_lists():
    parsed = parse_options(["width=0.25", "form=cifar", "choices=CCg1,AAg1", "blocks=(1, 1)"])
    assert parsed == {"width": 0.25, "form": "cifar", "choices": ["CCg1", "AAg1"], "blocks": (1, 1)}
    with pytest.raises(InputError, match="set='width' is not allowed; write name=value"):
        parse_options(["width"])


def test_the_explorers_command_trains_its_network():
    command = explorer.training_command(["CCg1"] * 16, dataset="digits", epochs=1).split()
    assert command[:3] == ["python", "-m", "repro"]
    small = ["--set", "width=0.25", "--set", "head=32", "--train-images", "100", "--batch-size", "50"]
    result = CliRunner().invoke(main.app, [*command[3:], *small], catch_exceptions=False)
    assert result.exit_code == 0
    assert "epoch 1" in result.output and "test_accuracy_pct" in result.output and "outcome: finished" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ghostnt"], "Did you mean 'ghostnet'"),
        (["ghostnet", "--dataset", "digit"], "Did you mean 'digits'"),
        (["ghostnet", "--dataset", "digits", "--set", "widht=1"], "no option 'widht'"),
        (["ghostnet", "--dataset", "digits", "--adaptive", "some"], "adaptive='some' is not known"),
    ],
)
def test_bad_options_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(main.app, ["train", *arguments], catch_exceptions=False)
