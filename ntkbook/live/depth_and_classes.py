"""Live figure: a ReLU network learns two classes, each on its clock."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure
from ntkbook.theory import deep_linear_amplitude, deep_linear_time

LAYERS = (2, 3, 4, 5, 6)
SCALES = tuple(-i / 4 for i in range(2, 13))  # exponents of sigma
UNEVEN = tuple(i / 50 for i in range(11))
POINTS, LAST = 401, 5.0  # moments; logit of the slower class at the last one


def depth_and_classes(
    layers: int = 2, log10_sigma: float = -1.0, uneven: float = 0.04
) -> LiveFigure:
    """Loss, learned shares of two classes and the kernel's cosine with its end.

    Args:
        layers: number of weight layers, from 2 to 6.
        log10_sigma: logarithm of the weight scale, a multiple of 0.25 from -3 to -0.5.
        uneven: by which share of sigma the second class starts smaller than the first, a
            multiple of 0.02 from 0 to 0.2.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> depth_and_classes(layers=3).state["layers"]
        3
    """
    return LiveFigure(
        "depth_and_classes",
        {
            "layers": _checks.choice("layers", layers, LAYERS),
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, SCALES),
            "uneven": _checks.choice("uneven", uneven, UNEVEN),
        },
        "Two panels against time. The first shows the loss and what is learned of each of two "
        "classes, one after the other. The second shows the size of the kernel and the cosine of "
        "the kernel with its end, which is low while one class is learned and the other is not.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """Curves for the state of the controls, and the half times that the words name."""
    L, sigma = state["layers"], 10 ** state["log10_sigma"]
    starts = (sigma * np.array([1.0, 1 - state["uneven"]])) ** L

    def reach(c):  # a class is half of the data: half the rate of one linear network
        return [2 * float(deep_linear_time(c, c0, 1.0, L)) for c0 in starts]

    t = np.linspace(0, max(reach(1 / (1 + np.exp(-LAST)))), POINTS)
    half = reach(1 - 0.5**0.5)

    def both(t):
        return np.stack([np.asarray(deep_linear_amplitude(t / 2, c0, 1.0, L)) for c0 in starts])

    def cosine(c):
        g = c ** (2 - 2 / L)
        return (g[0] + g[1]) / np.sqrt(2 * (g[0] ** 2 + g[1] ** 2))

    c = both(t)
    return {
        "t": t.tolist(),
        "loss": (((1 - c) ** 2).mean(0)).tolist(),
        "class1": c[0].tolist(),
        "class2": c[1].tolist(),
        "cosine": cosine(c).tolist(),
        "size": np.sqrt(((c ** (2 - 2 / L)) ** 2).mean(0)).tolist(),
        "half": half,
        "first": [float(cosine(both(np.array([min(half)])))[0])],
    }
