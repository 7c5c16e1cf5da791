"""Cells as text and files, and the sizes of the cells of other methods."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from repro.cost.skeleton import skeleton
from repro.errors import InputError
from repro.models.genotypes import NAMED, Genotype, genotype, read_genotype, write_genotype

CELLS = NAMED["dots_cifar10"]


def test_cells_are_written_and_read(tmp_path):
    assert read_genotype(write_genotype(tmp_path / "cells.json", CELLS)) == CELLS
    assert genotype(CELLS.as_text()) == genotype(json.loads(CELLS.as_text())) == CELLS


def test_nodes_compare_cells_whatever_the_order_of_edges():
    swapped = Genotype(CELLS.normal[1::-1] + CELLS.normal[2:], CELLS.reduce)
    assert swapped != CELLS and swapped.nodes("normal") == CELLS.nodes("normal")
    assert CELLS.nodes("normal")[3] == (("skip_connect", 1), ("dil_conv_3x3", 3))


# Millions of trainable values at 36 channels and 20 cells, counted once from the public lists (names of both columns).
SIZES = {
    "gdas": (3.37, 3.42),
    "p_darts": (3.43, 3.49),
    "pc_darts": (3.64, 3.69),
    "darts_minus_cifar10": (3.45, None),
    "darts_minus_cifar100": (None, 3.42),
    "dots_cifar10": (3.53, None),
    "dots_cifar100": (None, 4.06),
}


@pytest.mark.parametrize("name", SIZES)
def test_cells_of_other_methods_have_their_size(name):
    for classes, size in zip((10, 100), SIZES[name]):
        if size is not None:
            model = skeleton("cells", genotype=name, num_classes=classes)
            params = sum(parameter.numel() for parameter in model.parameters())
            assert params / 1e6 == pytest.approx(size, abs=0.0055)


# The same cells in shorthand, noted apart from the module's: s skip, 3 and 5 separable, d dilated, mx and av pools, and
# the input; nodes by commas.
NOTED = {
    "gdas": ("s0 s1, s0 5.2, 3.3 s0, 5.4 3.3", "5.0 3.1, 5.2 5.1, d5.2 3.1, 5.0 5.1"),
    "p_darts": ("s0 d3.1, s0 3.1, 3.1 3.3, 3.0 d5.4", "av0 5.1, 3.0 d5.2, mx0 d3.1, d3.1 d5.3"),
    "pc_darts": ("3.1 s0, 3.0 d3.1, 5.0 3.1, av0 d3.1", "5.1 mx0, 5.1 5.2, 3.0 3.3, 3.1 3.2"),
    "darts_minus_cifar10": ("3.0 5.1, 3.1 d3.2, s1 3.0, s1 3.0", "3.0 mx1, s2 mx0, s2 s3, s2 s3"),
    "darts_minus_cifar100": ("d5.0 d3.1, 3.1 d3.0, d5.0 d3.1, 3.1 d5.0", "mx0 5.1, s2 5.0, s2 s3, s2 s3"),
    "dots_cifar10": ("s0 3.1, 3.0 3.1, 3.0 3.1, s1 d3.3", "3.0 3.1, mx0 mx1, mx0 d5.3, mx0 d5.4"),
    "dots_cifar100": ("3.0 3.1, s0 3.1, 3.1 3.3, 3.1 d3.4", "av0 av1, 5.0 5.1, 3.0 d5.3, 3.3 d3.4"),
    "dots_imagenet": ("d5.0 s1, s0 3.1, 3.0 3.1, 3.0 5.1", "5.0 3.1, 3.0 5.1, mx0 d5.3, 3.0 mx1"),
}
LETTERS = {"s": "skip_connect", "mx": "max_pool_3x3", "av": "avg_pool_3x3"}


@pytest.mark.parametrize("name", NOTED)
def test_cells_of_other_methods_are_those_of_their_lists(name):
    for cell, text in zip(("normal", "reduce"), NOTED[name]):
        nodes = [tuple(edge(word) for word in node.split()) for node in text.split(", ")]
        assert NAMED[name].nodes(cell) == [tuple(sorted(node, key=lambda pair: pair[::-1])) for node in nodes]


def edge(word: str) -> tuple[str, int]:
    """ "d5.2" or "mx0" as (operation, input)."""
    kind, source = word.rstrip("01234."), int(word[-1])
    if kind in LETTERS:
        return LETTERS[kind], source
    size = word[-3]
    return f"{'dil' if kind.startswith('d') else 'sep'}_conv_{size}x{size}", source


def test_what_is_no_genotype_is_refused_in_a_sentence():
    for value in (3, None, ["darts_v1"]):
        with pytest.raises(InputError, match=f"^genotype={re.escape(repr(value))} is not known; allowed are: "):
            genotype(value)
    with pytest.raises(InputError, match="has the unknown field 2; its fields are"):
        genotype({2: 3, "a": 1, "normal": [], "reduce": []})


def test_whole_numbers_of_numpy_are_whole_numbers():
    of_numpy = [(name, np.int64(source)) for name, source in CELLS.normal]
    concat = tuple(np.arange(2, 2 + len(of_numpy) // 2))
    cells = Genotype(of_numpy, CELLS.reduce, concat, CELLS.reduce_concat)
    assert cells == CELLS and genotype(cells.as_text()) == CELLS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "genotype is no JSON text"),
        ('{"normal": ' + "[" * 100_000 + "]" * 100_000 + "}", "genotype is no JSON text"),
        ("[]", "holds no JSON object"),
        ('{"normal": []}', "lacks reduce"),
        ('{"normal": [], "reduce": []}', "must list two"),
        (CELLS.as_text().replace("sep_conv_3x3", "sep_conv_9x9"), "unknown operation 'sep_conv_9x9'"),
        (CELLS.as_text().replace('["skip_connect", 0]', '["skip_connect", 2]'), "reads input 2"),
        (CELLS.as_text().replace('"reduce_concat": [2', '"reduce_concat": [9'), "must name different nodes"),
        (CELLS.as_text().replace('"normal_concat": [2', '"normal_concat": [2.5'), "must name different nodes"),
        (CELLS.as_text().replace('"normal_concat": [2', '"normal_concat": [[2]'), "must name different nodes"),
        ('{"normal": [["skip_connect", 0], ["skip_connect", 1]], "reduce": [], "normal_concat": 2}', "normal_concat=2"),
    ],
)
def test_a_malformed_file_is_refused_in_a_sentence(text, sentence, tmp_path):
    file = tmp_path / "cells.json"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_genotype(file)


def test_bytes_that_are_no_text_are_refused_in_a_sentence(tmp_path):
    file = tmp_path / "cells.json"
    for body in (b"\xff\xfe", b'{"normal": "\xff"}', CELLS.as_text().encode("utf-16")):
        file.write_bytes(body)
        with pytest.raises(InputError):
            read_genotype(file)


def test_a_file_that_an_editor_gave_a_mark_is_read(tmp_path):
    path = write_genotype(tmp_path / "cells.json", NAMED["dots_cifar10"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_genotype(path) == NAMED["dots_cifar10"]


def test_cells_of_another_number_of_nodes_are_told_of_the_default():
    small = (("skip_connect", 0), ("sep_conv_3x3", 1))
    with pytest.raises(InputError, match=r"normal_concat=\(2, 3, 4, 5\) \(the default, for four nodes\) must name"):
        Genotype(small, small)
    assert Genotype(small, small, (2,), (2,)).normal == small
