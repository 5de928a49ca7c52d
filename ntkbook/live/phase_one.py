"""Live figure: two clocks of a two-layer network, one of its kernel and one of its loss."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

WIDTH = 50
DIMS = (10, 20, 30, 50, 100, 200)
EXPONENTS = tuple(i / 4 for i in range(-12, 1))  # of sigma
SIZES = tuple(i / 4 for i in range(2, 13))  # s
T_MAX, TIMES = 14.0, 281
TURNED = 0.9  # the cosine at which the kernel counts as turned
HALF = 1 - 0.5**0.5  # the output, in units of s, at which the loss is halved


def phase_one(log10_sigma: float = -1.0, s: float = 1.0, dim: int = 30) -> LiveFigure:
    """Loss, alignment and kernel of a typical two-layer linear network on whitened data.

    Args:
        log10_sigma: logarithm of the weight scale at the start of the figure, a multiple of 0.25
            from -3 to 0.
        s: teacher size, a multiple of 0.25 from 0.5 to 3.
        dim: input dimension, one of :data:`DIMS`; the width is :data:`WIDTH`.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> phase_one(log10_sigma=-2.0).state["dim"]
        2
    """
    return LiveFigure(
        "phase_one",
        {
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, EXPONENTS),
            "s": _checks.choice("s", s, SIZES),
            "dim": DIMS.index(_checks.choice("dim", dim, DIMS)),
        },
        "Two panels against time. Above, the cosine between the first layer's Gram matrix and the "
        "teacher's direction, which rises, and the loss, which falls. Below, on a logarithmic "
        "axis, the kernel along the teacher and across it. A smaller weight scale moves the fall "
        "of the loss to later times and leaves the rise of the cosine where it is.",
    )


def typical(t: np.ndarray, sigma: float, s: float, dim: int) -> dict[str, np.ndarray]:
    """A network whose initial sizes are their means, without its output across the teacher.

    Args:
        t: times, shape (T,).
        sigma: weight scale.
        s: teacher size.
        dim: input dimension.

    Returns:
        ``loss`` relative to the start, ``cosine`` of ``W.T @ W`` with the teacher, the kernel
        ``along`` and ``across`` the teacher, each of shape (T,); ``times``, at which the kernel
        has turned (-1 if never) and the loss is halved; ``end``, of the cosine.

    Example:
        >>> typical(np.zeros(1), sigma=0.1, s=1.0, dim=30)["loss"]
        array([1.])
    """
    q0 = sigma**2 * (1 + WIDTH / dim) / 2
    root = np.hypot(s, q0)
    high, low = s + root, -(q0**2) / (s + root)  # q + r goes from q0 to high

    def grown(t):
        odds = (q0 - low) / (high - q0) * np.exp(2 * root * t)
        return (high * odds + low) / (1 + odds)

    def when(grown):
        return np.log((grown - low) / (high - grown) * (high - q0) / (q0 - low)) / (2 * root)

    transverse = (dim - 1) / dim
    rest = WIDTH * transverse * (dim + WIDTH) / dim

    def cosine(beta):
        return beta / np.sqrt(beta**2 + 2 * transverse * beta + rest)

    def first_layer(grown):  # |W beta|^2 / sigma^2
        return (grown + q0**2 / grown) / (2 * sigma**2) - (1 - WIDTH / dim) / 2

    now = grown(t)
    q, r = (now + q0**2 / now) / 2, (now - q0**2 / now) / 2
    a = q + sigma**2 * (1 - WIDTH / dim) / 2
    gap = TURNED**-2 - 1
    beta = (transverse + np.sqrt(transverse**2 + gap * rest)) / gap
    q_turned = sigma**2 * (beta + (1 - WIDTH / dim) / 2)
    turned = q_turned + np.sqrt(q_turned**2 - q0**2) if q_turned > q0 else q0
    halved = HALF * s + np.hypot(HALF * s, q0)
    return {
        "loss": (1 - r / s) ** 2,
        "cosine": cosine(first_layer(now)),
        "along": 2 * q,
        "across": a + sigma**2 * WIDTH / dim,
        "times": np.array([when(turned) if turned < high else -1.0, when(halved)]),
        "end": np.array([cosine(first_layer(high))]),
    }


def reference(state: dict) -> dict[str, list[float]]:
    """The curves of :func:`typical` for the state of the controls."""
    t = np.linspace(0, T_MAX, TIMES)
    curves = typical(t, 10.0 ** state["log10_sigma"], state["s"], DIMS[state["dim"]])
    return {name: curve.tolist() for name, curve in curves.items()}
