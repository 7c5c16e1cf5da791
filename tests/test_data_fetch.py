"""Fetching from a server on the loopback interface, verifying, listing, and the command line over them."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repro.cli.data import app
from repro.datasets import fetch, grey, list_datasets, load, load_parallel, verify
from repro.datasets import imagenet as imagenet_module
from repro.datasets.cache import folder_of_caches
from repro.datasets.parallel import TEXT_FILES, TEXT_SPLITS
from repro.datasets.registry import RemoteFile
from repro.errors import InputError, MissingDataError
from tests import cifar_format

ARCHIVE = "cifar-100-python.tar.gz"


class Server(ThreadingHTTPServer):
    """Serves `body` under every address, in one of the ways that a bad day offers."""

    body: bytes = b""
    mode: str = "whole"
    requests: int = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.requests += 1
        if server.mode == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body[: len(server.body) // 2] if server.mode == "half" else server.body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path, monkeypatch, server) -> Path:
    """An empty data root; the registry's CIFAR-100 is a small tarball in the official format on the server."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(grey, "DEBIAN_FASHION", tmp_path / "debian")
    members = cifar_format.pickled(cifar_format.cifar100_content())
    tarball = cifar_format.write_tarball(tmp_path / "served" / ARCHIVE, "cifar-100-python", members)
    server.body = tarball.read_bytes()
    cifar_format.publish(monkeypatch, "cifar100", tarball, f"http://127.0.0.1:{server.server_port}/{ARCHIVE}")
    return tmp_path / "raw"


def kept_files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != ".fetch.lock")


def test_a_fetched_data_set_loads_and_is_not_fetched_twice(root, server):
    said: list[str] = []
    assert fetch("cifar100", say=said.append) == [root / "cifar100" / ARCHIVE]
    assert kept_files(root) == [ARCHIVE] and len(load("cifar100", "train")) == 200
    fetch("cifar100", say=said.append)
    fetch("cifar100", say=said.append, force=True)
    assert server.requests == 1 and "already here" in said[-1]


@pytest.mark.parametrize(
    "mode, message",
    [
        ("half", r"broke off half-way and nothing of it was kept; run `python -m repro data fetch cifar100` again"),
        ("absent", r"answered with HTTP status 404; try later, or bring cifar-100-python\.tar\.gz yourself"),
    ],
)
def test_a_failed_download_leaves_nothing_that_looks_complete(root, server, mode, message):
    server.mode = mode
    with pytest.raises(MissingDataError, match=message) as caught:
        fetch("cifar100", say=lambda text: None)
    assert "\n" not in str(caught.value)
    assert kept_files(root) == []
    with pytest.raises(MissingDataError, match="was not found"):
        load("cifar100", "train")
    server.mode = "whole"
    fetch("cifar100", say=lambda text: None)
    assert len(load("cifar100", "test")) == 100


def test_a_wrong_checksum_is_refused_and_the_file_not_kept(root, server):
    server.body = server.body[:-1] + bytes([server.body[-1] ^ 1])
    with pytest.raises(MissingDataError, match=r"does not have the published SHA-256 .* and was not kept"):
        fetch("cifar100", say=lambda text: None)
    assert kept_files(root) == []


def test_files_of_a_parallel_text_are_fetched_one_by_one(root, server, monkeypatch):
    server.body = gzip.compress(b"A dog.\n", mtime=0)
    url, digest = f"http://127.0.0.1:{server.server_port}/", hashlib.sha256(server.body).hexdigest()
    files = tuple(RemoteFile(f"val.{side}.gz", url, digest, len(server.body)) for side in ("en", "de"))
    monkeypatch.setitem(TEXT_FILES, "multi30k", files)
    for _ in range(2):
        assert [path.name for path in fetch("multi30k", say=lambda text: None)] == ["val.en.gz", "val.de.gz"]
    assert server.requests == 2 and load_parallel("multi30k", "val").of("de") == ("A dog.",)


def test_no_network_says_so(root, server, monkeypatch, tmp_path):
    tarball = tmp_path / "served" / ARCHIVE
    cifar_format.publish(monkeypatch, "cifar100", tarball, "http://127.0.0.1:9/nobody-listens-here")
    with pytest.raises(MissingDataError, match=r"cannot be reached \(ConnectionError.*connect and try again, or bring"):
        fetch("cifar100", say=lambda text: None)
    assert kept_files(root) == []


def test_half_a_file_from_elsewhere_is_replaced(root, server):
    (root / "cifar100").mkdir(parents=True)
    (root / "cifar100" / ARCHIVE).write_bytes(server.body[:1000])
    said: list[str] = []
    fetch("cifar100", say=said.append)
    assert any("is damaged or incomplete; downloading it again" in line for line in said)
    assert (root / "cifar100" / ARCHIVE).read_bytes() == server.body


def test_a_broken_download_does_not_destroy_what_was_there(root, server):
    (root / "cifar100").mkdir(parents=True)
    (root / "cifar100" / ARCHIVE).write_bytes(b"somebody's file")
    server.mode = "half"
    with pytest.raises(MissingDataError, match="half-way"):
        fetch("cifar100", say=lambda text: None)
    assert (root / "cifar100" / ARCHIVE).read_bytes() == b"somebody's file"


def test_a_folder_that_cannot_be_written_and_an_unknown_name_give_one_sentence(root, tmp_path):
    (tmp_path / "a_file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write to folder .*or choose another data root"):
        fetch("cifar100", tmp_path / "a_file", say=lambda text: None)
    with pytest.raises(InputError, match="Did you mean 'cifar100'"):
        fetch("cifar-100", say=lambda text: None)


def test_digits_need_no_fetching():
    said: list[str] = []
    assert fetch("digits", say=said.append) == [] and "nothing to fetch" in said[0]


def test_list_tells_present_absent_and_partial(root, server):
    before = {row.name: row for row in list_datasets()}
    assert before["digits"].present and not before["cifar100"].present
    assert before["cifar100"].found == "not found" and before["cifar100"].advice.endswith("fetch cifar100")
    fetch("cifar100", say=lambda text: None)
    images = cifar_format.pixels(2, 0).reshape(-1, 3, 32, 32)
    cifar_format.write_parquet(root / "cifar10" / "train.parquet", images, [0, 1], ("img", "label"))
    after = {row.name: row for row in list_datasets()}
    assert after["cifar100"].present and "official python tarball in" in after["cifar100"].found
    assert not after["cifar10"].present and after["cifar10"].found.startswith("only the split train")


def test_a_fetch_names_the_sets_that_can_be_fetched_and_of_others_where_they_belong(root):
    with pytest.raises(InputError) as caught:
        fetch("nosuch", say=lambda text: None)
    with_download = [row.name for row in list_datasets() if row.download_mib]
    assert str(caught.value).endswith(f"allowed are: {', '.join(with_download)}.") and "multi30k" in with_download
    for name, place in (("imagenet", "imagenet"), ("wmt14-en-fr", "wmt14-en-fr"), ("food101", "food-101")):
        with pytest.raises(
            MissingDataError, match=f"{name} cannot be fetched .* unpack it to {place} .*data/README.md"
        ):
            fetch(name, say=lambda text: None)
        (row,) = [row for row in list_datasets() if row.name == name]
        assert not row.present and row.advice == f"bring it yourself, to {place} in the data root"


def imagenet_of(root: Path, *names: str) -> None:
    for name in names:
        (root / "imagenet" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "imagenet" / name).write_bytes(b"")


def test_a_brought_imagenet_is_listed_and_its_classes_and_images_are_counted(root):
    def listed():
        return next(row for row in list_datasets() if row.name == "imagenet")

    imagenet_of(root, "train/n01/1.JPEG", "train/n01/2.JPEG", "train/n01/.3.JPEG", "train/n01/notes.txt")
    assert not listed().present and listed().found.startswith("val is missing from")
    assert [right for right, _ in verify("imagenet")] == [False]
    imagenet_of(root, "val/n02/1.JPEG")
    assert not listed().present and "hold different classes" in listed().found
    imagenet_of(root, "train/n02/1.JPEG", "val/n01/1.jpeg")
    assert listed().present and listed().found == f"2 classes in {root / 'imagenet'}"
    assert [line for _, line in verify("imagenet")][1:] == [
        "train has 3 of 1281167 images",
        "val has 2 of 50000 images",
    ]
    assert not any(right for right, _ in verify("imagenet"))


def test_a_whole_imagenet_is_right(root, monkeypatch):
    imagenet_of(root, "train/n01/1.JPEG", "val/n01/1.JPEG")
    monkeypatch.setattr(imagenet_module, "NUM_CLASSES", 1)
    monkeypatch.setattr(imagenet_module, "ROWS", {"train": 1, "val": 1})
    assert [right for right, _ in verify("imagenet")] == [True] * 3


def test_texts_are_listed_and_verified_by_sums_or_by_numbers_of_sentences(root, server, monkeypatch):
    def found(name):
        return next(row for row in list_datasets() if row.name == name)

    assert found("grammar").present and not found("multi30k").present and found("multi30k").found == "not found"
    server.body = gzip.compress(b"A dog.\n" * 1014, mtime=0)
    url, digest = f"http://127.0.0.1:{server.server_port}/", hashlib.sha256(server.body).hexdigest()
    files = tuple(RemoteFile(f"val.{side}.gz", url, digest, len(server.body)) for side in ("en", "de", "fr"))
    monkeypatch.setitem(TEXT_FILES, "multi30k", files)
    monkeypatch.setitem(TEXT_SPLITS, "multi30k", {"val": 1014})
    fetch("multi30k", say=lambda text: None)
    assert found("multi30k").present and all(right for right, _ in verify("multi30k"))
    folder = root / "multi30k"
    (folder / "val.en.gz").write_bytes(server.body[:-9])
    (folder / "val.de.gz").unlink()
    (folder / "val.de").write_bytes(b"Ein Hund.\n" * 1013)
    (folder / "val.fr.gz").unlink()
    assert [right for right, _ in verify("multi30k")] == [False] * 3
    lines = " ".join(line for _, line in verify("multi30k"))
    assert "does not have the published SHA-256" in lines and "has 1013 of 1014 sentences" in lines
    assert not found("multi30k").present and found("multi30k").found == f"val.fr missing from {folder}"


def test_sides_of_a_brought_text_have_equally_many_sentences(root):
    folder = root / "wmt14-en-de"
    folder.mkdir(parents=True)
    for split, count in (("train", 5), ("val", 2), ("test", 3003)):
        for side in ("en", "de"):
            (folder / f"{split}.{side}").write_text("A dog.\n" * count)
    assert all(right for right, _ in verify("wmt14-en-de")) and len(verify("wmt14-en-de")) == 6
    (folder / "train.de").write_text("Ein Hund.\n" * 4)
    assert [line for right, line in verify("wmt14-en-de") if not right] == [
        f"{folder / 'train.de'} has 4 of 5 sentences"
    ]


def test_verify_finds_changed_files_and_changed_caches(root, server):
    assert [right for right, _ in verify("cifar100")] == [False, False]
    fetch("cifar100", say=lambda text: None)
    load("cifar100", "train")
    assert all(right for right, _ in verify("cifar100"))
    (images,) = folder_of_caches().glob("cifar100-train-full-*/images.npy")
    raw = bytearray(images.read_bytes())
    raw[-1] ^= 1
    images.write_bytes(raw)
    assert next(line for right, line in verify("cifar100") if not right).startswith("cache entry cifar100-train-full")
    archive = root / "cifar100" / ARCHIVE
    archive.write_bytes(archive.read_bytes()[:-1])
    assert any("does not have the published SHA-256" in line for right, line in verify("cifar100") if not right)


def test_the_command_line_lists_fetches_and_verifies(root, server):
    run = CliRunner().invoke
    listed = run(app, ["list"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and "fashion-mnist" in listed.output and "data fetch cifar100" in listed.output
    fetched = run(app, ["fetch", "cifar100"])
    assert fetched.exit_code == 0 and f"{ARCHIVE} is complete" in fetched.output
    verified = run(app, ["verify"])
    assert verified.exit_code == 0 and "ok  cifar100" in verified.output and "ok  digits" in verified.output
    (root / "cifar100" / ARCHIVE).write_bytes(b"half")
    broken = run(app, ["verify", "cifar100"])
    assert broken.exit_code == 1 and "BAD cifar100" in broken.output
    assert isinstance(run(app, ["fetch", "cifar1000"]).exception, InputError)
