"""Kernel regression, training with a kernel that stands still, and linearised networks.

Training is gradient flow on (1/2P) sum (f - y)^2, so df/dt = -(1/P) K (f - y). A kernel is
(P, P), one for all outputs, or (P, P, C, C), as :func:`ntkbook.kernels.empirical_ntk` returns it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ntkbook import _checks
from ntkbook.infinite import InfiniteKernels
from ntkbook.kernels import Apply, empirical_ntk

_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Ensemble(NamedTuple):
    """Outputs of infinitely many networks on test points, a Gaussian.

    Attributes:
        mean: shape (T,) or (T, C), as the targets.
        covariance: between test points, of each output.
    """

    mean: Float[Array, "t ..."]
    covariance: Float[Array, "t t"]


class Flow(NamedTuple):
    """Outputs during training, times first; ``test`` is None where no test kernel was given."""

    train: Float[Array, "times p ..."]
    test: Float[Array, "times t ..."] | None


def kernel_regression(
    k_train: Float[Array, "p p ..."],
    y: Float[Array, "p ..."],
    k_test: Float[Array, "t p ..."],
    *,
    ridge: float = 0.0,
    f_train: Float[Array, "p ..."] | None = None,
    f_test: Float[Array, "t ..."] | None = None,
) -> Float[Array, "t ..."]:
    """Predictions of kernel regression, ``f_test + k_test (k_train + ridge I)^-1 (y - f_train)``.

    It is where training with this kernel ends. Any targets can be regressed: the labels, or the
    outputs that a network has reached on its training set.

    Args:
        k_train: kernel between training points, (P, P) or (P, P, C, C).
        y: targets, (P,) or (P, C).
        k_test: kernel between test points (rows) and training points, (T, P) or (T, P, C, C).
        ridge: added to the diagonal of the kernel matrix, not multiplied by P.
        f_train: outputs before training on the training points; by default 0.
        f_test: outputs before training on the test points; given together with ``f_train``.

    Returns:
        Shape (T,) or (T, C), as ``y``.

    Raises:
        ValueError: shapes do not fit, a kernel is not symmetric, or it is singular to working
            precision. Under jit, where values are not known, a singular kernel gives NaN or noise.
        TypeError: an array is not float32 or float64, or they differ.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 5, for its part in training.

    Example:
        >>> x = jax.numpy.array([[1.0, 0.0], [0.0, 2.0]])
        >>> kernel_regression(x @ x.T, jax.numpy.array([1.0, 2.0]), jax.numpy.ones((1, 2)) @ x.T)
        Array([2.], dtype=float32)
    """
    if (f_train is None) != (f_test is None):
        raise ValueError(
            "f_train and f_test are the outputs before training; expected both, or none"
        )
    k, y = _training(k_train, y)
    ridge = _checks.number("ridge", ridge)
    k_test, back = _test(k_test, k_train, y)
    if not isinstance(k, jax.core.Tracer):
        _refuse_singular(np.linalg.eigvalsh(np.asarray(k)) + ridge, ends=True)
    residual = y if f_train is None else y - _like("f_train", f_train, y)
    dual = jax.scipy.linalg.solve(
        k + ridge * jnp.eye(len(k), dtype=k.dtype), _flat(residual, k), assume_a="pos"
    )
    change = back(_dot(k_test, dual))
    return change if f_test is None else _like("f_test", f_test, change) + change


def ntk_regression(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "p ..."],
    y: Float[Array, "p ..."],
    x_test: Float[Array, "t ..."],
    *,
    output: Literal["full", "trace"] = "trace",
    weights: PyTree | None = None,
    ridge: float = 0.0,
) -> Float[Array, "t ..."]:
    """Predictions of kernel regression with a network's own tangent kernel.

    With the parameters at the end of training and the outputs reached there as targets, it is what
    a network would be whose kernel had its final shape before its outputs moved.

    Args:
        apply: the network, ``apply(params, x)`` with result (N, C).
        params: where the kernel is taken.
        x: training inputs, one row an example.
        y: targets, (P,) or (P, C): the labels, or the network's outputs on ``x``.
        x_test: test inputs.
        output: which kernel, ``"trace"`` (one for all outputs) or ``"full"``; see
            :func:`ntkbook.kernels.empirical_ntk`.
        weights: factors of the kernel's terms, as there.
        ridge: as in :func:`kernel_regression`.

    Returns:
        Shape (T,) or (T, C), as ``y``.

    Raises:
        ValueError: as :func:`kernel_regression` and ``empirical_ntk``.
        TypeError: as these.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), eq. (2) and Section 5.

    Example:
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 1), "relu")
        >>> params, x = net.init(jax.random.key(0)), jax.numpy.eye(3)
        >>> y = jax.numpy.array([1.0, -1.0, 0.5])
        >>> print(ntk_regression(net.apply, params, x, y, x[:2]).round(3))
        [ 1. -1.]
    """
    kernel = partial(empirical_ntk, apply, params, output=output, weights=weights)
    return kernel_regression(kernel(x), y, kernel(x_test, x), ridge=ridge)


def kernel_flow(
    k_train: Float[Array, "p p ..."],
    y: Float[Array, "p ..."],
    f_train: Float[Array, "p ..."],
    t: Float[Array, " times"] | float,
    k_test: Float[Array, "t p ..."] | None = None,
    f_test: Float[Array, "t ..."] | None = None,
    *,
    ridge: float = 0.0,
) -> Flow:
    """Outputs at given times of a model whose kernel stands still, by eigendecomposition.

    Args:
        k_train: kernel between training points, (P, P) or (P, P, C, C).
        y: targets, (P,) or (P, C).
        f_train: outputs on the training points at time 0, shaped like ``y``.
        t: times, an array or one number; infinity is allowed.
        k_test: kernel between test points (rows) and training points.
        f_test: outputs on the test points at time 0; by default 0.
        ridge: weight of ``|params - params at time 0|^2 / 2P`` in the loss, which adds to the
            diagonal of the kernel matrix.

    Returns:
        A :class:`Flow`: ``train`` and ``test`` with the axes of ``t`` first.

    Raises:
        ValueError: as :func:`kernel_regression`, but a singular kernel is refused for infinite
            times only; a time is negative.
        TypeError: as :func:`kernel_regression`.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 5.

    Example:
        >>> k, y = 2 * jax.numpy.eye(2), jax.numpy.ones(2)
        >>> print(kernel_flow(k, y, 0 * y, jax.numpy.array([0.0, 1.0])).train.round(3))
        [[0.    0.   ]
         [0.632 0.632]]
    """
    k, y = _training(k_train, y)
    f_train = _like("f_train", f_train, y)
    t = _times(t, k.dtype)
    eigenvalues, vectors, gains = _gains(k, t, len(y), _checks.number("ridge", ridge))
    modes = _dot(vectors.T, _flat(y - f_train, k).reshape(len(k), -1))
    modes = gains[:, :, None] * modes[None]  # times, modes, outputs
    change = _dot(vectors, eigenvalues[None, :, None] * modes).reshape(-1, *y.shape)
    train = (f_train[None] + change).reshape(*t.shape, *y.shape)
    if k_test is None:
        return Flow(train, None)
    k_test, back = _test(k_test, k_train, y)
    test = jax.vmap(back)(_dot(k_test, _dot(vectors, modes)))
    if f_test is not None:
        test = _like("f_test", f_test, test[0])[None] + test
    return Flow(train, test.reshape(*t.shape, *test.shape[1:]))


def ensemble(
    kernels_train: InfiniteKernels,
    kernels_test_train: InfiniteKernels,
    kernels_test: InfiniteKernels,
    y: Float[Array, "p ..."],
    t: float = jnp.inf,
    *,
    ridge: float = 0.0,
) -> Ensemble:
    """Mean and covariance of infinitely wide networks, all trained for a time ``t``.

    Each network starts from its own Gaussian outputs, of covariance ``nngp``, and is trained by
    gradient flow; all have the same kernel ``ntk``. Training the last layer only is the same with
    ``nngp`` in the place of ``ntk``.

    Args:
        kernels_train: ``infinite_kernels(x_train, ...)``, shapes (P, P).
        kernels_test_train: ``infinite_kernels(x_test, x_train, ...)``, shapes (T, P).
        kernels_test: ``infinite_kernels(x_test, ...)``, shapes (T, T).
        y: targets, (P,) or (P, C).
        t: training time, by default infinite.
        ridge: as in :func:`kernel_flow`.

    Returns:
        An :class:`Ensemble`.

    Raises:
        ValueError: as :func:`kernel_flow`.
        TypeError: as :func:`kernel_regression`.

    Source:
        Lee et al. (2019), the output distribution of linearised wide networks.

    Example:
        >>> from ntkbook import infinite_kernels
        >>> x = jax.numpy.eye(3)
        >>> kernels = lambda *points: infinite_kernels(*points, depth=1, activation="relu")
        >>> outputs = ensemble(kernels(x[:2]), kernels(x, x[:2]), kernels(x), jax.numpy.ones(2))
        >>> print(outputs.mean.round(2))
        [1. 1. 0.27]
    """
    k, y = _training(kernels_train.ntk, y, name="kernels_train.ntk")
    nngp, _ = _training(kernels_train.nngp, y, name="kernels_train.nngp")
    cross, back = _test(kernels_test_train.ntk, k, y, name="kernels_test_train.ntk")
    start, _ = _test(kernels_test_train.nngp, k, y, name="kernels_test_train.nngp")
    square = jax.ShapeDtypeStruct((len(cross), len(cross)), k.dtype)
    prior = _like("kernels_test.nngp", kernels_test.nngp, square)
    t = _times(t, k.dtype)
    if t.ndim:
        raise ValueError(f"t has shape {t.shape}; expected one number (vmap over t for more)")
    _, vectors, gains = _gains(k, t, len(y), _checks.number("ridge", ridge))
    gain = _dot(_dot(cross, vectors) * gains, vectors.T)  # (T, P): mean = gain y
    swing = _dot(gain, start.T)
    covariance = prior - swing - swing.T + _dot(_dot(gain, nngp), gain.T)
    return Ensemble(back(_dot(gain, y)), covariance)


def linearize(apply: Callable[[Any, Array], Array], params: Any) -> Callable[[Any, Array], Array]:
    """The network's first-order Taylor expansion in its parameters.

    Args:
        apply: the network, ``apply(params, x)``.
        params: where to expand.

    Returns:
        A function ``apply_lin(new, x)`` equal to ``apply(params, x)`` plus the derivative along
        ``new - params``. Its tangent kernel is that of ``apply`` at ``params``, for any ``new``.

    Raises:
        TypeError: ``apply`` is not a function.

    Source:
        Lee et al. (2019), linearised networks.

    Example:
        >>> square = linearize(lambda p, x: p**2 * x, jax.numpy.array(1.0))
        >>> print(square(jax.numpy.array(1.5), jax.numpy.ones(2)))
        [2. 2.]
    """
    if not callable(apply):
        raise TypeError(f"apply is {type(apply).__name__}; expected a function apply(params, x)")

    def apply_lin(new, x):
        step = jax.tree.map(jnp.subtract, new, params)
        f, change = jax.jvp(lambda p: apply(p, x), (params,), (step,))
        return f + change

    return apply_lin


def _training(k, y, name="k_train"):
    """Check a training kernel and its targets; return the kernel as one symmetric matrix."""
    full = np.ndim(k) == 4
    k = _checks.floats(name, k, shape=("P", "P", "C", "C") if full else ("P", "P"))
    y = _checks.floats("y", y, shape=("P", "C") if full or np.ndim(y) == 2 else ("P",))
    wanted = (len(y), len(y), *(2 * y.shape[1:] if full else ()))
    if k.shape != wanted:
        raise ValueError(f"{name} has shape {k.shape}; expected {wanted}, as y has {y.shape}")
    if k.dtype != y.dtype:
        raise TypeError(f"{name} has dtype {k.dtype} and y has {y.dtype}; expected one dtype")
    k = _matrix(k)
    if not isinstance(k, jax.core.Tracer):
        values = np.asarray(k)
        gap, size = abs(values - values.T).max(), abs(values).max()
        if gap > float(jnp.finfo(k.dtype).eps) ** 0.5 * size:
            raise ValueError(
                f"{name} is not symmetric: entries of up to {size:.2g} differ from their mirror "
                f"images by up to {gap:.2g}; expected the kernel of the training points"
            )
    return k, y


def _test(k_test, k_train, y, name="k_test"):
    """Check a test kernel; return it as a matrix, and what brings its products to (T, ...)."""
    full = np.ndim(k_train) == 4
    k = _checks.floats(name, k_test, shape=("T", "P", "C", "C") if full else ("T", "P"))
    wanted = (len(y), *(2 * y.shape[1:] if full else ()))
    if k.shape[1:] != wanted:
        raise ValueError(
            f"{name} has shape {k.shape}; expected (T, {', '.join(map(str, wanted))}): "
            "a row for each test point"
        )
    if k.dtype != y.dtype:
        raise TypeError(f"{name} has dtype {k.dtype} and y has {y.dtype}; expected one dtype")
    return _matrix(k), lambda f: f.reshape(len(k), *y.shape[1:])


def _like(name, x, model):
    x = _checks.floats(name, x, shape=tuple(map(str, model.shape)))
    if (x.shape, x.dtype) != (model.shape, model.dtype):
        raise ValueError(
            f"{name} is {x.dtype}{list(x.shape)}; expected {model.dtype}{list(model.shape)}"
        )
    return x


def _matrix(k):  # (N, M, C, C) to (N C, M C)
    if k.ndim == 2:
        return k
    n, m, c, _ = k.shape
    return k.swapaxes(1, 2).reshape(n * c, m * c)


def _flat(y, k):  # targets as the matrix k acts on them
    return y if len(k) == len(y) else y.reshape(len(k))


def _times(t, dtype):
    if isinstance(t, jax.core.Tracer):
        return t.astype(dtype)
    try:
        times = np.asarray(t, dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"t is {t!r}; expected times of at least 0") from error
    if not (times >= 0).all():
        raise ValueError(f"t is {t}; expected times of at least 0")
    return times


def _gains(k, t, p, ridge):
    """Eigenvalues, eigenvectors, and (1 - exp(-rate t / P)) / rate by time and mode.

    The rate is eigenvalue + ridge. An eigenvalue within rounding of 0 is 0, and a mode of rate 0,
    which the kernel does not reach, gains nothing: in time rounding would become noise.
    """
    eigenvalues, vectors = jnp.linalg.eigh(k)
    if not isinstance(eigenvalues, jax.core.Tracer):
        ends = not isinstance(t, jax.core.Tracer) and bool(np.isinf(t).any())
        _refuse_singular(np.asarray(eigenvalues) + ridge, ends=ends)
    rounding = len(k) * jnp.finfo(k.dtype).eps * jnp.abs(eigenvalues).max()
    eigenvalues = jnp.where(jnp.abs(eigenvalues) <= rounding, 0.0, eigenvalues)
    rates = (eigenvalues + ridge)[None]
    learns = rates > 0
    safe = jnp.where(learns, rates, 1.0)
    t = jnp.asarray(t).reshape(-1, 1) / p
    gains = jnp.where(learns, -jnp.expm1(-safe * t) / safe, 0.0)
    return eigenvalues, vectors, gains


def _refuse_singular(eigenvalues, *, ends):
    """Refuse a kernel that cannot be inverted (``ends``), or one with negative eigenvalues."""
    smallest, largest = float(eigenvalues.min()), float(eigenvalues.max())
    rounding = len(eigenvalues) * float(np.finfo(eigenvalues.dtype).eps) * abs(largest)
    if smallest > rounding or (smallest >= -rounding and not ends):
        return
    condition = largest / smallest if smallest > 0 else np.inf
    hint = ", or compute it in float64" if eigenvalues.dtype == np.float32 else ""
    raise ValueError(
        f"the training kernel, with its ridge, has eigenvalues from {smallest:.2g} to {largest:.2g}"
        f" (condition number {condition:.1g}): singular in {eigenvalues.dtype}. Points that are "
        "equal, or more points than the model has features, make it so: remove points, pass a "
        f"ridge, such as ridge={100 * rounding:.0e}{hint}"
    )
