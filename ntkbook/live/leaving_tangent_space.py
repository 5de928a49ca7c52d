"""Live figure: a point in the plane of width and output scale, and its loss and kernel."""

import functools

import numpy as np

from ntkbook import _checks, measures, phase_diagram
from ntkbook.live import LiveFigure

LEFT = 0.3  # change of the kernel at which the network has left its tangent space
START = 0.009  # earlier times are not drawn
LAZY = 10.0  # alpha at which the lazy time is read; at 100 float32 rounds what 2048 units do


def leaving_tangent_space(width: int = 64, alpha: float = 0.1) -> LiveFigure:
    """The kept grid of widths and scales; a point of it with its loss and its kernel.

    Args:
        width: hidden width at the start, one of the grid's.
        alpha: output scale at the start, one of the grid's.

    Returns:
        The live figure.

    Raises:
        ValueError: the grid has no such point.

    Example:
        >>> leaving_tangent_space(width=128).state["width"]
        3
    """
    kept = summary()
    state = {
        name: values.index(_checks.choice(name, value, tuple(values)))
        for name, value, values in (
            ("width", width, kept["widths"]),
            ("alpha", alpha, kept["alphas"]),
        )
    }
    return LiveFigure(
        "leaving_tangent_space",
        state | {"data": kept},
        "Three panels. A map of width and output scale in two colours, lazy above and feature "
        "below a line of slope minus one half, with a point to move; and for the network at that "
        "point the loss and the change of the kernel against time, with the time at which it "
        "leaves its tangent space and the time that a lazy network needs to learn.",
    )


@functools.cache
def summary() -> dict:
    """What the figure shows, small enough for a page: logarithms in thousandths of a decade.

    Curves have axes (widths, alphas, times), numbers (widths, alphas); all are means over seeds.
    """
    grid = phase_diagram.load()
    times = grid.t >= START
    log_t = np.log(grid.t[times]).astype(np.float32)
    loss, change = (
        np.log(np.maximum(curves[..., times], 1e-9)) for curves in (grid.loss, grid.kernel_change)
    )
    log_t_1 = np.asarray(measures.first_time(log_t, change, np.log(LEFT), falling=False))
    left = np.isfinite(log_t_1).sum(-1)
    log_t_1 = np.where(np.isfinite(log_t_1), log_t_1, 0).sum(-1) / np.maximum(left, 1)
    log_t_half = np.asarray(measures.first_time(log_t, loss, np.log(0.5))).mean(-1)
    column = int(np.argmin(np.abs(grid.alphas - LAZY)))
    log_t_lazy = log_t_half[:, column]

    # where t_1 = t_lazy: there the change at t_lazy is LEFT. Widths below 64 are off the law.
    fit = []
    for n, lazy, curves in zip(grid.widths, log_t_lazy, change.mean(-2), strict=True):
        at_lazy = [np.interp(lazy, log_t, curve) for curve in curves]
        star = np.interp(-np.log(LEFT), np.negative(at_lazy), np.log(grid.alphas))
        fit += [star + np.log(n) / 2] if n >= 64 else []

    def thousandths(logs):
        return np.rint(1000 * np.asarray(logs) / np.log(10)).astype(int).tolist()

    return {
        "widths": grid.widths.astype(int).tolist(),
        "alphas": grid.alphas.tolist(),
        "seeds": grid.loss.shape[2],
        "lazy": column,  # the alpha's index
        "left": left.tolist(),  # how many of the seeds reach LEFT
        "star": thousandths(np.mean(fit)),  # alpha* sqrt(n)
        "t": thousandths(log_t),
        "loss": thousandths(loss.mean(-2)),
        "loss_sd": thousandths(loss.std(-2, ddof=1)),
        "kernel": thousandths(change.mean(-2)),
        "kernel_sd": thousandths(change.std(-2, ddof=1)),
        "t_1": thousandths(log_t_1),
        "t_half": thousandths(log_t_half),
        "t_end": thousandths(np.log(grid.t_end).mean(-1)),
    }


def reference(state: dict) -> dict[str, list[float]]:
    """The mean curves of the point, and the times that are marked."""
    kept = summary()
    n, a = state["width"], state["alpha"]
    point = {name: (10.0 ** (np.array(kept[name][n][a]) / 1000)) for name in ("loss", "kernel")}
    marks = [kept["t_1"][n][a], kept["t_half"][n][a], kept["t_half"][n][kept["lazy"]]]
    return {name: curve.tolist() for name, curve in point.items()} | {
        "times": (10.0 ** (np.array(marks) / 1000)).tolist()
    }
