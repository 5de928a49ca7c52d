"""The built book: the Sphinx extensions in _ext and the browser checks of tools/check_pages.py."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import book_api
import book_builds
import book_claims
import book_project
import check_pages
import pytest

from ntkbook import live

ROOT = Path(__file__).resolve().parent.parent


def record(id, ok=True, chapter="chapters/a/one", **changes):
    bounds = dict(expected=0.5, tolerance=0.1, at_most=None, at_least=None)
    values = dict(statement="half is half", measured=0.5, spread=None, source="a paper")
    return dict(id=id, chapter=chapter, **bounds, **values, ok=ok, scale="quick") | changes


# _ext


def test_addresses_follow_from_pyproject(tmp_path):
    def project(address):
        (tmp_path / "pyproject.toml").write_text(
            '[project]\nversion = "1.2.3"\nauthors = [{ name = "A" }, { name = "B" }]\n'
            f'urls = {{ Repository = "{address}" }}\n'
        )
        return book_project.read_project(tmp_path)

    made = project("https://github.com/someone/a-book")
    assert made.pages == "https://someone.github.io/a-book/"
    assert made.colab == "https://colab.research.google.com/github/someone/a-book/blob/v1.2.3/"
    citation = book_project.bibtex(made, "A Title", "2030")
    for part in ("{{A and B}}", "{A Title}", "{2030}", "{Version 1.2.3}", made.pages):
        assert part in citation
    with pytest.raises(ValueError, match="expected https://github"):
        project("https://example.org/a-book")


def test_pages_are_in_reading_order():
    includes = {"index": ["b", "a"], "b": ["b1", "b2"]}
    assert list(book_claims.reading_order(includes, "index")) == ["index", "b", "b1", "b2", "a"]


def test_a_second_use_of_an_id_and_a_failing_claim_are_named():
    claims = [record("one"), record("two", ok=False), record("one", chapter="chapters/b/last")]
    assert list(book_claims.warnings_for(claims)) == [
        ("chapters/a/one", "claim two of chapters/a/one does not hold"),
        ("chapters/b/last", "claim one is made in chapters/a/one and again in chapters/b/last"),
    ]


def test_claims_json_has_no_nan_and_leaves_no_draft(tmp_path):
    path = tmp_path / "claims.json"
    book_claims.write_json([record("one", measured=float("nan"), ok=False)], path)

    def refuse(constant):
        raise AssertionError(constant)

    (claim,) = json.loads(path.read_text(), parse_constant=refuse)
    assert claim["measured"] is None and claim["expected"] == 0.5
    assert os.listdir(tmp_path) == ["claims.json"]


@pytest.mark.parametrize(
    "claims, sentence",
    [
        ([], "This build made no claims."),
        ([record("a")], "This build checked 1 claim in 1 chapter, at quick scale: all hold."),
        (
            [record("a"), record("b", ok=False, chapter="chapters/b"), record("c", scale="full")],
            "This build checked 3 claims in 2 chapters, at full and quick scale: 1 failed.",
        ),
    ],
)
def test_the_ledger_counts(claims, sentence):
    assert book_claims.summary(claims) == sentence


def test_signatures_are_shown_as_written():
    def signature(source, bound=False):
        return book_api.signature_of(ast.parse(source).body[0], bound)

    source = 'def f(self, x: Float[Array, "n d"], *, depth: int = 1) -> Float[Array, "n n"]: ...'
    shown = ("(x: Float[Array, 'n d'], *, depth: int=1)", "Float[Array, 'n n']")
    assert signature(source, bound=True) == shown
    assert signature("class A:\n    w: Array\n    b: Array | None = None") == (
        "(w: Array, b: Array | None = None)",
        None,
    )
    assert signature("class A(Exception): ...") is None


def test_old_pages_go_and_assets_stay(tmp_path):
    for name in ("index.html", "a/old.html", "a/new.html", "_static/x.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    book_builds.remove_old_pages(tmp_path, {"index", "a/new"})
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.html")}
    assert left == {"index.html", "a/new.html", "_static/x.html"}


CHAPTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---

# Chapter {name}

$$x = y$$ (eq-{name})

:::{{prf:theorem}}
:label: thm-{name}

By {{eq}}`eq-one`, {{cite:t}}`Someone2020` and {{cite:p}}`Someone2020`.
:::

{{prf:ref}}`thm-one`

```{{code-cell}} ipython3
from ntkbook import claim
claim("{id}", "half is half", measured={measured}, expected=0.5, tolerance=0.1, source="a paper")
```
"""


class SmallBook:
    """Two chapters in two parts, and the ledger, built with the book's own configuration."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("_config.yml", "favicon.svg", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for name in ("_ext", "_static"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "references.bib").write_text(
            "@article{Someone2020, author = {Someone, A. and Other, B. and Third, C.},"
            " title = {On a Thing}, journal = {Things}, year = {2020}}"
        )
        (folder / "index.md").write_text(
            "# Book\n\n{{ version }} {{ repository }}\n\n```{claims-ledger}\n```\n\n"
            "```{bibliography}\n```\n"
        )
        (folder / "chapters/a").mkdir(parents=True)
        self.contents("one", "two")
        self.chapter("one")
        self.chapter("two")
        (folder / "chapters/a/one.ipynb").write_text("the twin")

    def contents(self, *chapters):
        part = "  - numbered: true\n    chapters: [file: chapters/a/{}]\n".format
        head = "format: jb-book\nroot: index\nparts:\n"
        (self.folder / "_toc.yml").write_text(head + "".join(map(part, chapters)))

    def chapter(self, name, id=None, measured=0.5):
        text = CHAPTER.format(name=name, id=id or name, measured=measured)
        (self.folder / f"chapters/a/{name}.md").write_text(text)

    def build(self):
        """Build, and give the exit status and what was printed."""
        jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
        command = [jupyter_book, "build", ".", "-W", "-n", "--keep-going"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def claims(self):
        claims = json.loads((self.folder / "_build/claims.json").read_text())
        return [(Path(claim["chapter"]).name, claim["id"], claim["measured"]) for claim in claims]

    def page(self, name):
        return (self.folder / f"_build/html/{name}.html").read_text()


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    book = SmallBook(tmp_path_factory.mktemp("book"))
    status, printed = book.build()
    assert status == 0, printed
    return book


def test_numbers_citations_and_addresses(small_book):
    page = small_book.page("chapters/a/two")
    assert "Chapter two" in page and '<span class="section-number">2. </span>' in page
    assert '<span class="eqno">(2.1)' in page and ">(1.1)</a>" in page
    assert "Theorem 2.1" in page and "Theorem 1.1" in page
    assert ">2020</a>)" in page and "Someone <em>et al.</em>, 2020</a>)" in page
    index = small_book.page("index")
    project = book_project.read_project(ROOT)
    assert project.version in index and f'href="{project.repository}"' in index
    assert f"{project.colab}chapters/a/one.ipynb" in small_book.page("chapters/a/one")
    download = small_book.folder / "_build/html/_sources/chapters/a/one.ipynb"
    assert download.read_text() == "the twin"


def test_claims_and_ledger_follow_the_chapters(small_book):
    """One long story, since each build starts from what the last one left."""
    book = small_book
    both = [("one", "one", 0.5), ("two", "two", 0.5)]
    assert book.claims() == both
    assert 'href="chapters/a/one.html#claim-one"' in book.page("index") and "2 claims" in book.page(
        "index"
    )
    assert 'id="claim-one"' in book.page("chapters/a/one")

    status, printed = book.build()  # nothing changed: no page is read, no claim is lost
    assert status == 0 and "0 added, 0 changed, 0 removed" in printed
    assert book.claims() == both and "2 claims" in book.page("index")

    book.chapter("two", id="one")
    for _ in range(2):  # the second build must not pass for want of something to read
        status, printed = book.build()
        assert (
            status != 0
            and "claim one is made in chapters/a/one and again in chapters/a/two" in printed
        )

    book.chapter("two", measured=0.9)
    status, printed = book.build()
    assert status != 0 and "claim two of chapters/a/two does not hold" in printed
    assert "<strong>no</strong>" in book.page("index") and "1 failed" in book.page("index")

    book.chapter("two", measured=0.55)
    for run in (book.folder / "_build/.jupyter_cache/executed").glob("*/base.ipynb"):
        run.write_text(run.read_text().replace('"measured": 0.5,', '"measured": 0.52,'))
    assert book.build()[0] == 0  # chapter one is as it was, but its run is another
    assert book.claims() == [("one", "one", 0.52), ("two", "two", 0.55)]
    assert "0.52" in book.page("index")

    book.contents("one")
    (book.folder / "chapters/a/two.md").unlink()
    assert book.build()[0] == 0
    assert book.claims() == [("one", "one", 0.52)]
    assert not (book.folder / "_build/html/chapters/a/two.html").exists()


# tools/check_pages.py

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"></head>
<body><main><h1>A page</h1><p>Some text, <a href="good.html#here">a link</a>.</p>{}</main></body>
</html>
"""
GOOD = """<p id="here">Here.</p>
<div style="overflow-x: auto" tabindex="0"><div style="width: 900px">wide</div></div>
<img src="dot.svg" alt="A black dot"><code>{eq}`a` and $$x$$</code>"""
LIVE = """<div class="live-figure"><label>depth <input type="range" min="0" max="5" value="2">
</label><svg role="img" aria-label="A line" viewBox="0 0 9 9"><path d="M0 0"/></svg></div><script>
const figure = document.querySelector(".live-figure"), slider = figure.querySelector("input");
function draw() {
  const a = Number(slider.value), curves = {line: [a / 3, %s]};
  figure.querySelector("path").setAttribute("d", `M0 ${%s}L9 9`);
  figure.value = {check: {module: "fake", state: {a}, curves}};
}
slider.addEventListener("input", draw); draw();</script>"""
CHOICE = LIVE.replace(
    "</label>",
    '<select><option value="0">no</option><option value="1">yes</option></select></label>',
).replace(
    "slider.addEventListener",
    "figure.querySelector('select').addEventListener('change', (event) => {"
    " figure.value.check.curves.line[0] += Number(event.target.value); }); slider.addEventListener",
)
DEFECTS = {  # page: what is wrong there, each with what must be said
    "requests": {
        '<img src="https://example.org/x.png" alt="Elsewhere">': (
            "request leaves the host: https://example.org/x.png"
        ),
        '<script src="gone.js"></script>': "status 404: http://127.0.0.1",
        "<script>console.warn('look out')</script>": "console warning: look out",
        "<script>throw new Error('stopped')</script>": "script error: stopped",
    },
    "images": {
        '<img src="one.svg">': "image one.svg has no alt text",
        '<img src="two.svg" alt=" ">': "image two.svg has no alt text",
        '<img src="three.svg" alt="_images/three.svg">': "image three.svg has a file name",
        '<img src="four.svg" alt="Dot"><img src="five.svg" alt="Dot">': "five.svg repeats the alt",
    },
    "layout": {
        '<div id="w" style="width: 600px">wide</div>': "div#w reaches to 6",
        '<div id="c" style="overflow: hidden"><p style="width: 900px">text</p></div>': (
            "p is cut off by div#c"
        ),
        '<details><summary>More</summary><p id="f" style="width: 700px">text</p></details>': (
            "p#f reaches to 7"
        ),
    },
    "access": {
        "<button></button>": "axe button-name",
        '<p style="color: #ccc; background: #fff">pale</p>': "axe color-contrast",
        '<div style="overflow: auto; height: 2em"><p>a<br>b<br>c<br>d</p></div>': (
            "axe scrollable-region-focusable"
        ),
    },
    "text": {
        "<p>As {cite:t}`Someone2020` say</p>": "raw markup in the text: {cite:t}",
        "<p>Then $$x$$ follows</p>": "raw markup in the text: $$",
        r'<span class="math">\(x\)</span>': "math that was not typeset",
        '<mjx-merror data-mjx-error="Missing brace">x</mjx-merror>': "MathJax error: Missing brace",
    },
    "links": {
        '<a href="good.html#nowhere">one</a>': "link to good.html#nowhere: no such place",
        '<a href="nowhere.html">two</a>': "link to nowhere.html: no such file",
    },
    "live-numbers": {LIVE % ("2 * a + 1e-5", "a"): "point 1: 4.00001; Python has 4.0"},
    "live-stuck": {LIVE % ("2 * a", "7"): "ArrowRight does not change what is drawn"},
    "live-choice": {CHOICE % ("2 * a", "a"): "option '1': curve line, point 0"},
    "live-silent": {'<div class="live-figure">gone</div>': "live figure 1 has no value.check"},
}


@pytest.fixture(scope="module")
def browser():
    path = check_pages.find_browser()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium, and CI=true: install it, or set NTKBOOK_CHROMIUM to its path")
    if path is None:
        pytest.skip("no Chromium: install it, or set NTKBOOK_CHROMIUM to its path")
    return path


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """What the checks say of a good page, a good live figure, and one page for each defect."""
    html, out = tmp_path_factory.mktemp("html"), tmp_path_factory.mktemp("out")
    pages = {"good": GOOD, "live-good": LIVE % ("2 * a", "a")}
    pages |= {name: "".join(defects) for name, defects in DEFECTS.items()}
    for name, body in pages.items():
        (html / f"{name}.html").write_text(PAGE.format(body))
    for name in ("dot", "one", "two", "three", "four", "five"):
        text = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
        (html / f"{name}.svg").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        curves = lambda module, state: {"line": [state["a"] / 3, 2.0 * state["a"]]}
        patch.setattr(live, "reference", curves)
        patch.setattr(check_pages, "AT_ONCE", 1)  # in this process, where the patch holds
        report = check_pages.run(html, out, browser, [], shots_only=False)
    shots = {f"{name}-{kind}.png" for name in pages for kind in ("light", "dark-390")}
    assert shots <= set(os.listdir(out))
    return report


def found(report, page):
    return [finding.what for finding in report.findings if finding.page == page]


@pytest.mark.parametrize("page", ["good.html", "live-good.html"])
def test_a_good_page_passes(report, page):
    assert found(report, page) == []


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_caught(report, name):
    problems = found(report, f"{name}.html")
    for said in DEFECTS[name].values():
        assert any(said in problem for problem in problems), (said, problems)


def test_both_themes_both_widths_and_both_addresses_are_tried(report):
    tried = {(finding.page, finding.theme) for finding in report.findings}
    assert {("access.html", f"{t}{w}") for t in ("light", "dark") for w in ("", " 390 px")} <= tried
    assert {("live-stuck.html", how) for how in ("http", "file")} <= tried


def test_a_live_figure_that_no_page_shows_is_named(report):
    assert "no page shows the figure adam_kernel" in found(report, "all pages")


def test_the_command_names_page_and_theme_and_counts(browser, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")  # the command sets it, for this process
    html, out = tmp_path / "html", tmp_path / "out"
    html.mkdir()
    (html / "index.html").write_text(PAGE.format("<button></button>"))
    (html / "good.html").write_text(PAGE.format('<p id="here">Here</p>'))
    where = [f"--html={html}", f"--out={out}"]
    assert check_pages.main([*where, "good"]) == 0
    one = re.search(r"^(\d+) passed, 0 failed$", capsys.readouterr().out, re.M)
    monkeypatch.setattr(check_pages, "AT_ONCE", 2)
    assert check_pages.main([*where, "d"]) == 1  # both pages, in two processes
    two = re.search(r"^(\d+) passed, (\d+) failed$", capsys.readouterr().out, re.M)
    assert int(two[1]) + int(two[2]) == 2 * int(one[1])
    assert check_pages.main([*where, "index"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("index.html | light | axe button-name") and "failed" in lines[-1]
    assert json.loads((out / "report.json").read_text())["findings"][0]["page"] == "index.html"
    assert check_pages.main([*where, "--shots-only", "index"]) == 0


@pytest.mark.parametrize("book, words", [(False, "run `make book` first"), (True, "no Chromium")])
def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys, book, words):
    if book:
        (tmp_path / "index.html").write_text(PAGE.format(""))
    monkeypatch.setenv("NTKBOOK_CHROMIUM", str(tmp_path / "no-such-browser"))
    assert check_pages.main([f"--html={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
