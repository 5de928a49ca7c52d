"""The grid of widths and output scales between lazy and feature training, one point at a time.

``python -m ntkbook.phase_diagram FOLDER`` computes the grid that the book's Part II draws; killed
and started again, it goes on where it was. ``--collect FILE`` writes what :func:`load` reads.
"""

import argparse
import functools
import itertools
import json
import math
import os
import platform
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntkbook import _checks, data, measures
from ntkbook import sweep as _sweep
from ntkbook.dynamics import train
from ntkbook.kernels import empirical_ntk
from ntkbook.networks import MLP, mlp

WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
ALPHAS = tuple(float(f"{10**k:.6g}") for k in np.arange(-2, 2.1, 0.5))
SEEDS = 10
STOP = 1e-3  # fraction of the first loss at which training ends
TIMES = np.concatenate([[0.0], np.logspace(-3, 4.5, 61)])  # when loss and kernel are looked at
PROBES = 60  # test points on which the kernel is looked at
UNIT = 1.404383348678832  # makes E phi(z)^2 = 1 for a standard Gaussian z


class Task(NamedTuple):
    """A question with two answers, +1 and -1; inputs are centred and have length sqrt(D)."""

    x: Float[Array, "p d"]
    y: Float[Array, " p"]
    x_test: Float[Array, "q d"]
    y_test: Float[Array, " q"]

    @property
    def probes(self) -> Float[Array, "m d"]:
        """The test points on which kernels are compared."""
        return self.x_test[:PROBES]


class Point(NamedTuple):
    """What one training run leaves behind.

    Attributes:
        loss: at ``TIMES``, relative to the first.
        kernel_change: ``|K - K_0| / |K_0|`` on the probes at ``TIMES``.
        t_end: when the loss reached ``STOP``.
        outputs: alpha (f - f_0) on the test points at the end.
        calls: gradients computed.
    """

    loss: Float[Array, " times"]
    kernel_change: Float[Array, " times"]
    t_end: Float[Array, ""]
    outputs: Float[Array, " q"]
    calls: Array


class Diagram(NamedTuple):
    """The grid as it was computed: axes (widths, alphas, seeds), then times where there are any.

    Attributes:
        widths: hidden width n of all three layers.
        alphas: scale of the output.
        t: times of the curves.
        loss: relative to the first.
        kernel_change: ``|K - K_0| / |K_0|``, on the probes.
        t_end: when the loss reached 1e-3 of the first.
        test_error: fraction of wrong test points, each network alone.
        ensemble_error: of the mean output of the seeds without this one (leave-one-out).
        variance: of the outputs over seeds, averaged over test points, axes (widths, alphas).
        settings: what the numbers depend on: task, seeds, devices and versions.
    """

    widths: Float[np.ndarray, " w"]
    alphas: Float[np.ndarray, " a"]
    t: Float[np.ndarray, " times"]
    loss: Float[np.ndarray, "w a s times"]
    kernel_change: Float[np.ndarray, "w a s times"]
    t_end: Float[np.ndarray, "w a s"]
    test_error: Float[np.ndarray, "w a s"]
    ensemble_error: Float[np.ndarray, "w a s"]
    variance: Float[np.ndarray, "w a"]
    settings: dict


def softplus(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute a smooth ReLU, ``c log(1 + exp(5 z)) / 5``, where c makes a Gaussian's mean square 1.

    Args:
        z: pre-activations.

    Returns:
        The activations, of the same shape.

    Source:
        Geiger, Spigler, Jacot & Wyart (2020), Section 2.

    Example:
        >>> print(softplus(jnp.array([-1.0, 0.0, 1.0])))
        [0.00188618 0.19468887 1.4062696 ]
    """
    return UNIT / 5 * jax.nn.softplus(5 * z)


def network(width: int, inputs: int = 64) -> MLP:
    """Three hidden layers of one width in the NTK parametrization, one output.

    Args:
        width: hidden width n.
        inputs: input dimension D.

    Returns:
        The network; its function is of order 1 at initialisation.

    Example:
        >>> network(64).widths
        (64, 64, 64, 64, 1)
    """
    return mlp((inputs, width, width, width, 1), softplus)


def task(examples: data.Examples, p: int = 300, *, axes: int | None = None, seed: int = 0) -> Task:
    """Ask whether a label is even, of images drawn for training and of all others for testing.

    Args:
        examples: images and class labels, as :func:`ntkbook.data.digits` gives them.
        p: number of training points.
        axes: keep that many principal axes of the training points; None keeps the pixels.
        seed: of the draw.

    Returns:
        A :class:`Task`. Every input is centred by the training mean and scaled to length sqrt(D).

    Raises:
        ValueError: ``p`` or ``axes`` is out of range.

    Example:
        >>> task(data.digits()).x.shape
        (300, 64)
    """
    parts = data.split(jax.random.key(seed), data.parity(examples), p)
    x, x_test = (jnp.asarray(part.x.reshape(len(part.x), -1)) for part in parts)
    if axes is not None:
        projection = data.pca(x, axes)
        x, x_test = projection(x), projection(x_test)
    mean = x.mean(0, keepdims=True)

    def scaled(x):
        x = x - mean
        return x * (math.sqrt(x.shape[1]) / jnp.linalg.norm(x, axis=1, keepdims=True))

    y, y_test = (jnp.asarray(part.y) for part in parts)
    return Task(scaled(x), y, scaled(x_test), y_test)


def point(task: Task, width: int, alpha: float, seed: int, *, readout: float = 0.5) -> Point:
    """Train one network and watch its loss and its kernel.

    Gradient flow on the quadratic hinge of alpha (f - f_0), divided by alpha^2, until the loss is
    1e-3 of the first.

    Args:
        task: what to learn.
        width: hidden width n.
        alpha: scale of the output.
        seed: of the initial weights.
        readout: the sum over the last layer's units is divided by n to this power; 1/2 is the NTK
            parametrization, and 1 is wrong here.

    Returns:
        A :class:`Point`.

    Raises:
        TrainingError: the loss did not come down.
        ValueError: an argument is out of range.

    Source:
        Geiger, Spigler, Jacot & Wyart (2020), Section 2 and Figure 4.

    Example:
        >>> few = task(data.digits(), 20)
        >>> run = point(few, 16, alpha=1.0, seed=0)
        >>> run.loss[-1] < 2 * STOP, run.outputs.shape
        (Array(True, dtype=bool), (1777,))
    """
    width = _checks.count("width", width)
    net = network(width, task.x.shape[1])
    probes = np.asarray(task.probes)
    apply, watch = _functions(net, float(readout), probes.tobytes(), probes.shape, probes.dtype.str)
    params = net.init(jax.random.key(seed))
    run = train(
        apply,
        params,
        task.x,
        task.y,
        loss="hinge",
        alpha=alpha,
        center=True,
        stop=STOP,
        method="tsit5",
        at=TIMES,
        record={"kernel": watch},
    )
    change = measures.kernel_distance(run["kernel"][:-1], run["kernel"][0])
    moved = _moved(apply, run.params, params, task.x_test)
    loss = run.loss[:-1] / run.loss[0]
    return Point(loss, change, run.t[-1], alpha * moved, run.gradient_calls)


@functools.lru_cache
def _functions(net, readout, probes, shape, dtype):
    """The function to train and the kernel to record: one pair for all runs, compiled once."""
    probes = jnp.asarray(np.frombuffer(probes, dtype).reshape(shape))
    scale = net.widths[-2] ** (0.5 - readout)
    apply = net.apply if scale == 1 else lambda params, x: scale * net.apply(params, x)
    return apply, lambda at: empirical_ntk(apply, at.params, probes, output="trace")


@functools.partial(jax.jit, static_argnames="apply")
def _moved(apply, params, start, x):
    return (apply(params, x) - apply(start, x))[:, 0]


def digits(width: int, alpha: float, seed: int) -> Point:
    """Compute one point of the book's grid, for ``python -m ntkbook.sweep``.

    Args:
        width: hidden width n.
        alpha: scale of the output.
        seed: of the initial weights.

    Returns:
        :func:`point` on the digits of :func:`ntkbook.data.digits`, 300 of them for training.

    Example:
        >>> digits(8, 1.0, 0).loss.shape
        (62,)
    """
    return point(task(data.digits()), width, alpha, seed)


def sweep(
    folder: str | os.PathLike,
    *,
    question: Task | None = None,
    widths: Sequence[int] = WIDTHS,
    alphas: Sequence[float] = ALPHAS,
    seeds: int = SEEDS,
) -> None:
    """Compute what ``folder`` does not hold of the grid, as :func:`ntkbook.sweep.sweep` does.

    Args:
        folder: where the points of this question are kept, one file each; made if missing.
        question: what to learn; by default the digits of :func:`ntkbook.data.digits`, 300 of them
            for training.
        widths: hidden widths.
        alphas: scales of the output.
        seeds: networks a point of the grid.

    Raises:
        SweepError: a point did not train; the others are kept.

    Example:
        >>> sweep("points", widths=[], alphas=[1.0])  # nothing to do
    """
    question = question or task(data.digits())
    run = lambda width, alpha, seed: point(question, width, alpha, seed)
    _sweep.sweep(run, folder, {"width": widths, "alpha": alphas, "seed": range(seeds)})


def collect(
    folder: str | os.PathLike,
    *,
    question: Task | None = None,
    widths: Sequence[int] = WIDTHS,
    alphas: Sequence[float] = ALPHAS,
    seeds: int = SEEDS,
) -> Diagram:
    """Put the points of a finished sweep together.

    Args:
        folder: where :func:`sweep` kept them.
        question: what they were to learn, as :func:`sweep` had it.
        widths: hidden widths.
        alphas: scales of the output.
        seeds: networks a point of the grid, at least two.

    Returns:
        The :class:`Diagram`.

    Raises:
        FileNotFoundError: a point is missing; it says which.
    """
    name = "parity of scikit-learn's digits, split seed 0" if question is None else "another"
    question = question or task(data.digits())
    truth = np.asarray(question.y_test)
    cells, devices = {}, set()
    for width, alpha in itertools.product(widths, alphas):
        points = [_read(_path(folder, width, alpha, seed)) for seed in range(seeds)]
        devices.update(str(p["device"]) for p in points)
        cell = {name: np.stack([p[name] for p in points]) for name in Point._fields}
        outputs = cell.pop("outputs").astype(float)
        others = (outputs.sum(0) - outputs) / (seeds - 1)
        error = lambda u: np.mean(np.sign(u) != truth, axis=-1)
        cell |= {"test_error": error(outputs), "ensemble_error": error(others)}
        cells[width, alpha] = cell | {"variance": outputs.var(0, ddof=1).mean()}

    def table(name):
        rows = [[cells[width, alpha][name] for alpha in alphas] for width in widths]
        return np.asarray(rows, np.float32)

    names = ("loss", "kernel_change", "t_end", "test_error", "ensemble_error", "variance")
    settings = {
        "task": f"{name}, {len(question.y)} for training, {len(truth)} for testing",
        "network": "3 hidden layers, softplus(5 z) / 5 scaled to unit second moment, NTK scaling",
        "loss": "quadratic hinge of alpha (f - f_0), over alpha^2 P, to 1e-3 of the first",
        "method": "gradient flow, Tsit5, rtol 1e-5, float32",
        "probes": PROBES,
        "seeds": seeds,
        "devices": sorted(devices),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    axes = (np.asarray(widths, float), np.asarray(alphas, float), TIMES)
    return Diagram(*axes, **{name: table(name) for name in names}, settings=settings)


def load() -> Diagram:
    """The grid that this version of the book was written with.

    At alpha = 100 the half-loss times of the widest networks are off, by .4 % at 1,024 units and by
    6 % at 2,048: float32 rounds the steps of single weights.

    Returns:
        The :class:`Diagram` that ``python -m ntkbook.phase_diagram`` computed.

    Example:
        >>> load().loss.shape[:3]
        (8, 9, 10)
    """
    with resources.files("ntkbook").joinpath("results/phase_diagram.npz").open("rb") as file:
        kept = np.load(file)
        fields = {name: kept[name] for name in Diagram._fields if name != "settings"}
        return Diagram(**fields, settings=json.loads(str(kept["settings"])))


def _path(folder, width, alpha, seed):
    return _sweep.path(folder, width=width, alpha=alpha, seed=seed)


def _read(path):
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run the sweep into this folder first")
    with np.load(path) as file:
        return dict(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the grid, as ``python -m ntkbook.phase_diagram`` does.

    Args:
        arguments: of the command line; None takes those of the process.

    Example:
        >>> main(["points", "--widths", "--seeds", "2"])  # no widths: nothing to do
    """
    parser = argparse.ArgumentParser(prog="python -m ntkbook.phase_diagram", description=__doc__)
    parser.add_argument("folder", help="where the points are kept, one file each")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--alphas", type=float, nargs="*", default=ALPHAS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--collect", metavar="FILE", help="write the finished grid to this file")
    given = parser.parse_args(arguments)
    grid = {"widths": given.widths, "alphas": given.alphas, "seeds": given.seeds}
    sweep(given.folder, **grid)
    if given.collect:
        diagram = collect(given.folder, **grid)
        _sweep.save(
            Path(given.collect), diagram._asdict() | {"settings": json.dumps(diagram.settings)}
        )


if __name__ == "__main__":
    main()
