"""Runs over a grid of settings, on all devices of all processes, each saved when it is done.

``python -m ntkbook.sweep FOLDER MODULE:FUNCTION width=64,128 alpha=0.1,1 seed=0:10`` calls the
function once for every point of the grid that the folder does not hold. With ``--distributed``,
started in every process of a job, the processes share the points. Killed and started again, on
however many devices, it goes on where it was.
"""

import argparse
import importlib
import itertools
import os
import queue
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ntkbook._progress import watched


class SweepError(RuntimeError):
    """Some points of a sweep could not be computed or saved; the others are kept."""


def sweep(run: Callable[..., Any], folder: str | os.PathLike, grid: Mapping[str, Sequence]) -> None:
    """Compute what ``folder`` does not hold of a grid, each point on one device, saved at once.

    Points are shared among the processes of ``jax.distributed``, if it was initialized, and in each
    process among its devices. A point is a program of its own, so its result does not depend on how
    many devices there are. A file is written under another name and then renamed: a killed sweep
    leaves no half-written point.

    Args:
        run: called with one value of each name of the grid; returns a named tuple or a mapping of
            arrays.
        folder: one file for each point; shared by all processes, made if missing.
        grid: the values of each name: numbers or strings.

    Raises:
        SweepError: some points failed, after all others were computed; it says which and why.
        ValueError: the grid is empty, or two of its points would share a file.

    Example:
        >>> sweep(lambda x, seed: {"y": x + seed}, "runs", {"x": [0.5, 1.0], "seed": range(2)})
        >>> float(np.load(path("runs", x=0.5, seed=1))["y"])
        1.5
    """
    _work(run, *_plan(folder, grid))


def path(folder: str | os.PathLike, **point: float | str) -> Path:
    """Say which file holds a point.

    Args:
        folder: of the sweep.
        point: a value for each name of the grid, in the grid's order.

    Returns:
        The path of an ``.npz`` file.

    Example:
        >>> print(path("runs", width=64, alpha=0.1, seed=3).name)
        width64-alpha0.1-seed3.npz
    """
    short = lambda value: f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
    return Path(folder) / ("-".join(name + short(value) for name, value in point.items()) + ".npz")


def save(file: Path, arrays: Mapping[str, Any], *, compress: bool = True) -> None:
    """Write arrays to a file that is there as a whole or not at all.

    Args:
        file: what to write; its folder is made if missing.
        arrays: by name.
        compress: smaller and, for large arrays, many times slower.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.

    Example:
        >>> save(Path("runs/one.npz"), {"y": np.ones(3)})
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.uname().nodename}.{os.getpid()}.part")
    try:
        with partial.open("wb") as stream:
            (np.savez_compressed if compress else np.savez)(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())  # else a machine that goes down may leave the name alone
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _plan(folder, grid):
    """The points that this process is to compute, and their files."""
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    files = [path(folder, **point) for point in points]
    if len(set(files)) < len(files):
        raise ValueError(
            "two points of the grid would share a file; give values that %g tells apart"
        )
    missing = np.array([not zipfile.is_zipfile(file) for file in files])  # absent, or cut short
    if jax.process_count() > 1:  # another process may look a moment later, and see more
        missing = np.asarray(multihost_utils.broadcast_one_to_all(missing))
    mine = np.flatnonzero(missing)[jax.process_index() :: jax.process_count()]
    return [points[i] for i in mine], [files[i] for i in mine]


def _work(run, points, files):
    """Compute points, as many at once as this process has devices."""
    free = queue.SimpleQueue()
    for device in jax.local_devices():
        free.put(device)

    def compute(point, file):
        device = free.get()
        try:
            with jax.default_device(device):
                result = run(**point)
                arrays = result._asdict() if hasattr(result, "_asdict") else result
                arrays = {name: np.asarray(array) for name, array in arrays.items()}
            save(file, arrays | {"device": f"{device.device_kind}, jax {jax.__version__}"})
        finally:
            free.put(device)

    failed, began = [], time.monotonic()
    with ThreadPoolExecutor(jax.local_device_count()) as pool:
        runs = {pool.submit(compute, *todo): todo for todo in zip(points, files, strict=True)}
        try:
            for count, done in enumerate(as_completed(runs), 1):
                if error := done.exception():
                    failed.append(f"{runs[done][1].stem}: {type(error).__name__}: {error}")
                if watched() and time.monotonic() - began > 5:  # as for training
                    end = "\n" if count == len(runs) else ""
                    print(f"\r{count} of {len(runs)} points", end=end, file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        first = "\n".join(failed[:5])
        raise SweepError(
            f"{len(failed)} of {len(runs)} points failed; the others are kept. Mend what is wrong "
            f"and start again:\n{first}"
        )


def _values(word):
    """A name and its values: ``0:10`` counts, else numbers or words, separated by commas."""
    name, equals, text = word.partition("=")
    if not equals:
        raise ValueError(f"{word}: expected name=values")
    if ":" in text:
        return name, range(*map(int, text.split(":")))

    def value(word):
        for kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                pass
        return word

    return name, [value(word) for word in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute a grid, as ``python -m ntkbook.sweep`` does.

    Args:
        arguments: of the command line; None takes those of the process.

    Raises:
        SystemExit: the command line is wrong, or points failed.

    Example:
        >>> main(["runs", "ntkbook.phase_diagram:digits", "width=8", "alpha=1", "seed=0:0"])
    """
    parser = argparse.ArgumentParser(prog="python -m ntkbook.sweep", description=__doc__)
    parser.add_argument("folder", help="one file for each point; shared by all processes")
    parser.add_argument("function", help="module:function, called with one value of each name")
    parser.add_argument("grid", nargs="+", metavar="name=values", help="64,128 or 0:10")
    parser.add_argument("--distributed", action="store_true", help="one process of a cluster's job")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where JAX does not find it")
    parser.add_argument("--processes", type=int, help="how many, where JAX does not find it")
    parser.add_argument("--process", type=int, help="which this is, from 0")
    given = parser.parse_args(arguments)
    module, _, name = given.function.partition(":")
    try:
        run = getattr(importlib.import_module(module), name)
        grid = dict(map(_values, given.grid))
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(str(error))
    if given.distributed or given.coordinator:
        jax.distributed.initialize(given.coordinator, given.processes, given.process)
    todo = _plan(given.folder, grid)
    if jax.process_count() > 1:
        jax.distributed.shutdown()  # from here on no process waits for another, or falls with it
    try:
        _work(run, *todo)
    except SweepError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
