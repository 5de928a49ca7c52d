"""Repairs of the theme and of extensions that Jupyter Book always loads."""

import shutil
from pathlib import Path


def set_options(app, config):
    """Set theme options here: in _config.yml they would replace Jupyter Book's own."""
    config.html_theme_options["navbar_persistent"] = []  # no second search field
    config.html_context.setdefault("default_mode", "auto")  # else the theme logs a console error


def drop_thebe(app, pagename, templatename, context, doctree):
    """Leave out sphinx-thebe: nothing here uses it, and its script logs a console error."""
    for key in ("script_files", "css_files"):
        context[key][:] = [asset for asset in context[key] if not _is_thebe(asset)]


def _is_thebe(asset) -> bool:
    body = getattr(asset, "attributes", {}).get("body") or ""
    return "sphinx-thebe" in str(getattr(asset, "filename", asset)) or "THEBE_JS_URL" in body


def offer_twins(app, exception):
    """Let the download button give the twin: MyST-NB's notebook holds MyST roles and directives."""
    for notebook in Path(app.outdir, "_sources").rglob("*.ipynb"):
        twin = Path(app.srcdir, notebook.relative_to(Path(app.outdir, "_sources")))
        if twin.is_file():
            shutil.copyfile(twin, notebook)


def setup(app):
    app.connect("config-inited", set_options)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", offer_twins)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
