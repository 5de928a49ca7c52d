"""Live figure: kept runs of wide residual networks, and what their kernels predict."""

import functools
import re

import numpy as np

from ntkbook import _checks, resnets
from ntkbook.live import LiveFigure

KERNELS = {"initial": "by_initial", "half of the loss": "by_half", "final": "by_final"}
CURVES = ("loss", "turned", "centred")
SHOWN = 100  # test points


def wide_resnet(run: str | None = None, kernel: str = "initial") -> LiveFigure:
    """A run's loss and alignment, and its outputs against regression with one of its kernels.

    Args:
        run: as in ``"k = 1, b = 1, 14 x 14"``, with ``", raw"`` behind it for images as they are;
            by default the first of those that are kept.
        kernel: ``"initial"``, ``"half of the loss"`` or ``"final"``.

    Returns:
        The live figure.

    Raises:
        ValueError: there is no such run or kernel.

    Example:
        >>> wide_resnet(kernel="final").state["kernel"]
        'final'
    """
    kept = _kept()
    state = {
        "run": _checks.choice("run", run or next(iter(kept)), tuple(kept)),
        "kernel": _checks.choice("kernel", kernel, tuple(KERNELS)),
        "kept": kept,
    }
    return LiveFigure(
        "wide_resnet",
        state,
        "Above, against time, the loss of a wide residual network, the cosine of its kernel with "
        "the last one, and its centred alignment with the targets. Below, a dot for each test "
        "point: regression with one of the run's kernels against the trained network's output. "
        "With the final kernel the dots lie close to the diagonal, with the initial one less so.",
    )


@functools.cache
def _kept():
    """The first run of each kind, rounded."""
    runs = {}
    for name, run in sorted(resnets.load().items(), key=_order):
        images, size, g, b, k, seed = _words(name)
        label = f"k = {k}, b = {b}, {size} x {size}" + (", raw" if g == "1" else "")
        if images == "mnist" and seed == "0":
            arrays = {curve: getattr(run, curve) for curve in ("steps", *CURVES)}
            tests = {field: getattr(run, field)[:SHOWN] for field in ("outputs", *KERNELS.values())}
            runs[label] = {
                n: np.round(a.astype(float), 4).tolist() for n, a in (arrays | tests).items()
            }
    return runs


def _words(name):
    return re.fullmatch(r"(\w+)-(\d+)-g([\d.]+)-b(\d+)-k(\d+)-seed(\d+)", name).groups()


def _order(item):
    _, size, g, b, k, seed = _words(item[0])
    return float(g), int(size), int(b), int(k), int(seed)


def reference(state: dict) -> dict[str, list[float]]:
    """Curves of the run, what the kernel predicts, and its correlation with the outputs."""
    run = _kept()[state["run"]]
    predicted = run[KERNELS[state["kernel"]]]
    correlation = np.corrcoef(run["outputs"], predicted)[0, 1]
    curves = {curve: run[curve] for curve in CURVES}
    return curves | {"predicted": predicted, "correlation": [correlation]}
