"""CIFAR-10 and CIFAR-100 from the official python tarball, unpacked or not, and from parquet files of the hub.

The official files are pickles. They are read as plain values by an interpreter that calls nothing, straight out of the
tarball: nothing is extracted, so nothing can land outside the data root.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from repro.datasets.source import MAX_FILE_BYTES, Decoded, Source, damaged, read_bounded, whole_labels
from repro.errors import MissingDataError

# Columns that the hub's CIFAR files use: `img` and `label` / `fine_label`; older conversions say `image`.
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = {"cifar10": ("label",), "cifar100": ("fine_label",)}
LABEL_KEYS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
ARCHIVE_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
MEMBERS: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10": {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
    "cifar100": {"train": ("train",), "test": ("test",)},
}
META = {"cifar10": ("batches.meta", b"label_names"), "cifar100": ("meta", b"fine_label_names")}
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(-[0-9a-f]+)?\.parquet$")
LOSSY_FORMATS = ("JPEG", "WEBP")


class _Batch:
    """Reads one pickle of plain values. Nothing is imported or called: names stand for themselves.

    The official files hold a dict of byte strings, numbers, lists, and one array of unsigned bytes, which a pickle
    writes as "call this function with these values". The four such calls that image data needs are recognised by their
    names and values and turned into what they mean; every other is refused.
    """

    _RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")

    def __init__(self, raw: bytes) -> None:
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        for code, argument, _ in pickletools.genops(raw):
            self._take(code.name, argument)

    def _refuse(self, what: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {what}, which image data does not need")

    def _since_mark(self) -> list:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _take(self, code: str, argument: Any) -> None:
        push, pop = self.stack.append, self.stack.pop
        if code in ("PROTO", "FRAME", "STOP"):
            return
        if code == "MARK":
            self.marks.append(len(self.stack))
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
        elif code in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"):
            push(argument)
        elif code in ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"):
            push(argument)
        elif code in ("BINSTRING", "SHORT_BINSTRING"):  # text of Python 2: bytes
            push(argument.encode("latin1"))
        elif code in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            push({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[code]())
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(code[-1])
            self.stack[-count:] = [tuple(self.stack[-count:])]
        elif code == "TUPLE":
            push(tuple(self._since_mark()))
        elif code in ("APPEND", "APPENDS"):
            values = [pop()] if code == "APPEND" else self._since_mark()
            self._top(list).extend(values)
        elif code in ("SETITEM", "SETITEMS"):
            values = [*reversed((pop(), pop()))] if code == "SETITEM" else self._since_mark()
            self._top(dict).update(zip(values[::2], values[1::2], strict=True))
        elif code in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif code == "GLOBAL":
            push(self._named(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = pop(), pop()
            push(self._named(module, name))
        elif code == "REDUCE":
            values, name = pop(), pop()
            push(self._meaning(name, values))
        elif code == "BUILD":
            state, value = pop(), self.stack[-1]
            self._fill(value, state)
        else:
            self._refuse(f"the instruction {code}")

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError(f"it fills a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _named(self, module: str, name: str) -> _Name:
        path = f"{module} {name}"
        if path not in (*self._RECONSTRUCT, "numpy ndarray", "numpy dtype", "_codecs encode"):
            self._refuse(f"{module}.{name}")
        return _Name(path)

    def _meaning(self, name: object, values: object) -> object:
        """What a call means, without making it."""
        if name in self._RECONSTRUCT and values == ("numpy ndarray", (0,), b"b"):
            return _Array()
        if name == "numpy dtype" and values in (("u1", 0, 1), ("u1", False, True), (b"u1", 0, 1)):
            return _Bytes()
        if name == "_codecs encode" and isinstance(values, tuple) and values[1:] == ("latin1",):
            return values[0].encode("latin1")
        return self._refuse(f"a call of {str(name).replace(' ', '.')} with other values than an array of bytes has")

    def _fill(self, value: object, state: tuple) -> None:
        if isinstance(value, _Bytes):  # byte order and alignment, of which bytes have none
            return
        if not isinstance(value, _Array) or not isinstance(state, tuple) or len(state) != 5:
            self._refuse("a state for something that is no array")
        _, shape, dtype, column_major, raw = state
        if not isinstance(dtype, _Bytes) or column_major or not isinstance(raw, bytes):
            self._refuse("an array of something else than unsigned bytes")
        if not isinstance(shape, tuple) or min(shape, default=0) < 0:
            self._refuse(f"an array of shape {shape!r}")
        value.array = np.frombuffer(raw, np.uint8).reshape(shape)  # ValueError if their numbers differ


class _Name(str):
    """The name of something, which is never looked up."""


class _Bytes:
    """The type of unsigned bytes."""


class _Array:
    """An array that is filled later."""

    array: np.ndarray | None = None


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def unpickle_arrays(raw: bytes, path: Path | str) -> dict:
    """The dict in a CIFAR batch file (keys are bytes); MissingDataError if it is broken or holds anything unsafe."""
    try:
        (content,) = _Batch(raw).stack
    except Exception as error:  # a broken pickle can raise nearly anything
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__} where a dict belongs")
    return {key: value.array if isinstance(value, _Array) else value for key, value in content.items()}


class TarballSource(Source):
    """The official tarball, read in place."""

    kind = "official python tarball"

    def _open(self) -> dict[str, bytes]:
        wanted = {f"{ARCHIVE_FOLDER[self.name]}/{m}" for m in (*MEMBERS[self.name][self.split], META[self.name][0])}
        found: dict[str, bytes] = {}
        try:
            whole = io.BytesIO(read_bounded(self.files[0]))  # no name, comment or member can be larger than that
            with tarfile.open(fileobj=whole, mode="r:") as archive:
                for member in archive:
                    if member.name in wanted and member.isreg():
                        found[member.name.split("/", 1)[1]] = archive.extractfile(member).read()  # type: ignore[union-attr]
                    if len(found) == len(wanted):
                        break
        except (tarfile.TarError, EOFError, OSError) as error:
            raise damaged(self.files[0], error) from error
        return found

    def read(self) -> Decoded:
        return _from_batches(self.name, self.split, self._open(), self.files[0])


class BatchFolderSource(Source):
    """The tarball's folder as somebody unpacked it."""

    kind = "official python batches, unpacked"

    def read(self) -> Decoded:
        return _from_batches(self.name, self.split, {f.name: read_bounded(f) for f in self.files}, self.files[0].parent)


def _from_batches(name: str, split: str, raw: dict[str, bytes], where: Path) -> Decoded:
    members = MEMBERS[name][split]
    absent = [m for m in members if m not in raw]
    if absent:
        raise damaged(where, f"{', '.join(absent)} is not in it")
    images, labels = [], []
    for member in members:
        batch = unpickle_arrays(raw[member], f"{where} ({member})")
        data: Any
        label: Any
        data, label = batch.get(b"data"), batch.get(LABEL_KEYS[name])
        shaped = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072
        if not shaped or not isinstance(label, list) or len(label) != len(data):
            raise damaged(where, f"{member} does not hold N x 3072 bytes and N labels")
        images.append(data.reshape(-1, 3, 32, 32))
        labels.append(whole_labels(label, f"{where} ({member})"))
    names = None
    meta_file, meta_key = META[name]
    if meta_file in raw:
        stored = unpickle_arrays(raw[meta_file], f"{where} ({meta_file})").get(meta_key)
        if isinstance(stored, list) and stored:
            if not all(isinstance(n, (bytes, str)) for n in stored):
                raise damaged(f"{where} ({meta_file})", "class names are not text")
            names = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in stored)
    return Decoded(np.concatenate(images), np.concatenate(labels), names, {"image_format": "raw bytes"})


class ParquetSource(Source):
    """Parquet files of the Hugging Face hub: a struct column {bytes, path} of PNG or JPEG images and a label column."""

    kind = "parquet (Hugging Face hub layout)"

    def read(self) -> Decoded:
        import PIL

        formats: Counter[str]
        images, labels, formats, names = [], [], Counter(), None
        for file in self.files:
            pictures, classes, stored_names = _read_parquet(file, LABEL_COLUMNS[self.name])
            images.append(_decode_images(pictures, file, formats))
            labels.append(classes)
            names = names or stored_names
        lossy = sum(count for kind, count in formats.items() if kind in LOSSY_FORMATS)
        details: dict[str, Any] = {
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = sum(group["total_byte_size"] for group in pq.read_metadata(file).to_dict()["row_groups"])
        if size > MAX_FILE_BYTES:
            raise damaged(file, f"it unpacks to more than {MAX_FILE_BYTES} bytes")
        table = _read_bounded_table(file)
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise damaged(file, error) from error
    image = next((c for c in IMAGE_COLUMNS if c in table.column_names), None)
    label = next((c for c in label_columns if c in table.column_names), None)
    if image is None or label is None or not pa.types.is_struct(table.schema.field(image).type):
        raise MissingDataError(
            f"{file} has the columns {', '.join(table.column_names)}, but {' or '.join(IMAGE_COLUMNS)} "
            f"(struct of bytes and path) and {' or '.join(label_columns)} are needed; is it another data set?"
        )
    classes = table.column(label)
    if not pa.types.is_integer(classes.type) or classes.null_count:
        raise damaged(file, f"the column {label} does not hold whole numbers only")
    pictures: list[Any] = [(row or {}).get("bytes") for row in table.column(image).to_pylist()]
    if None in pictures:
        raise damaged(file, f"image {pictures.index(None)} is empty")
    return pictures, whole_labels(classes.to_numpy(), file), _declared_names(table.schema.metadata, label)


def _read_bounded_table(file: Path):
    """The file's table, read a few rows at a time: a value that is stored once may be named by every row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches, size = [], 0
    with pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(batch_size=256):
            size += batch.nbytes
            if size > MAX_FILE_BYTES:
                raise damaged(file, f"its rows hold more than {MAX_FILE_BYTES} bytes")
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=opened.schema_arrow)


def _declared_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """The class names that the hub writes beside the columns; None if there are none, or no list of texts."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _decode_images(pictures: list[bytes], file: Path, formats: Counter) -> np.ndarray:
    """Decode PNG/JPEG bytes to (N, 3, 32, 32) uint8 and count the formats met."""
    from PIL import Image
    from tqdm import tqdm

    out: np.ndarray = np.empty((len(pictures), 32, 32, 3), dtype=np.uint8)
    for index, raw in enumerate(tqdm(pictures, desc=f"decoding {file.name}", unit="image", disable=None, leave=False)):
        try:
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG", "WEBP")) as picture:
                formats[picture.format] += 1
                size = "x".join(map(str, picture.size))
                if size == "32x32":  # checked before anything is decoded
                    out[index] = np.asarray(picture.convert("RGB"))
        except Exception as error:  # decoders raise nearly anything on a broken image
            raise damaged(file, f"image {index} cannot be decoded: {error}") from error
        if size != "32x32":
            raise damaged(file, f"image {index} is {size}, not 32x32")
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """The shards of one split in `folder` under the names that the hub has given them over the years.

    train-00000-of-00002.parquet, also with a hash before its suffix, is checked for completeness; train.parquet and
    train/0000.parquet, 0001.parquet, … (the hub's own conversion) do not say how many there are.
    """
    found: dict[int, Path] = {}
    totals = set()
    for file in sorted(folder.glob(f"{split}-*.parquet")):
        if match := _SHARD.search(file.name):
            found.setdefault(int(match[1]), file)
            totals.add(int(match[2]))
    if found and (len(totals) != 1 or found.keys() != set(range(*totals))):
        raise MissingDataError(
            f"{folder} holds {len(found)} of {max(totals)} parquet files of the split {split}; copy the missing ones."
        )
    if found:
        return [found[number] for number in sorted(found)]
    single = folder / f"{split}.parquet"
    converted = sorted((folder / split).glob("[0-9][0-9][0-9][0-9].parquet"))
    return [single] if single.is_file() else converted


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
