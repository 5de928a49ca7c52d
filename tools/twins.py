"""A chapter's twin: the .ipynb beside it that Colab opens and nbval tests.

It holds plain Markdown, a first code cell that installs ntkbook on Colab only, no images, and of
all outputs only those that nbval compares: the claims, each as `claim ID: holds`, and what the
cells print that the author tagged nbval-check-output.
"""

import ast
import hashlib
import re
from collections import Counter

import nbformat
from book import Book, BookError, Page, cells
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from plain_markdown import Converter, raw_myst

CLAIM = "ntkbook_claim"  # ntkbook.claims.OUTPUT_KEY, without importing JAX
CHECKED = "nbval-check-output"

METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

ABOUT = """
> This notebook holds no images: run it and it draws its figures, or read
> [the built page]({page}), which has them all.
> Text and figures: [CC BY 4.0]({project.repository}/blob/{project.tag}/LICENSE-text);
> code: [MIT]({project.repository}/blob/{project.tag}/LICENSE).
"""

# pip would otherwise replace JAX, NumPy and Matplotlib by versions that do not fit the rest.
INSTALL = """
# On Colab this installs the book's package and changes nothing that is there; elsewhere, nothing.
import sys

if "google.colab" in sys.modules:
    import re
    from importlib.metadata import distributions
    from pathlib import Path

    from packaging.utils import canonicalize_name
    from packaging.version import VERSION_PATTERN

    held = {{}}
    for found in distributions():
        if found.name and re.fullmatch(VERSION_PATTERN, found.version, re.VERBOSE | re.IGNORECASE):
            held.setdefault(canonicalize_name(found.name), found.version)
    held.pop("ntkbook", None)
    Path("held.txt").write_text("".join(f"{{name}}=={{held[name]}}\\n" for name in sorted(held)))
    %pip install -q -c held.txt "ntkbook[book] @ git+{project.repository}@{project.tag}"
"""


def twin(book: Book, page: Page, outputs: list[list[NotebookNode]]) -> NotebookNode:
    """A chapter's notebook, with these stored outputs for its code cells, in order."""
    converter = Converter(book, page)
    page_url, project = book.url(page.name), book.project
    made, code = [], iter(outputs)
    for cell, line in cells(page):
        if cell.cell_type == "code":
            folded = converter.solution or "hide-input" in cell.metadata.get("tags", [])
            made.append(_code_cell(page, cell, line, next(code), folded))
            if figure := cell.metadata.get("mystnb", {}).get("figure"):
                made.append(new_markdown_cell(converter.caption(figure["name"], line)))
        elif text := converter.convert(cell.source, line):
            if raw := raw_myst(text):
                raise BookError(
                    f"{page.source}:{line}: MyST below this line that is not understood: {raw}"
                )
            made.append(new_markdown_cell(text))
    title, _, rest = made[0].source.partition("\n") if made else ("", "", "")
    if not title.startswith("# "):
        raise BookError(f"{page.source}: a chapter begins with its title, # and a space before it")
    made[:1] = [
        new_markdown_cell(f"{title}\n{ABOUT.format(page=page_url, project=project)}".rstrip()),
        new_code_cell(INSTALL.format(project=project).strip()),
        *([new_markdown_cell(rest.strip())] if rest.strip() else []),
    ]
    if references := converter.references():
        made.append(new_markdown_cell(references))

    seen = Counter()
    for cell in made:  # an id that only changes with its cell keeps the diffs small
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        seen[digest] += 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    for count, cell in enumerate((cell for cell in made if cell.cell_type == "code"), 1):
        cell["execution_count"] = count  # nbval compares no cell that has none
    return new_notebook(cells=made, metadata=METADATA)


def _code_cell(page, cell, line, outputs, folded):
    tags = list(cell.metadata.get("tags", []))
    # What folds the code in JupyterLab and in Colab.
    metadata = {"jupyter": {"source_hidden": True}, "cellView": "form"} if folded else {}
    if is_checked(page, cell, line) and CHECKED not in tags:
        tags.append(CHECKED)
    if tags:
        metadata["tags"] = tags
    return new_code_cell(cell.source, metadata=metadata, outputs=outputs)


def claim_ids(page: Page, cell: NotebookNode, line: int) -> list[str | None]:
    """The id of each claim(...) in the cell's source, None where it is not a literal."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        raise BookError(
            f"{page.source}:{line}: {error.msg}; a chapter's cells are plain Python, without magics"
        ) from error
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "claim"
    ]
    firsts = [
        next(iter([*call.args, *(k.value for k in call.keywords if k.arg == "id")]), None)
        for call in calls
    ]
    return [first.value if isinstance(first, ast.Constant) else None for first in firsts]


def is_checked(page: Page, cell: NotebookNode, line: int) -> bool:
    """Whether nbval compares the cell's outputs."""
    tags = cell.metadata.get("tags", [])
    wanted = CHECKED in tags or claim_ids(page, cell, line)
    return bool(wanted) and "raises-exception" not in tags


def stored_outputs(page: Page, cell: NotebookNode, line: int) -> list[NotebookNode]:
    """Of an executed cell's outputs, what its twin stores."""
    where = f"{page.source}:{line}"
    stored = []
    for output in cell.outputs:
        is_claim = CLAIM in output.get("metadata", {})
        printed = output.output_type == "stream"
        if is_claim and not claim_ids(page, cell, line):
            raise BookError(
                f"{where}: shows a claim that another cell states; call claim(...) here"
            )
        if not is_checked(page, cell, line) or (printed and output.name == "stderr"):
            continue
        if is_claim:
            text = output.data["text/plain"]
            stored.append(new_output("display_data", {"text/html": text, "text/plain": text}))
        elif printed and CHECKED in cell.metadata.get("tags", []):
            if stored and stored[-1].output_type == "stream":
                stored[-1].text += output.text
            else:
                stored.append(new_output("stream", name="stdout", text=output.text))
        else:
            raise BookError(
                f"{where}: nbval compares all that this cell shows; move what is not a claim "
                f"to a cell of its own (or tag it {CHECKED}, if it only prints)"
            )
    if reason := _unlike_source(page, cell, line, stored):
        raise BookError(f"{where}: {reason}")
    return stored


def _unlike_source(page, cell, line, outputs):
    """Why these cannot be the stored outputs of the cell, or None."""
    made, tags = [], cell.metadata.get("tags", [])
    if outputs and not is_checked(page, cell, line):
        return "stores outputs that nbval does not compare"
    for output in outputs:
        data = output.get("data", {})
        text = data.get("text/plain", "")
        if match := re.fullmatch(r"claim ([a-z0-9-]+): (holds|does not hold)", text):
            if data != {"text/html": text, "text/plain": text}:
                return f"stores claim {match[1]} with more than its line"
            made.append(match[1])
        elif output.output_type != "stream" or output.name != "stdout" or CHECKED not in tags:
            return f"stores an output that is no claim ({output.output_type})"
    if is_checked(page, cell, line):
        for name in claim_ids(page, cell, line):
            if name is not None and name not in made:
                return f"claim {name} is in the source, but not among the outputs"
    return None


def serialize(notebook: NotebookNode) -> str:
    nbformat.validate(notebook)
    return nbformat.writes(notebook, nbformat.NO_CONVERT) + "\n"


def out_of_step(book: Book, page: Page) -> str | None:
    """Whether the stored twin is another than would be written now: None, or the reason if known.

    Nothing is executed: the stored outputs count as right when they fit the claims in the source.
    """
    path = page.path.with_suffix(".ipynb")
    if not path.is_file():
        return " (it is missing)"
    text = path.read_text("utf8")
    try:
        stored = nbformat.reads(text, 4)
    except ValueError:
        return " (it is no notebook)"
    outputs = [cell.outputs for cell in stored.cells if cell.cell_type == "code"][1:]
    sources = [(cell, line) for cell, line in cells(page) if cell.cell_type == "code"]
    if len(outputs) != len(sources):
        return ""
    for number, ((cell, line), shown) in enumerate(zip(sources, outputs, strict=True), 1):
        if reason := _unlike_source(page, cell, line, shown):
            return f" (cell {number}: {reason})"
    return None if serialize(twin(book, page, outputs)) == text else ""
