"""Wide residual networks on whitened images, trained by Adam and measured on the way.

``python -m ntkbook.resnets FOLDER blocks=1,2 widening=1 seed=0:4`` trains what the folder does not
hold of a grid; a name that :func:`measure` does not get has its default. Killed and started again
it goes on where it was, within a run too. ``images=cifar10`` needs one earlier
``data.load("cifar10", download=True)``. ``python -m ntkbook.resnets --keep FILE FOLDER...`` writes
what :func:`load` reads.
"""

import functools
import inspect
import re
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntkbook import _checks, data
from ntkbook import sweep as _sweep
from ntkbook.dynamics import train
from ntkbook.kernels import ntk_blocks
from ntkbook.measures import kernel_cosine
from ntkbook.networks import Network, WideResNet, wide_resnet
from ntkbook.solvers import State

GROWTH = 1.15  # of the number of steps from one measurement to the next
FIRST = 8  # steps to the first measurement
ROWS = 128  # most rows of a kernel that are computed at once
POINT = ("images", "size", "g", "points", "blocks", "widening", "rate", "seed")


class ImageTask(NamedTuple):
    """Images of two classes, whitened as a whole, and what the network's skip path sees of them.

    Attributes:
        x: training images, or vectors.
        y: their targets, +1 or -1.
        x_test: test images, through the same map.
        y_test: their targets.
        basis: of what is linear in the mean patches of the training images, see
            :func:`patch_means`; orthonormal columns without their means.
    """

    x: Float[Array, "p ..."]
    y: Float[Array, " p"]
    x_test: Float[Array, "t ..."]
    y_test: Float[Array, " t"]
    basis: Float[np.ndarray, "p k"]

    def flat(self) -> "ImageTask":
        """The same with vectors for images, as a dense network takes them."""
        x, x_test = (z.reshape(len(z), -1) for z in (self.x, self.x_test))
        return self._replace(x=x, x_test=x_test)

    def explained(self) -> float:
        """Share of the squared length of the centred targets that lies in ``basis``."""
        y = np.asarray(self.y, float)
        y = y - y.mean()
        return float(np.sum((self.basis.T @ y) ** 2) / (y @ y))


class Trained(NamedTuple):
    """One run: a row for each measurement, then predictions on the test points.

    Attributes:
        steps: of Adam, from 0.
        loss: in units of the first.
        norm: Frobenius norm of the tangent kernel of the training points.
        aligned: its alignment with the targets.
        centred: the same after centring both.
        seen: the alignment of the centred kernel with the targets' part in ``ImageTask.basis``.
        linear: Frobenius norm of the centred kernel between vectors of ``ImageTask.basis``,
            over its own.
        turned: Frobenius cosine of the centred kernel with the last one.
        outputs: of the trained network.
        by_final: regression of the trained outputs with the last kernel.
        by_half: with the kernel at half of the loss, the first row at or below it.
        by_initial: with the first kernel.
        y_test: targets.
        explained: what :meth:`ImageTask.explained` says.
    """

    steps: Float[np.ndarray, " rows"]
    loss: Float[np.ndarray, " rows"]
    norm: Float[np.ndarray, " rows"]
    aligned: Float[np.ndarray, " rows"]
    centred: Float[np.ndarray, " rows"]
    seen: Float[np.ndarray, " rows"]
    linear: Float[np.ndarray, " rows"]
    turned: Float[np.ndarray, " rows"]
    outputs: Float[np.ndarray, " t"]
    by_final: Float[np.ndarray, " t"]
    by_half: Float[np.ndarray, " t"]
    by_initial: Float[np.ndarray, " t"]
    y_test: Float[np.ndarray, " t"]
    explained: float

    def at(self, loss: float, name: str) -> float:
        """A curve's value where the loss first is down to ``loss``, linear in the loss between."""
        row = int(np.argmax(self.loss <= loss))
        if self.loss[row] > loss:
            raise ValueError(f"loss is {loss}; expected at least the last, {self.loss[row]:.2g}")
        pair, curve = [row, max(row - 1, 0)], getattr(self, name)
        return float(np.interp(loss, self.loss[pair], curve[pair]))

    def correlation(self, by: str) -> float:
        """Correlation, over the test points, of the trained network with a regression."""
        return float(np.corrcoef(self.outputs, getattr(self, by))[0, 1])


def patch_means(images: Float[np.ndarray | Array, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """All that the path through the shortcuts of a wide residual network sees of an image.

    Args:
        images: images.

    Returns:
        For each channel 9 numbers, the mean of the 3 x 3 patches around every fourth pixel. Pixels
        beyond the border count as zero.

    Raises:
        TypeError: ``images`` is not floating.

    Example:
        >>> print(patch_means(np.ones((1, 5, 5, 1)))[0].round(2))
        [0.25 0.5  0.25 0.5  1.   0.5  0.25 0.5  0.25]
    """
    images = np.asarray(_checks.floats("images", images, shape=("N", "H", "W", "C")))
    high, wide = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + high : 4, j : j + wide : 4] for i in range(3) for j in range(3)]
    return np.concatenate([patch.mean((1, 2)) for patch in shifted], axis=1)


def task(
    seed: int,
    *,
    points: int = 100,
    size: int = 14,
    g: float = 0.0,
    tests: int = 200,
    images: str = "mnist",
) -> ImageTask:
    """Draw training and test images of two classes and whiten them.

    Args:
        seed: of the draw.
        points: training images; at most as many as an image has pixels, and one more.
        size: height and width of an image; a half of the original takes means of 2 x 2 pixels.
        g: power of the singular values, 0 for white and 1 for raw; see :func:`ntkbook.data.whiten`.
        tests: test images, at most.
        images: ``"mnist"``, zeros against ones of :func:`ntkbook.data.mnist_subset`, or
            ``"cifar10"``, airplanes against automobiles, which must have been loaded.

    Returns:
        A :class:`ImageTask`.

    Raises:
        ValueError: a size does not fit the images.

    Example:
        >>> draw = task(0, points=20)
        >>> draw.x.shape, draw.x_test.shape
        ((20, 14, 14, 1), (200, 14, 14, 1))
    """
    x, labels = _images(_checks.choice("images", images, ("mnist", "cifar10")))
    n, high, wide, channels = x.shape
    shrink, rest = divmod(high, _checks.count("size", size))
    if rest or high != wide:
        raise ValueError(f"size is {size}; expected a divisor of {high}, as images have")
    x = x.reshape(n, size, shrink, size, shrink, channels).mean((2, 4))
    pair = data.two_classes(data.Examples(x, labels), 0, 1)
    learn, test = data.split(jax.random.key(seed), pair, points)
    flat = lambda z: jnp.asarray(z.reshape(len(z), -1))
    white = data.whiten(flat(learn.x), g=g)
    shape = (-1, size, size, channels)
    x, x_test = white(flat(learn.x)).reshape(shape), white(flat(test.x[:tests])).reshape(shape)
    means = patch_means(x).astype(float)
    basis, sizes, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes[0]]
    return ImageTask(x, jnp.asarray(learn.y), x_test, test.y[:tests], basis)


@functools.cache
def _images(name):
    return data.mnist_subset() if name == "mnist" else data.load(name)


def network(blocks: int, widening: int, image: Sequence[int]) -> WideResNet:
    """The network of the paper: scale .3 in the blocks, 6 in the first convolution.

    Args:
        blocks: residual blocks in each of three groups (b).
        widening: factor on the channels (k).
        image: height, width and channels.

    Returns:
        A :class:`~ntkbook.networks.WideResNet` with one output.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), Appendix J.

    Example:
        >>> len(network(2, 1, (14, 14, 1)).shapes)  # 13 convolutions, 2 shortcuts, the readout
        16
    """
    return wide_resnet(image, 1, blocks=blocks, widening=widening, w_std=0.3, w_std_first=6.0)


def fit(
    net: Network,
    draw: ImageTask,
    key: Array,
    *,
    learning_rate: float,
    stop: float = 1e-3,
    growth: float = GROWTH,
    max_steps: int = 50_000,
    checkpoint: Path | None = None,
    patience: float = 30.0,
) -> Trained:
    """Train a network by Adam until the loss is small, and measure its kernel on the way.

    Args:
        net: the network, for inputs as those of ``draw``.
        draw: the task.
        key: draws the initial weights.
        learning_rate: of Adam.
        stop: fraction of the first loss at or below which a measurement is the last.
        growth: ratio of the numbers of steps of one measurement and the one before.
        max_steps: where to give up.
        checkpoint: a file from which to go on, and to which to save; removed at the end.
        patience: seconds between saves, at least.

    Returns:
        A :class:`Trained`.

    Raises:
        TrainingError: the loss is not finite.
        RuntimeError: ``max_steps`` were taken.

    Example:
        >>> draw = task(0, points=8, size=7)
        >>> run = fit(network(1, 1, (7, 7, 1)), draw, jax.random.key(0), learning_rate=1e-3)
        >>> bool(run.loss[-1] <= 1e-3)
        True
    """
    rate, start = np.float32(learning_rate), net.init(key)
    rows, kernels, halfway, state, params = [], [], None, None, start

    def look(steps, loss):
        row, centred = _look(_kernel(net, params, draw.x, draw.x), draw)
        rows.append((steps, loss, *row))
        kernels.append(centred)

    if checkpoint is not None and zipfile.is_zipfile(checkpoint):
        rows, kernels, halfway, state, params = _restore(checkpoint, start)
    else:
        look(0, _loss(net, start, draw))
    saved = time.monotonic()
    while rows[-1][1] > stop * rows[0][1]:
        if rows[-1][0] >= max_steps:
            raise RuntimeError(
                f"{max_steps} steps were taken, and the loss is {rows[-1][1]:.3g}; expected "
                f"{stop:g} of {rows[0][1]:.3g}: choose a larger learning_rate, stop or max_steps"
            )
        steps = min(max(FIRST, rows[-1][0] + 1, round(rows[-1][0] * growth)), max_steps)
        run = train(
            net.apply, start, draw.x, draw.y, method="adam", learning_rate=learning_rate,
            t_max=float(np.float32(steps) * rate), state=state, max_steps=2**31 - 1,
        )  # fmt: skip
        state, params = run.state, run.params
        look(steps, float(run.loss[-1]))
        if halfway is None and rows[-1][1] <= rows[0][1] / 2:
            halfway = params
        if checkpoint is not None and time.monotonic() - saved > patience:
            _save(checkpoint, rows, kernels, halfway, state, params)
            saved = time.monotonic()
    halfway = params if halfway is None else halfway
    y = np.asarray(_outputs(net, params, draw.x))
    by = [_regress(net, p, draw, y) for p in (params, halfway, start)]
    outputs = np.concatenate([_outputs(net, params, z) for z in _parts(draw)])
    columns = np.array(rows, float).T
    columns[1] /= columns[1, 0]
    turned = np.asarray(kernel_cosine(jnp.stack(kernels), jnp.asarray(kernels[-1])))
    trained = Trained(*columns, turned, outputs, *by, np.asarray(draw.y_test), draw.explained())
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return trained


@functools.partial(jax.jit, static_argnums=0)
def _outputs(net, params, x):
    return net.apply(params, x)[:, 0]


def _parts(draw):
    """Test points in parts of as many as there are training points: one program for all."""
    p, t = len(draw.x), len(draw.x_test)
    return [draw.x_test[i : i + p] for i in range(0, t, p)]


def _loss(net, params, draw):
    return float(jnp.mean((_outputs(net, params, draw.x) - draw.y) ** 2) / 2)


def _kernel(net, params, x, columns):
    """The tangent kernel, rows in blocks: memory does not grow with the number of rows."""
    rows = min(ROWS, len(columns))
    blocks = ntk_blocks(net.apply, params, x, columns, rows=rows, output="trace")
    return np.concatenate([block for _, block in blocks])


def _look(k, draw):
    """Norm and alignments of a kernel; the kernel after its means are taken out."""
    k, y = np.asarray(k, float), np.asarray(draw.y, float)
    norm = np.linalg.norm(k)
    aligned = y @ k @ y / (norm * (y @ y))
    k = k - k.mean(0)
    k = k - k.mean(1, keepdims=True)
    size = np.linalg.norm(k)
    k, y = k / size, y - y.mean()
    inside = draw.basis.T @ k @ draw.basis
    part = draw.basis.T @ y
    seen = part @ inside @ part / (part @ part)
    row = norm, aligned, y @ k @ y / (y @ y), seen, np.linalg.norm(inside)
    return row, k.astype(np.float32)


def _regress(net, params, draw, y):
    """Kernel regression in float64: kernels of raw images are nearly singular in float32."""
    x = jnp.concatenate([draw.x, draw.x_test])
    k = _kernel(net, params, x, draw.x).astype(float)
    k_train, k_test = (k[: len(y)] + k[: len(y)].T) / 2, k[len(y) :]
    values, vectors = np.linalg.eigh(k_train)
    if values[0] <= np.finfo(np.float32).eps * values[-1]:
        raise ValueError(
            f"the kernel has eigenvalues from {values[0]:.2g} to {values[-1]:.2g}, computed in "
            "float32; expected a ratio above its rounding: take fewer points"
        )
    return k_test @ vectors @ (vectors.T @ np.asarray(y, float) / values)


def _save(file, rows, kernels, halfway, state, params):
    flat = {f"params{i}": leaf for i, leaf in enumerate(jax.tree.leaves(params))}
    flat |= {f"halfway{i}": leaf for i, leaf in enumerate(jax.tree.leaves(halfway))}
    flat |= {f"memory{i}": a for i, a in enumerate(state.memory)}
    flat |= {f"state_{k}": v for k, v in state._asdict().items() if k != "memory"}
    lists = {"rows": np.array(rows), "kernels": np.array(kernels)}
    _sweep.save(file, lists | {k: np.asarray(v) for k, v in flat.items()})


def _restore(file, start):
    leaves, structure = jax.tree.flatten(start)

    def tree(name):
        if f"{name}0" not in kept:
            return None
        return structure.unflatten([jnp.asarray(kept[f"{name}{i}"]) for i in range(len(leaves))])

    with np.load(file) as kept:
        memory = tuple(jnp.asarray(kept[f"memory{i}"]) for i in range(3))
        fields = {k: jnp.asarray(kept[f"state_{k}"]) for k in State._fields if k != "memory"}
        rows = [(int(row[0]), *map(float, row[1:])) for row in kept["rows"]]
        return (
            rows,
            list(kept["kernels"]),
            tree("halfway"),
            State(**fields, memory=memory),
            tree("params"),
        )


def measure(
    images: str = "mnist",
    size: int = 14,
    g: float = 0.0,
    points: int = 100,
    blocks: int = 1,
    widening: int = 1,
    rate: float = 1e-4,
    seed: int = 0,
    *,
    tests: int = 200,
    folder: str | Path | None = None,
    **options,
) -> Trained:
    """Draw a task and a network and train it: one point of a grid.

    Args:
        images: as in :func:`task`.
        size: height and width.
        g: power of the singular values.
        points: training images.
        blocks: b.
        widening: k.
        rate: learning rate of Adam.
        seed: of the task and of the initial weights.
        tests: of :func:`task`.
        folder: where to keep the run and its checkpoints; what is there is read. The other
            arguments are not part of a file's name: one folder for one choice of them.
        **options: of :func:`fit`.

    Returns:
        A :class:`Trained`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> measure(size=7, points=8, rate=1e-3).outputs.shape
        (200,)
    """
    point = dict(zip(POINT, (images, size, g, points, blocks, widening, rate, seed), strict=True))
    draw = task(seed, points=points, size=size, g=g, tests=tests, images=images)
    net = network(blocks, widening, draw.x.shape[1:])
    key = jax.random.fold_in(jax.random.key(seed), 1)
    if folder is None:
        return fit(net, draw, key, learning_rate=rate, **options)
    file = _sweep.path(folder, **point)
    if zipfile.is_zipfile(file):
        return read(file)
    checkpoint = file.parent / "checkpoints" / file.name
    run = fit(net, draw, key, learning_rate=rate, checkpoint=checkpoint, **options)
    _sweep.save(file, {name: np.asarray(array) for name, array in run._asdict().items()})
    return run


def sweep(folder: str | Path, grid: Mapping[str, Sequence]) -> None:
    """Train what a folder does not hold of a grid, with checkpoints in it.

    Args:
        folder: one file for each run.
        grid: values of the first eight arguments of :func:`measure`; those not given are default.

    Raises:
        ValueError: a name is not one of them.
        SweepError: runs failed.

    Example:
        >>> sweep("wrn", {"size": [7], "points": [8], "rate": [1e-3], "seed": range(1)})
        >>> len(list(Path("wrn").glob("*.npz")))
        1
    """
    for name in grid:
        _checks.choice("a name of the grid", name, POINT)
    parameters = inspect.signature(measure).parameters
    whole = {name: grid.get(name, [parameters[name].default]) for name in POINT}
    _sweep.sweep(lambda **point: measure(**point, folder=folder), folder, whole)


def read(file: str | Path) -> Trained:
    """Read one run that :func:`ntkbook.resnets.sweep` left.

    Args:
        file: ``ntkbook.sweep.path(folder, ...)``.

    Returns:
        A :class:`Trained`.

    Example:
        >>> run = load()["mnist-14-g0-b1-k1-seed0"]
        >>> _sweep.save(Path("wrn/run.npz"), run._asdict())
        >>> read("wrn/run.npz").loss.shape == run.loss.shape
        True
    """
    with np.load(file) as kept:
        return Trained(**{name: kept[name] for name in Trained._fields})


def load() -> dict[str, Trained]:
    """The runs that this version of the book was written with, by the name of their point.

    Returns:
        Runs by names like ``"mnist-14-g0-b1-k1-seed0"``: images, their height, the power of the
        singular values, blocks, widening, seed. All have 100 training points.

    Example:
        >>> any(name.startswith("mnist-14-g0-b1-k1") for name in load())
        True
    """
    with resources.files("ntkbook").joinpath("results/resnets.npz").open("rb") as file:
        kept = np.load(file)
        return {
            str(name): Trained(**{f: kept[f"{name}/{f}"] for f in Trained._fields})
            for name in kept["names"]
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a grid or keep runs, as ``python -m ntkbook.resnets`` does.

    Args:
        arguments: of the command line; None takes those of the process.

    Raises:
        SystemExit: the command line is wrong, or runs failed.

    Example:
        >>> main(["wrn", "size=7", "points=8", "rate=1e-3", "seed=0:0"])  # no seed: nothing to do
        >>> main(["--keep", "kept.npz", "wrn"])
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) < 2:
        sys.exit(f"usage:\n{__doc__}")
    if arguments[0] == "--keep":
        return _keep(Path(arguments[1]), [Path(folder) for folder in arguments[2:]])
    try:
        return sweep(arguments[0], dict(map(_sweep._values, arguments[1:])))
    except (_sweep.SweepError, ValueError) as error:
        sys.exit(str(error))


def _keep(file, folders):
    """Gather runs; a rate such as 1e-05 holds the hyphen that parts the words of a name."""
    pattern = re.compile("-".join(f"{name}(?P<{name}>.+)" for name in POINT))
    arrays, names = {}, []
    for path in sorted(path for folder in folders for path in folder.glob("*.npz")):
        point = pattern.fullmatch(path.stem)
        names.append(
            "{images}-{size}-g{g}-b{blocks}-k{widening}-seed{seed}".format(**point.groupdict())
        )
        for field, array in read(path)._asdict().items():
            arrays[f"{names[-1]}/{field}"] = np.asarray(array, np.float32)
    _sweep.save(file, arrays | {"names": np.array(names)})


if __name__ == "__main__":
    main()
