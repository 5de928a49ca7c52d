"""Live figure: a second task learned with the kernel that the first one left."""

import numpy as np

from ntkbook import _checks, theory
from ntkbook.live import LiveFigure

DIM = 60
SPIKES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # A
OVERLAPS = tuple(i / 20 for i in range(21))  # alpha
EXPONENTS = tuple(i / 2 for i in range(-8, 5))  # of the ridge
POINTS = 100  # largest number of examples


def transfer(
    spike: float = 1.0, overlap: float = 0.5, log10_ridge: float = 0.0, points: int = 10
) -> LiveFigure:
    """Learning curve of a turned kernel on a second task, beside the isotropic kernel's.

    Args:
        spike: A, one of :data:`SPIKES`.
        overlap: of the two tasks, a multiple of 0.05 from 0 to 1.
        log10_ridge: logarithm of the ridge, a multiple of 0.5 from -4 to 2.
        points: examples of the second task at which the two are compared, 1 to :data:`POINTS`.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> transfer(spike=10.0).state["spike"]
        6
    """
    return LiveFigure(
        "transfer",
        {
            "spike": SPIKES.index(_checks.choice("spike", spike, SPIKES)),
            "overlap": _checks.choice("overlap", overlap, OVERLAPS),
            "log10_ridge": _checks.choice("log10_ridge", log10_ridge, EXPONENTS),
            "points": _checks.choice("points", points, range(1, POINTS + 1)),
        },
        "Test error on a second task against the number of its examples, for a kernel with a "
        "spike along the first task and for an isotropic kernel. Both fall from 1 towards 0 at "
        "60 examples. The turned kernel's curve is lower where the tasks overlap and higher "
        "where they hardly do.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """Both learning curves for the state of the controls, and their values at the chosen P."""
    P = np.arange(POINTS + 1.0)
    task = {"overlap": state["overlap"], "D": DIM, "ridge": 10.0 ** state["log10_ridge"]}
    turned, isotropic = (
        theory.transfer_error(P, spike=spike, **task).tolist()
        for spike in (SPIKES[state["spike"]], 0.0)
    )
    chosen = [turned[state["points"]], isotropic[state["points"]]]
    return {"turned": turned, "isotropic": isotropic, "chosen": chosen}
