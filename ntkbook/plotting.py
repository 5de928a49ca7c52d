"""The look of the book's figures."""

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

# Okabe & Ito's colours, which colour-blind readers tell apart, each with a marker and a dash of
# its own; yellow is left out, being too pale for lines on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "x")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


def use_style() -> None:
    """Set Matplotlib to the book's style: sizes, colours with a second cue, no frame.

    Example:
        >>> use_style()
    """
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=COLORS, marker=MARKERS, linestyle=DASHES),
            "axes.grid": True,
            "axes.labelsize": 11,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
            "figure.dpi": 150,
            "figure.facecolor": "white",
            "figure.figsize": (6.4, 3.8),
            "font.size": 10.5,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "savefig.bbox": "standard",
        }
    )


def log_axes(ax: Axes, x, y) -> None:
    """Make both axes logarithmic, with ticks at plain numbers.

    Args:
        ax: the axes.
        x: where the abscissa has ticks, shape (n,).
        y: where the ordinate has ticks, shape (m,).

    Example:
        >>> import matplotlib.pyplot as plt
        >>> _, ax = plt.subplots()
        >>> log_axes(ax, [64, 256], [0.1, 0.2, 0.5])
        >>> plt.close()
    """
    ax.set(xscale="log", yscale="log")
    ax.minorticks_off()
    ax.set(xticks=x, xticklabels=[f"{v:g}" for v in x])
    ax.set(yticks=y, yticklabels=[f"{v:g}" for v in y])


def power_law(ax: Axes, x, through: float, exponent: float, label: str) -> None:
    """Draw ``y ~ x**exponent`` as a thin black line through ``y = through`` at the first ``x``.

    Args:
        ax: axes with logarithmic scales.
        x: abscissae, shape (n,).
        through: value at ``x[0]``.
        exponent: the slope on the logarithmic axes.
        label: for the legend.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> _, ax = plt.subplots()
        >>> power_law(ax, [64, 4096], 0.2, -0.5, "slope -1/2")
        >>> plt.close()
    """
    x = np.asarray(x, dtype=float)
    y = through * (x / x[0]) ** exponent
    ax.loglog(x, y, color="black", linewidth=1, linestyle="-", marker="", label=label)
