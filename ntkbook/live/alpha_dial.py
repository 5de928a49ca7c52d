"""Live figure: kernel change against n^a alpha, for the reader to choose a."""

import numpy as np

from ntkbook import _checks, measures, phase_diagram
from ntkbook.live import LiveFigure

EXPONENTS = np.linspace(0, 1.2, 61)
SPLIT = 3.2  # alpha at which the grid is cut into a feature part and a lazy part
SHARED = 1 / 3  # of the range of log alpha that curves must have in common to be compared
WIDTHS = {"256 and wider": 256, "64 and wider": 64, "all": 0}


def alpha_dial(exponent: float = 0.0, widths: str = "256 and wider") -> LiveFigure:
    """Change of the kernel in training against n^a alpha, one curve for each width n.

    Args:
        exponent: a at the start, 0 to 1.2 in steps of 0.02.
        widths: ``"256 and wider"``, ``"64 and wider"`` or ``"all"``.

    Returns:
        The live figure; its state holds the curves, geometric means over the seeds of
        :func:`ntkbook.phase_diagram.load`.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> alpha_dial(exponent=0.5).state["n"]
        [16, 32, 64, 128, 256, 512, 1024, 2048]
    """
    kept = phase_diagram.load()
    change = np.exp(np.log(kept.kernel_change[..., -1]).mean(-1))
    choices = tuple(np.round(EXPONENTS, 2).tolist())
    state = {
        "exponent": _checks.choice("exponent", exponent, choices),
        "widths": _checks.choice("widths", widths, tuple(WIDTHS)),
        "n": kept.widths.astype(int).tolist(),
        "alpha": [float(f"{a:.6g}") for a in kept.alphas],
        "change": [[float(f"{c:.4g}") for c in row] for row in change],
    }
    return LiveFigure(
        "alpha_dial",
        state,
        "Relative change of the tangent kernel in training against n to the power a times alpha, "
        "one falling curve for each width n, and below it how far the curves lie apart, for small "
        "and for large alpha, at every a that the slider has passed.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """Spread of the curves against the exponent, for small and for large alpha."""
    n, alpha, change = (np.asarray(state[name], float) for name in ("n", "alpha", "change"))
    wide = n >= WIDTHS[state["widths"]]
    curves = {}
    for name, part in (("below", alpha < SPLIT), ("above", alpha > SPLIT / 1.02)):
        x, y, n_wide = alpha[part], change[wide][:, part], n[wide]

        def spread(a, x=x, y=y, n=n_wide):
            return measures.collapse_spread(x, y, n**a)

        lost = np.log(n_wide[-1] / n_wide[0]) / np.log(x[-1] / x[0])  # of the range, per exponent
        spreads = [spread(a) for a in EXPONENTS if 1 - a * lost >= SHARED]
        curves[name] = spreads
        curves[name + " best"] = [float(EXPONENTS[np.argmin(spreads)])]
    return curves
