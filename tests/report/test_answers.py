"""Answers that several records share lie once beside them, are found again, checked, and removed when unused."""

import concurrent.futures

import numpy as np
import pandas as pd
import pytest

from repro.errors import DamagedError
from repro.paths import results_root
from repro.report import answers
from repro.report.examples import pack
from repro.report.records import drop_unused_answers, read_record


def packed(seed, examples=2000):
    return pack(np.random.default_rng(seed).integers(0, 2, examples))


def frame_of(*texts):
    return pd.DataFrame({"seed": range(len(texts)), "correct": texts})


def test_long_answers_are_named_in_their_place_kept_once_and_found_again(tmp_path):
    one, two, short = packed(1), packed(2), packed(3, 64)
    frame = frame_of(one, two, short, "", one)
    stored = answers.put_away(frame, tmp_path)
    names = list(stored["correct"])
    assert names[2:4] == [short, ""] and names[0] == names[4] != names[1]
    assert all(len(name) == 17 and name[0] == "@" for name in (names[0], names[1]))
    answers.put_away(frame_of(two), tmp_path)  # another record of the same run
    files = list((tmp_path / "answers").glob("*.csv"))
    assert sum(len(path.read_text().splitlines()) - 1 for path in files) == 2
    pd.testing.assert_frame_equal(answers.fetched(stored, tmp_path), frame)
    assert list(frame["correct"]) == [one, two, short, "", one]  # the caller's frame stays as it was


def test_frames_without_long_answers_stay_and_need_no_folder(tmp_path):
    for frame in (
        frame_of(packed(3, 64), ""),
        pd.DataFrame({"model": ["a"]}),
        pd.DataFrame({"correct": [np.nan, 1.0]}),
    ):
        assert answers.put_away(frame, tmp_path) is frame and answers.fetched(frame, tmp_path) is frame
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("damage", ["lost", "not what was written"])
def test_answers_that_are_lost_or_changed_are_one_sentence(tmp_path, damage):
    one = packed(1)
    stored = answers.put_away(frame_of(one), tmp_path)
    (path,) = (tmp_path / "answers").glob("*.csv")
    path.write_text(path.read_text().replace(one, "" if damage == "lost" else packed(2)))
    if damage == "lost":
        path.unlink()
    with pytest.raises(DamagedError, match=f"the answers {stored['correct'][0][1:]} are {damage}"):
        answers.fetched(stored, tmp_path)


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    frames = [frame_of(*(packed(8 * number + place) for place in range(8))) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda frame: answers.put_away(frame, tmp_path), frames))
    for frame, names in zip(frames, stored):
        pd.testing.assert_frame_equal(answers.fetched(names, tmp_path), frame)


def test_what_no_record_names_is_removed(tmp_path):
    one, two = (answers.put_away(frame_of(packed(seed)), tmp_path) for seed in (1, 2))
    record = tmp_path / "a.csv"
    one.to_csv(record, index=False)
    assert answers.prune(tmp_path, lambda: [record]) == 1 and answers.prune(tmp_path, lambda: [record]) == 0
    assert answers.fetched(one, tmp_path)["correct"][0] == packed(1)
    with pytest.raises(DamagedError, match="are lost"):
        answers.fetched(two, tmp_path)


def test_no_committed_answers_are_unused_or_kept_twice(tmp_path):
    kept = [line for path in (results_root() / "answers").glob("*.csv") for line in path.read_text().splitlines()[1:]]
    named = set()
    for path in results_root().glob("*/*.examples.csv"):
        named |= {word for line in path.read_text().splitlines() for word in line.split(",") if word.startswith("@")}
    assert sorted(line.partition(",")[0] for line in kept) == sorted(name[1:] for name in named)
    record = read_record(results_root() / "shiftaddaug_t07" / "study-cifar10.json")
    assert record.frame.attrs["extra"]["examples"]["correct"].str.len().min() == 1668


def test_records_and_their_answers_move_together(tmp_path):
    source = results_root() / "shiftaddaug_t12"
    for path in (*source.glob("study-cifar10*"), *(results_root() / "answers").glob("*.csv")):
        target = tmp_path / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    removed = drop_unused_answers(tmp_path)
    assert removed > 0 and drop_unused_answers(tmp_path) == 0
    again, first = (read_record(folder / "study-cifar10.json") for folder in (tmp_path / source.name, source))
    pd.testing.assert_frame_equal(again.frame.attrs["extra"]["examples"], first.frame.attrs["extra"]["examples"])
