"""Results that are checked where they are stated."""

import html
import math
import re
import sys
from dataclasses import asdict, dataclass

import numpy as np

from ntkbook import scaling

OUTPUT_KEY = "ntkbook_claim"  # where a notebook output's metadata holds the record of its claim


class ClaimError(AssertionError):
    """A claim of the book does not hold in this run."""


@dataclass(frozen=True)
class Claim:
    """The record of one claim, as the ledger and ``claims.json`` keep it.

    ``expected`` and ``tolerance`` are None for a one-sided claim, ``at_most`` and ``at_least``
    for a two-sided one. ``spread`` is one standard deviation over ``seeds`` seeds, if known.
    """

    id: str
    statement: str
    measured: float
    spread: float | None
    seeds: int | None
    expected: float | None
    tolerance: float | None
    at_most: float | None
    at_least: float | None
    source: str
    ok: bool
    scale: scaling.Scale

    def expectation(self) -> str:
        """What was expected, in words and digits: ``-0.5 ± 0.05`` or ``at most 0.05``."""
        if self.expected is not None:
            return f"{_digits(self.expected)} ± {_digits(self.tolerance)}"
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {_digits(b)}" for word, b in bounds if b is not None)

    def measurement(self) -> str:
        """What was measured: ``-0.512 (sd 0.031 over 10 seeds)``."""
        if self.spread is None:
            return _digits(self.measured)
        seeds = f"{self.seeds} seeds" if self.seeds else "seeds"
        return f"{_digits(self.measured)} (sd {_digits(self.spread, 2)} over {seeds})"

    def __str__(self):
        return f"claim {self.id}: {'holds' if self.ok else 'does not hold'}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        parts = (
            f"<strong>Claim</strong> ({self.id}): {html.escape(self.statement)}. "
            f"Measured {self.measurement()}; expected {self.expectation()}. "
            f"Source: <cite>{html.escape(self.source)}</cite>."
        )
        line = (
            f'<div class="ntk-claim" id="claim-{self.id}" data-ok="{str(self.ok).lower()}">'
            f"{parts} <strong>{'Holds' if self.ok else 'Does not hold'}.</strong></div>"
        )
        return {"text/plain": str(self), "text/html": line}, {OUTPUT_KEY: asdict(self)}


def claim(
    id: str,
    statement: str,
    *,
    measured: float,
    expected: float | None = None,
    tolerance: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    source: str,
    spread: float | np.ndarray | None = None,
) -> None:
    """State a result, check it, and show it as one line.

    Give either ``expected`` and ``tolerance``, or ``at_most``, ``at_least`` or both. In a notebook
    the line shows the digits; the plain text form, which is what a stored notebook keeps, says
    only whether the claim holds.

    Args:
        id: the claim's name, unique in the book: lower-case letters, digits and hyphens.
        statement: what is claimed, one sentence in plain text, without its full stop.
        measured: the measured value, a scalar.
        expected: the value that theory expects.
        tolerance: how far from ``expected`` the measurement may be; finite and positive.
        at_most: an upper bound on ``measured``, itself allowed.
        at_least: a lower bound on ``measured``, itself allowed.
        source: paper, equation or figure that the expectation comes from.
        spread: one standard deviation over seeds, or the values over seeds (at least two), of
            which the standard deviation (n - 1 in its denominator) is then shown.

    Raises:
        ClaimError: the claim does not hold. A measurement that is not finite never holds.
        ValueError: the claim is not well stated: a bad id, no expectation or two kinds of it, a
            tolerance that is missing, not finite or not positive, a bound that is not finite.
        TypeError: a value that should be one number is not.

    Example:
        >>> claim("halves-add-up", "two halves make one", measured=0.5 + 0.5, expected=1.0,
        ...       tolerance=1e-12, source="arithmetic")
        claim halves-add-up: holds
    """
    if not isinstance(id, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
        raise ValueError(f"id is {id!r}; expected lower-case words joined by hyphens")
    for name, text in (("statement", statement), ("source", source)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"claim {id}: {name} is {text!r}; expected a text that is not empty")

    measured = _number(id, "measured", measured)
    expected, tolerance, at_most, at_least = (
        None if value is None else _number(id, name, value, finite=True)
        for name, value in (
            ("expected", expected),
            ("tolerance", tolerance),
            ("at_most", at_most),
            ("at_least", at_least),
        )
    )
    one_sided = at_most is not None or at_least is not None
    if (expected is None) == (not one_sided):
        raise ValueError(f"claim {id}: give either expected= and tolerance=, or at_most=/at_least=")
    if one_sided and tolerance is not None:
        raise ValueError(f"claim {id}: a bound has no tolerance; put it into the bound")
    if expected is not None and (tolerance is None or tolerance <= 0):
        raise ValueError(f"claim {id}: tolerance is {tolerance}; expected a number greater than 0")
    if at_most is not None and at_least is not None and at_least > at_most:
        raise ValueError(f"claim {id}: at_least {at_least} is greater than at_most {at_most}")

    ok = math.isfinite(measured)
    if expected is not None:
        ok = ok and abs(measured - expected) <= tolerance
    if at_most is not None:
        ok = ok and measured <= at_most
    if at_least is not None:
        ok = ok and measured >= at_least

    record = Claim(
        id=id,
        statement=statement.strip().rstrip("."),
        measured=measured,
        spread=_spread(id, spread),
        seeds=np.size(spread) if np.ndim(spread) == 1 else None,
        expected=expected,
        tolerance=tolerance,
        at_most=at_most,
        at_least=at_least,
        source=source.strip().rstrip("."),
        ok=ok,
        scale=scaling.scale(),
    )
    _show(record)
    if not ok:
        raise ClaimError(
            f"claim {id} does not hold: {record.statement}. Measured {record.measurement()}, "
            f"expected {record.expectation()} ({record.source}), at {record.scale} scale."
        )


def _number(id, name, value, finite=False):
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"claim {id}: {name} is {value!r}; expected one number") from error
    if array.size != 1 or not (array.dtype.kind in "fiu" or array.dtype.name == "bfloat16"):
        kind = f"shape {array.shape} and dtype {array.dtype}"
        raise TypeError(f"claim {id}: {name} has {kind}; expected one number")
    number = float(array.reshape(()))
    if finite and not math.isfinite(number):
        raise ValueError(f"claim {id}: {name} is {number}; expected a finite number")
    return number


def _spread(id, spread):
    if spread is None:
        return None
    values = np.asarray(spread, dtype=float)
    if values.ndim > 1 or values.shape == (1,) or not np.isfinite(values).all():
        raise ValueError(
            f"claim {id}: spread is {spread!r}; expected one finite standard deviation "
            "or at least two finite values, one a seed"
        )
    sd = float(values if values.ndim == 0 else values.std(ddof=1))
    if sd < 0:
        raise ValueError(f"claim {id}: spread is {sd}; a standard deviation is not negative")
    return sd


def _digits(number, significant=3):
    return f"{number:.{significant}g}".replace("-", "−") if math.isfinite(number) else str(number)


def _show(record):
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        ipython.display.display(record)
    else:
        print(record)
