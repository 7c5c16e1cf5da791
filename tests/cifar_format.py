"""Writes small CIFAR data sets in the official formats: tarballs of Python 2 pickles, and the hub's parquet files."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from repro.datasets import registry


class Python2Pickle:
    """Protocol 2 as Python 2's cPickle wrote the official files: str as BINSTRING, so that keys come back as bytes."""

    def __init__(self):
        self.out = bytearray(b"\x80\x02")
        self.memo = 0

    def put(self) -> None:
        self.memo += 1
        self.out += b"q" + bytes([self.memo])

    def string(self, value: bytes) -> None:
        short = len(value) < 256
        self.out += (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value

    def integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        else:
            self.out += b"J" + struct.pack("<i", value)

    def list(self, values: list) -> None:
        self.out += b"]"
        self.put()
        self.out += b"("
        for value in values:
            self.string(value) if isinstance(value, bytes) else self.integer(value)
        self.out += b"e"

    def array(self, value: np.ndarray) -> None:
        self.out += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        for extent in value.shape:
            self.integer(extent)
        self.out += (
            b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        )
        self.string(value.tobytes())
        self.out += b"tb"

    def dumps(self, content: dict) -> bytes:
        self.out += b"}"
        self.put()
        self.out += b"("
        for key, value in content.items():
            self.string(key)
            kinds = {np.ndarray: self.array, list: self.list, bytes: self.string, int: self.integer}
            kinds[type(value)](value)
        return bytes(self.out + b"u.")


def pixels(number: int, seed: int) -> np.ndarray:
    """Random images (number, 3072) uint8: 1024 red values, row by row, then green, then blue."""
    return np.random.default_rng(seed).integers(0, 256, (number, 3072), dtype=np.uint8)


FINE_NAMES = [f"fine_{k:02d}".encode() for k in range(100)]


def cifar100_content() -> dict[str, dict]:
    """200 training and 100 test images, every class twice and once."""
    content = {}
    for split, number, seed in (("train", 200, 1), ("test", 100, 2)):
        content[split] = {
            b"filenames": [f"picture_{k:06d}.png".encode() for k in range(number)],
            b"batch_label": b"training batch 1 of 1",
            b"fine_labels": [(7 * k) % 100 for k in range(number)],
            b"coarse_labels": [k % 20 for k in range(number)],
            b"data": pixels(number, seed),
        }
    content["meta"] = {b"fine_label_names": FINE_NAMES, b"coarse_label_names": FINE_NAMES[:20]}
    return content


def cifar10_content() -> dict[str, dict]:
    """Five batches of 20 and a test batch of 20."""
    content = {}
    for index, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        content[name] = {
            b"batch_label": name.encode(),
            b"labels": [(k + index) % 10 for k in range(20)],
            b"data": pixels(20, index),
            b"filenames": [b"picture.png"] * 20,
        }
    names = [name.encode() for name in registry.REGISTRY["cifar10"].class_names]
    content["batches.meta"] = {b"num_cases_per_batch": 20, b"label_names": names, b"num_vis": 3072}
    return content


def write_tarball(path: Path, folder: str, members: dict[str, bytes]) -> Path:
    """A gzip tarball with a folder entry first, as the official ones have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name, raw in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return path


def pickled(content: dict[str, dict]) -> dict[str, bytes]:
    """Every member as Python 2 would have written it."""
    return {name: Python2Pickle().dumps(member) for name, member in content.items()}


def publish(monkeypatch, name: str, tarball: Path, url: str | None = None) -> None:
    """Make `tarball` the official file of `name`: its sum and size (and address) enter the registry for one test."""
    raw = tarball.read_bytes()
    (file,) = registry.REGISTRY[name].files
    file = replace(file, sha256=hashlib.sha256(raw).hexdigest(), num_bytes=len(raw), url=url or file.url)
    monkeypatch.setitem(registry.REGISTRY, name, replace(registry.REGISTRY[name], files=(file,)))


def write_parquet(
    path: Path, images: np.ndarray, labels: list[int], columns: tuple[str, str], kind: str = "PNG"
) -> Path:
    """(N, 3, 32, 32) images in the hub's layout, with the class names where the hub puts them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind)
        rows.append({"bytes": buffer.getvalue(), "path": None})
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    data = {columns[0]: pa.array(rows, struct_type), columns[1]: pa.array(labels, pa.int64())}
    if columns[1] == "fine_label":
        data["coarse_label"] = pa.array([k % 20 for k in range(len(labels))], pa.int64())
        names = [name.decode() for name in FINE_NAMES]
        features = {"info": {"features": {"fine_label": {"names": names, "_type": "ClassLabel"}}}}
        table = pa.table(data).replace_schema_metadata({"huggingface": json.dumps(features)})
    else:
        table = pa.table(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
