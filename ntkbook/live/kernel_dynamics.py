"""Live figure: the modes of a power-law spectrum are learned one after another."""

import numpy as np

from ntkbook import _checks, theory
from ntkbook.live import LiveFigure

MODES = 1000
SHOWN = np.unique(np.round(np.geomspace(1, MODES, 40)).astype(int))  # modes drawn as dots
LAST = 10**4
STEPS = np.concatenate([[0], np.unique(np.round(np.geomspace(1, LAST, 61)).astype(int))])
CAP = 1e6  # where a mode that grows is cut off


def kernel_dynamics(
    spectrum: float = 1.5, targets: float = 2.0, step: float = 1.0, time: int = 25
) -> LiveFigure:
    """What is left of each mode and of the loss, for rates ``i**-spectrum`` of mode i.

    Args:
        spectrum: exponent of the rates at the start, 0.5 to 3.
        targets: exponent of the targets' power, ``i**-targets``, 1.2 to 3.
        step: step size times the largest rate, 0.1 to 2.4.
        time: index of the number of steps in ``STEPS``, 0 to 54.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> kernel_dynamics(step=2.0).state["step"]
        2.0
    """
    numbers = {"spectrum": spectrum, "targets": targets, "step": step}
    state = {name: _checks.number(name, value) for name, value in numbers.items()}
    limits = {"spectrum": (0.5, 3), "targets": (1.2, 3), "step": (0.1, 2.4)}
    for name, (low, high) in limits.items():
        if not low <= state[name] <= high:
            raise ValueError(f"{name} is {state[name]:g}; expected {low} to {high}")
    state["time"] = _checks.choice("time", time, tuple(range(len(STEPS))))
    return LiveFigure(
        "kernel_dynamics",
        state,
        "Two panels on logarithmic axes. Above, the power of the targets in each mode of the "
        "kernel, and what training has left of it: modes are used up from the left. Below, the "
        "loss against the number of steps so far, for gradient descent and for gradient flow.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """What is left by mode, and the loss by steps, for gradient descent and gradient flow."""
    k = np.arange(1.0, MODES + 1)
    rates, power = k ** -state["spectrum"], k ** -state["targets"]
    steps, now = STEPS[:, None].astype(float), float(STEPS[int(state["time"])])
    laws = {
        "descent": lambda j: theory.gd_mode_decay(j, rates, state["step"]),
        "flow": lambda j: theory.flow_mode_decay(j * state["step"], rates),
    }
    curves = {}
    for name, law in laws.items():
        for curve, j in ((name, now), (f"loss of {name}", steps)):
            left = np.minimum(abs(np.asarray(law(j))), CAP**0.5) ** 2 * power / power.sum()
            curves[curve] = (left[SHOWN - 1] if curve == name else left.sum(1)).tolist()
    return curves
