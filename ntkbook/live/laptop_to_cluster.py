"""Live figure: what steps and kernels cost, for how many runs on how many devices."""

import math

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

INPUTS = 64  # D of the network, with two hidden layers and one output
RATE = 1e11  # operations a second
STARTING = 5e-5  # seconds that a program takes however little it does
SIZES = 10 ** (np.arange(4, 25) / 4)  # P of the curves
HALVES = tuple(i / 2 for i in range(2, 11))  # log10 of n
POINTS = tuple(i / 2 for i in range(2, 13))  # log10 of P
RUNS = tuple(range(5))  # log10 of how many runs
DEVICES = tuple(range(9))  # log2 of how many devices


def laptop_to_cluster(
    log10_n: float = 2.5, log10_P: float = 3.0, log10_runs: int = 0, log2_devices: int = 0
) -> LiveFigure:
    """Time and memory of a step of training and of a kernel, against the number of points.

    Args:
        log10_n: logarithm of the width of both hidden layers, a multiple of 0.5 from 1 to 5.
        log10_P: logarithm of the number of points, a multiple of 0.5 from 1 to 6.
        log10_runs: logarithm of the number of runs, or of kernels, 0 to 4.
        log2_devices: logarithm to base 2 of the number of devices that share them, 0 to 8.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is not one of these.

    Example:
        >>> laptop_to_cluster(log10_P=4.0).state["log10_P"]
        4.0
    """
    return LiveFigure(
        "laptop_to_cluster",
        {
            "log10_n": _checks.choice("log10_n", log10_n, HALVES),
            "log10_P": _checks.choice("log10_P", log10_P, POINTS),
            "log10_runs": _checks.choice("log10_runs", log10_runs, RUNS),
            "log2_devices": _checks.choice("log2_devices", log2_devices, DEVICES),
        },
        "Two panels against the number of points, on logarithmic axes. Above, the time of one step "
        "of training, which rises in proportion, and of the kernel, which rises as the square. "
        "Below, the memory of the kernel, which rises as the square, and of the weights, which "
        "does not.",
    )


def step_operations(n: float | np.ndarray, p: float | np.ndarray) -> float | np.ndarray:
    """Floating-point operations of a step of gradient descent.

    Args:
        n: width of both hidden layers.
        p: number of points.

    Returns:
        Their number, without terms that act on single numbers.

    Example:
        >>> step_operations(256, 256)
        117833728
    """
    return 4 * p * INPUTS * n + 6 * p * (n * n + n)


def kernel_operations(n: float | np.ndarray, p: float | np.ndarray) -> float | np.ndarray:
    """Floating-point operations of the tangent kernel, layer by layer.

    Args:
        n: width of both hidden layers.
        p: number of points.

    Returns:
        Their number, without terms that act on single numbers.

    Example:
        >>> kernel_operations(256, 256)
        218497024
    """
    return 2 * p * (INPUTS * n + 2 * n * n + 2 * n) + 2 * p * p * (INPUTS + 4 * n + 1)


def reference(state: dict) -> dict[str, list[float]]:
    """Times, in seconds, and bytes for the state of the controls; ``here`` is at its P."""
    n, p = 10 ** state["log10_n"], 10 ** state["log10_P"]
    turns = math.ceil(10 ** state["log10_runs"] / 2 ** state["log2_devices"])
    seconds = lambda operations: turns * (STARTING + operations / RATE)
    return {
        "step": seconds(step_operations(n, SIZES)).tolist(),
        "kernel": seconds(kernel_operations(n, SIZES)).tolist(),
        "bytes": (4 * SIZES**2).tolist(),
        "here": [
            seconds(step_operations(n, p)),
            seconds(kernel_operations(n, p)),
            4 * p**2,
            4 * (INPUTS * n + n**2 + n),
        ],
    }
