"""Live figure: the kernel of a random network settles on the infinite-width kernel."""

import numpy as np

from ntkbook import _checks
from ntkbook.infinite import infinite_kernels
from ntkbook.live import LiveFigure

ANGLES = 37  # points of the curves, from 0 to 180 degrees
W_STD = 2**0.5


def infinite_width(depth: int = 1, log2_width: int = 5, activation: str = "relu") -> LiveFigure:
    """Kernels of two inputs against the angle between them, infinite and drawn at random.

    Args:
        depth: hidden layers at the start, 1 to 6.
        log2_width: logarithm of the width at the start, 2 to 9.
        activation: ``"relu"`` or ``"erf"``.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> infinite_width(depth=2)
        LiveFigure('infinite_width', {'activation': 'relu', 'depth': 2, 'log2_width': 5})
    """
    state = {
        "activation": _checks.choice("activation", activation, ("relu", "erf")),
        "depth": _checks.choice("depth", depth, tuple(range(1, 7))),
        "log2_width": _checks.choice("log2_width", log2_width, tuple(range(2, 10))),
    }
    return LiveFigure(
        "infinite_width",
        state,
        "Neural tangent kernel of two inputs against the angle between them: a smooth curve for "
        "infinite width, and dots for one random network, which scatter about the curve and "
        "settle on it as the width grows.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """The two infinite-width curves, each divided by the NTK at angle 0."""
    angles = np.linspace(0.0, np.pi, ANGLES)
    x = 2**0.5 * np.stack([np.cos(angles), np.sin(angles)], 1)  # |x|^2 / D = 1
    kernels = infinite_kernels(
        x[:1].astype(float), x, depth=state["depth"], activation=state["activation"], w_std=W_STD
    )
    scale = kernels.ntk[0, 0]
    return {
        "ntk": (kernels.ntk[0] / scale).tolist(),
        "nngp": (kernels.nngp[0] / scale).tolist(),
    }
