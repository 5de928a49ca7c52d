"""Live figure: a deep linear network whose layers learn at different rates, and its two kernels."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

DIM = 30
EXPONENTS = tuple(i / 2 for i in range(-8, 9))  # of the rates of the first and the last layer
SCALES = tuple(i / 4 for i in range(-12, -1))  # exponents of sigma
DEPTHS = (2, 3, 4)
SIZES = tuple(i / 4 for i in range(2, 13))  # s
BEFORE, AFTER, LAST = 160, 60, 9.0  # steps to half of the loss and on; the logit at the end


def layer_rates(
    log10_first: float = 0.0,
    log10_last: float = 0.0,
    layers: int = 2,
    log10_sigma: float = -2.0,
    s: float = 1.0,
) -> LiveFigure:
    """Loss, alignment and both kernels of a deep linear network with learning rates by layer.

    Args:
        log10_first: logarithm of the first layer's rate, a multiple of 0.5 from -4 to 4; layers
            between the first and the last have rate 1.
        log10_last: the same for the last layer.
        layers: number of weight layers, 2, 3 or 4.
        log10_sigma: logarithm of the weight scale, a multiple of 0.25 from -3 to -0.5.
        s: teacher size, a multiple of 0.25 from 0.5 to 3.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> layer_rates(log10_first=1.0).state["layers"]
        2
    """
    return LiveFigure(
        "layer_rates",
        {
            "log10_first": _checks.choice("log10_first", log10_first, EXPONENTS),
            "log10_last": _checks.choice("log10_last", log10_last, EXPONENTS),
            "layers": _checks.choice("layers", layers, DEPTHS),
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, SCALES),
            "s": _checks.choice("s", s, SIZES),
            "moment": 1.2,
        },
        "Three panels. The first shows loss and alignment of the first layer against time. The "
        "second shows a level set of the plain tangent kernel and one of the kernel that drives "
        "learning, ellipses that are flat along the teacher. The third shows how much steeper "
        "each kernel is along the teacher than across it, against time. With unequal rates the "
        "plain kernel ends far from the driving one, which ends where it does for equal rates, "
        "unless a layer is so slow that it stays where it started.",
    )


def in_line(c: np.ndarray, rates: np.ndarray, sigma: float) -> np.ndarray:
    """What the squared size of each layer has grown by, per unit of its rate.

    Args:
        c: sizes of the network's function, each at least ``sigma ** L``.
        rates: of the L layers, with product 1.
        sigma: size of each layer at the start.

    Returns:
        For each c the p with ``prod(sigma**2 + rates * p) == c**2``.

    Example:
        >>> in_line(np.array([0.5]), np.ones(2), 0.1)
        array([0.49])
    """
    low, high = np.zeros_like(c), c ** (2 / len(rates))
    for _ in range(100):
        p = (low + high) / 2
        below = np.prod(sigma**2 + rates * p[..., None], axis=-1) < c**2
        low, high = np.where(below, p, low), np.where(below, high, p)
    return high


def curves(rates: np.ndarray, sigma: float, s: float) -> dict[str, np.ndarray]:
    """The path of a network whose layers start in line, each of size ``sigma``.

    Args:
        rates: of the L layers, with product 1.
        sigma: size of each layer at the start; of the first one in every direction.
        s: teacher size.

    Returns:
        ``t``, ``loss`` relative to the start, ``cosine`` of the first layer's Gram matrix with the
        teacher's direction, and the spikes ``plain`` and ``driving`` of the two kernels; ``half``,
        the time at which the loss is halved.

    Example:
        >>> path = curves(np.array([4.0, 0.25]), 0.001, 1.0)
        >>> print(path["plain"][-1].round(2), path["driving"][-1].round(2))
        16.0 1.0
    """
    start = np.log(sigma ** len(rates) / (s - sigma ** len(rates)))
    c_half = s - (s - sigma ** len(rates)) / 2**0.5
    middle = np.log(c_half / (s - c_half))
    logits = np.append(
        np.linspace(start, middle, BEFORE + 1), np.linspace(middle, LAST, AFTER + 1)[1:]
    )

    def sizes(logits):
        c = s / (1 + np.exp(-logits))
        return c, sigma**2 + rates * in_line(c, rates, sigma)[..., None]

    nodes, weights = np.polynomial.legendre.leggauss(8)
    widths = np.diff(logits)[:, None]
    c, squares = sizes(logits[:-1, None] + widths * (nodes + 1) / 2)
    slow = 1 / (s * c * (rates / squares).sum(-1))  # dt / d logit
    t = np.append(0.0, np.cumsum((widths / 2 * slow * weights).sum(1)))

    c, squares = sizes(logits)
    first, second = squares[:, 0], squares[:, 1]
    spikes = {}
    for name, by in (("plain", np.ones_like(rates)), ("driving", rates)):
        along = (by / squares).sum(1)
        across = by[0] / first + by[1] * sigma**2 / (first * second)
        spikes[name] = along / across - 1
    return {
        "t": t,
        "loss": (1 + np.exp(logits)) ** -2.0 / (1 - sigma ** len(rates) / s) ** 2,
        "cosine": first / np.sqrt(first**2 + (DIM - 1) * sigma**4),
        **spikes,
        "half": t[[BEFORE]],
    }


def reference(state: dict) -> dict[str, list[float]]:
    """The curves of :func:`curves` for the state of the controls, and the spikes at the moment."""
    exponents = np.zeros(state["layers"])
    exponents[[0, -1]] = state["log10_first"], state["log10_last"]
    path = curves(10 ** (exponents - exponents.mean()), 10 ** state["log10_sigma"], state["s"])
    time = state["moment"] * path["half"][0]
    now = [np.interp(time, path["t"], path[name]) for name in ("loss", "plain", "driving")]
    return {name: curve.tolist() for name, curve in path.items()} | {"now": now}
