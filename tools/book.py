"""The book as its sources state it: pages in reading order, labels, numbers, references.

Sphinx numbers equations, figures, theorems and exercises while it builds. The notebooks need the
same numbers without a build, so they are counted here by Sphinx's rule: one counter for each kind
of thing in each chapter, and chapters counted on through all numbered parts of _toc.yml.
tests/test_book_notebooks.py compares the result with the built pages.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import nbformat
from docutils.nodes import make_id
from docutils.parsers.rst.directives.misc import TestDirective as AnyDirective
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser
from sphinx_external_toc.api import FileItem
from sphinx_external_toc.parsing import parse_toc_yaml

sys.path.append(str(Path(__file__).resolve().parent.parent / "_ext"))

from book_project import read_project

# The extensions of Jupyter Book that decide where a block begins and ends.
MYST = MdParserConfig(enable_extensions={"colon_fence", "dollarmath"}, disable_syntax=["inline"])
PARSER = create_md_parser(MYST, RendererHTML)

THEOREMS = tuple(
    f"prf:{kind}"
    for kind in (
        "theorem",
        "definition",
        "lemma",
        "proposition",
        "corollary",
        "remark",
        "example",
    )
)
NOTES = ("note", "tip", "warning", "important")
SOLUTIONS = ("solution", "solution-start", "solution-end")
DIRECTIVES = (*THEOREMS, "prf:proof", "exercise", *SOLUTIONS, "admonition", *NOTES, "dropdown")


class BookError(Exception):
    """What is wrong with the book, in one line that says what to do."""


@dataclass(frozen=True)
class Block:
    """A block of a page: a directive, or source that holds none at its top level."""

    line: int  # of the page's file, counted from 1
    kind: str  # "directive" or the type of the Markdown token
    text: str  # a directive's body, an equation's TeX, otherwise the source
    name: str = ""  # of the directive
    title: str = ""  # what stands beside the directive's name
    label: str = ""  # of an equation, of a target
    options: dict = field(default_factory=dict)
    body_line: int = 0  # where a directive's body begins


class Target(NamedTuple):
    """What a label stands for."""

    kind: str  # "equation", "figure", "exercise", "theorem", "lemma", ..., "section"
    page: str
    anchor: str  # in the built page
    number: str = ""
    title: str = ""  # MyST

    def __str__(self):
        if self.kind == "equation":
            return f"({self.number})"
        return f"{self.kind.capitalize()} {self.number}" if self.number else self.title


class Page(NamedTuple):
    name: str  # as Sphinx names it: the path without .md
    path: Path
    chapter: tuple[int, ...]  # the chapter's number, () outside the numbered parts
    notebook: nbformat.NotebookNode
    title: str  # MyST

    @property
    def source(self) -> str:
        """The source's name in messages: ``chapters/PART/NAME.md``."""
        return f"{self.name}.md"

    @property
    def code_cells(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]


class Book:
    """All pages below ``root`` that _toc.yml lists, with their labels."""

    def __init__(self, root: Path):
        self.root = root
        self.project = read_project(root)
        self.pages: dict[str, Page] = {}
        self.targets: dict[str, Target] = {}
        self._counts = Counter()
        self._site = parse_toc_yaml(root / "_toc.yml")
        self._add(self._site.root.docname, ())
        for path in sorted(root.glob("chapters/**/*.md")):
            if path.relative_to(root).with_suffix("").as_posix() not in self.pages:
                raise BookError(f"{path.relative_to(root).as_posix()}: not in _toc.yml; list it")

    @property
    def chapters(self) -> list[Page]:
        """All pages below chapters/, and those elsewhere that have a chapter's header."""
        return [
            page
            for page in self.pages.values()
            if page.name.startswith("chapters/") or _is_python_notebook(page)
        ]

    def url(self, page: str, anchor: str = "") -> str:
        """The address of a built page."""
        return f"{self.project.pages}{page}.html" + (anchor and f"#{anchor}")

    def _add(self, name, chapter):
        name = name.removesuffix(".md")
        path = self.root / f"{name}.md"
        if not path.is_file():
            raise BookError(f"_toc.yml: lists {name}, but there is no {name}.md")
        notebook = read_notebook(path, f"{name}.md")
        page = Page(name, path, chapter, notebook, _title(notebook))
        self.pages[name] = page
        if page in self.chapters and not _is_python_notebook(page):
            raise BookError(
                f"{page.source}: its header is not a chapter's; copy that of another one"
            )
        for cell, line in cells(page):
            if cell.cell_type == "markdown":
                self._scan(page, cell.source, line)
            elif figure := cell.metadata.get("mystnb", {}).get("figure"):
                if not figure.get("name") or not figure.get("caption"):
                    raise BookError(f"{page.source}:{line}: a figure needs a name and a caption")
                anchor = make_id(figure["name"])
                self._number("figure", figure["name"], page, line, anchor, figure["caption"])
        document = self._site.get(name) or self._site[f"{name}.md"]
        for tree in document.subtrees:
            for item in tree.items:
                if isinstance(item, FileItem):
                    if tree.numbered and not chapter:
                        self._counts["chapter"] += 1
                        self._add(item, (self._counts["chapter"],))
                    else:
                        self._add(item, chapter)

    def _scan(self, page, text, line):
        target = None
        for block in blocks(text, line, nested=True):
            if block.kind == "math_block_label":
                anchor = make_id(f"equation-{block.label}")
                self._number("equation", block.label, page, block.line, anchor)
            elif block.kind == "directive" and block.name in DIRECTIVES:
                if block.name in (*THEOREMS, "exercise") and "nonumber" not in block.options:
                    kind = block.name.removeprefix("prf:")
                    label = block.options.get("label")
                    if not label:
                        raise BookError(f"{page.source}:{block.line}: {block.name} needs a :label:")
                    self._number(kind, label, page, block.line, label, block.title)
                self._scan(page, block.text, block.body_line)
            elif block.kind == "myst_target":
                target = block
                continue
            elif target and block.kind == "heading_open":
                section = Target("section", page.name, make_id(target.label), "", block.title)
                self._note(target.label, section, target.line)
            target = None

    def _number(self, kind, label, page, line, anchor, title=""):
        self._counts[kind, page.chapter] += 1
        number = ".".join(map(str, (*page.chapter, self._counts[kind, page.chapter])))
        self._note(label, Target(kind, page.name, anchor, number, title), line)

    def _note(self, label, target, line):
        if label in self.targets:
            other = self.targets[label].page
            raise BookError(f"{target.page}.md:{line}: label {label} is already used in {other}.md")
        self.targets[label] = target


def read_notebook(path: Path, source: str) -> nbformat.NotebookNode:
    """The page as myst-nb reads it, so that jupyter-cache finds it under the same key."""
    try:
        return read_myst_markdown_notebook(path.read_text("utf8"), MYST, add_source_map=True)
    except Exception as error:  # whatever the YAML of a header or a cell made the reader raise
        raise BookError(f"{source}: {str(error).splitlines()[0]}") from error


def cells(page: Page) -> Iterator[tuple[nbformat.NotebookNode, int]]:
    """Every cell of a page, with the line at which it begins."""
    lines = page.path.read_text("utf8").splitlines()
    for cell, start in zip(page.notebook.cells, page.notebook.metadata.source_map, strict=True):
        while cell.cell_type == "markdown" and not lines[start]:
            start += 1  # the reader strips leading blank lines and does not count them
        yield cell, start + (1 if cell.cell_type == "markdown" else 0)


def blocks(text: str, line: int, nested: bool = False) -> Iterator[Block]:
    """Split MyST into its blocks.

    Args:
        text: the MyST source.
        line: the line of the file at which it begins, counted from 1.
        nested: also give the directives and equations inside lists and quotes.
    """
    lines = text.splitlines()
    end = 0
    tokens = PARSER.parse(text)
    for index, token in enumerate(tokens):
        if token.nesting < 0 or token.map is None or (token.level and not nested):
            continue
        start, stop = token.map
        if not token.level:
            # Link definitions leave no token.
            yield from _source(lines, end, start, line, "definition")
            end = stop
        if token.type in ("fence", "colon_fence") and token.info.strip().startswith("{"):
            yield _directive(token, line + start)
        elif token.type in ("math_block", "math_block_label"):
            yield Block(line + start, token.type, token.content, label=token.info)
        elif token.type == "myst_target":
            yield Block(line + start, token.type, "", label=token.content)
        elif token.type == "heading_open":
            source = "\n".join(lines[start:stop])
            yield Block(
                line + start, token.type, source, token.tag, title=tokens[index + 1].content
            )
        elif not token.level:
            yield from _source(lines, start, stop, line, token.type)
    yield from _source(lines, end, len(lines), line, "definition")


def _source(lines, start, stop, line, kind):
    while start < stop and not lines[start].strip():
        start += 1
    if source := "\n".join(lines[start:stop]).rstrip():
        yield Block(line + start, kind, source)


def _directive(token: Token, line: int) -> Block:
    name, title = re.fullmatch(r"\{([^}]*)\}\s*(.*)", token.info.strip()).groups()
    nested = token.content.startswith(":::")  # as in MyST: no options, but a directive
    parsed = parse_directive_text(AnyDirective, "", "\n" * nested + token.content)
    body = "\n".join(parsed.body)
    body_line = line + 1 + parsed.body_offset - nested
    return Block(line, "directive", body, name, title, "", parsed.options, body_line)


def _is_python_notebook(page):
    kernel = page.notebook.metadata.get("kernelspec", {}).get("name")
    return kernel == "python3" and is_myst_markdown_notebook(page.path.read_text("utf8"))


def _title(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for block in blocks(cell.source, 1):
                if block.name == "h1":
                    return block.title
    return ""
