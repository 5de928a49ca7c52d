"""Live figure: how long a linear network of depth L waits, and what its kernel does meanwhile."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure
from ntkbook.theory import deep_linear_time

DIM, WIDTH = 30, 50
EXPONENTS = tuple(range(-8, 0))  # of sigma, to base 2
SIZES = tuple(i / 4 for i in range(2, 13))  # s
AXES = ("logarithmic", "linear")
# Size of the growing mode at the start, in units of sigma: ((L - 2) T)^(-1/(L - 2)), where T is the
# waiting time of a wide network's early flow; for L = 2 the root of (1 + n/D) / 4.
START = {2: 0.8165, 3: 0.9341, 4: 0.9787, 5: 1.0003}
POINTS, LAST = 161, 0.9995  # of the curves; the size at their end, in units of s
TURNED = 0.5  # the cosine at which the first layer counts as turned
HALF = 1 - 0.5**0.5  # the output, in units of s, at which the loss is about half


def time_scales(
    L: int = 2, log2_sigma: int = -5, s: float = 1.0, axis: str = "logarithmic"
) -> LiveFigure:
    """Loss, alignment and kernel size of a typical deep linear network on whitened data.

    Args:
        L: number of weight layers at the start of the figure, 2 to 5.
        log2_sigma: logarithm to base 2 of the weight scale, -8 to -1.
        s: teacher size, a multiple of 0.25 from 0.5 to 3.
        axis: of time, "logarithmic" or "linear".

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> time_scales(L=3).state["L"]
        3
    """
    return LiveFigure(
        "time_scales",
        {
            "L": _checks.choice("L", L, tuple(START)),
            "log2_sigma": _checks.choice("log2_sigma", log2_sigma, EXPONENTS),
            "s": _checks.choice("s", s, SIZES),
            "axis": _checks.choice("axis", axis, AXES),
        },
        "Two panels. Above, against time, the loss, which falls, and the cosine between the first "
        "layer's Gram matrix and the teacher's direction and the size of the kernel, which rise. "
        "Below, against the weight scale, from one half down to the chosen one, the times at which "
        "half of the loss is gone and at which the cosine is one half.",
    )


def typical(L: int, sigma: float, s: float) -> dict[str, np.ndarray]:
    """A network whose growing mode is balanced from the start.

    Args:
        L: number of weight layers.
        sigma: weight scale.
        s: teacher size.

    Returns:
        ``t``, ``loss`` relative to an output of zero, ``cosine`` of the first layer's Gram matrix
        with the teacher's, and ``kernel`` relative to its end, each of shape (POINTS,);
        ``times`` at which half of the loss is gone, and at which the cosine is one half (-1 if
        never).

    Example:
        >>> print(typical(L=3, sigma=0.1, s=1.0)["t"][0])
        0.0
    """
    start = (START[L] * sigma) ** L
    odds = [np.log(x / (1 - x)) for x in (start / s, LAST)]
    size = 1 / (1 + np.exp(-np.linspace(*odds, POINTS)))

    def when(size):
        return np.array(deep_linear_time(s * size, start, s, L))

    across, share = (DIM - 1) / DIM, WIDTH / DIM
    rest = WIDTH * across * (DIM + WIDTH) / DIM
    omega = share + (s * size) ** (2 / L) / sigma**2 - START[L] ** 2  # |W beta|^2 / sigma^2
    gap = TURNED**-2 - 1
    turned = (across + np.sqrt(across**2 + gap * rest)) / gap - share + START[L] ** 2
    turned = sigma**L * turned ** (L / 2) / s
    t = when(size)
    t[0] = 0.0  # not what rounding leaves
    return {
        "t": t,
        "loss": (1 - size) ** 2,
        "cosine": omega / np.sqrt(omega**2 + 2 * across * omega + rest),
        "kernel": size ** (2 - 2 / L),
        "times": np.array([when(HALF), when(turned) if turned < 1 else -1.0]),
    }


def reference(state: dict) -> dict[str, list[float]]:
    """The curves of :func:`typical` for the state of the controls."""
    curves = typical(state["L"], 2.0 ** state["log2_sigma"], state["s"])
    return {name: curve.tolist() for name, curve in curves.items()}
