"""Data between white and raw: how a network's first pull fits its task, and what that costs.

``python -m ntkbook.anisotropy FILE`` writes what :func:`load` reads, in a few minutes.
"""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ntkbook import _checks, data, sweep
from ntkbook.dynamics import Run, small_start_rate, train
from ntkbook.kernels import empirical_ntk
from ntkbook.live import enable_x64
from ntkbook.networks import MLP, mlp
from ntkbook.regression import ntk_regression

P, D, WIDTH, TESTS = 40, 50, 200, 200  # of the synthetic tasks
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # g
TILTS = (0.0, 0.5, 1.0, 2.0)  # h
SIGMAS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
DRAWS = 12


class DialledTask(NamedTuple):
    """Training and test points, or many of them along a first axis.

    Attributes:
        x: training inputs.
        y: their targets.
        x_test: test inputs.
        y_test: their labels, or None where the targets are defined on the training points only.
    """

    x: Float[Array, "*draws p d"]
    y: Float[Array, "*draws p"]
    x_test: Float[Array, "*draws q d"]
    y_test: Float[Array, "*draws q"] | None = None


class PullCosines(NamedTuple):
    """How a task's first pull fits its targets: :func:`ntkbook.anisotropy.pull_cosines`."""

    whole: Float[Array, ""]
    half: Float[Array, ""]


class Followed(NamedTuple):
    """Trained networks, and what regression with their kernels makes of them.

    Attributes:
        final: relative distance of regression with the kernel at the end from the network.
        initial: the same with the kernel at the start.
        outputs: of the networks on their test points.
        run: the training.
    """

    final: Float[np.ndarray, " draws"]
    initial: Float[np.ndarray, " draws"]
    outputs: Float[np.ndarray, "draws q"]
    run: Run


class Kept(NamedTuple):
    """What the book keeps of the synthetic tasks.

    Attributes:
        final: error of the final kernel, by tilt, power, scale of the weights and draw.
        initial: error of the initial kernel.
        half: pull cosine of the halves, by tilt, power and draw.
        whole: pull cosine of all examples.
    """

    final: Float[np.ndarray, "h g sigma draws"]
    initial: Float[np.ndarray, "h g sigma draws"]
    half: Float[np.ndarray, "h g draws"]
    whole: Float[np.ndarray, "h g draws"]


def pull_cosines(x: Float[Array, "p d"], y: Float[Array, " p"]) -> PullCosines:
    """Cosine between targets and what the first pull on the weights would make of the outputs.

    A linear network from small weights first moves its outputs along ``G y``, with ``G = x x^T``;
    ``whole`` is the cosine of ``G y`` and ``y`` less its mean. The units of a ReLU network that
    push up see the examples with positive targets, the others those with negative ones. ``half``
    is that cosine for each half alone, its square averaged with the half's share of ``|y|^2``.

    Args:
        x: training inputs, centred.
        y: targets, of both signs.

    Returns:
        Two numbers, at most 1; 1 where the targets are an eigenvector of G, or of both halves' G.

    Raises:
        ValueError: a shape or value is wrong.
        TypeError: an array is not floating.

    Source:
        For the pull itself, Atanasov, Bordelon & Pehlevan (2022), Section 3.2.

    Example:
        >>> x, y = jnp.array([[2.0], [1.0], [-3.0]]), jnp.array([1.0, 1.0, -2.0])
        >>> print(pull_cosines(x, y).half.round(3))
        0.983
    """
    x = _checks.floats("x", x, shape=("P", "D"))
    y = _checks.floats("y", y, shape=("P",))
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}; expected as many")
    gram = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)

    def cosine(target, seen):
        pulled = jnp.where(seen, gram @ target, 0)
        return target @ pulled / (jnp.linalg.norm(target) * jnp.linalg.norm(pulled))

    square = 0.0
    for seen in (y > 0, y < 0):
        part = jnp.where(seen, y, 0)
        square += jnp.sum(part**2) / jnp.sum(y**2) * cosine(part, seen) ** 2
    return PullCosines(cosine(y - y.mean(), True), jnp.sqrt(square))


def two_sides(
    key: PRNGKeyArray,
    g: Float[Array, ""] | float,
    h: Float[Array, ""] | float,
    *,
    p: int = P,
    d: int = D,
    tests: int = TESTS,
) -> DialledTask:
    """Gaussian points of variances 1/k, whitened in part, and the two sides of a linear teacher.

    With ``X = U S V^T`` the centred points, training inputs are ``U S^g V^T``, rescaled, and
    targets the signs of ``U S^h z`` with Gaussian z. They do not depend on g; a large h makes them
    follow the first principal axes, h = 0 makes them know nothing of the points.

    Args:
        key: draws the points and the teacher.
        g: power of the singular values in the inputs.
        h: power of the singular values in the teacher.
        p: number of training points.
        d: input dimension.
        tests: number of test points.

    Returns:
        A :class:`DialledTask`, without ``y_test``.

    Example:
        >>> two_sides(jax.random.key(0), 0.5, 1.0).x.shape
        (40, 50)
    """
    points, teacher = jax.random.split(key)
    spectrum = 1 / jnp.arange(1.0, d + 1)
    x = data.gaussian_inputs(points, p + tests, d, spectrum=spectrum)
    x, x_test = x[:p], x[p:]
    u, s, _ = jnp.linalg.svd(x - x.mean(0)[None], full_matrices=False)
    rank = min(p - 1, d)
    z = jax.random.normal(teacher, (rank,), x.dtype)
    y = jnp.sign(u[:, :rank] @ (z * (s[:rank] / s[0]) ** h))
    whitening = data._whitening(x, g, 1e-4)  # data.whiten, with g that may be traced
    return DialledTask(whitening(x), y, whitening(x_test))


def images(
    key: PRNGKeyArray, examples: data.Examples, g: float, *, p: int, tests: int = TESTS
) -> DialledTask:
    """Two classes of images, whitened in part by their training points.

    Args:
        key: draws the training points.
        examples: images, targets +1 and -1: of :func:`ntkbook.data.two_classes`.
        g: power of the singular values.
        p: number of training points; with ``p - 1 <= D`` whitening keeps all directions.
        tests: number of test points.

    Returns:
        A :class:`DialledTask`.

    Example:
        >>> digits = data.two_classes(data.digits(), 3, 5)
        >>> images(jax.random.key(0), digits, 1.0, p=50).x_test.shape
        (200, 64)
    """
    drawn, rest = data.split(key, examples, p)
    x, x_test = (e.x.reshape(len(e.x), -1) for e in (drawn, rest))
    whitening = data.whiten(x, g=g)
    y, y_test = jnp.asarray(drawn.y), jnp.asarray(rest.y[:tests])
    return DialledTask(whitening(x), y, whitening(x_test[:tests]), y_test)


def stack(tasks: Sequence[DialledTask]) -> DialledTask:
    """Put tasks of one shape along a first axis, for :func:`ntkbook.anisotropy.follow`."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)


def follow(
    net: MLP,
    task: DialledTask,
    keys: Array,
    sigma: float | Sequence[float],
    *,
    at: Sequence[float] = (0.0,),
    stop: float = 1e-3,
    method: str = "gd",
    learning_rate: float | None = None,
    max_steps: int = 100_000,
) -> Followed:
    """Train networks and regress both their kernels, first and last, on the outputs they reach.

    Args:
        net: a network of two layers at scale one, in the standard parametrization.
        task: tasks along a first axis, of :func:`stack`; one network each.
        keys: of the initial weights, one a task.
        sigma: what multiplies the initial weights, one number or one a task.
        at: times to record at; ``run`` holds the kernel's ``"alignment"`` with the targets, its
            ``"norm"``, and the network's outputs on its ``"tests"``.
        stop: end at this share of the first loss.
        method: ``"gd"`` or ``"adam"``.
        learning_rate: by default that of :func:`~ntkbook.dynamics.small_start_rate`, divided by
            ``1 + sigma^2 (1 + n / D)``, of which only large starts take notice.
        max_steps: after which training gives up.

    Returns:
        A :class:`Followed`.

    Raises:
        TrainingError: a loss did not come down.
        ValueError: a kernel cannot be inverted, or an argument is out of range.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), Section 5 and Figure 4.

    Example:
        >>> net = mlp((50, 20, 1), parametrization="standard")
        >>> keys = jax.random.split(jax.random.key(0))
        >>> tasks = stack([two_sides(key, 0.0, 1.0) for key in keys])
        >>> follow(net, tasks, keys, 0.1).final.shape
        (2,)
    """
    draws, _, inputs = task.x.shape
    sigma = np.broadcast_to(np.asarray(sigma, float), (draws,))
    if learning_rate is None:
        rates = [small_start_rate(x, y) for x, y in zip(task.x, task.y, strict=True)]
        rates = np.array(rates) / (1 + sigma**2 * (1 + net.widths[1] / inputs))
    else:
        rates = np.full(draws, learning_rate)
    dtype = task.x.dtype
    at, settings = tuple(map(float, at)), (float(stop), method, int(max_steps))
    numbers = jnp.asarray(sigma, dtype), jnp.asarray(rates, dtype)
    distances, outputs, run = _follow(net, at, settings, task[:3], keys, *numbers)
    run.check()
    distances = np.asarray(distances, float)
    if not np.isfinite(distances).all():
        which = np.argwhere(~np.isfinite(distances))[0]
        raise ValueError(
            f"the {('final', 'initial')[which[1]]} kernel of task {which[0]} (sigma = "
            f"{sigma[which[0]]:g}) is singular: a training point at which no unit is on makes it "
            "so. Take a wider network or a larger sigma"
        )
    return Followed(*distances.T, np.asarray(outputs), run)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _follow(net, at, settings, task, keys, sigma, rates):
    stop, method, max_steps = settings

    def one(x, y, x_test, key, sigma, rate):
        first = jax.tree.map(lambda w: w.astype(x.dtype), net.init(key))
        record = {
            "alignment": "alignment",
            "norm": lambda now: jnp.linalg.norm(_kernel(net, now.params, x)),
            "tests": lambda now: net.apply(now.params, x_test)[:, 0],
        }
        run = train(
            net.apply, jax.tree.map(lambda w: sigma * w, first), x, y,
            stop=stop, at=at, record=record,
            method=method, learning_rate=rate, max_steps=max_steps,
        )  # fmt: skip
        reached, outputs = (net.apply(run.params, z)[:, 0] for z in (x, x_test))
        distances = [  # the kernel at the start, at any scale, tells the same
            jnp.linalg.norm(ntk_regression(net.apply, params, x, reached, x_test) - outputs)
            / jnp.linalg.norm(outputs)
            for params in (run.params, first)
        ]
        return jnp.stack(distances), outputs, run

    return jax.vmap(one)(*task, keys, sigma, rates)


def _kernel(net, params, x):
    return empirical_ntk(net.apply, params, x, output="trace")


def setting(
    g: float, h: float, sigma: float, draws: int = DRAWS, key: PRNGKeyArray | None = None
) -> tuple[Followed, PullCosines]:
    """One setting of the synthetic study, over draws of points, teacher and weights.

    Args:
        g: power of the singular values in the inputs.
        h: in the teacher, see :func:`two_sides`.
        sigma: scale of the initial weights.
        draws: how many.
        key: a JAX random key, by default the one of what :func:`load` reads. Settings share draws.

    Returns:
        What the networks did, and the pull cosines of their tasks.

    Example:
        >>> followed, cosines = setting(1.0, 0.0, 0.1, draws=4)
        >>> followed.final.shape, cosines.half.shape
        ((4,), (4,))
    """
    keys = jax.random.split(jax.random.key(1) if key is None else key, 2 * draws)
    tasks = _sides(keys[:draws], g, h)
    cosines = PullCosines(*map(np.asarray, _cosines(tasks.x, tasks.y)))
    net = mlp((D, WIDTH, 1), "relu", parametrization="standard")
    return follow(net, tasks, keys[draws:], sigma), cosines


_sides = jax.jit(jax.vmap(two_sides, (0, None, None)))
_cosines = jax.jit(jax.vmap(pull_cosines))


def load() -> Kept:
    """What this version of the book was written with.

    Returns:
        A :class:`Kept`; the axes are ``TILTS``, ``POWERS``, ``SIGMAS`` and draws.

    Example:
        >>> load().final.shape
        (4, 5, 6, 12)
    """
    with resources.files("ntkbook").joinpath("results/anisotropy.npz").open("rb") as file:
        return Kept(**{name: array.astype(float) for name, array in np.load(file).items()})


def main(file: str, tilts=TILTS, powers=POWERS, sigmas=SIGMAS, draws=DRAWS) -> None:
    """Compute what is kept, in float64.

    Args:
        file: what to write.
        tilts: values of h.
        powers: values of g.
        sigmas: scales of the weights.
        draws: of each setting.
    """
    kept = {name: [] for name in Kept._fields}
    with enable_x64(True):
        for h in tilts:
            for g in powers:
                for sigma in sigmas:
                    followed, cosines = setting(g, h, sigma, draws)
                    for name in kept:
                        kept[name].append(
                            getattr(followed if name in Followed._fields else cosines, name)
                        )
    shape = len(tilts), len(powers), len(sigmas), draws
    arrays = {name: np.reshape(values, shape) for name, values in kept.items()}
    for name in PullCosines._fields:
        arrays[name] = arrays[name][:, :, 0]
    sweep.save(Path(file), {name: a.astype(np.float32) for name, a in arrays.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
