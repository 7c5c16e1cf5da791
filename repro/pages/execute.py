"""Executes the notebooks with parameters and keeps what they showed, as a notebook and as an HTML page.

A notebook's metadata say which tables it covers (`repro.tables`), which of them it needs trained (`repro.train`; if
absent, all of them) and whether it runs when none is named (`repro.default`). Its executed copy and page go to
`output/pages/`. A stamp, written last, holds a key of everything that went into them and their digests: they are not
made again while all of that is the same. A notebook that fails leaves its partial copy and does not stop the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import DamagedError, InputError, check_choice
from repro.pages.html import write_notes, write_page
from repro.paths import (
    atomic_path,
    carried_root,
    is_installed,
    json_object,
    pages_root,
    published_root,
    records_root,
    reference_mode,
    repo_root,
    results_root,
    sealed_json,
    unsealed_json,
    write_text,
)

CELL_TIMEOUT_S = 6 * 3600


@dataclasses.dataclass(frozen=True)
class NotebookResult:
    """What came of one notebook: `state` is "executed", "up to date" or "failed"."""

    name: str
    state: str
    seconds: float = 0.0
    message: str = ""
    page: Path | None = None


def notebooks_folder() -> Path:
    """Where the committed notebooks are."""
    return carried_root() / "notebooks"


def _metadata() -> dict[str, dict]:
    """`metadata.repro` of every committed notebook, in reading order."""
    found = {}
    for path in sorted(notebooks_folder().glob("*.ipynb")):
        try:
            found[path.stem] = json_object(path.read_bytes(), path.name)["metadata"].get("repro", {})
        except (ValueError, KeyError, TypeError, AttributeError):  # told when it is executed
            found[path.stem] = {}
    return found


def list_notebooks() -> dict[str, list[str]]:
    """Name of every committed notebook, in reading order, with the tables and figures it covers."""
    return {name: list(about.get("tables", [])) for name, about in _metadata().items()}


def list_titles() -> dict[str, str]:
    """Name of every committed notebook, in reading order, with its first heading; "(damaged)" where it has none."""
    titles = {}
    for path in sorted(notebooks_folder().glob("*.ipynb")):
        try:
            cells = json_object(path.read_bytes(), path.name)["cells"]
            titles[path.stem] = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ").strip()
        except (ValueError, LookupError, TypeError):
            titles[path.stem] = "(damaged)"
    return titles


def tables_to_train(names: Sequence[str]) -> list[str]:
    """What the notebooks `names` need trained: the tables they cover, or those they list under `train`."""
    about = _metadata()
    wanted = [table for name in names for table in about[name].get("train", about[name].get("tables", []))]
    return list(dict.fromkeys(wanted))


def choose(tables: Sequence[str] = (), names: Sequence[str] = ()) -> list[str]:
    """Notebooks that cover any of `tables`, or have one of `names`.

    If neither is given: all but those whose metadata say `"default": false` (long searches, run when they are named).
    """
    known = list_notebooks()
    covered = sorted({table for covers in known.values() for table in covers})
    for table in tables:
        check_choice("table", table, covered)
    for name in names:
        check_choice("notebook", name, known)
    if not tables and not names:
        return [name for name, about in _metadata().items() if about.get("default", True)]
    return [name for name, covers in known.items() if name in names or set(covers) & set(tables)]


def _key(source: str, parameters: Mapping[str, Any]) -> str:
    """Digest of the notebook's cells, its parameters, the package's source, the published numbers and the records."""
    digest = hashlib.sha256()
    cells = [[cell["source"], cell["metadata"].get("tags")] for cell in json.loads(source)["cells"]]
    digest.update(json.dumps([cells, dict(parameters), reference_mode()], sort_keys=True).encode())
    files = [*(repo_root() / "repro").rglob("*.py"), *published_root().glob("*.csv")]
    files += [path for root in {results_root(), records_root()} for path in root.rglob("*.csv")]
    for path in sorted(files):
        digest.update(f"{path.parent.name}/{path.name}".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stamp_of(name: str) -> Path:
    return pages_root() / f".{name}.stamp.json"


def _stamp(name: str, key: str, *files: Path) -> None:
    write_text(_stamp_of(name), sealed_json({"key": key, "files": [_file_digest(path) for path in files]}))


def _is_up_to_date(name: str, key: str, *files: Path) -> bool:
    """Whether the stamp names this key and these very files."""
    try:
        return unsealed_json(_stamp_of(name)) == {"key": key, "files": [_file_digest(path) for path in files]}
    except (OSError, DamagedError):
        return False


def execute(name: str, parameters: Mapping[str, Any], *, fresh: bool = False, progress: bool = True) -> NotebookResult:
    """Execute one notebook with those of `parameters` that it declares, and write its page.

    Returns a result rather than raising when a cell fails: the message names the cell and the error.
    """
    import papermill

    check_choice("notebook", name, list_notebooks())
    source = notebooks_folder() / f"{name}.ipynb"
    try:
        text = source.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            declared = papermill.inspect_notebook(str(source))
        _key(text, {})
    except Exception as error:  # what its reader raises has no common class
        raise InputError(f"notebook {source.name} is damaged ({type(error).__name__}: {error}).") from error
    given = {key: value for key, value in parameters.items() if key in declared}
    copy, page = pages_root() / f"{name}.ipynb", pages_root() / f"{name}.html"
    if not fresh and _is_up_to_date(name, _key(text, given), copy, page):
        return NotebookResult(name, "up to date", page=page)
    started = time.perf_counter()
    _stamp_of(name).unlink(missing_ok=True)
    message = _execute_into(source, copy, given, progress)
    if not message:
        _clean(copy)
    _read_into_page(copy, page)
    if not message:
        _stamp(name, _key(text, given), copy, page)
    state = "failed" if message else "executed"
    return NotebookResult(name, state, round(time.perf_counter() - started, 1), message, page)


def _execute_into(source: Path, copy: Path, parameters: Mapping[str, Any], progress: bool) -> str:
    """Execute `source`; whatever came out of it is at `copy` afterwards. Returns "" or what went wrong."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    message = ""
    with atomic_path(copy) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=str(Path.cwd() if is_installed() else repo_root()),
                progress_bar={"desc": source.stem} if progress else False,
                execution_timeout=CELL_TIMEOUT_S,
                # Kernels listen on loopback only; their warning about it would hide our own messages.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
        except PapermillExecutionError as error:
            # The number that the page prints beside the cell; a cell that never began has none.
            message = f"cell {error.exec_count or error.cell_index + 1} failed: {error.ename}: {error.evalue}"
        except (CellTimeoutError, DeadKernelError) as error:
            message = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if not partial.stat().st_size:
            partial.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return message


def _clean(copy: Path) -> None:
    """Drop papermill's own metadata from the executed copy: they hold paths of this machine."""
    notebook = json.loads(copy.read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
    with atomic_path(copy) as partial:
        partial.write_text(json.dumps(notebook, indent=1), encoding="utf-8")


def _read_into_page(copy: Path, page: Path) -> None:
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = nbformat.read(copy, as_version=4)
    write_page(notebook, page, linked=list_notebooks())


def note_missing_pages() -> None:
    """A short page for every notebook that has none, so that links to it say how to execute it."""
    write_notes(pages_root(), list_notebooks())


def parse_words(parameter: str, text: str) -> list[str]:
    """Words separated by spaces or commas."""
    words = text.replace(",", " ").split()
    if len(set(words)) != len(words):
        raise InputError(f"{parameter}={text!r} names something twice; give each once.")
    return words
