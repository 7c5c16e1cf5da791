"""Data sets: formats, cache, subsets, messages. No network; real CIFAR-10 is used only where $REPRO_DATA has it."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repro.datasets import batches, cifar, grey, load, source, split_half
from repro.datasets.cache import folder_of_caches
from repro.datasets.subset import area_resize, channel_stats, stratified_order
from repro.errors import InputError, MissingDataError
from tests import cifar_format

REAL_ROOT = os.environ.get("REPRO_DATA")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """An empty data root and an empty cache for every test; Debian's folder is out of sight."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(grey, "DEBIAN_FASHION", tmp_path / "debian")
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def cifar100(root, monkeypatch) -> dict[str, dict]:
    """A CIFAR-100 tarball in the official format in the data root; its content."""
    content = cifar_format.cifar100_content()
    tarball = root / "cifar100" / "cifar-100-python.tar.gz"
    cifar_format.write_tarball(tarball, "cifar-100-python", {"file.txt~": b"", **cifar_format.pickled(content)})
    cifar_format.publish(monkeypatch, "cifar100", tarball)
    return content


def write_fashion(folder: Path, compress: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, stem, number in (("train", "train", 30), ("test", "t10k", 10)):
        arrays[split] = np.random.default_rng(number).integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = np.arange(number, dtype=np.uint8) % 10
        for kind, array in ((f"{stem}-images-idx3-ubyte", arrays[split]), (f"{stem}-labels-idx1-ubyte", labels)):
            raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            (folder / (f"{kind}.gz" if compress else kind)).write_bytes(gzip.compress(raw) if compress else raw)
    return arrays


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_have_the_documented_shapes_and_a_fixed_split():
    train, test = load("digits", "train"), load("digits", "test")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
    assert train.num_classes == 10 and len(train.class_names) == 10
    assert train.images.max() == 255 and len(train.images.unique()) == 17
    # The split is part of every published result of ours: these prints change only if it does.
    assert train.fingerprint.startswith("5904f6bb59b8") and test.fingerprint.startswith("dffc96b536e2")
    shares = torch.bincount(test.labels) / torch.bincount(torch.cat([train.labels, test.labels]))
    assert (shares - 360 / 1797).abs().max() < 1 / 170


def test_digits_train_and_test_are_disjoint_and_complete():
    from sklearn.datasets import load_digits

    together = torch.cat([load("digits", split).images for split in ("train", "test")]).flatten(1)
    levels = torch.from_numpy(load_digits().data * (255 / 16)).round().to(torch.uint8)
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, levels.tolist()))


def test_mean_and_std_are_those_of_the_training_split_at_its_size():
    train, test = load("digits", "train", size=4), load("digits", "test", size=4)
    values = train.images.double() / 255
    assert train.mean == test.mean == pytest.approx([values.mean().item()])
    assert train.std == test.std == pytest.approx([values.std(correction=0).item()])
    assert train.images.shape[-2:] == (4, 4)


# --- the official CIFAR formats ---------------------------------------------------------------------------------------


def test_cifar100_is_read_from_the_official_tarball(cifar100):
    for split, number in (("train", 200), ("test", 100)):
        data = load("cifar100", split)
        assert data.images.shape == (number, 3, 32, 32)
        assert np.array_equal(data.images.numpy().reshape(number, 3072), cifar100[split][b"data"])
        assert data.labels.tolist() == cifar100[split][b"fine_labels"]
        assert data.class_names[3] == "fine_03" and data.num_classes == 100
        assert data.provenance["complete"] is False and data.provenance["lossy"] is False


def test_cifar10_tarball_and_its_unpacked_folder_hold_the_same(root, monkeypatch):
    members = cifar_format.pickled(cifar_format.cifar10_content())
    tarball = cifar_format.write_tarball(root / "cifar-10-python.tar.gz", "cifar-10-batches-py", members)
    cifar_format.publish(monkeypatch, "cifar10", tarball)
    packed = load("cifar10", "train")
    assert len(packed) == 100 and packed.provenance["source"] == "official python tarball"
    tarball.unlink()
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, raw in members.items():
        (folder / name).write_bytes(raw)
    unpacked = load("cifar10", "train")
    assert unpacked.provenance["source"] == "official python batches, unpacked"
    assert unpacked.fingerprint == packed.fingerprint
    (folder / "data_batch_3").unlink()
    with pytest.raises(MissingDataError, match="data_batch_3 is not in it"):
        load("cifar10", "train")


def test_fixture_pickles_equal_what_the_plain_unpickler_reads():
    """The writer in cifar_format is only worth something if Python itself agrees with it."""
    content = cifar_format.cifar100_content()["train"]
    raw = cifar_format.Python2Pickle().dumps(content)
    theirs, ours = pickle.loads(raw, encoding="bytes"), cifar.unpickle_arrays(raw, "train")
    for read in (theirs, ours):
        assert read.keys() == content.keys()
        assert np.array_equal(read[b"data"], content[b"data"]) and read[b"fine_labels"] == content[b"fine_labels"]


def test_pickles_of_python_3_are_read_too():
    content = {b"data": cifar_format.pixels(3, 0), b"fine_labels": [1, 2, 3]}
    for protocol in (2, 4):
        read = cifar.unpickle_arrays(pickle.dumps(content, protocol=protocol), "train")
        assert np.array_equal(read[b"data"], content[b"data"])


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.load", "posix.system"])
def test_a_pickle_that_asks_for_anything_else_is_refused_unexecuted(tmp_path, name):
    module, function = name.rsplit(".", 1)
    marker = tmp_path / "executed"
    raw = f"c{module}\n{function}\n(S'touch {marker}'\ntR.".encode()
    with pytest.raises(MissingDataError, match=f"asks for {name}"):
        cifar.unpickle_arrays(raw, "batch")
    assert not marker.exists()


class Called:
    """Unpickled, it would call a function with values of our choice."""

    def __init__(self, function, *values):
        self.call = (function, values)

    def __reduce__(self):
        return self.call


def array_of(dtype, shape=(2, 3072)) -> bytes:
    return pickle.dumps({b"data": np.zeros(shape, dtype)}, protocol=2)


HOSTILE = {
    "an array of objects": array_of(object, 2),
    "an array of floats": array_of(np.float32),
    "an array in column order": pickle.dumps({b"data": np.zeros((4, 3), np.uint8).T}, protocol=2),
    "a huge shape": array_of(np.uint8).replace(b"K\x02M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86"),
    "a negative shape": array_of(np.uint8).replace(b"K\x02M\x00\x0c\x86", b"J\xff\xff\xff\xffM\x00\x0c\x86"),
    "a type made from text": pickle.dumps(Called(np.dtype, "O"), protocol=2),
    "an array made at once": pickle.dumps(Called(np.ndarray, (2**40,)), protocol=2),
    "another codec": pickle.dumps(Called(codecs.encode, "a", "rot13"), protocol=2),
    "an endless memo": b"\x80\x02r\xff\xff\xff\x7f.",
    "a set": pickle.dumps({1, 2}, protocol=4),
    "no dict": pickle.dumps([1], protocol=2),
    "a key that is a list": b"\x80\x02}](K\x01es.",
    "two values": b"\x80\x02}}.",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_batch_file_holds_plain_values_or_is_refused(raw):
    with pytest.raises(MissingDataError, match=r"^batch is damaged or incomplete \(.*\); delete it") as caught:
        cifar.unpickle_arrays(raw, "batch")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stored", ["labels", "names"])
def test_lists_that_unpack_to_any_size_are_refused_before_they_do(stored, tmp_path, monkeypatch):
    wide = [1] * 1000
    for _ in range(4):  # 10^15 numbers, of which memory holds 5,000
        wide = [wide] * 1000
    labels, names = ([wide], [b"a"]) if stored == "labels" else ([0], [wide])
    batch = {b"data": np.zeros((1, 3072), np.uint8), b"labels": labels, b"fine_labels": labels}
    meta, key = cifar.META["cifar10"]
    content = dict.fromkeys(cifar.MEMBERS["cifar10"]["test"], batch) | {meta: {key: names}}
    monkeypatch.setattr(cifar, "unpickle_arrays", lambda raw, where: raw)
    with pytest.raises(MissingDataError, match=r"labels are not whole numbers|class names are not text"):
        cifar._from_batches("cifar10", "test", content, tmp_path)


def test_a_batch_file_with_any_byte_changed_is_read_or_refused():
    raw = cifar_format.Python2Pickle().dumps({b"fine_labels": [1, 2, 300], b"data": np.zeros((1, 3), np.uint8)})
    outcomes = set()
    for place in range(len(raw)):
        for value in range(0, 256, 5):
            try:
                content = cifar.unpickle_arrays(raw[:place] + bytes([value]) + raw[place + 1 :], "batch")
                outcomes.update(type(item) for item in content.values())
            except MissingDataError:
                outcomes.add("refused")
    assert outcomes - {"refused"} <= {list, np.ndarray, bytes, str, int, float, dict, tuple, bool, type(None)}
    assert {"refused", list, np.ndarray} <= outcomes


@pytest.mark.parametrize("labels", [[0.5, 1], ["1", 2], [None, 1], [[1], 2], [2**70, 1], [1]], ids=str)
def test_labels_of_a_batch_file_are_whole_numbers(labels):
    raw = pickle.dumps({b"fine_labels": labels, b"data": cifar_format.pixels(2, 0)}, protocol=2)
    with pytest.raises(MissingDataError, match="labels"):
        cifar._from_batches("cifar100", "test", {"test": raw}, Path("folder"))


def test_a_tarball_with_the_wrong_checksum_is_refused(cifar100, root):
    tarball = root / "cifar100" / "cifar-100-python.tar.gz"
    raw = tarball.read_bytes()
    tarball.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(MissingDataError, match=r"SHA-256 is not the published one.*delete it and fetch"):
        load("cifar100", "train")


def test_half_a_tarball_is_refused_with_its_size(cifar100, root):
    tarball = root / "cifar100" / "cifar-100-python.tar.gz"
    raw = tarball.read_bytes()
    tarball.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(MissingDataError, match=f"{len(raw) // 2} of {len(raw)} bytes"):
        load("cifar100", "train")


def test_a_tarball_without_its_test_file_is_refused(root, monkeypatch):
    members = cifar_format.pickled(cifar_format.cifar100_content())
    del members["test"]
    tarball = cifar_format.write_tarball(root / "cifar-100-python.tar.gz", "cifar-100-python", members)
    cifar_format.publish(monkeypatch, "cifar100", tarball)
    with pytest.raises(MissingDataError, match="test is not in it"):
        load("cifar100", "test")


def test_members_outside_the_folder_are_neither_read_nor_written(root, monkeypatch):
    members = {"../../escaped": b"x", **cifar_format.pickled(cifar_format.cifar100_content())}
    tarball = cifar_format.write_tarball(root / "cifar-100-python.tar.gz", "cifar-100-python", members)
    cifar_format.publish(monkeypatch, "cifar100", tarball)
    assert len(load("cifar100", "train")) == 200
    assert [path.name for path in root.iterdir()] == [tarball.name]
    assert not list(root.parent.rglob("escaped"))


# --- parquet ----------------------------------------------------------------------------------------------------------


def write_cifar100_parquet(root: Path, content: dict, kind: str = "PNG") -> Path:
    folder = root / "cifar100" / "cifar100"
    for split in ("train", "test"):
        images = content[split][b"data"].reshape(-1, 3, 32, 32)
        file = folder / f"{split}-00000-of-00001.parquet"
        cifar_format.write_parquet(file, images, content[split][b"fine_labels"], ("img", "fine_label"), kind)
    return folder


def test_parquet_of_png_equals_the_tarball(cifar100, root):
    from_tarball = load("cifar100", "train")
    (root / "cifar100" / "cifar-100-python.tar.gz").unlink()
    write_cifar100_parquet(root, cifar100)
    data = load("cifar100", "train")
    assert data.fingerprint == from_tarball.fingerprint and data.class_names == from_tarball.class_names
    assert data.provenance["image_format"] == "PNG (200)" and data.provenance["lossy"] is False


def test_provenance_says_that_images_are_jpeg_recompressed(root):
    content = cifar_format.cifar100_content()
    write_cifar100_parquet(root, content, "JPEG")
    data = load("cifar100", "test")
    assert data.provenance["lossy"] is True and "100 of 100 images were recompressed" in data.provenance["note"]
    assert not np.array_equal(data.images.numpy().reshape(100, 3072), content["test"][b"data"])


def test_provenance_is_json_and_names_no_folder_of_this_machine(root):
    write_cifar100_parquet(root, cifar_format.cifar100_content())
    for data in (load("cifar100", "train"), load("cifar100", "train", size=16, limit=100), load("digits", "test")):
        text = json.dumps(data.provenance)
        assert str(root) not in text and str(root.parent) not in text
    files = load("cifar100", "train").provenance["files"]
    assert files[0]["file"] == "cifar100/cifar100/train-00000-of-00001.parquet" and len(files[0]["sha256"]) == 64


@pytest.mark.parametrize(
    "names",
    [
        ("data/test-00000-of-00002-0c25e4f2c9f6b5ef.parquet", "data/test-00001-of-00002-9a3b11d07be59ae5.parquet"),
        ("plain_text/test/0000.parquet", "plain_text/test/0001.parquet"),
    ],
    ids=["with a hash", "converted"],
)
def test_the_other_names_that_the_hub_gives_are_read(root, names):
    images = cifar_format.pixels(20, 3).reshape(-1, 3, 32, 32)
    for part, name in enumerate(names):
        rows = slice(10 * part, 10 * part + 10)
        cifar_format.write_parquet(root / "cifar10" / name, images[rows], list(range(10)), ("img", "label"))
    source = cifar.locate("cifar10", "test", root)
    assert np.array_equal(source.read().images, images)
    (root / "cifar10" / names[0]).unlink()
    if "of" in names[0]:
        with pytest.raises(MissingDataError, match="1 of 2 parquet files"):
            cifar.locate("cifar10", "test", root)


def parquet_of(root: Path, rows: list, labels: list) -> Path:
    """A hub file with any images and labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = root / "cifar10" / "test.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array(rows, kind), "label": pa.array(labels)}), file)
    return file


def picture(kind: str, size: tuple[int, int] = (32, 32)) -> dict:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.mark.parametrize(
    "rows, labels, sentence",
    [
        ([picture("PNG"), None], [1, 2], "image 1 is empty"),
        ([{"bytes": None, "path": "a.png"}], [1], "image 0 is empty"),
        ([picture("PNG")], [1.0], "the column label does not hold whole numbers only"),
        ([picture("PNG")], ["cat"], "the column label does not hold whole numbers only"),
        ([picture("PNG"), picture("PNG")], [1, None], "the column label does not hold whole numbers only"),
        ([picture("PNG", (4000, 3000))], [1], "image 0 is 4000x3000, not 32x32"),
        ([picture("EPS")], [1], "image 0 cannot be decoded"),
        ([picture("TIFF")], [1], "image 0 cannot be decoded"),
    ],
)
def test_hub_files_with_foreign_rows_are_one_sentence(root, monkeypatch, rows, labels, sentence):
    parquet_of(root, rows, labels)
    if "4000" in sentence:
        monkeypatch.setattr(Image.Image, "convert", None)  # refused before it is decoded
    with pytest.raises(MissingDataError, match=sentence):
        cifar.locate("cifar10", "test", root).read()


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 1}', b'{"info": {"features": {"label": {"names": 3}}}}'])
def test_names_that_a_hub_file_does_not_declare_rightly_are_left_out(metadata):
    assert cifar._declared_names({b"huggingface": metadata}, "label") is None


def test_what_unpacks_beyond_every_known_file_is_refused(root, monkeypatch):
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(cifar, "MAX_FILE_BYTES", 1000)
    write_fashion(root / "fashion-mnist")
    with pytest.raises(MissingDataError, match="it holds more than 1000 bytes"):
        load("fashion-mnist", "train")
    file = parquet_of(root, [{"bytes": bytes([k]) * 50, "path": None} for k in range(200)], [1] * 200)
    with pytest.raises(MissingDataError, match="it unpacks to more than 1000 bytes"):
        cifar.locate("cifar10", "test", root).read()
    file.unlink()
    members = cifar_format.pickled(cifar_format.cifar10_content())
    tarball = cifar_format.write_tarball(root / "cifar-10-python.tar.gz", "cifar-10-batches-py", members)
    cifar_format.publish(monkeypatch, "cifar10", tarball)
    with pytest.raises(MissingDataError, match="holds more than 1000 bytes"):
        load("cifar10", "train")


def test_what_is_stored_once_and_named_often_is_refused_before_it_fills_the_memory(root, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_FILE_BYTES", 100_000)
    parquet_of(root, [{"bytes": bytes(5000), "path": None}] * 2000, [1] * 2000)
    with pytest.raises(MissingDataError, match="its rows hold more than 100000 bytes"):
        cifar.locate("cifar10", "test", root).read()


def test_a_comment_in_an_archive_is_no_way_round_the_bound(root, monkeypatch):
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 100_000)
    tarball = root / "cifar-10-python.tar.gz"
    with tarfile.open(tarball, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 200_000}) as archive:
        archive.addfile(tarfile.TarInfo("cifar-10-batches-py/readme.html"))
    cifar_format.publish(monkeypatch, "cifar10", tarball)
    with pytest.raises(MissingDataError, match="holds more than 100000 bytes"):
        load("cifar10", "train")


def test_shards_are_joined_and_a_missing_one_is_noticed(root):
    images, labels = cifar_format.pixels(20, 3).reshape(-1, 3, 32, 32), [k % 10 for k in range(20)]
    folder = root / "cifar10"
    for part in range(2):
        rows = slice(10 * part, 10 * part + 10)
        file = folder / f"train-0000{part}-of-00002.parquet"
        cifar_format.write_parquet(file, images[rows], labels[rows], ("image", "label"))
    assert np.array_equal(load("cifar10", "train").images.numpy(), images)
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(MissingDataError, match="1 of 2 parquet files"):
        load("cifar10", "train")


def test_damaged_and_foreign_parquet_files_are_refused(root):
    folder = write_cifar100_parquet(root, cifar_format.cifar100_content())
    file = folder / "train-00000-of-00001.parquet"
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(MissingDataError, match="damaged or incomplete"):
        load("cifar100", "train")
    file.write_bytes(raw)
    (root / "cifar10").mkdir()
    file.rename(root / "cifar10" / file.name)
    with pytest.raises(MissingDataError, match="label are needed; is it another data set"):
        load("cifar10", "train")


def test_labels_outside_the_classes_are_refused(root):
    images = cifar_format.pixels(2, 3).reshape(-1, 3, 32, 32)
    cifar_format.write_parquet(root / "cifar10" / "train.parquet", images, [3, 10], ("img", "label"))
    with pytest.raises(MissingDataError, match=r"labels are not 0\.\.9"):
        load("cifar10", "train")


# --- Fashion-MNIST ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["raw/fashion-mnist", "raw/FashionMNIST/raw", "debian"])
@pytest.mark.parametrize("compress", [True, False], ids=["gz", "plain"])
def test_fashion_mnist_is_found_in_every_documented_place(tmp_path, place, compress):
    arrays = write_fashion(tmp_path / place, compress)
    for split in ("train", "test"):
        data = load("fashion-mnist", split)
        assert np.array_equal(data.images.numpy()[:, 0], arrays[split])
        assert data.labels[:3].tolist() == [0, 1, 2] and data.class_names[9] == "Ankle boot"


def test_damaged_idx_files_are_refused(root):
    folder = root / "fashion-mnist"
    write_fashion(folder, compress=False)
    images = folder / "train-images-idx3-ubyte"
    raw = images.read_bytes()
    endless = bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 2**31) + bytes(16)  # 2**62 values: 0 in 32 bits
    for broken, message in (
        (raw[:-1], "values where its header promises"),
        (endless, "16 values where its header promises 2147483648 x 2147483648"),
        (bytes([0, 0, 8, 200]) + bytes(800), "does not begin like"),
        (b"GIF89a", "does not begin like"),
    ):
        images.write_bytes(broken)
        with pytest.raises(MissingDataError, match=message):
            load("fashion-mnist", "train")
    images.unlink()
    (folder / f"{images.name}.gz").write_bytes(gzip.compress(raw)[:-20])
    with pytest.raises(MissingDataError, match="damaged or incomplete"):
        load("fashion-mnist", "train")
    (folder / f"{images.name}.gz").unlink()
    with pytest.raises(MissingDataError, match=r"train-images-idx3-ubyte\.gz is not in it"):
        load("fashion-mnist", "train")


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (("cifar", "train"), {}, "dataset='cifar' is not known.*Did you mean 'cifar"),
        (("digits", "tset"), {}, "split='tset' is not known.*Did you mean 'test'"),
        (("digits", "train"), {"limit": 0}, "limit=0 is not allowed"),
        (("digits", "train"), {"limit": 1438}, "limit=1438 is not allowed; digits has 1437 images"),
        (("digits", "train"), {"limit": 2.5}, "limit=2.5 is not allowed"),
        (("digits", "train"), {"size": 0}, "size=0 is not allowed"),
        (("digits", "train"), {"subset_seed": -1}, "subset_seed=-1 is not allowed"),
    ],
)
def test_bad_arguments_give_one_sentence(arguments, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_absent_data_says_where_it_looked_and_what_to_do(root, tmp_path):
    with pytest.raises(MissingDataError, match=r"cifar10 \(train\) was not found in the data root .*fetch cifar10"):
        load("cifar10", "train")
    with pytest.raises(MissingDataError, match="nor in Debian's folder"):
        load("fashion-mnist", "train")
    with pytest.raises(MissingDataError, match=r"nowhere does not exist; run `python -m repro data fetch"):
        load("cifar10", "train", tmp_path / "nowhere")


# --- cache ------------------------------------------------------------------------------------------------------------


def test_the_second_load_reads_the_cache_as_a_memory_map(cifar100, monkeypatch):
    first = load("cifar100", "train")

    def refuse(self):
        raise AssertionError("decoded twice")

    monkeypatch.setattr(cifar.TarballSource, "read", refuse)
    second = load("cifar100", "train")
    assert second.fingerprint == first.fingerprint and second.provenance == first.provenance
    second.images[0] = 0  # copy on write: the file stays as it is
    assert load("cifar100", "train").fingerprint == first.fingerprint


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "meta.json"])
def test_a_truncated_cache_file_is_rebuilt_and_said(cifar100, file):
    whole = load("cifar100", "train").fingerprint
    (path,) = folder_of_caches().glob(f"cifar100-train-full-*/{file}")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(RuntimeWarning, match="is damaged .*decoding cifar100 again"):
        assert load("cifar100", "train").fingerprint == whole
    assert load("cifar100", "train").fingerprint == whole


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "meta.json"])
def test_one_flipped_byte_in_the_cache_is_noticed(cifar100, file):
    whole = load("cifar100", "train").fingerprint
    (path,) = folder_of_caches().glob(f"cifar100-train-full-*/{file}")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.warns(RuntimeWarning, match="is damaged .*decoding cifar100 again"):
        assert load("cifar100", "train").fingerprint == whole
    assert load("cifar100", "train").fingerprint == whole


def test_a_flipped_byte_in_a_remembered_sum_is_forgotten(cifar100):
    load("cifar100", "train")
    for path in (folder_of_caches() / "sums").iterdir():
        path.write_text(path.read_text().replace('"sum": "', '"sum": "0'))
    assert len(load("cifar100", "train")) == 200


def test_changed_source_files_are_not_served_from_the_cache(root):
    content = cifar_format.cifar100_content()
    folder = write_cifar100_parquet(root, content)
    before = load("cifar100", "train")
    file = folder / "train-00000-of-00001.parquet"
    images = 255 - content["train"][b"data"].reshape(-1, 3, 32, 32)
    cifar_format.write_parquet(file, images, content["train"][b"fine_labels"], ("img", "fine_label"))
    assert np.array_equal(load("cifar100", "train").images.numpy(), 255 - before.images.numpy())


def test_an_unwritable_cache_leaves_the_data_in_memory_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "a_file").write_text("in the way")
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "a_file" / "cache"))
    with pytest.warns(RuntimeWarning, match="stays in memory uncached: cannot write to folder"):
        assert len(load("digits", "train")) == 1437


def test_two_processes_side_by_side_decode_once_and_agree(cifar100, root):
    # An unpacked folder has no published sum, so that processes without this test's registry accept it.
    (root / "cifar100" / "cifar-100-python.tar.gz").unlink()
    folder = root / "cifar100" / "cifar-100-python"
    folder.mkdir()
    for name, raw in cifar_format.pickled(cifar100).items():
        (folder / name).write_bytes(raw)
    program = (
        "import repro.datasets.cifar as c, repro.datasets as d\n"
        "read = c.BatchFolderSource.read\n"
        "def told(self):\n    print('decoded', self.split)\n    return read(self)\n"
        "c.BatchFolderSource.read = told\n"
        "print(d.load('cifar100', 'train', size=16).fingerprint)"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for process in both for line in process.communicate(timeout=120)[0].split("\n") if line]
    assert [process.returncode for process in both] == [0, 0]
    assert lines.count("decoded train") == 1
    assert set(lines) - {"decoded train"} == {load("cifar100", "train", size=16).fingerprint}


# --- subsets and sizes ------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=40)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 5), share=st.floats(0.05, 1))
def test_every_prefix_of_the_stratified_order_keeps_the_proportions(labels, seed, share):
    labels = np.array(labels)
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    number = max(1, int(share * len(labels)))
    for label in range(5):
        expected = np.sum(labels == label) * number / len(labels)
        assert abs(np.sum(labels[order[:number]] == label) - expected) <= 1.5


def test_subsets_are_nested_seeded_and_keep_the_order():
    whole = load("digits", "train")
    large, small = (load("digits", "train", limit=number) for number in (400, 100))
    rows = {tuple(image) for image in large.images.flatten(1).tolist()}
    assert {tuple(image) for image in small.images.flatten(1).tolist()} <= rows
    assert torch.bincount(small.labels).min() >= 9 and small.mean == whole.mean
    assert load("digits", "train", limit=100).fingerprint == small.fingerprint
    assert load("digits", "train", limit=100, subset_seed=1).fingerprint != small.fingerprint
    assert load("digits", "train", limit=1437).fingerprint == whole.fingerprint
    assert small.provenance["limit"] == 100 and small.provenance["rows"] == 100


def test_halves_are_stratified_disjoint_and_complete():
    data = load("digits", "train")
    first, second = split_half(data, seed=3)
    assert (len(first), len(second)) == (719, 718) and first.split == "train/half-0"
    both = torch.cat([first.images, second.images]).flatten(1).tolist()
    assert sorted(both) == sorted(data.images.flatten(1).tolist())
    assert (torch.bincount(first.labels) - torch.bincount(second.labels)).abs().max() <= 2
    assert split_half(data, seed=4)[0].fingerprint != first.fingerprint
    with pytest.raises(InputError, match="dataset is a str; it must be one that"):
        split_half("digits")


@pytest.mark.parametrize(
    ("root", "reason"), [(5, "name a folder"), ("~nobody-of-this-name/x", "there is no such home")]
)
def test_a_root_that_is_no_folder_is_refused(root, reason):
    with pytest.raises(InputError, match=f"^root={root!r} is not allowed; {reason}"):
        load("cifar10", "train", root=root)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(extent=st.integers(1, 12), size=st.integers(1, 12), seed=st.integers(0, 99))
def test_area_resize_is_the_exact_average_rounded_half_up(extent, size, seed):
    images = np.random.default_rng(seed).integers(0, 256, (1, 1, extent, extent), dtype=np.uint8)
    share = [
        [max(0, min(Fraction(i + 1), Fraction((j + 1) * extent, size)) - max(Fraction(i), Fraction(j * extent, size)))
         for i in range(extent)]
        for j in range(size)
    ]  # fmt: skip
    row, column = seed % size, (seed // 7) % size
    total = sum(
        share[row][i] * share[column][k] * int(images[0, 0, i, k]) for i in range(extent) for k in range(extent)
    )
    average = total / (Fraction(extent, size) ** 2)
    assert area_resize(images, size)[0, 0, row, column] == int(average + Fraction(1, 2))


def test_area_resize_by_a_whole_factor_is_average_pooling():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(images).double(), 2).add(0.5).floor()
    assert np.array_equal(area_resize(images, 16), pooled.numpy())
    assert np.array_equal(area_resize(images, 64), images.repeat(2, axis=2).repeat(2, axis=3))


def test_channel_stats_agree_with_numpy_and_survive_a_constant_channel():
    images = np.random.default_rng(0).integers(0, 256, (7, 2, 5, 5), dtype=np.uint8)
    images[:, 1] = 9
    mean, std = channel_stats(images)
    assert mean == pytest.approx(images.mean((0, 2, 3)) / 255)
    assert std[0] == pytest.approx(images[:, 0].std() / 255) and std[1] == 1.0


# --- batches ----------------------------------------------------------------------------------------------------------


def test_batches_cover_the_data_once_and_are_normalised():
    data = load("digits", "train")
    generator = torch.Generator().manual_seed(0)
    seen = list(batches(data, 100, shuffle=True, generator=generator))
    images, labels = (torch.cat(part) for part in zip(*seen))
    assert images.dtype == torch.float32 and [len(part[1]) for part in seen] == [100] * 14 + [37]
    assert torch.equal(torch.bincount(labels), torch.bincount(data.labels))
    assert images.mean().abs() < 1e-5 and (images.std() - 1).abs() < 1e-3
    assert len(list(batches(data, 100, drop_last=True))) == 14


def test_batches_depend_on_the_seed_alone():
    data = load("digits", "train", limit=64)

    def first(seed: int) -> torch.Tensor:
        return next(batches(data, 64, shuffle=True, generator=torch.Generator().manual_seed(seed)))[0]

    expected = first(0)
    torch.manual_seed(99)
    assert torch.equal(first(0), expected) and not torch.equal(first(1), expected)
    in_order = next(batches(data, 64))
    assert torch.equal(in_order[1], data.labels)


def test_it_serves_as_a_torch_dataset():
    data = load("digits", "test", limit=20)
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=20)))
    expected = next(batches(data, 20))
    assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
    assert repr(data) == "Dataset('digits', 'test', images=20x1x8x8 uint8, num_classes=10)"


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_bad_batch_size_is_refused(size):
    with pytest.raises(InputError, match="batch_size="):
        next(batches(load("digits", "test"), size))


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not REAL_ROOT or cifar.locate("cifar10", "test", Path(REAL_ROOT)) is None, reason="REPRO_DATA holds no CIFAR-10"
)
def test_real_cifar10_is_whole_and_balanced():
    test = load("cifar10", "test", REAL_ROOT)
    train = load("cifar10", "train", REAL_ROOT)
    assert train.images.shape == (50000, 3, 32, 32) and test.images.shape == (10000, 3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [5000] * 10 and torch.bincount(test.labels).tolist() == [1000] * 10
    # The well-known statistics of CIFAR-10; JPEG takes a little off the deviation.
    assert train.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-3)
    assert train.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=3e-3)
    assert train.provenance["lossy"] is ("JPEG" in train.provenance["image_format"])
