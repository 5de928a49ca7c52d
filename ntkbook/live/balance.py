"""Live figure: a chain of layers of width one, which is what a deep linear network becomes."""

import numpy as np
from scipy.integrate import solve_ivp

from ntkbook import _checks
from ntkbook.live import LiveFigure

LAYERS = (2, 3, 4, 5)
EXPONENTS = tuple(i / 4 for i in range(-12, 1))  # of sigma
UNEVEN = (0, 0.5, 1.0, 1.5)
ANGLE = np.pi / 3  # between the first layer and the teacher, at the start
TIMES = 200  # steps to twice the half-loss time
LEFT = 1e-9  # of the loss, when the integration ends


def balance(
    layers: int = 4, log10_sigma: float = -1.0, uneven: float = 1.0, moment: int = 0
) -> LiveFigure:
    """Loss, kernel alignment and layer sizes of a chain of layers, and its kernel's level set.

    Args:
        layers: number of weight layers at the start of the figure, 2 to 5.
        log10_sigma: logarithm of the weight scale, a multiple of 0.25 from -3 to 0.
        uneven: the first layer starts ``4**uneven`` times as large as the last; one of
            :data:`UNEVEN`.
        moment: time, in hundredths of the half-loss time, even, from 0 to 200.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> balance(layers=3).state["layers"]
        3
    """
    return LiveFigure(
        "balance",
        {
            "layers": _checks.choice("layers", layers, LAYERS),
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, EXPONENTS),
            "uneven": _checks.choice("uneven", uneven, UNEVEN),
            "moment": _checks.choice("moment", moment, range(0, TIMES + 1, 2)),
        },
        "Three panels. Against time, the loss, which falls, and the alignment of the kernel with "
        "the targets, which rises. Below, the size of each layer against time on a logarithmic "
        "axis: the curves start apart and come together. Last, the input plane with a level set "
        "of the kernel at the start and at the chosen time.",
    )


def start(layers: int, sigma: float, uneven: float) -> np.ndarray:
    """First layer along the teacher and across it, then the sizes of the others."""
    sizes = sigma * 2 ** (uneven * np.linspace(1, -1, layers))
    return np.concatenate([sizes[0] * np.array([np.cos(ANGLE), np.sin(ANGLE)]), sizes[1:]])


def _slope(y):
    """Velocity of the chain, and the rate that sets its own clock."""
    w, u = y[:2], y[2:]
    above = u.prod()
    missing = np.array([1.0, 0.0]) - above * w
    shared = above * w @ missing
    share = above / u
    size, left = np.hypot(*w), np.hypot(*missing)
    rate = above * left / size + (above * size * left / u**2).sum()
    rate += above**2 + (share**2).sum() * size**2
    return np.concatenate([above * missing, shared / u]), rate


def reference(state: dict) -> dict[str, list[float]]:
    """Curves against time and the level set, integrated closely."""
    y0 = start(state["layers"], 10.0 ** state["log10_sigma"], state["uneven"])

    def loss(y):
        return np.hypot(1 - y[2:].prod() * y[0], y[2:].prod() * y[1]) ** 2

    def slow(_, z):  # time is the last entry
        velocity, rate = _slope(z[:-1])
        return np.append(velocity, 1.0) / rate

    def done(_, z):
        return np.log(loss(z[:-1]) / loss(y0) / LEFT)

    done.terminal = True
    run = solve_ivp(
        slow,
        (0, 1e4),
        np.append(y0, 0.0),
        method="DOP853",
        rtol=1e-10,
        atol=1e-14,
        events=done,
        dense_output=True,
    )
    path = run.sol(np.linspace(0, run.t[-1], 40001))
    left = np.array([loss(y) for y in path[:-1].T]) / loss(y0)
    half = np.interp(-0.5, -left, path[-1])
    times = np.linspace(0, 2 * half, TIMES + 1)
    y = np.array([np.interp(times, path[-1], row) for row in path[:-1]])
    w, u = y[:2], y[2:]
    above, size = u.prod(0), np.hypot(*w)
    spike = size**2 * (u**-2.0).sum(0)  # in units of the isotropic part
    alignment = (1 + spike * (w[0] / size) ** 2) / np.hypot(1, 1 + spike)
    now = w[:, state["moment"]] / size[state["moment"]]
    around = np.linspace(0, 2 * np.pi, 73)
    ratio = np.sqrt(1 + spike)
    x = np.outer(now, np.cos(around) / ratio[state["moment"]])
    x = x + np.outer([-now[1], now[0]], np.sin(around))
    return {
        "loss": (((1 - above * w[0]) ** 2 + (above * w[1]) ** 2) / loss(y0)).tolist(),
        "alignment": alignment.tolist(),
        "sizes": np.concatenate([[size], u]).ravel().tolist(),
        "ratio": ratio.tolist(),
        "half": [float(half)],
        "level_x": x[0].tolist(),
        "level_y": x[1].tolist(),
    }
