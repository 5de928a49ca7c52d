"""Citations by author and year: ``{cite:t}`` gives "Jacot et al. (2018)"."""

from dataclasses import dataclass, field

from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle


def _round():
    return BracketStyle(left="(", right=")")


@dataclass
class RoundAuthorYear(AuthorYearReferenceStyle):
    """The author_year style with round brackets."""

    bracket_textual: BracketStyle = field(default_factory=_round)
    bracket_parenthetical: BracketStyle = field(default_factory=_round)
    bracket_author: BracketStyle = field(default_factory=_round)
    bracket_label: BracketStyle = field(default_factory=_round)
    bracket_year: BracketStyle = field(default_factory=_round)


def set_style(app, config):
    config.bibtex_reference_style = "round_author_year"
    config.bibtex_default_style = "plain"  # its labels, [1], are hidden: nothing refers to them


def setup(app):
    register_plugin("sphinxcontrib.bibtex.style.referencing", "round_author_year", RoundAuthorYear)
    app.connect("config-inited", set_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
