"""Answers of test images survive packing, and text that is not theirs is refused."""

import math

import numpy as np
import pytest

from repro.errors import InputError
from repro.report.examples import pack, pack_counts, unpack, unpack_counts


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 360, 2000])
def test_answers_survive_packing(examples):
    right = np.random.default_rng(examples).random(examples) < 0.7
    text = pack(right)
    np.testing.assert_array_equal(unpack(text, examples), right)
    assert len(text) == 4 * math.ceil(math.ceil(examples / 8) / 3)  # 8 answers to a byte, 4 characters for 3 bytes
    np.testing.assert_array_equal(unpack(pack(right.astype(int)), examples), right)


@pytest.mark.parametrize("wrong", [[[0, 1]], [0, 2], [0.5]])
def test_what_is_no_line_of_zeros_and_ones_is_refused(wrong):
    with pytest.raises(InputError, match="0 and 1"):
        pack(np.array(wrong))


@pytest.mark.parametrize(("text", "examples"), [("!!!", 8), ("gA==", 9), ("gA==", 0), (None, 8)])
def test_text_that_does_not_hold_the_answers_is_refused(text, examples):
    with pytest.raises(InputError):
        unpack(text, examples)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 4, 4), (0, 3), (5,)])
def test_counts_survive_packing(shape):
    counts = np.random.default_rng(0).integers(0, 2**31, shape)
    found = unpack_counts(pack_counts(counts), shape)
    assert found.dtype == np.int64 and np.array_equal(found, counts)


def test_confusion_matrices_that_are_mostly_empty_pack_small():
    counts = np.zeros((400, 21, 21), dtype=np.int64)
    counts[:, 0, 0] = 2304
    assert len(pack_counts(counts)) < 4000


@pytest.mark.parametrize("wrong", [[-1], [2**31], [0.5]])
def test_what_is_no_count_is_refused(wrong):
    with pytest.raises(InputError, match="whole ones"):
        pack_counts(np.array(wrong))


@pytest.mark.parametrize(
    ("text", "shape"), [("!!!", (1,)), (pack_counts([1, 2]), (3,)), (pack_counts([1, 2]), (1,)), (None, (1,))]
)
def test_text_that_does_not_hold_the_counts_is_refused(text, shape):
    with pytest.raises(InputError, match="counts"):
        unpack_counts(text, shape)
