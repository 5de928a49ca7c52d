"""Live figure: a kernel's level sets turn, then the function moves, then all of it grows."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SIZES = tuple(i / 4 for i in range(2, 9))  # s
MOMENTS = tuple(round(i / 20, 2) for i in range(241))  # t
TURN = np.deg2rad(35)  # of the teacher, in the plane that is drawn
# Scalar products of a, W beta and W across beta, of one network with 200 hidden units and two
# inputs, at weight scale 1: one draw, rounded.
GRAM = (
    (1.1294, 0.0175, -0.8817),
    (0.0175, 99.8374, 6.4629),
    (-0.8817, 6.4629, 106.0441),
)


def phase_two(t: float = 0.0, sigma: float = 0.003, s: float = 1.0) -> LiveFigure:
    """Level sets of the kernel's norm and the function learned, in the plane of linear functions.

    Args:
        t: time at the start of the figure, a multiple of 0.05 up to 12.
        sigma: weight scale, one of :data:`SIGMAS`.
        s: teacher size, a multiple of 0.25 from 0.5 to 2.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> phase_two(sigma=0.01).state["sigma"]
        2
    """
    return LiveFigure(
        "phase_two",
        {
            "t": _checks.choice("t", t, MOMENTS),
            "sigma": SIGMAS.index(_checks.choice("sigma", sigma, SIGMAS)),
            "s": _checks.choice("s", s, SIZES),
            "gram": GRAM,
        },
        "Above, the plane of linear functions: ellipses on which the norm of the tangent kernel is "
        "constant, the line of functions that fit the data, and a dot, the function of the "
        "network. Below, against time up to the chosen one, its loss, the cosine of the first "
        "layer with the teacher, and the size of the kernel. The line below says in words what "
        "there is at the chosen time.",
    )


def overlaps(t: np.ndarray, sigma: float, s: float) -> np.ndarray:
    """Scalar products of a, W beta and W across beta of the network, exact for one data point.

    Args:
        t: times, shape (T,).
        sigma: weight scale.
        s: teacher size.

    Returns:
        Shape (T, 3, 3).

    Example:
        >>> overlaps(np.zeros(1), sigma=1.0, s=1.0).shape
        (1, 3, 3)
    """
    start = sigma**2 * np.array(GRAM)
    q, r = (start[0, 0] + start[1, 1]) / 2, start[0, 1]
    p = (q + r) * (q - r)
    root = np.hypot(s, p**0.5)
    high, low = s + root, -p / (s + root)
    left = (high - q - r) / (q + r - low) * np.exp(-2 * root * np.asarray(t))
    grown = ((high + low * left) / (1 + left) / (q + r)) ** 0.5  # e^(sT)
    plus, minus = (grown + 1 / grown) / 2, (grown - 1 / grown) / 2
    zero, one = np.zeros_like(grown), np.ones_like(grown)
    move = np.array([[plus, minus, zero], [minus, plus, zero], [zero, zero, one]])
    return np.einsum("ikt,kl,jlt->tij", move, start, move)


def reference(state: dict) -> dict[str, list[float]]:
    """Curves against time, and what is drawn in the plane at the chosen time."""
    sigma, s = SIGMAS[state["sigma"]], state["s"]
    t = np.append(MOMENTS, [state["t"], 1e3])
    gram = overlaps(t, sigma, s)
    a, along, across, mixed = gram[:, 0, 0], gram[:, 1, 1], gram[:, 2, 2], gram[:, 1, 2]
    m = np.array([[a + along, mixed], [mixed, a + across]]).transpose(2, 0, 1)
    size = np.linalg.norm(m, axis=(1, 2))
    loss = (1 - gram[:, 0, 1] / s) ** 2
    values, vectors = np.linalg.eigh(m[-2])
    tilt = np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1]))
    turn = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
    return {
        "loss": (loss / loss[0])[:-2].tolist(),
        "cosine": (along / np.sqrt(along**2 + 2 * mixed**2 + across**2))[:-2].tolist(),
        "size": (size / size[-1])[:-2].tolist(),
        "dot": (turn @ gram[-2, 0, 1:] / s).tolist(),
        "touch": (turn @ m[-2, 0] / m[-2, 0, 0]).tolist(),
        "ratio": [float(np.sqrt(values[1] / values[0]))],
        "tilt": [float(abs((tilt + 90) % 180 - 90))],
    }
