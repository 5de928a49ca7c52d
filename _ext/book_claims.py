"""Claims: collected from the executed chapters, written to claims.json and shown as a ledger."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from book_builds import executed_notebook
from docutils import nodes
from sphinx.domains import Domain
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from ntkbook.claims import OUTPUT_KEY, Claim

logger = logging.getLogger(__name__)


class claims_ledger(nodes.General, nodes.Element):
    """Stands for the ledger until all pages are read."""


class ClaimsLedger(SphinxDirective):
    """``{claims-ledger}``: the table of all claims of the book."""

    def run(self):
        return [claims_ledger()]


class ClaimsDomain(Domain):
    """Remembers the claims of each page, and the pages that show the ledger."""

    name = "claims"
    label = "Claims"
    initial_data: ClassVar = {"claims": {}, "ledgers": set()}  # by page; pages

    def clear_doc(self, docname):
        self.data["claims"].pop(docname, None)
        self.data["ledgers"].discard(docname)

    def merge_domaindata(self, docnames, otherdata):
        for docname in docnames:
            self.data["claims"][docname] = otherdata["claims"].get(docname, [])
        self.data["ledgers"] |= otherdata["ledgers"] & set(docnames)

    def process_doc(self, env, docname, document):
        path = executed_notebook(env, docname)
        self.data["claims"][docname] = [] if path is None else read_claims(path)
        if next(document.findall(claims_ledger), None):
            self.data["ledgers"].add(docname)

    def resolve_any_xref(self, *args):
        return []

    def in_reading_order(self) -> list[dict]:
        """All claims of the book, each with the page that makes it."""
        pages = reading_order(self.env.toctree_includes, self.env.config.root_doc)
        return [
            {"id": claim["id"], "chapter": page, **claim}
            for page in pages
            for claim in self.data["claims"].get(page, [])
        ]


def read_claims(notebook: Path) -> list[dict]:
    """The records that the outputs of an executed notebook carry."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    metadata = (output.get("metadata", {}) for output in outputs)
    return [m[OUTPUT_KEY] for m in metadata if OUTPUT_KEY in m]


def reading_order(toctree_includes: dict[str, list[str]], page: str) -> Iterator[str]:
    """The page and all pages below it, as the table of contents lists them."""
    yield page
    for child in toctree_includes.get(page, []):
        yield from reading_order(toctree_includes, child)


def warnings_for(claims: list[dict]) -> Iterator[tuple[str, str]]:
    """What is wrong with the claims of a book, each with the page where it is."""
    chapter_of = {}
    for claim in claims:
        chapter, first = claim["chapter"], chapter_of.setdefault(claim["id"], claim["chapter"])
        if claim is not next(c for c in claims if c["id"] == claim["id"]):
            yield chapter, f"claim {claim['id']} is made in {first} and again in {chapter}"
        if not claim["ok"]:
            yield chapter, f"claim {claim['id']} of {chapter} does not hold"


def write_json(claims: list[dict], path: Path) -> None:
    """Write claims.json in one step; a number that is not finite becomes null."""
    finite = [{key: _finite(value) for key, value in claim.items()} for claim in claims]
    text = json.dumps(finite, indent=1, ensure_ascii=False, allow_nan=False)
    draft = path.with_suffix(".json.part")
    draft.write_text(text + "\n", "utf-8")
    os.replace(draft, path)


def _finite(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(claims: list[dict]) -> str:
    """The counts in a sentence."""
    if not claims:
        return "This build made no claims."
    failing = sum(not claim["ok"] for claim in claims)
    verdict = f"{failing} failed" if failing else "all hold"
    scales = " and ".join(sorted({claim["scale"] for claim in claims}))
    chapters = len({claim["chapter"] for claim in claims})
    return (
        f"This build checked {_count(len(claims), 'claim')} in {_count(chapters, 'chapter')}, "
        f"at {scales} scale: {verdict}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def collect(app, env):
    """When all pages are read: check the claims, write claims.json, have the ledger written."""
    domain = env.get_domain(ClaimsDomain.name)
    claims = domain.in_reading_order()
    for page, message in warnings_for(claims):
        logger.warning(message, location=page, type="claims")
    write_json(claims, Path(app.outdir).parent / "claims.json")
    return sorted(domain.data["ledgers"])


def fill_ledger(app, doctree, docname):
    claims = app.env.get_domain(ClaimsDomain.name).in_reading_order()
    for place in list(doctree.findall(claims_ledger)):
        content = [nodes.paragraph("", summary(claims))]
        if claims:
            content.append(ledger_table(app, docname, claims))
        place.replace_self(content)


def ledger_table(app, docname: str, claims: list[dict]) -> nodes.table:
    """A row for each claim, which links to the place where the claim is made."""

    def link(target: str, anchor: str, text: nodes.Node):
        return make_refnode(app.builder, docname, target, anchor, text)

    rows = []
    for record in claims:
        page = record["chapter"]
        claim = Claim(**{key: value for key, value in record.items() if key != "chapter"})
        rows.append(
            [
                link(page, f"claim-{claim.id}", nodes.Text(claim.statement)),
                link(page, "", nodes.Text(chapter_name(app.env, page))),
                nodes.Text(claim.measurement()),
                nodes.Text(claim.expectation()),
                nodes.Text(claim.source),
                nodes.Text(claim.scale),
                nodes.Text("yes") if claim.ok else nodes.strong("", "no"),
            ]
        )
    titles = ["Claim", "Chapter", "Measured", "Expected", "Source", "Scale", "Holds"]
    return table(titles, rows)


def chapter_name(env, page: str) -> str:
    """``Chapter 3``, or the title of a page that has no number."""
    number = env.toc_secnumbers.get(page, {}).get("")
    return f"Chapter {number[0]}" if number else env.titles[page].astext()


def table(titles: list[str], rows: list[list[nodes.Node]]) -> nodes.table:
    """A table whose first column names the row."""

    def row(cells):
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))

    group = nodes.tgroup("", cols=len(titles))
    group += [nodes.colspec(colwidth=1, stub=int(i == 0)) for i in range(len(titles))]
    group += nodes.thead("", row([nodes.Text(title) for title in titles]))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["claims-ledger"])


def setup(app):
    app.add_node(claims_ledger)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_domain(ClaimsDomain)
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", fill_ledger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
