"""Live figure: Adam and gradient descent pull the same small network to different places."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

RULES = ("Adam", "gradient descent")
ANGLES = tuple(range(5, 90, 5))  # degrees, of beta from the first axis
STEPS = 200
RATES = {"Adam": 0.005, "gradient descent": 0.05}
READOUT = np.array([1.0, -0.8, 0.6, -1.0]) / 100
FIRST = np.array([[0.9, 0.5], [-0.5, -1.0], [0.4, 0.8], [-1.0, -0.3]]) / 100


def adam_kernel(rule: str = "Adam", angle: int = 20, step: int = 0) -> LiveFigure:
    """A two-layer linear network in the plane, trained on white data, and its two kernels.

    Args:
        rule: ``"Adam"`` or ``"gradient descent"``, at the start of the figure.
        angle: of the teacher from the first axis, a multiple of 5 from 5 to 85 degrees.
        step: of training that is shown, a multiple of 2 up to 200.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> adam_kernel(rule="gradient descent").state["angle"]
        20
    """
    return LiveFigure(
        "adam_kernel",
        {
            "rule": _checks.choice("rule", rule, RULES),
            "angle": _checks.choice("angle", angle, ANGLES),
            "step": _checks.choice("step", step, tuple(range(0, STEPS + 1, 2))),
        },
        "Above, the plane of linear functions: the path of the network's function from the origin "
        "to the teacher, and two ellipses of functions of equal norm, in the plain tangent kernel "
        "and in the kernel with the rule's rates. Below, against the number of steps, the loss "
        "and the cosines of the first layer's leading direction with the teacher and with its "
        "signs. Under Adam that direction starts on the diagonal, wherever the teacher is; under "
        "gradient descent it starts on the teacher.",
    )


def path(rule: str, angle: float) -> dict[str, np.ndarray]:
    """Readout, first layer and the rates of both at every step."""
    beta = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    theta = np.concatenate([READOUT, FIRST.ravel()])
    mean, squares, out = np.zeros(12), np.zeros(12), {"theta": [], "rates": [], "function": []}
    for k in range(STEPS + 1):
        a, w = theta[:4], theta[4:].reshape(4, 2)
        left = beta - a @ w
        slope = -np.concatenate([w @ left, np.outer(a, left).ravel()])
        mean, squares = 0.9 * mean + 0.1 * slope, 0.999 * squares + 0.001 * slope**2
        rates = 1 / (np.sqrt(squares / (1 - 0.999 ** (k + 1))) + 1e-8)
        adam = rule == "Adam"
        for name, value in (("theta", theta), ("rates", rates), ("function", a @ w)):
            out[name].append(value if adam or name != "rates" else np.ones(12))
        step = rates * mean / (1 - 0.9 ** (k + 1)) if adam else slope
        theta = theta - RATES[rule] * step
    return {name: np.array(rows) for name, rows in out.items()} | {"beta": beta}


def reference(state: dict) -> dict[str, list[float]]:
    """Loss and cosines at every step, and function and kernels at the chosen one."""
    run = path(state["rule"], state["angle"])
    beta, now = run["beta"], state["step"]
    w = run["theta"][:, 4:].reshape(-1, 4, 2)
    gram = np.einsum("kij,kil->kjl", w, w)
    turn = np.arctan2(2 * gram[:, 0, 1], gram[:, 0, 0] - gram[:, 1, 1]) / 2
    top = np.stack([np.cos(turn), np.sin(turn)])
    loss = ((run["function"] - beta) ** 2).sum(1)
    kernels = []
    for rates in (np.ones(12), run["rates"][now]):
        a, rate = run["theta"][now, :4], rates[4:].reshape(4, 2)
        m = w[now].T @ (rates[:4, None] * w[now]) + np.diag(a**2 @ rate)
        kernels += (m[[0, 0, 1], [0, 1, 1]] / np.trace(m)).tolist()
    return {
        "loss": (loss / loss[0]).tolist(),
        "teacher": abs(beta @ top).tolist(),
        "signs": (abs(top.sum(0)) / 2**0.5).tolist(),
        "function": run["function"][now].tolist(),
        "kernels": kernels,
    }
