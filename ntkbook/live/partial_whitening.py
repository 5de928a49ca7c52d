"""Live figure: regression with the final kernel between white and raw data, as measured."""

import functools

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

POWERS, TILTS = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.5, 1.0, 2.0)
SIGMAS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)


def partial_whitening(g: float = 0.0, h: float = 1.0, sigma: float = 0.1) -> LiveFigure:
    """Browse what is kept of the synthetic tasks of :mod:`ntkbook.anisotropy`.

    Args:
        g: power of the singular values in the data at the start, 0 for white, 1 for raw.
        h: their power in the teacher at the start: 0, 0.5, 1 or 2.
        sigma: scale of the weights at the start: 1, 0.3, 0.1, 0.03, 0.01 or 0.003.

    Returns:
        The live figure.

    Raises:
        ValueError: nothing is kept for a value.

    Example:
        >>> partial_whitening(g=0.5).state["g"]
        2
    """
    state = {
        name: values.index(_checks.choice(name, value, values))
        for name, value, values in (("g", g, POWERS), ("h", h, TILTS), ("sigma", sigma, SIGMAS))
    }
    return LiveFigure(
        "partial_whitening",
        state | {"data": summary()},
        "Two panels. Above, against the scale of the weights, the error of regression with the "
        "final kernel, with the initial one, and with the final one on white data. Below, a dot "
        "for each of twenty tasks: the same error against the share of the loss that the first "
        "pulls leave; the dots lie near a curve when the weights are small, and the chosen one is "
        "marked.",
    )


@functools.cache
def summary() -> dict:
    """Means over draws, and standard deviations of the final kernel's error, rounded."""
    from ntkbook import anisotropy  # which trains networks

    kept = anisotropy.load()
    arrays = {
        "final": kept.final.mean(-1),
        "sd": kept.final.std(-1, ddof=1),
        "initial": kept.initial.mean(-1),
        "left": (1 - kept.half**2).mean(-1),
    }
    fit = rule(arrays["left"][:, 1:].ravel(), arrays["final"][:, 1:, SIGMAS.index(0.01)].ravel())
    arrays["fit"] = np.array(fit)
    rounded = {name: np.round(array, 4).tolist() for name, array in arrays.items()}
    return rounded | {"g": list(POWERS), "h": list(TILTS), "sigma": list(SIGMAS)}


def rule(left: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Factor and exponent of the power of ``left`` that fits errors best on logarithmic axes."""
    exponent, factor = np.polyfit(np.log(left), np.log(errors), 1)
    return float(np.exp(factor)), float(exponent)


def reference(state: dict) -> dict[str, list[float]]:
    """Errors of both kernels of the chosen task, and of all tasks at the chosen scale."""
    kept = {name: np.array(values) for name, values in summary().items()}
    h, g, sigma = state["h"], state["g"], state["sigma"]
    return {
        "final": kept["final"][h, g].tolist(),
        "initial": kept["initial"][h, g].tolist(),
        "left": kept["left"].ravel().tolist(),
        "errors": kept["final"][:, :, sigma].ravel().tolist(),
    }
