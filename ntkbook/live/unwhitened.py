"""Live figure: on data that are not white a kernel turns twice."""

import numpy as np
from scipy.integrate import solve_ivp

from ntkbook import _checks
from ntkbook.live import LiveFigure

LOG2_RATIOS = tuple(i / 2 for i in range(9))  # of the two eigenvalues of Sigma, whose mean is 1
ANGLES = tuple(range(0, 95, 5))  # degrees, of beta from the direction with more variance
LOG10_SIGMAS = tuple(-i / 2 for i in range(9))
MOMENTS = 400


def unwhitened(
    log2_ratio: float = 0.0, angle: int = 60, log10_sigma: float = -2.0, moment: int = 0
) -> LiveFigure:
    """A two-layer linear network in the plane: its kernel, its loss and where the kernel points.

    Args:
        log2_ratio: logarithm of the ratio of the two variances of the data at the start of the
            figure, a multiple of 0.5 from 0 to 4.
        angle: of the teacher from the direction with more variance, a multiple of 5 up to 90.
        log10_sigma: logarithm of the weight scale, a multiple of 0.5 from -4 to 0.
        moment: time that is shown, in percent of the run, from 0 to 100.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> unwhitened(log2_ratio=3.0).state["angle"]
        60
    """
    return LiveFigure(
        "unwhitened",
        {
            "log2_ratio": _checks.choice("log2_ratio", log2_ratio, LOG2_RATIOS),
            "angle": _checks.choice("angle", angle, ANGLES),
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, LOG10_SIGMAS),
            "moment": _checks.choice("moment", moment, tuple(range(101))),
        },
        "Above, the plane of linear functions: a circle and an ellipse of functions of equal norm "
        "in the kernel, at the start and at the chosen time, with the directions of the teacher "
        "and of the covariance times the teacher, and a dot for the network's function. Below, "
        "against time, the loss, the size of the kernel, and the matrix cosines of the first "
        "layer's Gram matrix with both directions; for a spike, they are squares of cosines of "
        "vectors. On data with unequal variances the second cosine waits for the loss.",
    )


def problem(state: dict) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Variances, teacher, weight scale and times of a state; the size of the teacher is 1."""
    ratio, angle = 2.0 ** state["log2_ratio"], np.radians(state["angle"])
    variances = np.array([2 * ratio, 2.0]) / (1 + ratio)
    beta, sigma = np.array([np.cos(angle), np.sin(angle)]), 10.0 ** state["log10_sigma"]
    rate = np.linalg.norm(variances * beta)
    end = np.log(1 / sigma) / rate + 4 / variances[1]
    return variances, beta, sigma, np.linspace(0, end, MOMENTS + 1)


def moments(variances: np.ndarray, beta: np.ndarray, sigma: float, t: np.ndarray) -> np.ndarray:
    """The typical network's ``W.T W`` (its entries 11, 12, 22), ``W.T a`` and ``|a|^2``, in rows.

    They start at ``sigma^2`` times 1, 0, 1, the zero vector and 1, and obey a flow of their own.
    """

    def flow(_, now):
        gram, f, a = now[[0, 1, 1, 2]].reshape(2, 2), now[3:5], now[5]
        pull = variances * (beta - f)
        turn = np.outer(f, pull) + np.outer(pull, f)
        return [turn[0, 0], turn[0, 1], turn[1, 1], *(a * pull + gram @ pull), 2 * f @ pull]

    start = sigma**2 * np.array([1.0, 0, 1, 0, 0, 1])
    options = dict(method="DOP853", rtol=1e-9, atol=1e-9 * sigma**2)
    return solve_ivp(flow, (0, t[-1]), start, t_eval=t, **options).y


def reference(state: dict) -> dict[str, list[float]]:
    """Loss, cosines and size of the kernel over time, and the kernel at the chosen moment."""
    variances, beta, sigma, t = problem(state)
    g11, g12, g22, f1, f2, a = moments(variances, beta, sigma, t)
    left = variances @ (beta[:, None] - [f1, f2]) ** 2

    def cosine(v):
        v = v / np.linalg.norm(v)
        along = g11 * v[0] ** 2 + 2 * g12 * v[0] * v[1] + g22 * v[1] ** 2
        return along / np.sqrt(g11**2 + 2 * g12**2 + g22**2)

    now = 4 * state["moment"]
    size = g11 + g22 + 2 * a
    return {
        "loss": (left / left[0]).tolist(),
        "first": cosine(variances * beta).tolist(),
        "second": cosine(beta).tolist(),
        "size": (size / 3).tolist(),
        "kernel": (np.array([g11 + a, g12, g22 + a])[:, now] / size[now]).tolist(),
        "function": [f1[now], f2[now]],
    }
