"""Live figure: a two-layer ReLU network on whitened points, each unit on its half of a class."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure
from ntkbook.live.two_limits import draw

POINTS, STEP, MOMENTS = 24, 0.05, 100
LOG10_SIGMAS = tuple(-i / 2 for i in range(7))
LOG2_WIDTHS = (3, 4, 5)
SEEDS = tuple(range(1, 101))


def whitened_images(
    log10_sigma: float = -2.0, log2_width: int = 5, moment: int = 0, seed: int = 1
) -> LiveFigure:
    """A ReLU network that learns the labels of 24 whitened points, and what its units answer to.

    Args:
        log10_sigma: logarithm of the weight scale, a multiple of 0.5 from -3 to 0.
        log2_width: logarithm of the number of hidden units, 3 to 5.
        moment: time that is shown, in percent of the run, from 0 to 100.
        seed: of the weights, 1 to 100.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> whitened_images(moment=30).state["log2_width"]
        5
    """
    return LiveFigure(
        "whitened_images",
        {
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, LOG10_SIGMAS),
            "log2_width": _checks.choice("log2_width", log2_width, LOG2_WIDTHS),
            "moment": _checks.choice("moment", moment, tuple(range(MOMENTS + 1))),
            "seed": _checks.choice("seed", seed, SEEDS),
        },
        "Above, against time: the loss, the size of the tangent kernel and its alignment with the "
        "labels, in units of the largest alignment of a linear network. Below, a dot for each "
        "unit (row) and training point (column) where the unit is active, larger for a larger "
        "activity, filled for a positive readout. At first dots are everywhere. Then units with a positive readout lose the "
        "points of the negative class, and the others those of the positive class, while the "
        "loss is still at its start.",
    )


def path(log10_sigma: float, log2_width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Readouts (times, n) and activities before the ReLU (times, n, 24), by gradient descent.

    Whitened points have the scalar products 24 - 1 with themselves and -1 with each other, which
    is all that the dynamics needs to know of them.
    """
    n, sigma = 2**log2_width, 10.0**log10_sigma
    y = np.repeat([1.0, -1.0], POINTS // 2)
    normal = draw(9 * n, seed).reshape(n, -1)  # 27 for each unit
    a = sigma / n**0.5 * normal[:, 0]
    z = normal[:, 1 : POINTS + 1]
    z = sigma * (POINTS / (POINTS - 1)) ** 0.5 * (z - z.mean(1, keepdims=True))
    readouts, activities = [], []
    for step in range(_steps(log10_sigma) + 1):
        if step % (_steps(log10_sigma) // MOMENTS) == 0:
            readouts.append(a)
            activities.append(z)
        pull = (y - a @ np.maximum(z, 0)) / POINTS * (z > 0)
        change = a[:, None] * (POINTS * pull - pull.sum(1, keepdims=True))
        a, z = a + STEP * (pull * z).sum(1), z + STEP * change
    return np.array(readouts), np.array(activities)


def _steps(log10_sigma):
    return MOMENTS * (2 + round(-log10_sigma))


def reference(state: dict) -> dict[str, list[float]]:
    """Loss, size and alignment over time, shares of points that units see, activities now."""
    a, z = path(state["log10_sigma"], state["log2_width"], state["seed"])
    y = np.repeat([1.0, -1.0], POINTS // 2)
    on, g = (z > 0) * 1.0, np.maximum(z, 0)
    gram = POINTS * np.eye(POINTS) - 1
    kernel = gram * np.einsum("tn,tnp,tnq->tpq", a**2, on, on) + np.einsum("tnp,tnq->tpq", g, g)
    size = np.linalg.norm(kernel, axis=(1, 2))
    own = np.sign(a)[:, :, None] * y > 0
    weight = a[:, :, None] ** 2 / (a**2).sum(1)[:, None, None] / (POINTS / 2)
    return {
        "loss": np.mean((y - np.einsum("tn,tnp->tp", a, g)) ** 2, axis=1).tolist(),
        "size": (size / size[-1]).tolist(),
        "alignment": (kernel @ y @ y / size / POINTS * (POINTS + 2) ** 0.5 / 2).tolist(),
        "own": (weight * on * own).sum((1, 2)).tolist(),
        "other": (weight * on * ~own).sum((1, 2)).tolist(),
        "active": g[state["moment"]].ravel().tolist(),
    }
