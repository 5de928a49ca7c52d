"""A chapter's MyST as the Markdown that Colab and Jupyter render: every number, citation and link
resolved, no directive or role left."""

import posixpath
import re
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

from book import DIRECTIVES, NOTES, THEOREMS, Block, Book, BookError, Page, blocks
from markdown_it import MarkdownIt
from pybtex.database import BibliographyData, parse_file
from pybtex.richtext import Text

ROLES = {  # a role that refers to a label, and what the label may stand for
    "eq": ("equation",),
    "numref": ("figure", "exercise"),
    "prf:ref": tuple(name.removeprefix("prf:") for name in THEOREMS),
    "ref": ("section", "exercise"),
}
ALLOWED_ROLES = (*ROLES, "doc", "cite:t", "cite:p")

# What inside a text is not to be copied as it is, or not to be looked into.
SPAN = re.compile(
    r"""
      (?P<code> ^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n .*? ^[ \t]*(?P=fence)[ \t]*$
              | (?<!`)(?P<tick>`+)(?!`) .+? (?<!`)(?P=tick)(?!`)
              | \\[\\`$\[\]{}] )
    | \{(?P<role>[A-Za-z][\w:.+-]*)\} (?P<quote>`+)(?!`) (?P<content>.+?) (?<!`)(?P=quote)(?!`)
    | (?P<math> \$\$ (?P<display>.+?) \$\$ (?:[ \t]*\((?P<label>[^()\s]+)\)(?=[ \t]*$))?
              | \$ (?:\\.|[^\\$])+ \$ )
    | (?P<image> !\[ )
    | (?P<footnote> \[\^[^\]\s]+\] )
    | (?P<substitution> \{\{ [^{}\n]+ \}\} )
    | \[(?P<text> (?: [^\[\]`] | `[^`]*` | \[[^\[\]]*\] )*) \]
      \( (?P<href>[^()\s]+) (?:\s+"[^"]*")? \)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
RAW_MYST = re.compile(r"^[> ]*(?::::|```+\{|\([\w-]+\)=)|\{[A-Za-z][\w:-]*\}`", re.MULTILINE)


def raw_myst(text: str) -> str:
    """The first MyST that is left in plain Markdown, outside code and math."""
    found = RAW_MYST.search(SPAN.sub(lambda match: match[0] if match["role"] else "", text))
    return found[0] if found else ""


class Converter:
    """Converts the Markdown cells of one page and keeps account of what they cite."""

    def __init__(self, book: Book, page: Page):
        self.book = book
        self.page = page
        self.bibliography = _bibliography(book.root / "references.bib")
        self.cited: set[str] = set()
        self.solution = ""  # the title of the solution that has started and not ended

    def convert(self, text: str, line: int) -> str:
        """Plain Markdown for the cell that begins at ``line`` of the page's source.

        What stands between solution-start and solution-end is folded, cell by cell: cells come one
        after another, and ``solution`` is left as the next one needs it.
        """
        parts = []
        for title, group in groupby(blocks(text, line), self._solution_of):
            part = _paragraphs(map(self._block, group))
            parts.append(details(title, part) if title and part else part)
        return _paragraphs(parts)

    def _solution_of(self, block):
        if block.name == "solution-start":
            self.solution = self._solution(block)
        elif block.name == "solution-end":
            self.solution = ""
        return self.solution

    def inline(self, text: str, line: int) -> str:
        """Plain Markdown for MyST without blocks: a title, a caption, a paragraph."""

        def plain(match):
            return self._span(match, line + text.count("\n", 0, match.start()))

        return SPAN.sub(plain, text)

    def caption(self, label: str, line: int) -> str:
        """The line that stands for a figure's caption."""
        target = self.book.targets[label]
        return f"**{target}.** {self.inline(target.title.strip(), line)}"

    def references(self) -> str:
        """The list of what the page cites, as Markdown."""
        entries = [self.bibliography.entries[key] for key in self.cited]
        lines = [_reference(entry) for entry in sorted(entries, key=_sorting)]
        return "\n".join(["## References", "", *lines]) if lines else ""

    def _error(self, line, message):
        return BookError(f"{self.page.source}:{line}: {message}")

    # Blocks

    def _block(self, block: Block) -> str:
        match block.kind:
            case "directive":
                return self._directive(block)
            case "math_block" | "math_block_label":
                return f"$$\n{self._tex(block.text, block.label, block.line)}\n$$"
            case "myst_target" | "myst_line_comment":
                return ""
            case "fence" | "code_block":
                return block.text
        for inner in blocks(block.text, block.line, nested=True):
            if inner.kind == "directive":
                raise self._error(inner.line, "a directive inside a list or a quote; take it out")
        return self.inline(block.text, block.line)

    def _directive(self, block: Block) -> str:
        name, line = block.name, block.line
        if name not in DIRECTIVES:
            raise self._error(
                line,
                f"directive {{{name}}} is not allowed in chapters; allowed are "
                + ", ".join(DIRECTIVES),
            )
        if name in ("prf:proof", *NOTES) and block.title:  # they take no title: it is their text
            block = replace(block, title="", text=f"{block.title}\n{block.text}", body_line=line)
        title = self.inline(block.title, line)
        body = _paragraphs(map(self._block, blocks(block.text, block.body_line)))

        if name in ("solution-start", "solution-end"):
            return ""
        if name == "prf:proof":
            return _proof(body)
        if name == "solution":
            return details(self._solution(block), body)
        if name == "dropdown":
            return details(title or "Details", body)
        if name in NOTES or name == "admonition":
            heading = title or name.capitalize()
            if "dropdown" in (block.options.get("class") or ""):
                return details(heading, body)
            return quote(f"**{heading}**\n\n{body}")
        heading = name.removeprefix("prf:").capitalize()
        if "nonumber" not in block.options:
            heading = str(self.book.targets[block.options["label"]])
        return quote(f"**{heading}{f' ({title})' if title else ''}.**\n\n{body}")

    def _solution(self, block):
        return f"Solution to {self._reference('ref', block.title, block.line)}"

    def _tex(self, tex, label, line):
        tex = re.sub(r"(?<!\\)%.*", "", tex).strip()
        if re.search(r"\n\s*\n", tex):
            raise self._error(line, "a blank line inside an equation; take it out")
        outside = re.sub(r"\\begin\{([a-z]+\*?)\}.*?\\end\{\1\}", "", tex, flags=re.DOTALL)
        if r"\\" in outside:  # Sphinx adds this environment by itself
            tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
        if label:
            tex += rf" \tag{{{self._target(('equation',), label, line).number}}}"
        return tex

    # Spans

    def _span(self, match, line):
        if match["code"]:
            return match[0]
        if match["math"]:
            if match["display"]:
                return f"$${self._tex(match['display'], match['label'], line)}$$"
            return match[0]
        if match["role"]:
            return self._role(match["role"], " ".join(match["content"].split()), line)
        if match["href"]:
            return self._link(match["text"], match["href"], line)
        what = next(name for name in ("image", "footnote", "substitution") if match[name])
        raise self._error(line, f"{match[0]}: no {what} is allowed in chapters; write it out")

    def _role(self, role, content, line):
        if role in ("cite:t", "cite:p"):
            return self._cite(role, content.split(","), line)
        text, target = re.fullmatch(r"(?:(.*?) ?<(.*)>|.*)", content).groups()
        target = target or content
        if role == "doc":
            return self._to_page(text, target, "", line)
        if role in ROLES:
            return self._reference(role, target, line, text)
        raise self._error(
            line,
            f"role {{{role}}} is not allowed in chapters; allowed are {', '.join(ALLOWED_ROLES)}",
        )

    def _target(self, kinds, label, line):
        target = self.book.targets.get(label)
        if target is None:
            raise self._error(line, f"there is no label {label}")
        if target.kind not in kinds:
            raise self._error(
                line, f"{label} is a label of a {target.kind}; expected {' or '.join(kinds)}"
            )
        return target

    def _reference(self, role, label, line, text=None):
        target = self._target(ROLES[role], label, line)
        text = re.sub(r"%s|\{number\}", target.number, text) if text else str(target)
        text = self.inline(text, line)
        if target.page == self.page.name and target.number:
            return text
        return f"[{text}]({self.book.url(target.page, target.anchor)})"

    def _link(self, text, href, line):
        if re.match(r"https?://|mailto:", href):
            return f"[{self.inline(text, line)}]({href})"
        page, _, label = href.partition("#")
        if page:
            return self._to_page(text, page.removesuffix(".md"), label, line)
        target = self._target(sum(ROLES.values(), ()), label, line)
        text = self.inline(text or str(target), line)
        return f"[{text}]({self.book.url(target.page, target.anchor)})"

    def _to_page(self, text, name, anchor, line):
        folder = "" if name.startswith("/") else posixpath.dirname(self.page.name)
        name = posixpath.normpath(posixpath.join(folder, name.lstrip("/")))
        if name not in self.book.pages:
            raise self._error(line, f"there is no page {name} in _toc.yml")
        text = self.inline(text or self.book.pages[name].title, line)
        return f"[{text}]({self.book.url(name, anchor)})"

    def _cite(self, role, keys, line):
        links = []
        for key in map(str.strip, keys):
            if key not in self.bibliography.entries:
                raise self._error(line, f"there is no entry {key} in references.bib")
            self.cited.add(key)
            entry = self.bibliography.entries[key]
            authors, year = _short_authors(entry), entry.fields["year"]
            text = f"{authors} ({year})" if role == "cite:t" else f"{authors}, {year}"
            links.append(f"[{text}]({url})" if (url := _url(entry)) else text)
        return ", ".join(links) if role == "cite:t" else f"({'; '.join(links)})"


def _paragraphs(parts):
    return "\n\n".join(filter(None, parts))


def quote(text: str) -> str:
    """A block quote. Math stays on one line: Jupyter and Colab take it out of the text before they
    read the Markdown, so that a line's > would become a part of the formula."""

    def one_line(match):
        return " ".join(match[0].split()) if match["math"] else match[0]

    lines = SPAN.sub(one_line, text).splitlines()
    return "\n".join(f"> {line}" if line else ">" for line in lines)


def details(title: str, body: str) -> str:
    """A folded block; the blank lines make Jupyter and Colab read its body as Markdown."""
    return f"<details>\n<summary>{_html(title)}</summary>\n\n{body}\n\n</details>"


def _html(text):
    """Inline Markdown as HTML, math left as it is: no Markdown is read inside a summary."""
    parts, end = [], 0
    for match in SPAN.finditer(text):
        if match["math"]:
            parts += [MarkdownIt().renderInline(text[end : match.start()]), match[0]]
            end = match.end()
    return "".join([*parts, MarkdownIt().renderInline(text[end:])])


def _proof(body):
    start = "*Proof.* " if re.match(r"[\w\[*]|\$(?!\$)", body) else "*Proof.*\n\n"
    end = "\n\n∎" if body.endswith(("$$", "```", "~~~", ">", "|")) else " ∎"
    return f"{start}{body}{end}"


# References


@cache
def _bibliography(path: Path) -> BibliographyData:
    return parse_file(path, "bibtex")


def _latex(text):
    return str(Text.from_latex(text))


def _short_authors(entry):
    names = [_latex(" ".join(p.prelast_names + p.last_names)) for p in entry.persons["author"]]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def _sorting(entry):
    return [person.last_names for person in entry.persons["author"]], entry.fields["year"]


def _url(entry):
    fields = entry.fields
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields.get("url", "")


def _reference(entry):
    fields = entry.fields
    authors = [
        _latex(" ".join(p.first_names + p.middle_names + p.prelast_names + p.last_names))
        for p in entry.persons["author"]
    ]
    names = " and ".join(filter(None, [", ".join(authors[:-1]), authors[-1]]))
    title = _latex(fields["title"])
    title = f"[{title}]({url})" if (url := _url(entry)) else title
    venue = fields.get("journal") or fields.get("booktitle") or fields.get("publisher")
    return f"- {names} ({fields['year']}). {title}." + (f" {_latex(venue)}." if venue else "")
