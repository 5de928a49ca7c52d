"""Live figure: neurons move when their outputs are averaged, and hardly when divided by sqrt(n)."""

from functools import lru_cache

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

SCALINGS = ("1/√n, kernel limit", "1/n, mean field")
X, Y = np.array([-1.2, -0.4, 0.4, 1.2]), np.array([-1.0, 1.0, -0.5, -0.5])
SHARPNESS = 10.0  # of the softplus, a ReLU whose corner is rounded
GRID = np.linspace(-1.6, 1.6, 65)
MOMENTS, LAST, GROWTH = 200, 100.0, 5.0  # positions of the time slider, from 0 to t = 100
STEP = 0.1  # half of the longest step in the browser
SHOWN = 16  # neurons that are compared


def two_limits(scaling: str = SCALINGS[0], log2_width: int = 8, moment: int = 0) -> LiveFigure:
    """Neurons of a two-layer network in training: where each bends the function, and how much.

    Four points are fitted by gradient flow, with the readout divided by sqrt(n) or by n.

    Args:
        scaling: one of ``SCALINGS``, at the start.
        log2_width: logarithm of the width at the start, 4 to 9.
        moment: position of the time slider at the start, 0 to 200.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> two_limits(moment=120)
        LiveFigure('two_limits', {'log2_width': 8, 'moment': 120, 'scaling': '1/√n, kernel limit', \
'seed': 1})
    """
    state = {
        "log2_width": _checks.choice("log2_width", log2_width, tuple(range(4, 10))),
        "moment": _checks.choice("moment", moment, tuple(range(MOMENTS + 1))),
        "scaling": _checks.choice("scaling", scaling, SCALINGS),
        "seed": 1,
    }
    return LiveFigure(
        "two_limits",
        state,
        "Above, the neurons of a network as dots: where each bends the function, and by how much. "
        "Below, the function and the four points that it learns. With the readout divided by the "
        "square root of the width the dots stay almost where they are; divided by the width they "
        "gather at two of the points.",
    )


def time_of(moment: np.ndarray | int) -> np.ndarray:
    """Time at a position of the slider: dense at first, then ever wider apart."""
    return LAST * np.expm1(GROWTH * np.asarray(moment) / MOMENTS) / np.expm1(GROWTH)


def draw(n: int, seed: int) -> np.ndarray:
    """Neurons (a, w, b) of the network that the browser draws, by its random generator."""
    state, pairs = seed, []

    def uniform():  # mulberry32
        nonlocal state
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ (state >> 15)) * (1 | state) % 2**32
        t = (t + (t ^ (t >> 7)) * (61 | t) % 2**32) % 2**32 ^ t
        return (t ^ (t >> 14)) / 2**32

    while 2 * len(pairs) < 3 * n:  # Box and Muller
        radius, angle = np.sqrt(-2 * np.log(1 - uniform())), 2 * np.pi * uniform()
        pairs.append((radius * np.cos(angle), radius * np.sin(angle)))
    return np.ravel(pairs)[: 3 * n].reshape(n, 3)


def reference(state: dict) -> dict[str, list[float]]:
    """Function, bends of the first neurons and distance moved, by steps half as long."""
    n, mean_field = 2 ** state["log2_width"], state["scaling"] == SCALINGS[1]
    path, scale = _path(n, mean_field, state["seed"]), 1.0 if mean_field else n**0.5
    start, now = path[0], path[state["moment"]]
    return {
        "f": (scale * _output(now, GRID)).tolist(),
        "bends": (now[:SHOWN, 0] * np.abs(now[:SHOWN, 1])).tolist(),
        "moved": [float(np.linalg.norm(now - start) / np.linalg.norm(start))],
    }


def _output(neurons, x):
    a, w, b = neurons.T
    z = SHARPNESS * (x[:, None] * w + b)
    return np.logaddexp(0, z) @ a * 2**0.5 / SHARPNESS / len(a)


@lru_cache(maxsize=4)
def _path(n, mean_field, seed):
    scale, inputs = 1.0 if mean_field else n**0.5, np.stack([X, np.ones(len(X))])

    def velocity(neurons):  # -rate * gradient of psi, the potential of the chapter
        a, z = neurons[:, :1], neurons[:, 1:] @ inputs
        residual = (scale * _output(neurons, X) - Y) * 2**0.5 / len(X) / scale
        phi, slope = np.logaddexp(0, SHARPNESS * z) / SHARPNESS, 1 / (1 + np.exp(-SHARPNESS * z))
        return -np.hstack([(phi @ residual)[:, None], a * ((slope * residual) @ inputs.T)])

    path, times = [draw(n, seed)], time_of(np.arange(MOMENTS + 1))
    for elapsed in np.diff(times):
        neurons, steps = path[-1], int(np.ceil(elapsed / STEP))
        h = elapsed / steps
        for _ in range(steps):
            k1 = velocity(neurons)
            k2 = velocity(neurons + h / 2 * k1)
            k3 = velocity(neurons + h / 2 * k2)
            k4 = velocity(neurons + h * k3)
            neurons = neurons + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(neurons)
    return path
