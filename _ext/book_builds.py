"""A repeated build is quick, and says the same as a fresh one.

Sphinx reads again only the pages whose own source changed, and deletes none. Four things would slip
through: a page whose code was run again, a build that warned or was cut short, other extensions
than those that read the pages, and a page that the book no longer has.
"""

import hashlib
from functools import partial
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import ENV_PICKLE_FILENAME


def executed_notebook(env, docname: str) -> Path | None:
    """The notebook that holds a page's outputs; None for a page without code."""
    if NbMetadataCollector.get_exec_data(env, docname) is None:
        return None
    written = Path(env.mystnb_config.output_folder, f"{docname}.ipynb")
    cache = get_cache(env.mystnb_config.execution_cache_path)
    try:
        record = cache.match_cache_notebook(nbformat.read(written, as_version=4))
    except KeyError:
        return written  # a cell failed, so the run is not in the cache
    return cache.path / "executed" / record.hashkey / "base.ipynb"  # `written` has no outputs then


def depend_on_run(app, doctree):
    """Make a chapter depend on its cached run, so that a new run is read."""
    path = executed_notebook(app.env, app.env.docname)
    if path is not None:
        app.env.note_dependency(str(path))


def start(app, config):
    """Forget what was read when the last build warned or did not reach its end."""
    doctrees = Path(app.doctreedir)
    unfinished = doctrees / "unfinished"
    if unfinished.exists():
        (doctrees / ENV_PICKLE_FILENAME).unlink(missing_ok=True)
    doctrees.mkdir(parents=True, exist_ok=True)
    unfinished.touch()


def finish(written: set[str], app, exception):
    if exception is not None:
        return
    if app.builder.format == "html":
        remove_old_pages(Path(app.outdir), app.env.found_docs | written)
    if not app._warncount:
        Path(app.doctreedir, "unfinished").unlink(missing_ok=True)


def remove_old_pages(html: Path, pages: set[str]) -> None:
    """Delete the pages that a former build left and the book no longer has."""
    for path in html.rglob("*.html"):
        page = path.relative_to(html).with_suffix("")
        if not page.parts[0].startswith("_") and page.as_posix() not in pages:
            path.unlink()


def digest(root: Path) -> str:
    """One hash of these extensions and of the versions of all others."""
    files = sorted([*root.glob("_ext/*.py"), *root.glob("requirements/lock.txt")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def setup(app):
    app.add_config_value("book_extensions_digest", digest(Path(app.srcdir)), "env")
    app.connect("config-inited", start)
    app.connect("doctree-read", depend_on_run)
    written = set()  # pages of this build, those without a source of their own included
    app.connect("html-page-context", lambda app, page, *rest: written.add(page))
    app.connect("build-finished", partial(finish, written), priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
