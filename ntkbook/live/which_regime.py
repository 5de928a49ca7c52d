"""Live figure: test error of single networks and of committees, between the two regimes."""

import functools

import numpy as np

from ntkbook import _checks, regimes
from ntkbook.live import LiveFigure
from ntkbook.phase_diagram import ALPHAS

ENDS = (0.01, 10.0)  # alpha of feature and of lazy training, as the words compare them
AXES = ("sqrt(n) alpha", "alpha")


def which_regime(log2_width: int = 6, log2_size: int = 3, axis: str = "alpha") -> LiveFigure:
    """Test error against the output scale, alone and averaged, from the grid that is kept.

    Args:
        log2_width: logarithm of the width at the start, 4 to 11.
        log2_size: logarithm of the number of networks a committee, 0 to 3.
        axis: ``"alpha"`` or ``"sqrt(n) alpha"``.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> which_regime(log2_width=11).state["log2_width"]
        11
    """
    state = {
        "axis": _checks.choice("axis", axis, AXES),
        "log2_size": _checks.choice("log2_size", log2_size, (0, 1, 2, 3)),
        "log2_width": _checks.choice("log2_width", log2_width, range(4, 12)),
        "grid": _grid(),
    }
    return LiveFigure(
        "which_regime",
        state,
        "Test error on digits against the scale of the output, small for feature training and "
        "large for lazy training: one curve for single networks, one for committees of them, and "
        "faint ones for the other widths. The line below says who wins, and how surely.",
    )


@functools.cache
def _grid():
    """Percent of wrong test points and their standard errors, and lazy minus feature, rounded."""
    errors, alphas = 100.0 * regimes.load().errors, np.array(ALPHAS)
    error, sd = regimes.jackknife(errors)  # axes (widths, alphas, sizes)
    feature, lazy = (np.abs(alphas / end - 1).argmin() for end in ENDS)
    gap, gap_sd = regimes.jackknife(errors[:, lazy] - errors[:, feature])
    arrays = {"error": error, "sd": sd, "gap": gap, "gap_sd": gap_sd}
    rounded = {name: np.round(array, 3).tolist() for name, array in arrays.items()}
    return rounded | {"alphas": alphas.tolist(), "ends": [int(feature), int(lazy)]}


def reference(state: dict) -> dict[str, list[float]]:
    """Abscissas, the two curves, and lazy minus feature for both."""
    grid, width, size = _grid(), state["log2_width"] - 4, state["log2_size"]
    scale = (2.0 ** state["log2_width"]) ** 0.5 if state["axis"] == AXES[0] else 1.0
    error = np.asarray(grid["error"])[width]
    return {
        "x": (scale * np.asarray(grid["alphas"])).tolist(),
        "single": error[:, 0].tolist(),
        "committee": error[:, size].tolist(),
        "gap": [grid["gap"][width][0], grid["gap"][width][size]],
    }
