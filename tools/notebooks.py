"""The chapters as notebooks: run them, write their .ipynb twins, check and test those.

    python tools/notebooks.py execute [CHAPTER...]   run what jupyter-cache does not hold
    python tools/notebooks.py write                  the same, then NAME.ipynb beside each NAME.md
    python tools/notebooks.py check                  exit 1 unless every twin is in step
    python tools/notebooks.py nbval PYTHON           test every twin with that Python's ntkbook

Pages in front/ that have a chapter's header are treated as chapters are. A twin is its chapter for
Colab and Jupyter: plain Markdown, a first code cell that installs ntkbook on Colab only, no images,
and of all outputs only those that nbval compares: the claims, each as `claim ID: holds`, and what
the cells print that the author tagged nbval-check-output.

`nbval` copies the twins to an empty folder, makes sure that PYTHON there imports the ntkbook that
is installed beside it and not a checkout, and runs, in that folder and without PYTHONPATH:

    PYTHON -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env
        --nbval-sanitize-with CHECKOUT/tests/nbval_sanitize.cfg
        --nbval-cell-timeout 600 --nbval-kernel-startup-timeout 300
        --numprocesses auto --maxprocesses 4 --dist loadfile .
"""

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from book import Book, BookError, cells
from twins import out_of_step, serialize, stored_outputs, twin

ROOT = Path(__file__).resolve().parent.parent


def write(book: Book) -> None:
    from execution import execute, write_atomically  # imports what check has no time for

    for page, executed in zip(book.chapters, execute(book, book.chapters).values(), strict=True):
        outputs = [
            stored_outputs(page, cell, line)
            for cell, (_, line) in zip(executed.cells, cells(page), strict=True)
            if cell.cell_type == "code"
        ]
        path, text = page.path.with_suffix(".ipynb"), serialize(twin(book, page, outputs))
        if not path.is_file() or path.read_text("utf8") != text:
            write_atomically(path, text)
            print(f"wrote {path.relative_to(book.root)}")


def check(book: Book) -> list[str]:
    """What is wrong with the twins, one line for each that is not in step."""
    problems = []
    for page in book.chapters:
        try:
            if (reason := out_of_step(book, page)) is not None:
                problems.append(
                    f"{page.name}.ipynb is not in step with {page.source}{reason}: "
                    "run make notebooks"
                )
        except BookError as error:
            problems.append(str(error))
    folders = ("chapters", "front")
    for path in sorted(p for folder in folders for p in book.root.glob(f"{folder}/**/*.ipynb")):
        name = path.relative_to(book.root).with_suffix("").as_posix()
        if name not in book.pages and ".ipynb_checkpoints" not in name:
            problems.append(f"{name}.ipynb has no source {name}.md: remove it")
    return problems


FROM_WHEEL = """
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path

found = find_spec("ntkbook")
if found is None:
    raise SystemExit("ntkbook is not installed in the environment that was named")
installed = [path.locate() for path in files("ntkbook") if path.name == "__init__.py"]
if Path(found.origin).resolve() not in [Path(path).resolve() for path in installed]:
    raise SystemExit(f"ntkbook is imported from {found.origin}, which is no installed wheel")
"""


def nbval(book: Book, python: str) -> int:
    """Run every twin with the ntkbook that is installed beside ``python``; give pytest's status."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if shutil.which(python) is None:
        raise BookError(f"there is no {python}: run make test, which makes it")
    # Made absolute but not resolved: a virtual environment's python is a link out of it.
    python = os.path.abspath(python) if os.sep in python else python
    with TemporaryDirectory(prefix="ntkbook-") as folder:
        for page in book.chapters:
            path = page.path.with_suffix(".ipynb")
            if not path.is_file():
                raise BookError(f"{page.name}.ipynb is missing: run make notebooks")
            copy = Path(folder, path.relative_to(book.root))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)

        def run(*arguments):
            return subprocess.run(
                [python, *arguments], cwd=folder, env=environment, check=False
            ).returncode

        return run("-c", FROM_WHEEL) or run(
            *("-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"),
            *("--nbval-sanitize-with", str(book.root / "tests/nbval_sanitize.cfg")),
            *("--nbval-cell-timeout", "600", "--nbval-kernel-startup-timeout", "300"),
            *("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile", "."),
        )


def main(arguments: Iterable[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("execute").add_argument("chapter", nargs="*")
    commands.add_parser("write")
    commands.add_parser("check")
    commands.add_parser("nbval").add_argument("python")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no kernel stays behind
    try:
        book = Book(root)
        match options.command:
            case "execute":
                from execution import execute

                execute(book, _chosen(book, options.chapter))
            case "write":
                write(book)
            case "nbval":
                return nbval(book, options.python)
            case "check":
                problems = check(book)
                print("\n".join(problems) or f"{len(book.chapters)} notebooks are in step")
                return 1 if problems else 0
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # it would report the cell that was cut off
        print("\ninterrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _chosen(book, names):
    chapters = {page.source: page for page in book.chapters}
    for name in names:
        if name not in chapters:
            raise BookError(f"no chapter {name}; there are {', '.join(chapters)}")
    return [chapters[name] for name in names] or book.chapters


if __name__ == "__main__":
    sys.exit(main())
