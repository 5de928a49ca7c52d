"""Lazy or feature training: the errors of single networks and of committees, which vote by mean.

``python -m ntkbook.regimes POINTS FILE`` writes what :func:`load` reads, from the points of the
grid that :mod:`ntkbook.phase_diagram` left in POINTS; what it adds there it does not compute twice.
"""

import itertools
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from ntkbook import data, phase_diagram, sweep
from ntkbook.dynamics import train
from ntkbook.networks import CNN, MLP, cnn
from ntkbook.phase_diagram import ALPHAS, SEEDS, STOP, WIDTHS, Task

SIZES = (1, 2, 4, 8)  # networks in a committee of the grid
WIDTH = 64  # of the networks that are compared on several draws
GRID = ("errors", "deviation", "distance")  # fields of Kept that are arrays on the grid
SCALES = (0.01, 0.1, 1.0, 10.0)  # alpha at which they are


class Comparison(NamedTuple):
    """Networks that differ in their initial weights, on several draws of one question.

    Attributes:
        alphas: scales of the output.
        test_error: fraction of wrong test points, each network alone.
        committee_error: of the mean output of all networks.
        unexplained: squared error on the test points, each network alone, its outputs multiplied by
            the number that fits best; 1 for outputs that tell nothing about the labels.
    """

    alphas: Float[np.ndarray, " a"]
    test_error: Float[np.ndarray, "draws a networks"]
    committee_error: Float[np.ndarray, "draws a"]
    unexplained: Float[np.ndarray, "draws a networks"]


class Kept(NamedTuple):
    """What the book keeps: three arrays on the grid of :func:`ntkbook.phase_diagram.load`.

    Attributes:
        errors: what :func:`committees` says.
        deviation: squared distance of each network's outputs from the mean over all.
        distance: squared distance of the mean outputs from those of the widest networks at the same
            alpha, over the square of these, without what the chance of the seeds adds; by the
            network that is left out of both means, for :func:`jackknife`.
        comparisons: by the question's name.
    """

    errors: Float[np.ndarray, "w a sizes seeds"]
    deviation: Float[np.ndarray, "w a seeds"]
    distance: Float[np.ndarray, "w-1 a seeds"]
    comparisons: dict[str, Comparison]


def compare(
    net: MLP | CNN,
    questions: Sequence[Task],
    alphas: Sequence[float] = SCALES,
    networks: int = 5,
    **options,
) -> Comparison:
    """Train networks on several draws of a question, at several scales of the output.

    Each is trained on the quadratic hinge of alpha (f - f_0), divided by alpha^2, until the loss
    is 1e-3 of the first. The initial weights are the same at every scale, and others in every draw.

    Args:
        net: the network; its inputs are those of the questions.
        questions: the draws, all of one shape.
        alphas: scales of the output.
        networks: how many to train on each draw at each scale.
        **options: of :func:`ntkbook.dynamics.train`, or functions of alpha that give them; the
            method is ``"geiger"`` by default.

    Returns:
        A :class:`Comparison`.

    Raises:
        TrainingError: a loss did not come down.
        ValueError: an argument is out of range.

    Source:
        Geiger, Spigler, Jacot & Wyart (2020), Section 4.

    Example:
        >>> draws = [phase_diagram.task(data.digits(), 20, seed=i) for i in range(2)]
        >>> compare(phase_diagram.network(16), draws, (0.01, 10.0), 3).test_error.shape
        (2, 2, 3)
    """
    outputs = [
        [_answers(net, question, alpha, key, options) for alpha in alphas for key in keys]
        for draw, question in enumerate(questions)
        for keys in [jax.random.split(jax.random.key(draw), networks)]
    ]
    outputs = np.reshape(outputs, (len(questions), len(alphas), networks, -1)).astype(float)
    y = np.stack([question.y_test for question in questions])[:, None, None]
    explained = np.sum(outputs * y, -1) ** 2 / (np.sum(outputs**2, -1) * y.shape[-1])
    wrong = np.mean(np.sign(outputs) != y, -1)
    together = np.mean(np.sign(outputs.mean(2)) != y[:, 0], -1)
    return Comparison(np.asarray(alphas, float), wrong, together, 1 - explained)


def _answers(net, question, alpha, key, options):
    """Outputs of one trained network on the test points."""
    options = {name: o(alpha) if callable(o) else o for name, o in options.items()}
    if "batch_size" in options:
        options["key"] = jax.random.fold_in(key, 1)
    learn = dict(loss="hinge", alpha=alpha, center=True, stop=STOP, method="geiger") | options
    start = net.init(key)
    run = train(net.apply, start, question.x, question.y, **learn)
    return np.asarray(alpha * phase_diagram._moved(net.apply, run.params, start, question.x_test))


def committees(
    outputs: Float[np.ndarray | Array, "seeds q"],
    y: Float[np.ndarray | Array, " q"],
    sizes: Sequence[int] = SIZES,
) -> Float[np.ndarray, "sizes seeds"]:
    """Test error of mean outputs, over all committees that do without one of the networks.

    Args:
        outputs: on the test points, one row a network.
        y: labels of the test points, +1 or -1.
        sizes: networks in a committee, fewer than there are.

    Returns:
        The errors by size and by the network that is left out, for :func:`jackknife`.

    Example:
        >>> committees(np.array([[1.0, 1.0], [-3.0, 1.0], [1.0, -0.5]]), np.ones(2), (1, 2))
        array([[0.5 , 0.25, 0.25],
               [0.5 , 0.  , 0.5 ]])
    """
    outputs, seeds = np.asarray(outputs, float), len(outputs)
    result = np.full((len(sizes), seeds), np.nan)
    for row, size in enumerate(sizes):
        groups = np.array(list(itertools.combinations(range(seeds), size)))
        errors = np.mean(np.sign(outputs[groups].sum(1)) != np.asarray(y), axis=-1)
        result[row] = [errors[~np.any(groups == seed, 1)].mean() for seed in range(seeds)]
    return result


def jackknife(without: Float[np.ndarray, "... seeds"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of a number, from its values without one of the networks.

    Args:
        without: the values; the last axis says which network is left out.

    Returns:
        The mean and its standard error, without the last axis.

    Source:
        Efron & Stein (1981).

    Example:
        >>> x = np.array([1.0, 2.0, 6.0])  # of a mean it is the usual standard error
        >>> mean, error = jackknife((x.sum() - x) / 2)
        >>> print(mean, error.round(6) == (x.std(ddof=1) / 3**0.5).round(6))
        3.0 True
    """
    without = np.asarray(without, float)
    variance = (without.shape[-1] - 1) * without.var(-1)
    return np.asarray(without.mean(-1)), np.asarray(np.sqrt(variance))


def load() -> Kept:
    """What this version of the book was written with.

    Returns:
        A :class:`Kept`.

    Example:
        >>> load().comparisons["MNIST"].test_error.shape
        (12, 4, 5)
    """
    with resources.files("ntkbook").joinpath("results/regimes.npz").open("rb") as file:
        kept = dict(np.load(file))
    of = lambda name: Comparison(*(kept[f"{name}/{field}"] for field in Comparison._fields))
    return Kept(*(kept[name] for name in GRID), {name: of(name) for name in _settings()})


def _settings():
    """What is compared, by name: network, question of a draw, number of draws, alphas, options."""
    digits = lambda seed: phase_diagram.task(data.digits(), seed=seed)
    mnist = lambda seed, axes=None: phase_diagram.task(data.mnist_subset(), axes=axes, seed=seed)
    image = lambda x: x.reshape(-1, 8, 8, 1)
    shaped = lambda q: q._replace(x=image(q.x), x_test=image(q.x_test))
    conv = cnn((8, 8, 1), [16] * 3, 1, phase_diagram.softplus, stride=2, pool="flatten")
    adam = dict(method="adam", batch_size=50, learning_rate=lambda a: 0.01 * min(1, 0.25 / a))
    dense, ends = phase_diagram.network, (SCALES[0], SCALES[-1])
    return {
        "digits": (dense(WIDTH), digits, 12, SCALES, {}),
        "MNIST": (dense(WIDTH, 784), mnist, 12, SCALES, {}),
        "MNIST, 10 axes": (dense(WIDTH, 10), lambda seed: mnist(seed, 10), 12, SCALES, {}),
        "digits, CNN": (conv, lambda seed: shaped(digits(seed)), 8, ends, {}),
        "digits, CNN, Adam": (conv, lambda seed: shaped(digits(seed)), 8, ends, adam),
    }


def _grid(folder, widths=WIDTHS, alphas=ALPHAS, seeds=SEEDS, sizes=SIZES):
    """The three arrays of :class:`Kept`, from a folder of points."""
    y = phase_diagram.task(data.digits()).y_test
    errors, deviation, distance = [], [], []
    for alpha in alphas:
        paths = [[phase_diagram._path(folder, n, alpha, s) for s in range(seeds)] for n in widths]
        outputs = [[phase_diagram._read(path)["outputs"] for path in row] for row in paths]
        outputs = np.asarray(outputs, float)  # widths, seeds, test points
        errors.append([committees(o, y, sizes) for o in outputs])
        deviation.append(np.mean((outputs - outputs.mean(1, keepdims=True)) ** 2, -1))
        distance.append([[_distance(np.delete(o, s, 0), np.delete(outputs[-1], s, 0))
                          for s in range(seeds)] for o in outputs[:-1]])  # fmt: skip
    return tuple(np.moveaxis(np.array(a), 0, 1) for a in (errors, deviation, distance))


def _distance(outputs, widest):
    """Between two mean outputs, squared, over the second; free of bias from the chance of seeds."""
    noise, noise_widest = (o.var(0, ddof=1) / len(o) for o in (outputs, widest))
    square = widest.mean(0) ** 2 - noise_widest
    apart = (outputs.mean(0) - widest.mean(0)) ** 2 - noise - noise_widest
    return apart.mean() / square.mean()


def main(points: str, file: str) -> None:
    """Compute what is kept; killed, it goes on with the comparison at which it was.

    Args:
        points: folder where :mod:`ntkbook.phase_diagram` left its points.
        file: what to write.
    """
    kept = dict(zip(GRID, _grid(points), strict=True))
    for name, (net, draw, draws, alphas, options) in _settings().items():
        path = Path(points) / f"{name}.npz"
        if not path.exists():
            found = compare(net, [draw(seed) for seed in range(draws)], alphas, **options)
            sweep.save(path, found._asdict())
        kept |= {f"{name}/{field}": array for field, array in phase_diagram._read(path).items()}
    sweep.save(Path(file), {name: a.astype(np.float32) for name, a in kept.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
