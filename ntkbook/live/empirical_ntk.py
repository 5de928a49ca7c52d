"""Live figure: operations and memory of the empirical NTK, computed in four ways."""

from typing import NamedTuple

from ntkbook import _checks
from ntkbook.live import LiveFigure

INPUTS = 784  # input dimension of the live figure, the pixels of an MNIST image
WAYS = ("jacobian", "columns", "layers", "by hand")


class Cost(NamedTuple):
    """Floating-point operations, and numbers held at once beside weights, inputs and kernel."""

    operations: int
    work: int


def costs(points: int, inputs: int, width: int, depth: int, outputs: int) -> dict[str, Cost]:
    """What the full kernel of a fully connected network costs in each way, to leading orders.

    Args:
        points: P, inputs that are compared with each other.
        inputs: D, input dimension.
        width: n, of each hidden layer.
        depth: hidden layers, L - 1.
        outputs: C.

    Returns:
        For each way of :data:`WAYS` its :class:`Cost`; ``"by hand"`` only for one hidden layer.

    Example:
        >>> costs(points=256, inputs=784, width=512, depth=3, outputs=1)["layers"].operations
        1248329728
    """
    p, d, n, c, hidden = points, inputs, width, outputs, depth * width
    upper = (depth - 1) * n * n + n * c  # weights above the first layer
    weights = n * d + upper
    forward, backward = 2 * p * weights, 2 * p * c * upper
    grams = 2 * p**2 * (d + hidden) + 2 * p**2 * c**2 * hidden
    table = {
        "jacobian": Cost(
            2 * p**2 * c**2 * weights + forward + backward + 2 * p * c * weights,
            p * c * max(n * d, n * n if depth > 1 else 0, n * c),
        ),
        "columns": Cost(
            p * c * (2 * p * (2 * weights + upper) + 4 * weights + 2 * upper),
            weights + p * hidden,
        ),
        "layers": Cost(forward + backward + grams, (1 + c) * p * hidden + 2 * p**2 * c**2),
    }
    if depth == 1:
        table["by hand"] = Cost(2 * p * n * d + grams, table["layers"].work)
    return table


def empirical_ntk(
    log2_points: int = 8, log2_width: int = 9, depth: int = 3, log10_outputs: int = 0
) -> LiveFigure:
    """Operations and memory of the tangent kernel of a network on MNIST, in four ways.

    Args:
        log2_points: logarithm of the number of inputs at the start, 4 to 16.
        log2_width: logarithm of the width at the start, 4 to 13.
        depth: hidden layers at the start, 1 to 8.
        log10_outputs: logarithm of the number of outputs at the start, 0 to 3.

    Returns:
        The live figure.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> empirical_ntk(depth=1).state["depth"]
        1
    """
    allowed = {
        "log2_points": (log2_points, range(4, 17)),
        "log2_width": (log2_width, range(4, 14)),
        "depth": (depth, range(1, 9)),
        "log10_outputs": (log10_outputs, range(4)),
    }
    state = {name: _checks.choice(name, v, tuple(values)) for name, (v, values) in allowed.items()}
    return LiveFigure(
        "empirical_ntk",
        state,
        "Floating-point operations and memory of the empirical tangent kernel in four ways, as "
        "bars on logarithmic scales. Layer by layer is the cheapest for every width, depth, "
        "number of inputs and number of outputs up to a hundred.",
    )


def reference(state: dict) -> dict[str, list[float]]:
    """Operations, and bytes in float32 of all that is held at once, way by way."""
    p, c = 2 ** state["log2_points"], 10 ** state["log10_outputs"]
    n, depth = 2 ** state["log2_width"], state["depth"]
    table = costs(p, INPUTS, n, depth, c)
    held = INPUTS * n + (depth - 1) * n * n + n * c + p * INPUTS + p**2 * c**2
    return {
        "operations": [float(cost.operations) for cost in table.values()],
        "bytes": [4.0 * (cost.work + held) for cost in table.values()],
    }
