"""Live figure: two training examples, and how their predictions move in the plane."""

import numpy as np

from ntkbook import _checks
from ntkbook.live import LiveFigure

TARGET = np.array([1.0, 0.0])  # training starts at (0, 0): the second example is fit already
T_MAX = 20.0  # in units of P / lambda_max
TIMES = 201
OVERLAPS = tuple(i / 10 for i in range(-9, 10))
STEPS = tuple(i / 10 for i in range(1, 26))


def function_space(overlap: float = 0.6, step: float = 0.5) -> LiveFigure:
    """Gradient flow and gradient descent of two predictions under a kernel that stays constant.

    The kernel matrix is ((1, c), (c, 1)), c being the overlap of the two gradients.

    Args:
        overlap: c at the start, a multiple of 0.1 between -0.9 and 0.9.
        step: of gradient descent at the start, in units of P / lambda_max; a multiple of 0.1, up to
            2.5.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> function_space(step=0.2)
        LiveFigure('function_space', {'overlap': 0.6, 'step': 0.2})
    """
    return LiveFigure(
        "function_space",
        {
            "overlap": _checks.choice("overlap", overlap, OVERLAPS),
            "step": _checks.choice("step", step, STEPS),
        },
        "The plane of two predictions: a curve for gradient flow and dots for gradient descent, "
        "from the origin to the target at (1, 0). The path leaves in the direction in which the "
        "kernel turns the residual, and comes to the target along its slow eigenvector. "
        "Below, the loss against time.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """Both predictions and the loss, along the flow and at each step of descent."""
    c, step = state["overlap"], state["step"]
    kernel = np.array([[1.0, c], [c, 1.0]])
    values, vectors = np.linalg.eigh(kernel / np.linalg.eigvalsh(kernel)[-1])
    t = np.linspace(0, T_MAX, TIMES)
    flow = TARGET - np.exp(-np.outer(t, values)) @ (vectors * (TARGET @ vectors)).T
    descent = [np.zeros(2)]
    for _ in range(int(T_MAX / step + 1e-9)):
        descent.append(descent[-1] + step * (vectors * values) @ vectors.T @ (TARGET - descent[-1]))
    curves = {}
    for name, f in (("flow", flow), ("descent", np.array(descent))):
        curves |= {f"{name}_1": f[:, 0].tolist(), f"{name}_2": f[:, 1].tolist()}
        curves[f"{name}_loss"] = (np.sum((f - TARGET) ** 2, axis=1) / 4).tolist()
    return curves
