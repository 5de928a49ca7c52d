"""Live figure: three modes of a deep linear network, each on its clock, and their kernel."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure
from ntkbook.theory import deep_linear_amplitude, deep_linear_time

DIM = 30  # inputs
SIZES = tuple(i / 4 for i in range(4, 17))  # of s_1
SHARES = tuple(i / 20 for i in range(8, 21))  # s_2 / s_1 and s_3 / s_2
SCALES = tuple(i / 4 for i in range(-12, -2))  # exponents of sigma
DEPTHS = (2, 3, 4)
UNEVEN = tuple(i / 20 for i in range(7))
POINTS, LAST = 401, 5.0  # moments; logit of the slowest mode at the last one


def several_outputs(
    s1: float = 3.0,
    second: float = 0.5,
    third: float = 0.5,
    log10_sigma: float = -1.0,
    layers: int = 2,
    uneven: float = 0.1,
) -> LiveFigure:
    """Loss, modes, and the kernel's cosine with its end, for a teacher of three singular values.

    Args:
        s1: the largest singular value, a multiple of 0.25 from 1 to 4.
        second: the second over the first, a multiple of 0.05 from 0.4 to 1.
        third: the third over the second, likewise.
        log10_sigma: logarithm of the weight scale, a multiple of 0.25 from -3 to -0.75.
        layers: number of weight layers, 2, 3 or 4.
        uneven: by which share of sigma each mode starts smaller than the one before it, a
            multiple of 0.05 from 0 to 0.3.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> several_outputs(layers=3).state["layers"]
        3
    """
    return LiveFigure(
        "several_outputs",
        {
            "s1": _checks.choice("s1", s1, SIZES),
            "second": _checks.choice("second", second, SHARES),
            "third": _checks.choice("third", third, SHARES),
            "log10_sigma": _checks.choice("log10_sigma", log10_sigma, SCALES),
            "layers": _checks.choice("layers", layers, DEPTHS),
            "uneven": _checks.choice("uneven", uneven, UNEVEN),
        },
        "Three panels against time. The first shows the loss, which falls in up to three steps. "
        "The second shows what is learned of each of the three modes. The third shows the cosine "
        "of the full and of the trace kernel with their ends, which climb in the steps after the "
        "first, unless the modes are learned together.",
    )


def pairs(c: np.ndarray, L: int, dim: int = DIM) -> np.ndarray:
    """The kernel's value on every pair of an output mode and an input mode.

    Args:
        c: amplitudes (..., modes).
        L: number of weight layers.
        dim: number of inputs.

    Returns:
        ``sum_l u_a**(2 (L - l)) u_b**(2 (l - 1))`` (..., modes, dim), ``u = c**(1 / L)``, zero
        beyond the modes.

    Example:
        >>> pairs(np.array([3.0, 1.0]), 2)[:, :3]
        array([[6., 4., 3.],
               [4., 2., 1.]])
    """
    u2 = np.asarray(c) ** (2 / L)
    rest = np.zeros((*u2.shape[:-1], dim - u2.shape[-1]))
    b = np.concatenate([u2, rest], -1)[..., None, :]
    return sum(u2[..., None] ** (L - j) * b ** (j - 1) for j in range(1, L + 1))


def cosine(a: np.ndarray, b: np.ndarray, axes: tuple[int, ...] = (-2, -1)) -> float | np.ndarray:
    """Frobenius cosine over some axes.

    Example:
        >>> print(cosine(np.array([1.0, 1.0]), np.array([1.0, 0.0]), (0,)).round(3))
        0.707
    """
    return (a * b).sum(axes) / np.sqrt((a**2).sum(axes) * (b**2).sum(axes))


def reference(state: dict) -> dict[str, list[float]]:
    """Time, loss, modes and cosines for the state of the controls, and what the words say."""
    L, sigma = state["layers"], 10 ** state["log10_sigma"]
    s = state["s1"] * np.cumprod([1.0, state["second"], state["third"]])
    c0 = (sigma * (1 - state["uneven"] * np.arange(3))) ** L
    starts = list(zip(c0, s, strict=True))

    def reach(odds):
        """Times at which the modes have a given logit."""
        logistic = 1 / (1 + np.exp(-odds))
        return [float(deep_linear_time(v * logistic, c, v, L)) for c, v in starts]

    t, half = np.linspace(0, max(reach(LAST)), POINTS), reach(0.0)
    c, first = (
        np.stack([deep_linear_amplitude(when, *start, L) for start in starts], -1)
        for when in (t, np.array([min(half)]))
    )
    k, last = pairs(c, L), pairs(s, L)
    return {
        "t": t.tolist(),
        "loss": (((s - c) ** 2).sum(-1) / (s**2).sum()).tolist(),
        **{f"mode{a + 1}": (c[:, a] / s[a]).tolist() for a in range(3)},
        "full": cosine(k, last).tolist(),
        "trace": cosine(k.sum(-2), last.sum(-2), (-1,)).tolist(),
        "half": half,
        "first": cosine(pairs(first, L), last).tolist(),
    }
