"""Live figure: a kernel that turns and grows, and the function that is learned with it."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

X = np.linspace(-0.85, 0.85, 6)
GRID = np.linspace(-1, 1, 81)
LENGTH, SPIKE, CLOCK, WIGGLE = 0.12, 2.0, 3.5, 0.2  # of the kernels and the targets
MOMENTS, AFTER, STEP = 200, 20.0, 0.1  # times shown; time after the growth; longest step
LOG2_RATES = tuple(i / 2 for i in range(-6, 5))
LOG10_SIZES = tuple(-i / 2 for i in range(13))
TENTHS = tuple(i / 10 for i in range(11))


def silent_alignment(
    log2_rate: float = 1.0, log10_eps: float = -3.0, leak: float = 0.0, start: float = 0.0
) -> LiveFigure:
    """A toy kernel that grows and turns at rates of its own, and what is learned with it.

    Args:
        log2_rate: logarithm of the rate of turning, in units of the rate of growth; at the start a
            multiple of 0.5 between -3 and 2.
        log10_eps: logarithm of the size at the start, a multiple of 0.5 between -6 and 0.
        leak: share of the turning that waits for the growth, a multiple of 0.1 up to 1.
        start: size of the function before training, a multiple of 0.1 up to 1.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> silent_alignment(leak=0.5)
        LiveFigure('silent_alignment', {'leak': 0.5, 'log10_eps': -3.0, 'log2_rate': 1.0, \
'start': 0.0})
    """
    return LiveFigure(
        "silent_alignment",
        {
            "leak": _checks.choice("leak", leak, TENTHS),
            "log10_eps": _checks.choice("log10_eps", log10_eps, LOG10_SIZES),
            "log2_rate": _checks.choice("log2_rate", log2_rate, LOG2_RATES),
            "start": _checks.choice("start", start, TENTHS),
        },
        "Above, six data points, the function that is learned, and kernel regression with the "
        "final and with the initial kernel. Below, against time, the loss, the size of the kernel, "
        "its alignment with the targets, and the distance from regression with the final kernel. "
        "Where the kernel turns before it grows, the learned function lies on that regression.",
    )


def kernels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Initial and final kernel, of all points (the six, then the grid) and the six; targets."""
    points = np.concatenate([X, GRID])
    k0 = np.exp(-((points[:, None] - X) ** 2) / 2 / LENGTH**2)
    k_inf = k0 + SPIKE * np.outer(feature(points), feature(X))
    return CLOCK * k0, CLOCK * k_inf, feature(X) + WIGGLE * (-1.0) ** np.arange(len(X))


def feature(x: np.ndarray) -> np.ndarray:
    """What the final kernel has learned."""
    return np.sin(np.pi * x)


def reference(state: dict) -> dict[str, list[float]]:
    """The function at the end, and what the lower panel shows, by steps half as long."""
    k0, k_inf, y = kernels()
    p, eps, leak = 2.0 ** state["log2_rate"], 10.0 ** state["log10_eps"], state["leak"]
    t = np.linspace(0, np.log(1 / eps) + AFTER, MOMENTS + 1)

    def size(t):
        return 1 / (1 + (1 / eps - 1) * np.exp(-t))

    def kernel(t):
        unturned = (1 - leak) * np.exp(-p * t) + leak * (1 - size(t))
        return size(t) * (k_inf + unturned * (k0 - k_inf))

    def slope(t, f):
        return kernel(t) @ (y - f[: len(y)]) / len(y)

    steps = 2 * int(np.ceil(t[1] / STEP))
    h = t[1] / steps
    path = [state["start"] * np.cos(np.pi * np.concatenate([X, GRID]))]
    for now in t[:-1]:
        f = path[-1]
        for u in now + h * np.arange(steps):
            k1 = slope(u, f)
            k2 = slope(u + h / 2, f + h / 2 * k1)
            k3 = slope(u + h / 2, f + h / 2 * k2)
            k4 = slope(u + h, f + h * k3)
            f = f + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(f)
    path = np.array(path)
    train, apart = path[:, : len(y)], np.linalg.solve(k0[: len(y)], y)
    final = k_inf @ np.linalg.inv(k_inf[: len(y)])
    gap = np.linalg.norm((path - train @ final.T)[:, len(y) :], axis=1)
    apart = np.linalg.norm((k0 @ apart - final @ y)[len(y) :])
    matrices = [kernel(u)[: len(y)] for u in t]
    return {
        "f": path[-1, len(y) :].tolist(),
        "loss": (np.sum((train - y) ** 2, axis=1) / np.sum((train[0] - y) ** 2)).tolist(),
        "size": size(t).tolist(),
        "alignment": [y @ k @ y / (y @ y) / np.linalg.norm(k) for k in matrices],
        "gap": np.where(gap < 1e-9 * apart, 0.0, gap / apart).tolist(),
    }
