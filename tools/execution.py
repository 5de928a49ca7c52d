"""Running the chapters into jupyter-cache, where jupyter-book then finds them."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Lock

from book import Book, BookError, Page
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

CELL_TIMEOUT = 600  # seconds
AT_ONCE = min(4, os.cpu_count() or 1)  # chapters; XLA compiles on one core
STAMP = "ntkbook-stamp"


def execute(book: Book, chapters: Iterable[Page]) -> dict[str, NotebookNode]:
    """Run each chapter that the cache does not hold, as many at once as there are cores.

    Returns:
        The executed notebook of each chapter, by the page's name.

    Raises:
        BookError: a chapter did not run to its end. Nothing of that run is kept, nor of those that
            ran beside it; what had ended before is.
    """
    chapters = list(chapters)
    with _cache(book) as cache:
        done = {page.name: _cached(cache, page) for page in chapters}
        missing = [page for page in chapters if done[page.name] is None]
        for count, (page, executed, seconds) in enumerate(_run_all(book, missing), 1):
            _store(cache, page, executed, seconds)
            done[page.name] = executed
            print(f"[{count}/{len(missing)}] {page.source} ... {seconds:.1f} s", flush=True)
        _write_timings(book, cache)
    held = len(chapters) - len(missing)
    print(f"{len(missing)} of {len(chapters)} chapters executed, {held} from the cache")
    return done


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that an interruption leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, "utf8")
    os.replace(new, path)


@contextmanager
def _cache(book) -> Iterator[JupyterCacheAbstract]:
    """The cache that myst-nb uses, empty if what is in it was made by other code."""
    folder = book.root / "_build/.jupyter_cache"
    stamp = _stamp(book)
    mark = folder / STAMP
    if not mark.is_file() or mark.read_text("utf8") != stamp:
        mark.unlink(missing_ok=True)  # first, so that a half removed cache is not taken for whole
        shutil.rmtree(folder, ignore_errors=True)
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        get_cache(new).db.dispose()  # makes the tables
        (new / STAMP).write_text(stamp, "utf8")
        os.replace(new, folder)
    cache = get_cache(folder)
    try:
        yield cache
    finally:
        cache.db.dispose()


def _stamp(book):
    """What a chapter's outputs depend on besides its cells, which are jupyter-cache's own key."""
    digest = hashlib.sha256(f"{sys.version} {os.environ.get('NTKBOOK_SCALE')}".encode())
    package = [p for p in (book.root / "ntkbook").rglob("*") if p.suffix in (".py", ".js", ".css")]
    for path in [*sorted(package), book.root / "requirements/lock.txt"]:
        digest.update(f"{path.relative_to(book.root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _cached(cache, page):
    try:
        return cache.merge_match_into_notebook(page.notebook)[1]
    except (KeyError, ValueError):  # not there, or left half written by an interruption
        return None


def _store(cache, page, executed, seconds):
    _, key = cache.create_hashed_notebook(executed)
    # jupyter-cache cannot store over a folder that an interruption left without its notebook.
    shutil.rmtree(cache.path / "executed" / key, ignore_errors=True)
    bundle = CacheBundleIn(executed, str(page.path), data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def _write_timings(book, cache):
    """_build/timings.json: how long each chapter in the cache took, in seconds."""
    seconds = {
        page.name: round(cache.match_cache_notebook(page.notebook).data["execution_seconds"], 1)
        for page in book.chapters
        if _cached(cache, page) is not None
    }
    write_atomically(book.root / "_build/timings.json", json.dumps(seconds, indent=1) + "\n")


def _run_all(book, pages) -> Iterator[tuple[Page, NotebookNode, float]]:
    """Run chapters side by side; give each when it is done. No kernel outlives an error."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        kernels = _Kernels()
        jobs = {pool.submit(_run, book, page, kernels): page for page in pages}
        try:
            for job in as_completed(jobs):
                yield jobs[job], *job.result()
        finally:  # with nothing left to stop, unless a chapter failed or the user interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.stop()


class _Kernels:
    """The processes of the kernels that run, so that all of them can be stopped."""

    def __init__(self):
        self.lock, self.running, self.stopped = Lock(), set(), False

    def add(self, pid):
        with self.lock:
            self.running.add(pid)
        if self.stopped:
            self.stop()

    def remove(self, pid):
        with self.lock:
            self.running.discard(pid)

    def stop(self):
        with self.lock:
            self.stopped = True
            for pid in self.running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _run(book, page, kernels) -> tuple[NotebookNode, float]:
    """Run one chapter in a thread, with an event loop of its own."""
    return asyncio.run(_run_cells(book, page, kernels))


async def _run_cells(book, page, kernels) -> tuple[NotebookNode, float]:
    """Run one chapter; ``kernels`` knows its kernel meanwhile."""
    report = book.root / "_build/reports" / f"{page.name}.log"
    report.unlink(missing_ok=True)
    notebook = deepcopy(page.notebook)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        shutdown_kernel="immediate",
        record_timing=False,  # would write times into the cells, and these are the cache's key
    )
    # This Python's own kernel, whatever kernel the user has registered as python3.
    client.km = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
    )
    started, count, pid = time.monotonic(), 0, None
    with (
        TemporaryDirectory(prefix="ntkbook-", ignore_cleanup_errors=True) as folder,
        TemporaryFile("w+", errors="replace") as log,
    ):
        try:
            # The documented body of execute(), which would not tell which cell failed.
            async with client.async_setup_kernel(cwd=folder, stdout=log, stderr=log):
                kernels.add(pid := client.km.provisioner.pid)
                info = await client.async_wait_for_reply(client.kc.kernel_info())
                notebook.metadata["language_info"] = info["content"]["language_info"]
                for index, cell in enumerate(notebook.cells):
                    if cell.cell_type == "code":
                        count += 1
                        await client.async_execute_cell(cell, index, execution_count=count)
                        _check_raised(cell)
        except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
            if kernels.stopped:
                raise BookError(f"{page.source}: stopped") from error
            what = _describe(error)
            log.seek(0)
            text = f"{what}\n\n{error}\n\nWhat the kernel's process printed:\n{log.read()}"
            write_atomically(report, re.sub(r"\x1b\[[\d;]*m", "", text))
            print(f"{page.source} failed", flush=True)
            where = f"cell {count} failed" if count else "the kernel did not start"
            raise BookError(
                f"{page.source}: {where}: {what}\n"
                f"  the cell and the traceback: {report.relative_to(book.root)}"
            ) from error
        finally:
            kernels.remove(pid)
    return notebook, time.monotonic() - started


def _check_raised(cell):
    """A cell that is there to raise must do so."""
    raised = any(output.output_type == "error" for output in cell.outputs)
    if "raises-exception" in cell.metadata.get("tags", []) and not raised:
        raise RuntimeError("it is tagged raises-exception but did not raise")


def _describe(error):
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {error.evalue}".splitlines()[0]
    if isinstance(error, CellTimeoutError):
        return f"it took longer than {CELL_TIMEOUT} s"
    if isinstance(error, DeadKernelError):
        return "its kernel died; is there enough memory?"
    return str(error).splitlines()[0]
