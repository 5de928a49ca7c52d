"""The chapters' twins: what they hold, that they stay in step, how they are run and tested."""

import json
import os
import re
import shutil
import subprocess
import sys
import types
from copy import deepcopy
from functools import partial
from importlib import metadata
from pathlib import Path

import execution
import jupyter_book
import nbformat
import notebooks
import plain_markdown
import pytest
import twins
import yaml
from book import Book, BookError, blocks
from bs4 import BeautifulSoup
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_cache import get_cache
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader
from myst_parser.config.main import MdParserConfig
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ntkbook.claims import OUTPUT_KEY

ROOT = notebooks.ROOT

HEADER = """\
---
jupytext:
  text_representation:
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

"""

FIRST = """\
# The first

$$a = 1$$ (eq-a)

:::{prf:theorem} Named
:label: thm-a
Body.
:::

:::{exercise}
:label: ex-a
Do.
:::

```{code-cell}
---
mystnb:
  figure:
    name: fig-a
    caption: Falls as $1/n$, by {eq}`eq-a`.
tags: [hide-input]
---
1 + 1
```

```{code-cell}
from ntkbook.claims import claim
claim("one-half", "a half is a half", measured=0.5, expected=0.5, tolerance=0.1, source="us")
```
"""

BIBLIOGRAPHY = r"""
@article{Three, author = {First, Ann and Second, B. and {\'E}tienne, C.}, year = {2018},
  title = {On {NTK}}, journal = {A Journal}, url = {https://example.org/three}}
@book{Two, author = {van der Berg, A. and Last, B.}, year = {2020}, title = {Book}, doi = {10.1/2}}
@misc{Bare, author = {Alone, A.}, year = {1999}, title = {No link}}
"""

PAGES = "https://OWNER.github.io/ntkbook/"


def make_book(root, second="# The second\n", first=FIRST):
    """Write a book of two numbered parts with a chapter each, and read it."""
    parts = [
        {"chapters": [{"file": "front/notation"}]},
        {"numbered": True, "chapters": [{"file": "chapters/one/first"}]},
        {"numbered": True, "chapters": [{"file": "chapters/two/second"}]},
    ]
    files = {
        "_toc.yml": yaml.safe_dump({"format": "jb-book", "root": "index", "parts": parts}),
        "pyproject.toml": (ROOT / "pyproject.toml").read_text(),
        "requirements/lock.txt": "",
        "ntkbook/__init__.py": "",
        "references.bib": BIBLIOGRAPHY,
        "index.md": "# Cover\n",
        "front/notation.md": "(sec-front)=\n# Notation\n\n$$x$$ (eq-front)\n",
        "chapters/one/first.md": HEADER + first,
        "chapters/two/second.md": HEADER + second,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf8")
    return Book(root)


@pytest.fixture
def write_book(tmp_path):
    return partial(make_book, tmp_path)


@pytest.fixture
def convert(write_book):
    """Converts the MyST of a second chapter."""

    def plain(text):
        book = write_book(f"# The second\n\n{text}\n")
        page = book.pages["chapters/two/second"]
        cell = page.notebook.cells[0]
        return plain_markdown.Converter(book, page).convert(cell.source, 11).partition("\n\n")[2]

    return plain


def claim_output(name="one-half", word="holds", digits="0.5"):
    html = (
        f'<div class="ntk-claim" id="claim-{name}" data-ok="{str(word == "holds").lower()}">'
        f"Measured {digits}.</div>"
    )
    data = {"text/plain": f"claim {name}: {word}", "text/html": html}
    return new_output("display_data", data, metadata={OUTPUT_KEY: {"id": name}})


IMAGE = new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})
PRINTED = new_output("stream", name="stdout", text="printed\n")
WARNING = new_output("stream", name="stderr", text="no GPU found\n")


def run_with(outputs):
    """Stands in for a kernel: gives each code cell of a chapter these outputs."""

    def run(book, page, kernels):
        done = page._replace(notebook=deepcopy(page.notebook))
        for cell, shown in zip(done.code_cells, outputs.get(page.name, []), strict=False):
            cell.outputs = shown
        return done.notebook, 1.0

    return run


@pytest.fixture(scope="module")
def written_once(tmp_path_factory):
    book = make_book(tmp_path_factory.mktemp("book"))
    outputs = {"chapters/one/first": [[IMAGE], [WARNING, claim_output()]]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "_run", run_with(outputs))
        assert notebooks.main(["write"], book.root) == 0
    return book.root


@pytest.fixture
def written(written_once, tmp_path):
    """A book whose twins are written."""
    return Book(shutil.copytree(written_once, tmp_path / "book"))


# Markdown

CONVERSIONS = {
    "text is kept": ("*A* `{eq}` \\$5 <https://x.org> [t](https://x.org)",) * 2,
    "code is kept": ("```python\nx = '{eq}`a`'  # $$\n```",) * 2,
    "a table is kept": ("| a | $b$ |\n|---|---|\n| 1 | 2 |",) * 2,
    "comments and targets go": ("% no\n\n(sec-b)=\n## B", "## B"),
    "an equation": ("$$x = 2$$", "$$\nx = 2\n$$"),
    "a labelled equation": ("$$\nx % why\n$$ (eq-x)", "$$\nx \\tag{2.1}\n$$"),
    "lines of an equation": (
        "$$\na &= b \\\\\nc &= d\n$$ (eq-x)",
        "$$\n\\begin{aligned}a &= b \\\\\nc &= d\\end{aligned} \\tag{2.1}\n$$",
    ),
    "an environment in an equation": (
        "$$\n\\begin{cases}a \\\\ b\\end{cases}\n$$",
        "$$\n\\begin{cases}a \\\\ b\\end{cases}\n$$",
    ),
    "an equation in a list": ("- x\n\n  $$y$$ (eq-y)", "- x\n\n  $$y \\tag{2.1}$$"),
    "an equation, referred to": ("$$x$$ (eq-x)\n\n{eq}`eq-x`", "$$\nx \\tag{2.1}\n$$\n\n(2.1)"),
    "an equation elsewhere": (
        "{eq}`eq-a`, {eq}`eq-front`",
        f"[(1.1)]({PAGES}chapters/one/first.html#equation-eq-a), "
        f"[(1)]({PAGES}front/notation.html#equation-eq-front)",
    ),
    "a figure": ("{numref}`fig-a`", f"[Figure 1.1]({PAGES}chapters/one/first.html#fig-a)"),
    "a figure in words": (
        "{numref}`picture {number} <fig-a>`",
        f"[picture 1.1]({PAGES}chapters/one/first.html#fig-a)",
    ),
    "a theorem elsewhere": (
        "{prf:ref}`thm-a`",
        f"[Theorem 1.1]({PAGES}chapters/one/first.html#thm-a)",
    ),
    "an exercise elsewhere": (
        "{ref}`ex-a` {numref}`ex-a`",
        " ".join([f"[Exercise 1.1]({PAGES}chapters/one/first.html#ex-a)"] * 2),
    ),
    "a section": ("{ref}`sec-front`", f"[Notation]({PAGES}front/notation.html#sec-front)"),
    "pages": (
        "{doc}`/front/notation` {doc}`the *first* <../one/first>` [n](../../front/notation.md)",
        f"[Notation]({PAGES}front/notation.html) [the *first*]({PAGES}chapters/one/first.html) "
        f"[n]({PAGES}front/notation.html)",
    ),
    "an anchor": ("[x](#thm-a)", f"[x]({PAGES}chapters/one/first.html#thm-a)"),
    "citations": (
        "{cite:t}`Three,Two` {cite:p}`Three, Bare`",
        "[First et al. (2018)](https://example.org/three), "
        "[van der Berg and Last (2020)](https://doi.org/10.1/2) "
        "([First et al., 2018](https://example.org/three); Alone, 1999)",
    ),
    "a theorem": (
        ":::{prf:lemma} Of $x$\n:label: lem\nText $a\n= b$.\n\n$$\nx\n= 1\n$$ (eq-x)\n:::",
        "> **Lemma 2.1 (Of $x$).**\n>\n> Text $a = b$.\n>\n> $$ x = 1 \\tag{2.1} $$",
    ),
    "a theorem without number": (
        ":::{prf:remark}\n:nonumber:\nText.\n:::",
        "> **Remark.**\n>\n> Text.",
    ),
    "a proof": (":::{prf:proof}\nClear.\n:::", "*Proof.* Clear. ∎"),
    "a proof of one line": (":::{prf:proof} Clear.\n:::", "*Proof.* Clear. ∎"),
    "a proof by equation": (
        ":::{prf:proof}\n$$x$$\n:::",
        "*Proof.*\n\n$$\nx\n$$\n\n∎",
    ),
    "a note": (":::{note} It\nis.\n:::", "> **Note**\n>\n> It\n> is."),
    "an admonition": (
        ":::{admonition} You `need`\n:class: tip\n\n- a\n- b\n:::",
        "> **You `need`**\n>\n> - a\n> - b",
    ),
    "a folded admonition": (
        ":::{admonition} T\n:class: dropdown tip\nB\n:::",
        "<details>\n<summary>T</summary>\n\nB\n\n</details>",
    ),
    "a dropdown": (
        "::::{dropdown} *Of* $a_1 < b_1$ & {prf:ref}`thm-a`\n:::{prf:proof}\nB.\n:::\n::::",
        "<details>\n<summary><em>Of</em> $a_1 < b_1$ &amp; "
        f'<a href="{PAGES}chapters/one/first.html#thm-a">Theorem 1.1</a></summary>'
        "\n\n*Proof.* B. ∎\n\n</details>",
    ),
    "an exercise and its solution": (
        ":::{exercise} Name\n:label: ex\nDo.\n```python\nx = 1\n```\n:::\n\n"
        ":::{solution} ex\n:class: dropdown\nDone.\n:::",
        "> **Exercise 2.1 (Name).**\n>\n> Do.\n>\n> ```python\n> x = 1\n> ```\n\n"
        "<details>\n<summary>Solution to Exercise 2.1</summary>\n\nDone.\n\n</details>",
    ),
}


@pytest.mark.parametrize(("myst", "plain"), CONVERSIONS.values(), ids=CONVERSIONS.keys())
def test_conversion(convert, myst, plain):
    assert convert(myst) == plain


REFUSED = {
    ":::{figure} a.png\n:::": "directive {figure} is not allowed in chapters; allowed are prf:the",
    "{kbd}`x`": "role {kbd} is not allowed in chapters; allowed are eq, numref, prf:ref, ref, doc",
    "- a\n\n  :::{note}\n  b\n  :::": "a directive inside a list or a quote",
    "![a](b.png)": "no image is allowed",
    "A note.[^1]\n\n[^1]: Foot.": "no footnote is allowed",
    "{{ x }}": "no substitution is allowed",
    "{eq}`eq-nowhere`": "there is no label eq-nowhere",
    "{numref}`thm-a`": "thm-a is a label of a theorem; expected figure or exercise",
    "{doc}`/front/none`": "there is no page front/none in _toc.yml",
    "[x](none.md)": "there is no page chapters/two/none in _toc.yml",
    "{cite:t}`Nobody`": "there is no entry Nobody in references.bib",
    "$$\na\n\nb\n$$": "a blank line inside an equation",
    "text\n$$a$$ (eq-x)": "there is no label eq-x",
    ":::{prf:theorem}\nText.\n:::": "prf:theorem needs a :label:",
    "$$a$$ (eq-a)": "label eq-a is already used in chapters/one/first.md",
    "```{code-cell}\n:mystnb: {figure: {name: fig}}\n1\n```": "a figure needs a name and a caption",
}


@pytest.mark.parametrize("myst", REFUSED)
def test_refused_with_file_and_line(convert, myst):
    with pytest.raises(BookError) as refused:
        convert(f"Text\nof two lines.\n\n{myst}")
    assert re.match(r"chapters/two/second\.md:1[678]: ", str(refused.value))
    assert REFUSED[myst] in str(refused.value)


def test_myst_that_slips_through_is_refused(write_book):
    book = write_book("# T\n\n:::div\ntext\n:::\n")
    with pytest.raises(BookError, match=r"second\.md:11: .*not understood: :::"):
        twins.twin(book, book.pages["chapters/two/second"], [])


def test_blocks_know_their_lines():
    text = "para\n\n::::{dropdown} T\n:open:\n\n:::{note}\nA\n:::\n::::\n\n[l]: x\n"
    found = [(b.line, b.kind) for b in blocks(text, 5)]
    assert found == [(5, "paragraph_open"), (7, "directive"), (15, "definition")]
    (outer,) = (b for b in blocks(text, 5) if b.kind == "directive")
    assert [(b.line, b.name) for b in blocks(outer.text, outer.body_line)] == [(10, "note")]


@pytest.mark.parametrize(
    ("change", "message"),
    {
        "a chapter off the contents": (
            ("chapters/one/extra.md", HEADER),
            "chapters/one/extra.md: not in _toc.yml; list it",
        ),
        "a chapter without header": (
            ("chapters/one/first.md", "# T\n"),
            "chapters/one/first.md: its header is not a chapter's",
        ),
        "an unreadable cell": (
            ("chapters/one/first.md", HEADER + "```{code-cell}\n:tags: [a\n1\n```"),
            "chapters/one/first.md: Code cell 0 at line 11 could not be read",
        ),
    }.values(),
)
def test_unreadable_book(write_book, capsys, change, message):
    book = write_book()
    (book.root / change[0]).write_text(change[1])
    assert notebooks.main(["check"], book.root) == 1
    assert message in capsys.readouterr().err


# Twins


def read_twin(book, name="chapters/one/first"):
    return nbformat.read(book.root / f"{name}.ipynb", 4)


def test_twin(written):
    twin = read_twin(written)
    nbformat.validate(twin)
    assert (twin.nbformat, twin.nbformat_minor) == (4, 5)
    assert twin.metadata.accelerator == "GPU"
    assert twin.metadata.colab.gpuType == "T4"
    assert twin.metadata.kernelspec.name == "python3"

    title, install, _, figure, caption, claim = twin.cells
    assert title.source.startswith("# The first\n\n> This notebook holds no images")
    assert f"{PAGES}chapters/one/first.html" in title.source
    assert install.cell_type == "code"
    assert figure.outputs == []
    assert figure.metadata == {
        "cellView": "form",
        "jupyter": {"source_hidden": True},
        "tags": ["hide-input"],
    }
    assert caption.source == "**Figure 1.1.** Falls as $1/n$, by (1.1)."
    assert claim.metadata.tags == ["nbval-check-output"]
    line = "claim one-half: holds"
    (output,) = claim.outputs
    assert output.data == {"text/plain": line, "text/html": line}
    assert output.metadata == {}
    assert [install.execution_count, figure.execution_count, claim.execution_count] == [1, 2, 3]


def test_a_solution_over_several_cells_is_folded_in_each(write_book):
    book = write_book(
        "# T\n\n:::{exercise}\n:label: ex\nDo.\n:::\n\n"
        ":::{solution-start} ex\n:class: dropdown\n:::\n\nA.\n\n:::{note}\nN.\n:::\n\n"
        "```{code-cell}\n1\n```\n\nB.\n\n```{code-cell}\n2\n```\n\n"
        ":::{solution-end}\n:::\n\nC.\n\n```{code-cell}\n3\n```\n"
    )
    page = book.pages["chapters/two/second"]
    _, _, before, one, between, two, after, three = twins.twin(book, page, [[], [], []]).cells
    fold = "<details>\n<summary>Solution to Exercise 2.1</summary>\n\n{}\n\n</details>"
    quote = "> **Exercise 2.1.**\n>\n> Do.\n\n"
    assert before.source == quote + fold.format("A.\n\n> **Note**\n>\n> N.")
    assert between.source == fold.format("B.")
    assert after.source == "C."
    assert [cell.metadata.get("cellView") for cell in (one, two, three)] == ["form", "form", None]


def test_references_stand_at_the_end(write_book):
    book = write_book("# T\n\n{cite:t}`Two` and {cite:t}`Three`, {cite:p}`Bare`\n")
    last = twins.twin(book, book.pages["chapters/two/second"], []).cells[-1]
    assert last.source == (
        "## References\n\n"
        "- A. Alone (1999). No link.\n"
        "- A. van der Berg and B. Last (2020). [Book](https://doi.org/10.1/2).\n"
        "- Ann First, B. Second and C. Étienne (2018). [On NTK](https://example.org/three). "
        "A Journal."
    )


def test_twins_are_deterministic(written):
    paths = sorted(written.root.glob("chapters/**/*.ipynb"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert notebooks.main(["write"], written.root) == 0
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before


def test_ids_are_unique_and_stay_with_their_cells(write_book):
    cell = "```{code-cell}\nx = 1\n```\n"
    page = "chapters/two/second"
    ids = []
    for text in (f"# T\n\n{cell}\n{cell}\nend\n", f"# T\n\nnew\n\n{cell}\n{cell}\nend\n"):
        book = write_book(text)
        ids.append([cell.id for cell in twins.twin(book, book.pages[page], [[], []]).cells])
    assert len(set(ids[0])) == len(ids[0])
    assert [name for name in ids[1] if name in ids[0]] == ids[0]


def shown(write_book, code, outputs):
    """What the twin stores of a cell that showed these outputs."""
    book = write_book(f"# T\n\n```{{code-cell}}\n{code}\n```\n")
    page = book.pages["chapters/two/second"]
    (cell,) = page.code_cells
    cell.outputs = outputs
    return twins.stored_outputs(page, cell, 13)


CLAIM = 'claim("one-half", "x")'
CHECKED = ":tags: [nbval-check-output]\n"


def test_outputs_are_claims_and_what_the_author_asks_for(write_book):
    assert shown(write_book, "1", [IMAGE, PRINTED, WARNING]) == []
    assert shown(write_book, ":tags: [raises-exception]\n" + CLAIM, [claim_output()]) == []
    (printed,) = shown(write_book, CHECKED + "print()", [PRINTED, WARNING, PRINTED.copy()])
    assert printed.text == "printed\nprinted\n"
    (caught,) = shown(write_book, CLAIM, [claim_output(word="does not hold")])
    assert caught.data["text/html"] == "claim one-half: does not hold"
    (computed,) = shown(write_book, 'claim(f"a-{n}", "x")', [claim_output("a-1")])
    assert computed.data["text/html"] == "claim a-1: holds"


@pytest.mark.parametrize(
    ("code", "outputs", "message"),
    [
        (CLAIM, [claim_output(), IMAGE], "nbval compares all that this cell shows"),
        (CLAIM, [claim_output(), PRINTED], "nbval compares all that this cell shows"),
        (CHECKED + "1", [IMAGE], "nbval compares all that this cell shows"),
        (CLAIM, [], "claim one-half is in the source, but not among the outputs"),
        ("helper()", [claim_output()], "shows a claim that another cell states"),
        ("%matplotlib inline", [], "plain Python, without magics"),
    ],
)
def test_outputs_that_nbval_could_not_compare_are_refused(write_book, code, outputs, message):
    with pytest.raises(BookError, match=message) as refused:
        shown(write_book, code, outputs)
    assert str(refused.value).startswith("chapters/two/second.md:13: ")


# In step

FIRST_IS_STALE = (
    r"chapters/one/first\.ipynb is not in step with chapters/one/first\.md( \(.*\))?: "
    r"run make notebooks\n"
)


def test_check_accepts_what_write_wrote(written, capsys):
    assert notebooks.main(["check"], written.root) == 0
    assert capsys.readouterr().out == "2 notebooks are in step\n"


def change_source(old, new):
    def change(root):
        path = root / "chapters/one/first.md"
        path.write_text(path.read_text().replace(old, new))

    return change


def change_twin(edit):
    def change(root):
        path = root / "chapters/one/first.ipynb"
        notebook = json.loads(path.read_text())
        edit(notebook["cells"], notebook)
        path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    return change


STALE = {
    "prose": change_source("Body.", "Another body."),
    "code": change_source("1 + 1", "1 + 2"),
    "tags": change_source("hide-input", "hide-output"),
    "caption": change_source("Falls as", "Rises as"),
    "a claim": change_source('claim("one-half"', 'claim("one-third"'),
    "a new cell": change_source("# The first", "# The first\n\n```{code-cell}\n1\n```\n"),
    "a chapter before it": lambda root: (root / "_toc.yml").write_text(
        (root / "_toc.yml").read_text().replace("- chapters:", "- numbered: true\n  chapters:", 1)
    ),
    "the release": lambda root: (root / "pyproject.toml").write_text(
        (root / "pyproject.toml").read_text().replace('version = "', 'version = "9.')
    ),
    "a missing twin": lambda root: (root / "chapters/one/first.ipynb").unlink(),
    "a half written twin": lambda root: (root / "chapters/one/first.ipynb").write_text('{"cells'),
    "the order": change_twin(lambda cells, _: cells.insert(2, cells.pop())),
    "raw MyST": change_twin(lambda cells, _: cells[2]["source"].append("\n{eq}`eq-a`")),
    "metadata": change_twin(lambda _, notebook: notebook["metadata"].pop("accelerator")),
    "an image": change_twin(lambda cells, _: cells[3]["outputs"].append(dict(IMAGE))),
    "an image beside a claim": change_twin(
        lambda cells, _: cells[5]["outputs"].append(dict(IMAGE))
    ),
    "an error": change_twin(
        lambda cells, _: cells[5]["outputs"].append(
            {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
        )
    ),
    "a lost claim": change_twin(lambda cells, _: cells[5]["outputs"].clear()),
    "stored digits": change_twin(
        lambda cells, _: cells[5]["outputs"][0]["data"].update({"text/html": ["Measured 0.5"]})
    ),
}


@pytest.mark.parametrize("change", STALE.values(), ids=STALE.keys())
def test_check_finds_a_stale_twin(written, capsys, change):
    change(written.root)
    capsys.readouterr()
    assert notebooks.main(["check"], written.root) == 1
    assert re.match(FIRST_IS_STALE, capsys.readouterr().out)


@pytest.mark.parametrize("name", ["chapters/one/gone", "front/gone"])
def test_check_finds_a_twin_without_source(written, capsys, name):
    (written.root / f"{name}.ipynb").write_text("{}")
    assert notebooks.main(["check"], written.root) == 1
    assert f"{name}.ipynb has no source {name}.md: remove it\n" in capsys.readouterr().out


def test_a_page_in_front_that_runs_has_a_twin(write_book, monkeypatch):
    root = write_book().root
    cell = "```{code-cell}\nx = 1\n```\n"
    (root / "front/notation.md").write_text(f"{HEADER}# Notation\n\n$$x$$ (eq-front)\n\n{cell}")
    monkeypatch.setattr(
        execution, "_run", run_with({"chapters/one/first": [[IMAGE], [claim_output()]]})
    )
    assert notebooks.main(["write"], root) == 0
    twin = read_twin(Book(root), "front/notation")
    assert [c.source for c in twin.cells if c.cell_type == "code"][1:] == ["x = 1"]
    assert notebooks.main(["check"], root) == 0


# Running


def test_myst_nb_finds_what_was_executed(written):
    """The key in jupyter-cache is the one for what jupyter-book reads."""
    page = written.pages["chapters/one/first"]
    defaults = Path(jupyter_book.__file__).parent / "default_config.yml"
    extensions = yaml.safe_load(defaults.read_text())["parse"]["myst_enable_extensions"]
    config = MdParserConfig(enable_extensions=set(extensions))
    text = page.path.read_text()
    read = create_nb_reader(str(page.path), config, NbParserConfig(), text).read(text)
    cache = get_cache(written.root / "_build/.jupyter_cache")
    _, merged = cache.merge_match_into_notebook(read)
    cache.db.dispose()
    assert merged.cells[-1].outputs[-1].data["text/plain"] == "claim one-half: holds"
    timings = json.loads((written.root / "_build/timings.json").read_text())
    assert timings == {"chapters/one/first": 1.0, "chapters/two/second": 1.0}


@pytest.fixture
def executed_again(written, monkeypatch, capsys):
    """Executes the book again and gives the names of the chapters that were run."""

    def execute():
        ran = []

        def run(book, page, kernels):
            ran.append(page.name)
            return run_with({})(book, page, kernels)

        monkeypatch.setattr(execution, "_run", run)
        assert notebooks.main(["execute"], written.root) == 0
        return ran

    return execute


def test_the_cache_is_used(executed_again):
    assert executed_again() == []


@pytest.mark.parametrize("spoil", ["no text", "half the text", "no file", "no folder"])
def test_a_half_written_entry_is_not_used(written, executed_again, spoil):
    for path in (written.root / "_build/.jupyter_cache/executed").glob("*/base.ipynb"):
        if spoil == "no text":
            path.write_text("")
        elif spoil == "half the text":
            path.write_text(path.read_text()[:100])
        else:
            path.unlink()
            if spoil == "no folder":
                path.parent.rmdir()
    assert len(executed_again()) == 2
    assert executed_again() == []


@pytest.mark.parametrize("name", ["ntkbook/__init__.py", "ntkbook/a.js", "requirements/lock.txt"])
def test_the_cache_is_dropped_when_the_code_changes(written, executed_again, name):
    (written.root / name).write_text("# changed")
    assert len(executed_again()) == 2
    assert executed_again() == []


def test_the_cache_is_dropped_when_the_scale_changes(executed_again, monkeypatch):
    monkeypatch.setenv("NTKBOOK_SCALE", "full")
    assert len(executed_again()) == 2


def test_a_cache_of_unknown_origin_is_dropped(written, executed_again):
    (written.root / "_build/.jupyter_cache/ntkbook-stamp").unlink()
    assert len(executed_again()) == 2


def test_execute_runs_the_chapters_that_are_named(write_book, monkeypatch, capsys):
    book = write_book()
    monkeypatch.setattr(execution, "_run", run_with({}))
    assert notebooks.main(["execute", "chapters/two/second.md"], book.root) == 0
    assert "[1/1] chapters/two/second.md ... 1.0 s" in capsys.readouterr().out
    assert notebooks.main(["execute", "chapters/none.md"], book.root) == 1
    assert "no chapter chapters/none.md; there are chapters/one/" in capsys.readouterr().err


FAILING = """\
# Fails

```{code-cell}
import os
print(os.getcwd())
```

```{code-cell}
from ntkbook.claims import claim
claim("too-much", "one is two", measured=1, expected=2, tolerance=0.1, source="us")
```
"""


def test_a_false_claim_stops_execute(write_book, monkeypatch, capsys):
    book = write_book(first=FAILING)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert notebooks.main(["execute", "chapters/one/first.md"], book.root) == 1
    line, hint = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "chapters/one/first.md: cell 2 failed: ClaimError: claim too-much does not hold: "
    )
    report = book.root / hint.rpartition(" ")[2]
    assert report == book.root / "_build/reports/chapters/one/first.log"
    assert "Traceback" in report.read_text()
    assert "\x1b" not in report.read_text()
    assert not list((book.root / "_build/.jupyter_cache").glob("executed/*"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "its kernel died; is there enough memory?"),
        ("while True: pass", "it took longer than 1 s"),
    ],
)
def test_a_lost_kernel_stops_execute(write_book, monkeypatch, capsys, code, message):
    book = write_book(f"# T\n\n```{{code-cell}}\n1\n```\n\n```{{code-cell}}\n{code}\n```\n")
    monkeypatch.setattr(execution, "CELL_TIMEOUT", 1)
    assert notebooks.main(["execute", "chapters/two/second.md"], book.root) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"chapters/two/second.md: cell 2 failed: {message}\n")


@pytest.mark.parametrize("end", ["failure", "interrupt"])
def test_no_kernel_outlives_the_end(write_book, monkeypatch, capsys, tmp_path, end):
    started = tmp_path / "pid"
    endless = f"""# T

```{{code-cell}}
import os, pathlib, time
pathlib.Path({str(started)!r}).write_text(str(os.getpid()))
time.sleep(300)
```
"""
    wait = f"""# T

```{{code-cell}}
import pathlib, time
while not pathlib.Path({str(started)!r}).exists():
    time.sleep(0.1)
time.sleep(0.5)
1 / {0 if end == "failure" else 1}
```
"""
    book = write_book(first=endless, second=wait)
    monkeypatch.setattr(execution, "AT_ONCE", 2)
    if end == "interrupt":

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(execution, "_store", interrupt)
    assert notebooks.main(["execute"], book.root) == (1 if end == "failure" else 130)
    said = capsys.readouterr().err
    assert ("ZeroDivisionError" in said) == (end == "failure") and "first.md" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_cell_that_should_raise_must():
    cell = new_code_cell("1", metadata={"tags": ["raises-exception"]})
    with pytest.raises(RuntimeError, match="tagged raises-exception but did not raise"):
        execution._check_raised(cell)
    cell.outputs = [new_output("error", ename="E", evalue="", traceback=[])]
    execution._check_raised(cell)


# nbval


def nbval_statuses(path):
    """Whether nbval passes each cell of a notebook: {0: "PASSED", ...}."""
    command = f"-m pytest -rA -p no:cacheprovider --nbval-lax --nbval-current-env {path}".split()
    done = subprocess.run(
        [sys.executable, *command, "--nbval-sanitize-with", ROOT / "tests/nbval_sanitize.cfg"],
        cwd=path.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return {int(n): word for word, n in re.findall(r"^(\w+) .*::Cell (\d+)", done.stdout, re.M)}


def test_nbval_compares_claims_but_not_digits(write_book):
    """The cells of a twin, each with what it stored when another code was run."""
    make = 'claim("{}", "x", measured={}, at_most=1, source="us")'
    stored = [claim_output(name) for name in ("same", "old-id", "lost", "false", "caught")]
    stored[4] = claim_output("caught", "does not hold")
    code = [
        "from ntkbook.claims import claim, ClaimError",
        make.format("same", 0.123),
        make.format("new-id", 0),
        "pass",
        make.format("false", 2),
        "try:\n    " + make.format("caught", 3) + "\nexcept ClaimError:\n    pass",
        "1 / 0",
    ]
    tags = [[], *[["nbval-check-output"]] * 5, ["raises-exception"]]
    for output in stored:
        line = output.data["text/plain"]
        output.update(data={"text/plain": line, "text/html": line}, metadata={})
    book = write_book()
    cells = [new_code_cell(twins.INSTALL.format(project=book.project), execution_count=1)]
    for source, marks, outputs in zip(code, tags, [[], *[[o] for o in stored], []], strict=True):
        cell = new_code_cell(source, metadata={"tags": marks}, outputs=outputs, execution_count=1)
        cells.append(cell)
    path = book.root / "tiny.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=twins.METADATA), path)
    words = nbval_statuses(path)
    passed = {number for number, word in words.items() if word == "PASSED"}
    assert passed == {0, 1, 2, 6, 7}
    assert {number for number, word in words.items() if word == "FAILED"} == {3, 4, 5}


def test_nbval_is_run_on_copies_from_an_empty_folder(written, monkeypatch, tmp_path):
    """With a program in Python's place that notes how it is called."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\n{{ find . -type f; echo "PATH=$PYTHONPATH"; echo "$@"; }} >>{tmp_path}/log\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert notebooks.main(["nbval", str(python)], written.root) == 0
    first, second, path, *_ = (tmp_path / "log").read_text().splitlines()
    assert {first, second} == {"./chapters/one/first.ipynb", "./chapters/two/second.ipynb"}
    assert path == "PATH="
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("-m pytest -p no:cacheprovider --nbval-lax --nbval-current-env ")
    assert last.endswith(" .")


def test_nbval_refuses_a_checkout(written, capfd, tmp_path):
    """An environment whose ntkbook is a link to a checkout is not a test of the wheel."""
    assert notebooks.main(["nbval", "nowhere/python"], written.root) == 1
    assert capfd.readouterr().err == "there is no nowhere/python: run make test, which makes it\n"

    python = tmp_path / "environment/bin/python"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", python.parent.parent], check=True
    )
    assert notebooks.main(["nbval", str(python)], written.root) == 1
    assert "ntkbook is not installed in the environment" in capfd.readouterr().err

    (packages,) = python.parent.parent.glob("lib/*/site-packages")
    (packages / "ntkbook.pth").write_text(str(ROOT))
    information = packages / "ntkbook-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: ntkbook\nVersion: 0.1.0\n")
    (information / "RECORD").write_text("ntkbook.pth,,\nntkbook-0.1.0.dist-info/METADATA,,\n")
    assert notebooks.main(["nbval", str(python)], written.root) == 1
    assert f"ntkbook is imported from {ROOT}/ntkbook/__init__.py" in capfd.readouterr().err


# Colab


def run_install_cell(monkeypatch, folder):
    """Runs the first code cell as IPython would; gives the magics that it called."""
    magics = []
    shell = types.SimpleNamespace(run_line_magic=lambda *call: magics.append(call))
    installed = [
        types.SimpleNamespace(name="jax", version="0.7.2"),
        types.SimpleNamespace(name="Some_Thing", version="1.0+cu12"),
        types.SimpleNamespace(name="jax", version="0.4"),  # shadowed by the one before
        types.SimpleNamespace(name="ntkbook", version="0.0.1"),
        types.SimpleNamespace(name="legacy", version="1.0-ubuntu1"),
        types.SimpleNamespace(name=None, version="1"),
    ]
    monkeypatch.setattr(metadata, "distributions", lambda: installed)
    monkeypatch.chdir(folder)
    project = types.SimpleNamespace(repository="https://github.com/O/ntkbook", tag="v1.2")
    source = twins.INSTALL.format(project=project)
    code = TransformerManager().transform_cell(source)
    exec(compile(code, "cell", "exec"), {"get_ipython": lambda: shell})
    return magics


def test_on_colab_the_first_cell_installs_and_holds_all_else(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    magics = run_install_cell(monkeypatch, tmp_path)
    wanted = "ntkbook[book] @ git+https://github.com/O/ntkbook@v1.2"
    assert magics == [("pip", f'install -q -c held.txt "{wanted}"')]
    assert (tmp_path / "held.txt").read_text() == "jax==0.7.2\nsome-thing==1.0+cu12\n"


def test_elsewhere_the_first_cell_does_nothing(monkeypatch, tmp_path):
    assert run_install_cell(monkeypatch, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


# The built pages


@pytest.fixture(scope="module")
def this_book():
    return Book(ROOT)


CHAPTERS = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("chapters/**/*.md")]


@pytest.mark.parametrize("name", sorted(map(str, CHAPTERS)))
def test_numbers_are_those_of_the_built_page(this_book, name):
    page, html = this_book.pages[name], ROOT / "_build/html" / f"{name}.html"
    if not html.is_file():
        pytest.skip("the page is not built; run make book")
    if html.stat().st_mtime < page.path.stat().st_mtime:
        pytest.skip("the page was built before its source changed; run make book")
    soup = BeautifulSoup(html.read_text("utf8"), "html.parser")

    def on_page(target):
        element = soup.find(id=target.anchor)
        text = element.select_one(".eqno, .caption-number").get_text()
        word, number = re.fullmatch(r"(?:(\S+) )?\(?([\d.]+)\)?#?\s*", text).groups()
        return (word or "equation").lower(), number

    targets = [t for t in this_book.targets.values() if t.page == page.name and t.number]
    assert [(t.kind, t.number) for t in targets] == [on_page(t) for t in targets]
    # No number stands on the page that the notebook does not know.
    assert len(soup.select(".eqno, .caption-number")) == len(targets)

    text = "\n".join(
        cell.source
        for cell in nbformat.read(page.path.with_suffix(".ipynb"), 4).cells
        if cell.cell_type == "markdown"
    )
    written = re.findall(r"\\tag\{([\d.]+)\}", text)
    assert written == [e.get_text().strip("()#") for e in soup.select(".eqno")]
    captions = [e.get_text().split()[-1] for e in soup.select(".caption-number")]
    assert re.findall(r"\*\*[A-Z]\w+ (\d[\d.]*\d)\b", text) == captions
