"""CIFAR-10 and CIFAR-100 from the official python tarball, unpacked or not, and from parquet files of the hub.

The official files are pickles. They are read by an unpickler that knows four harmless names and refuses every other,
straight out of the tarball: nothing is extracted, so nothing can land outside the data root.
"""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from repro.datasets.source import Decoded, Source, damaged
from repro.errors import MissingDataError

# Columns that the hub's CIFAR files use: `img` and `label` / `fine_label`; older conversions say `image`.
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = {"cifar10": ("label",), "cifar100": ("fine_label",)}
LABEL_KEYS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
ARCHIVE_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
MEMBERS = {
    "cifar10": {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
    "cifar100": {"train": ("train",), "test": ("test",)},
}
META = {"cifar10": ("batches.meta", b"label_names"), "cifar100": ("meta", b"fine_label_names")}
LOSSY_FORMATS = ("JPEG", "WEBP")


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in old pickle protocols; other codecs are not needed and not allowed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r} is not allowed")
    return text.encode("latin1")


def _reconstruct(subtype: type, shape: tuple, dtype: bytes) -> np.ndarray:
    """The empty array that a pickled NumPy array is filled into."""
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError("only plain arrays are allowed")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


class ArrayUnpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, strings and NumPy arrays; refuses every other global name."""

    _ALLOWED = {  # noqa: RUF012  a constant
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> object:
        """The allowed object called `module.name`; UnpicklingError for everything else."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data does not need") from None


def unpickle_arrays(raw: bytes, path: Path | str) -> dict:
    """The dict in a CIFAR batch file (keys are bytes); MissingDataError if it is broken or holds anything unsafe."""
    try:
        content = ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a broken pickle can raise nearly anything
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__} where a dict belongs")
    return content


class TarballSource(Source):
    """The official tarball, read in place."""

    kind = "official python tarball"

    def _open(self) -> dict[str, bytes]:
        wanted = {f"{ARCHIVE_FOLDER[self.name]}/{m}" for m in (*MEMBERS[self.name][self.split], META[self.name][0])}
        found: dict[str, bytes] = {}
        try:
            with tarfile.open(self.files[0], "r:gz") as archive:
                for member in archive:
                    if member.name in wanted and member.isreg():
                        found[member.name.split("/", 1)[1]] = archive.extractfile(member).read()
                    if len(found) == len(wanted):
                        break
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise damaged(self.files[0], error) from error
        return found

    def read(self) -> Decoded:
        return _from_batches(self.name, self.split, self._open(), self.files[0])


class BatchFolderSource(Source):
    """The tarball's folder as somebody unpacked it."""

    kind = "official python batches, unpacked"

    def read(self) -> Decoded:
        return _from_batches(self.name, self.split, {f.name: f.read_bytes() for f in self.files}, self.files[0].parent)


def _from_batches(name: str, split: str, raw: dict[str, bytes], where: Path) -> Decoded:
    members = MEMBERS[name][split]
    absent = [m for m in members if m not in raw]
    if absent:
        raise damaged(where, f"{', '.join(absent)} is not in it")
    images, labels = [], []
    for member in members:
        batch = unpickle_arrays(raw[member], f"{where} ({member})")
        data, label = batch.get(b"data"), batch.get(LABEL_KEYS[name])
        shaped = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072
        if not shaped or not isinstance(label, list) or len(label) != len(data):
            raise damaged(where, f"{member} does not hold N x 3072 bytes and N labels")
        images.append(data.reshape(-1, 3, 32, 32))
        labels.extend(label)
    names = None
    meta_file, meta_key = META[name]
    if meta_file in raw:
        stored = unpickle_arrays(raw[meta_file], f"{where} ({meta_file})").get(meta_key)
        names = tuple(n.decode("utf-8", "replace") for n in stored) if stored else None
    return Decoded(np.concatenate(images), np.asarray(labels, dtype=np.int64), names, {"image_format": "raw bytes"})


class ParquetSource(Source):
    """Parquet files of the Hugging Face hub: a struct column {bytes, path} of PNG or JPEG images and a label column."""

    kind = "parquet (Hugging Face hub layout)"

    def read(self) -> Decoded:
        import PIL

        images, labels, formats, names = [], [], Counter(), None
        for file in self.files:
            pictures, classes, stored_names = _read_parquet(file, LABEL_COLUMNS[self.name])
            images.append(_decode_images(pictures, file, formats))
            labels.append(classes)
            names = names or stored_names
        lossy = sum(count for kind, count in formats.items() if kind in LOSSY_FORMATS)
        details = {
            "image_format": ", ".join(f"{kind} ({count})" for kind, count in sorted(formats.items())),
            "decoder": f"Pillow {PIL.__version__}",
        }
        if lossy:
            details["lossy"] = True
            details["note"] = (
                f"{lossy} of {sum(formats.values())} images were recompressed with loss "
                f"({', '.join(k for k in sorted(formats) if k in LOSSY_FORMATS)}): "
                "their pixels differ from the original data set"
            )
        return Decoded(np.concatenate(images), np.concatenate(labels), names, details)


def _read_parquet(file: Path, label_columns: tuple[str, ...]) -> tuple[list[bytes], np.ndarray, tuple[str, ...] | None]:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from error
    image = next((c for c in IMAGE_COLUMNS if c in table.column_names), None)
    label = next((c for c in label_columns if c in table.column_names), None)
    if image is None or label is None or not pa.types.is_struct(table.schema.field(image).type):
        raise MissingDataError(
            f"{file} has the columns {', '.join(table.column_names)}, but {' or '.join(IMAGE_COLUMNS)} "
            f"(struct of bytes and path) and {' or '.join(label_columns)} are needed; is it another data set?"
        )
    pictures = [row["bytes"] for row in table.column(image).to_pylist()]
    names = None
    declared = (table.schema.metadata or {}).get(b"huggingface")
    if declared:
        feature = json.loads(declared).get("info", {}).get("features", {}).get(label, {})
        names = tuple(feature["names"]) if feature.get("names") else None
    return pictures, table.column(label).to_numpy().astype(np.int64), names


def _decode_images(pictures: list[bytes], file: Path, formats: Counter) -> np.ndarray:
    """Decode PNG/JPEG bytes to (N, 3, 32, 32) uint8 and count the formats met."""
    from PIL import Image
    from tqdm import tqdm

    out = np.empty((len(pictures), 32, 32, 3), dtype=np.uint8)
    for index, raw in enumerate(tqdm(pictures, desc=f"decoding {file.name}", unit="image", disable=None, leave=False)):
        try:
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG", "WEBP")) as picture:
                formats[picture.format] += 1
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, TypeError, ValueError) as error:
            raise damaged(file, f"image {index} cannot be decoded: {error}") from error
        if pixels.shape != (32, 32, 3):
            raise damaged(file, f"image {index} is {pixels.shape[1]}x{pixels.shape[0]}, not 32x32")
        out[index] = pixels
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """The shards of one split in `folder`, checked for completeness by their names (train-00000-of-00002.parquet)."""
    shards = sorted(folder.glob(f"{split}-*-of-*.parquet"))
    totals = {int(m[1]) for f in shards if (m := re.search(r"-of-(\d+)\.parquet$", f.name))}
    if shards and totals != {len(shards)}:
        raise MissingDataError(
            f"{folder} holds {len(shards)} of {max(totals)} parquet files of the split {split}; copy the missing ones."
        )
    single = folder / f"{split}.parquet"
    return shards or ([single] if single.is_file() else [])


def locate(name: str, split: str, root: Path) -> Source | None:
    """The best copy of CIFAR under `root`: the official tarball, else its unpacked folder, else parquet files."""
    folders = (root / name, root)
    for folder in folders:
        tarball = folder / f"{ARCHIVE_FOLDER[name].removesuffix('-batches-py').removesuffix('-python')}-python.tar.gz"
        if tarball.is_file():
            return TarballSource(name, split, root, (tarball,))
    for folder in folders:
        batches = folder / ARCHIVE_FOLDER[name]
        if batches.is_dir():
            meta = batches / META[name][0]
            wanted = [batches / m for m in MEMBERS[name][split]]
            absent = [f.name for f in wanted if not f.is_file()]
            if absent:
                raise damaged(batches, f"{', '.join(absent)} is not in it")
            return BatchFolderSource(name, split, root, (*wanted, *([meta] if meta.is_file() else [])))
    for folder in (root / name, root / name / "plain_text", root / name / name, root / name / "data"):
        files = _parquet_files(folder, split) if folder.is_dir() else []
        if files:
            return ParquetSource(name, split, root, tuple(files))
    return None
