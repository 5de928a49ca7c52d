"""The closed forms of the papers, one function a formula.

Symbols are those of the notation page: ``s`` teacher size, ``beta`` its unit direction, ``sigma``
weight scale at initialisation, ``u`` size of one layer's weights, ``L`` number of weight layers,
``P`` training points, ``D`` input dimension, ``C`` outputs. The loss is the mean of
``(f - y)**2 / 2`` and the parameters follow ``d theta / dt = -grad loss``. Data are whitened
unless a function says otherwise. ``w`` is the first layer as the papers write it, one row a
hidden unit (the transpose of ``Layer.w``), and a two-layer network is ``f(x) = a · (w @ x)``.

Scalar arguments may be Python numbers or arrays; arrays are broadcast against each other and the
result has their shape. Where a source is in error, the form here is the mended one and the
docstring names its number on the page of errata.
"""

import math
import numbers
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntkbook import _checks

Scalars = float | Float[Array | np.ndarray, "..."]

_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


# Part I and Appendix A: kernels that stand still, kernels that grow, kernels that turn.


def gd_mode_decay(steps: Scalars, eigenvalues: Scalars, lr: Scalars) -> Float[Array, "..."]:
    """What is left of an error along an eigenvector of the kernel after gradient descent.

    Args:
        steps: number of steps, whole.
        eigenvalues: of K / P, per unit of time.
        lr: step size, in units of time.

    Returns:
        ``(1 - lr * eigenvalues) ** steps``.

    Raises:
        ValueError: an argument is not finite, or ``steps`` is not whole or is negative.
        TypeError: an argument is not floating (``steps`` may hold whole numbers).

    Source:
        Arora et al. (2019), the linear dynamics of a frozen kernel; with the 1 / P of the loss.

    Example:
        >>> print(gd_mode_decay(3, jax.numpy.array([0.5, 2.0]), lr=1.0))
        [ 0.125 -1.   ]
    """
    if jnp.issubdtype(jnp.result_type(steps), jnp.integer):
        steps = jnp.asarray(steps).astype(jnp.result_type(jnp.asarray(eigenvalues), 1.0))
    steps, eigenvalues, lr = _reals(steps=steps, eigenvalues=eigenvalues, lr=lr)
    _require(lambda k: (k >= 0) & (k % 1 == 0), "steps", steps, "whole numbers of at least 0")
    return (1 - lr * eigenvalues) ** steps


def flow_mode_decay(t: Scalars, eigenvalues: Scalars) -> Float[Array, "..."]:
    """What is left of an error along an eigenvector of the kernel after gradient flow.

    Args:
        t: time.
        eigenvalues: of K / P, per unit of time.

    Returns:
        ``exp(-eigenvalues * t)``.

    Raises:
        ValueError: an argument is not finite.
        TypeError: an argument is not floating.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 5; with the 1 / P of the loss.

    Example:
        >>> print(flow_mode_decay(2.0, jax.numpy.array([0.0, 0.5])).round(3))
        [1.    0.368]
    """
    t, eigenvalues = _reals(t=t, eigenvalues=eigenvalues)
    return jnp.exp(-eigenvalues * t)


def kernel_path_flow(
    times: Float[Array, " t"],
    kernels: Float[Array, "t m p"],
    y: Float[Array, " p"],
    f0: Float[Array, " m"],
) -> Float[Array, "t m"]:
    """Outputs under gradient flow with a kernel that is known on a grid of times.

    On each interval the kernel is the mean of its two ends and the flow is exact: an error of
    order step**2, and none where the kernel stands still. Kernels need not commute. For a kernel
    g(t) K that only grows, give the integral of g as the time to
    :func:`ntkbook.regression.kernel_flow` instead.

    Args:
        times: increasing, at least two.
        kernels: at each time, between all M points (rows) and the first P, the training points.
        y: targets.
        f0: outputs at the first time.

    Returns:
        Outputs at each time, ``f0`` first: the solution of ``df/dt = K(t) @ (y - f[:p]) / P``.

    Raises:
        ValueError: shapes disagree, a value is not finite, or ``times`` does not increase.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), eq. (1) and Appendix A; a product of transition matrices.

    Example:
        >>> times = jax.numpy.array([0.0, 1.0, 2.0])
        >>> kernels = jax.numpy.ones((3, 1, 1))
        >>> path = kernel_path_flow(times, kernels, jax.numpy.ones(1), jax.numpy.zeros(1))
        >>> print(path[:, 0].round(3))
        [0.    0.632 0.865]
    """
    times = _checks.floats("times", times, shape=("T",))
    kernels = _checks.floats("kernels", kernels, shape=("T", "M", "P"))
    if len(times) != len(kernels) or len(times) < 2:
        raise ValueError(
            f"times has length {len(times)} and kernels {len(kernels)}; expected one length, over 1"
        )
    _require(lambda d: d > 0, "the steps of times", jnp.diff(times), "numbers greater than 0")
    y, f0 = _targets(kernels.shape[1:], y, f0)

    return _kernel_path_flow(times, kernels, y, f0)


def silent_kernel(
    t: Scalars,
    k0: Float[Array, "m p"],
    k_inf: Float[Array, "m p"],
    *,
    eps: float,
    tau: float,
    rate: float = 1.0,
) -> Float[Array, "... m p"]:
    """A kernel that turns while it is small and then only grows.

    Up to time ``tau`` it is ``eps`` times the straight path from ``k0`` to ``k_inf``; then it is
    ``g(t) * k_inf``, where g grows from ``eps`` to 1 as a sigmoid.

    Args:
        t: time, at least 0; any shape.
        k0: direction at the start.
        k_inf: the final kernel.
        eps: size while it turns; ``sigma ** (2 * L - 2)`` in a network.
        tau: time at which it has turned.
        rate: of the growth of g.

    Returns:
        The kernel at each time.

    Raises:
        ValueError: shapes disagree, or a value is out of range or not finite.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), eq. (3); the two interpolations are the simplest that fit it.

    Example:
        >>> k0, k_inf = jax.numpy.eye(2), jax.numpy.ones((2, 2))
        >>> print(silent_kernel(1.0, k0, k_inf, eps=0.01, tau=2.0))
        [[0.01  0.005]
         [0.005 0.01 ]]
    """
    (t,) = _reals(t=t, not_negative="t")
    k0, k_inf = (_checks.floats(n, k, shape=("M", "P")) for n, k in (("k0", k0), ("k_inf", k_inf)))
    if k0.shape != k_inf.shape:
        raise ValueError(f"k0 has shape {k0.shape} and k_inf {k_inf.shape}; expected one shape")
    eps, tau, rate = (
        _checks.number(n, v, above=True) for n, v in (("eps", eps), ("tau", tau), ("rate", rate))
    )

    return _silent_kernel(t, k0, k_inf, eps, tau, rate)


@jax.jit
def _kernel_path_flow(times, kernels, y, f0):
    p = len(y)

    def step(f, interval):
        t, kernel = interval
        eigenvalues, vectors = jnp.linalg.eigh(kernel[:p] / p)
        x = eigenvalues * t
        small = jnp.abs(x) < jnp.finfo(x.dtype).eps
        learned = t * jnp.where(small, 1.0, -jnp.expm1(-x) / jnp.where(small, 1.0, x))
        f = f + _einsum("mp,pj,j,ij,i->m", kernel / p, vectors, learned, vectors, y - f[:p])
        return f, f

    means = (kernels[1:] + kernels[:-1]) / 2
    return jnp.concatenate([f0[None], jax.lax.scan(step, f0, (jnp.diff(times), means))[1]])


@jax.jit
def _silent_kernel(t, k0, k_inf, eps, tau, rate):
    def at(t):
        turned = jnp.minimum(t / tau, 1.0)
        grown = jnp.maximum(t - tau, 0.0)
        size = 1 / (1 + (1 / eps - 1) * jnp.exp(-rate * grown))
        return size * ((1 - turned) * k0 + turned * k_inf)

    return jnp.vectorize(at, signature="()->(m,p)")(t)


# Part III: two layers, one output.


class Overlaps(NamedTuple):
    """Two-layer weights along the teacher: ``q = (|a|^2 + |w beta|^2) / 2``, ``r = a · w beta``."""

    q: Float[Array, "..."]
    r: Float[Array, "..."]


class TwoLayer(NamedTuple):
    """Weights of a two-layer linear network, ``f(x) = a · (w @ x)``."""

    a: Float[Array, "... n"]
    w: Float[Array, "... n d"]


class EarlySpike(NamedTuple):
    """Direction (a unit vector) and growth rate of the kernel's early spike."""

    direction: Float[Array, " d"]
    rate: Float[Array, ""]


def phase_one(t: Scalars, q0: Scalars, r0: Scalars, s: Scalars) -> Overlaps:
    """Overlaps q and r while the output is still small: growth as exp(2 s t).

    Args:
        t: time.
        q0: ``(|a|^2 + |w beta|^2) / 2`` at initialisation.
        r0: ``a . w beta`` at initialisation.
        s: teacher size; for unwhitened data half the rate of :func:`early_spike`.

    Returns:
        q and r at each time.

    Raises:
        ValueError: an argument is not finite or ``s`` is not positive.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), eqs. (6) and (7), mended: erratum 5.

    Example:
        >>> print(phase_one(1.0, q0=1e-4, r0=0.0, s=1.0).q)
        0.000376
    """
    t, q0, r0, s = _reals(t=t, q0=q0, r0=r0, s=s, positive="s")
    cosh, sinh = jnp.cosh(2 * s * t), jnp.sinh(2 * s * t)
    return Overlaps(q0 * cosh + r0 * sinh, r0 * cosh + q0 * sinh)


def phase_one_weights(
    t: Scalars, a0: Float[Array, " n"], w0: Float[Array, "n d"], drive: Float[Array, " d"]
) -> TwoLayer:
    """All weights while the output is still small, for whitened data or not.

    Args:
        t: time; any shape.
        a0: second layer at initialisation.
        w0: first layer at initialisation, one row a hidden unit.
        drive: ``X.T @ y / P``, which is ``s * Sigma @ beta``, and ``s * beta`` if whitened.

    Returns:
        The solution of ``da/dt = w @ drive``, ``dw/dt = outer(a, drive)``.

    Raises:
        ValueError: shapes disagree, a value is not finite or ``drive`` is zero.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), eq. (6), and Section 3.2 for unwhitened data.

    Example:
        >>> a0, w0 = jax.numpy.array([1e-3]), jax.numpy.array([[0.0, 1e-3]])
        >>> a, w = phase_one_weights(1.0, a0, w0, jax.numpy.array([1.0, 0.0]))
        >>> print(1e3 * w)
        [[1.175 1. ]]
    """
    (t,) = _reals(t=t)
    a0, w0, drive = _two_layer(a0, w0, "drive", drive)
    rate = jnp.sqrt((drive**2).sum())
    _require(lambda r: r > 0, "the norm of drive", rate, "a number greater than 0")
    return _phase_one_weights(t, a0, w0, drive / rate, rate)


def mean_initial_overlap(sigma: Scalars, n: Scalars, D: Scalars) -> Float[Array, "..."]:
    """Mean over initialisations of ``q0 = (|a|^2 + |w beta|^2) / 2``.

    Args:
        sigma: weight scale; a has variance sigma^2 / n, w has sigma^2 / D.
        n: hidden width.
        D: input dimension.

    Returns:
        ``sigma**2 / 2 * (1 + n / D)``.

    Raises:
        ValueError: an argument is not finite and positive.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Appendix C.1 and the initialisation of Section 3.

    Example:
        >>> print(mean_initial_overlap(0.1, n=60, D=30))
        0.015
    """
    sigma, n, D = _reals(sigma=sigma, n=n, D=D, positive="sigma n D")
    return sigma**2 / 2 * (1 + n / D)


def growing_mode(
    a0: Float[Array, " n"],
    w0: Float[Array, "n d"],
    direction: Float[Array, " d"],
    *,
    rate_a: float = 1.0,
    rate_w: float = 1.0,
) -> Float[Array, ""]:
    """The part of the initial weights that grows: the u0^2 (or m0^2) of the sigmoids.

    Args:
        a0: second layer at initialisation.
        w0: first layer at initialisation, one row a hidden unit.
        direction: unit vector: beta, or that of :func:`early_spike` for unwhitened data.
        rate_a: learning rate of the second layer.
        rate_w: learning rate of the first layer.

    Returns:
        ``|a0 / sqrt(rate_a) + w0 @ direction / sqrt(rate_w)|**2 / 4``.

    Raises:
        ValueError: shapes disagree, or a value is out of range or not finite.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Section 3.1.2, mended: erratum 5.

    Example:
        >>> a0, w0 = jax.numpy.array([0.1, 0.0]), jax.numpy.array([[0.3, 0.0], [0.0, 0.2]])
        >>> print(growing_mode(a0, w0, jax.numpy.array([1.0, 0.0])))
        0.04
    """
    a0, w0, direction = _two_layer(a0, w0, "direction", direction)
    _unit("direction", direction)
    rate_a, rate_w = (
        _checks.number(n, r, above=True) for n, r in (("rate_a", rate_a), ("rate_w", rate_w))
    )
    along = a0 / rate_a**0.5 + _einsum("nd,d->n", w0, direction) / rate_w**0.5
    return (along**2).sum() / 4


def two_layer_amplitude(t: Scalars, s: Scalars, u0_squared: Scalars) -> Float[Array, "..."]:
    """Size of the network's function: a sigmoid from u0^2 to s.

    Args:
        t: time.
        s: teacher size, or the singular value of a mode.
        u0_squared: as :func:`growing_mode` or :func:`growing_modes` gives it.

    Returns:
        ``u**2 = s * exp(2 s t) / (exp(2 s t) - 1 + s / u0_squared)``.

    Raises:
        ValueError: an argument is not finite, or ``s`` or ``u0_squared`` is not positive.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Section 3.1.2 and Appendix C.4, after Fukumizu (1998) and Saxe et
        al. (2014); u0^2 mended: erratum 5.

    Example:
        >>> print(two_layer_amplitude(mode_half_time(2.0, 1e-4), 2.0, 1e-4))
        1.0
    """
    t, s, u0_squared = _reals(t=t, s=s, u0_squared=u0_squared, positive="s u0_squared")
    return s / (1 + (s / u0_squared - 1) * jnp.exp(-2 * s * t))


def joined_phases(t: Scalars, s: Scalars, q0: Scalars) -> Overlaps:
    """Overlaps q and r through both phases.

    Args:
        t: time, at least 0.
        s: teacher size.
        q0: the effective one, ``2 * growing_mode(...)``, that is ``|a0 + w0 beta|^2 / 2``.

    Returns:
        ``q = 2 s cosh(2 s t) / (exp(2 s t) - 1 + 2 s / q0)``, and r with sinh for cosh.

    Raises:
        ValueError: an argument is not finite, ``t`` is negative, or ``s`` or ``q0`` not positive.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Appendix C.5; q0 mended: erratum 5.

    Example:
        >>> q, r = joined_phases(jax.numpy.array([0.0, 10.0]), s=1.0, q0=0.02)
        >>> print(q.round(3), r.round(3))
        [0.02 1.  ] [0. 1.]
    """
    t, s, q0 = _reals(t=t, s=s, q0=q0, positive="s q0", not_negative="t")
    size = s / (1 + (2 * s / q0 - 1) * jnp.exp(-2 * s * t))
    fading = jnp.exp(-4 * s * t)
    return Overlaps(size * (1 + fading), -size * jnp.expm1(-4 * s * t))


def mode_half_time(s: Scalars, u0_squared: Scalars) -> Float[Array, "..."]:
    """Time at which a mode of a two-layer network is at half its final amplitude.

    The loss is at half its start earlier, by ``log(1 + sqrt(2)) / (2 s)`` = .4407 / s.

    Args:
        s: teacher size, or the singular value of the mode.
        u0_squared: as :func:`growing_mode` or :func:`growing_modes` gives it, less than ``s``.

    Returns:
        ``log(s / u0_squared - 1) / (2 s)``.

    Raises:
        ValueError: an argument is not finite and positive, or ``u0_squared`` is not below ``s``.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Sections 3.1.2 and 4.2, mended: erratum 1.

    Example:
        >>> print(mode_half_time(jax.numpy.array([3.0, 1.5]), 1e-4).round(3))
        [1.718 3.205]
    """
    s, u0_squared = _reals(s=s, u0_squared=u0_squared, positive="s u0_squared")
    _require(lambda x: x < 1, "u0_squared / s", u0_squared / s, "numbers less than 1")
    return jnp.log(s / u0_squared - 1) / (2 * s)


def early_spike(
    covariance: Float[Array, "d d"], beta: Float[Array, " d"], s: Scalars = 1.0
) -> EarlySpike:
    """Where unwhitened data send the kernel's early spike, and how fast it grows.

    Args:
        covariance: Sigma, ``X.T @ X / P``.
        beta: unit direction of the teacher.
        s: teacher size, one number.

    Returns:
        ``direction``, Sigma beta made a unit vector, and ``rate``, of the kernel's growth:
        ``2 s sqrt(beta . Sigma^2 beta)``.

    Raises:
        ValueError: shapes disagree, a value is out of range, or ``Sigma @ beta`` is zero.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Section 3.2 and Appendix C.3.

    Example:
        >>> spike = early_spike(jax.numpy.diag(jax.numpy.array([4.0, 3.0])),
        ...                     jax.numpy.array([0.6, 0.8]))
        >>> print(spike.direction.round(3), spike.rate.round(3))
        [0.707 0.707] 6.788
    """
    (s,) = _reals(s=s, positive="s")
    covariance = _checks.floats("covariance", covariance, shape=("D", "D"))
    beta = _unit("beta", _checks.floats("beta", beta, shape=("D",)))
    if covariance.shape != 2 * beta.shape:
        raise ValueError(
            f"covariance has shape {covariance.shape} and beta {beta.shape}; expected (D, D), (D,)"
        )
    pull = _einsum("ij,j->i", covariance, beta)
    size = jnp.sqrt((pull**2).sum())
    _require(lambda n: n > 0, "the norm of Sigma beta", size, "a number greater than 0")
    return EarlySpike(pull / size, 2 * s * size)


def two_layer_with_rates(
    t: Scalars, s: Scalars, m0_squared: Scalars, rate_a: Scalars, rate_w: Scalars
) -> Float[Array, "..."]:
    """Size of a two-layer network's function when its layers learn at different rates.

    Args:
        t: time.
        s: teacher size.
        m0_squared: as :func:`growing_mode` gives it with the same rates.
        rate_a: learning rate of the second layer.
        rate_w: learning rate of the first layer.

    Returns:
        ``a . w beta``; with g = sqrt(rate_a rate_w), ``|a|^2`` is ``rate_a / g`` and
        ``|w beta|^2`` is ``rate_w / g`` times it.

    Raises:
        ValueError: an argument is not finite, or one but ``t`` is not positive.
        TypeError: an argument is not floating.

    Source:
        The conserved ``|a|^2 / rate_a - |w beta|^2 / rate_w`` in Atanasov et al. (2022),
        Appendix C.4; the paper's first version names layer rates in its abstract: erratum 10.

    Example:
        >>> print(two_layer_with_rates(1.0, 1.0, 1e-2, rate_a=4.0, rate_w=1.0))
        0.527
    """
    sizes = dict(s=s, m0_squared=m0_squared, rate_a=rate_a, rate_w=rate_w)
    t, s, m0_squared, rate_a, rate_w = _reals(t=t, **sizes, positive=" ".join(sizes))
    g = jnp.sqrt(rate_a * rate_w)
    return two_layer_amplitude(g * t, s, g * m0_squared)


def regression_gap_ratio(spike: Scalars) -> Float[Array, "..."]:
    """How far regression with the final kernel is from the network, for P < D.

    Both are at some distance from the min-norm solution: the network by its initial weights
    outside the span of the data. This is ``|network - regression| / |network - min-norm|``, at
    every point.

    Args:
        spike: of the kernel that regresses, in units of its isotropic part: ``L - 1``, or
            ``plain`` of :func:`layer_rate_spikes`.

    Returns:
        ``1 / (1 + spike)``: 1 / L for equal rates.

    Raises:
        ValueError: ``spike`` is not finite or is negative.
        TypeError: ``spike`` is not floating.

    Source:
        Replaces the O(sigma^L) of Atanasov et al. (2022), Section 2: erratum 4.

    Example:
        >>> print(regression_gap_ratio(jax.numpy.array([1.0, 2.0, 3.0])).round(3))
        [0.5   0.333 0.25 ]
    """
    (spike,) = _reals(spike=spike, not_negative="spike")
    return 1 / (1 + spike)


def min_norm_distance(
    sigma: Scalars, s: Scalars, *, rank: int, D: int, L: int
) -> Float[Array, "..."]:
    """Distance of a trained linear network from the min-norm solution, relative to its size.

    A typical value (root mean square over initialisations, to leading order in sigma).

    Args:
        sigma: weight scale at initialisation.
        s: teacher size.
        rank: of the data: P, or P - 1 where centred.
        D: input dimension.
        L: number of weight layers.

    Returns:
        ``sigma * s**(-1 / L) * sqrt(1 - rank / D)``.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is not floating, or a whole number is not whole.

    Source:
        The first layer keeps its initial weights outside the span of the data: erratum 4.

    Example:
        >>> print(min_norm_distance(0.01, 1.0, rank=20, D=30, L=2))
        0.00577
    """
    sigma, s = _reals(sigma=sigma, s=s, positive="sigma s")
    L, D = _checks.count("L", L, least=2), _checks.count("D", D)
    if _checks.count("rank", rank) > D:
        raise ValueError(f"rank is {rank}; expected at most D = {D}")
    return sigma * s ** (-1 / L) * (1 - rank / D) ** 0.5


def learning_curve(
    P: Scalars,
    eigenvalues: Float[Array, " k"],
    power: Float[Array, " k"],
    ridge: Scalars,
) -> Float[Array, "..."]:
    """Mean test error of kernel ridge regression.

    Args:
        P: number of training points.
        eigenvalues: of the kernel under the distribution of the inputs, with multiplicity.
        power: the target's squared coefficients in the kernel's orthonormal eigenfunctions.
        ridge: added to the diagonal of the training kernel matrix, greater than 0.

    Returns:
        The mean of ``(f(x) - y(x))**2`` over test points and training sets.

    Raises:
        ValueError: shapes disagree, or a value is negative, not finite or a zero ridge.
        TypeError: an argument is not floating.

    Source:
        Bordelon, Canatar & Pehlevan (2020), Canatar, Bordelon & Pehlevan (2021); Atanasov et al.
        (2022), eq. (67), mended: erratum 9.

    Example:
        >>> modes = jax.numpy.ones(60)
        >>> print(learning_curve(jax.numpy.array([0.0, 30.0]), modes, modes / 60, 1.0).round(3))
        [1.    0.501]
    """
    P, ridge = _reals(P=P, ridge=ridge, positive="ridge", not_negative="P")
    eigenvalues = _checks.floats("eigenvalues", eigenvalues, shape=("K",))
    power = _checks.floats("power", power, shape=("K",))
    if eigenvalues.shape != power.shape:
        raise ValueError(
            f"eigenvalues has shape {eigenvalues.shape} and power {power.shape}; expected one shape"
        )
    for name, x in (("eigenvalues", eigenvalues), ("power", power)):
        _require(lambda x: x >= 0, name, x, "numbers of at least 0")
    return _learning_curve(P, eigenvalues, power, ridge)


def transfer_error(
    P: Scalars, *, spike: Scalars, overlap: Scalars, D: int, ridge: Scalars
) -> Float[Array, "..."]:
    """Mean test error of regressing a second task with the kernel that the first one left.

    The kernel is ``x . (spike * beta beta^T + I) x'``, inputs are Gaussian of covariance I, and
    the new task is a unit vector at cosine ``overlap`` with ``beta``.

    Args:
        P: number of training points.
        spike: A, at least 0.
        overlap: alpha of the paper, between -1 and 1.
        D: input dimension, at least 2.
        ridge: added to the diagonal of the training kernel matrix, greater than 0.

    Returns:
        The mean of ``(f(x) - y(x))**2``. A mean-field theory: low for large ``spike`` and few
        points (by a quarter at P = 10, A = 100).

    Raises:
        ValueError: an argument is out of range or not finite.
        TypeError: an argument is not floating, or ``D`` is not whole.

    Source:
        Atanasov et al. (2022), Appendix F, eq. (67), mended: erratum 9.

    Example:
        >>> print(transfer_error(30.0, spike=1.0, overlap=0.8, D=60, ridge=1.0))
        0.3305
    """
    task = dict(P=P, spike=spike, overlap=overlap, ridge=ridge)
    P, spike, overlap, ridge = _reals(**task, positive="ridge", not_negative="P spike")
    D = _checks.count("D", D, least=2)
    _require(lambda x: abs(x) <= 1, "overlap", overlap, "numbers between -1 and 1")
    return _transfer_error(P, spike, overlap, ridge, D)


@jax.jit
def _learning_curve(P, eigenvalues, power, ridge):
    def error(P, ridge):
        def parts(kappa):  # how far kappa is above its equation; kappa (1 - gamma) at the root
            share = eigenvalues / (eigenvalues * P + kappa)
            rest = ridge + kappa**2 * (share / (eigenvalues * P + kappa)).sum()
            return jnp.maximum(kappa - ridge - kappa * share.sum(), 0.0), rest

        def newton(_, kappa):  # from above, on a convex function: falls to the root, never past it
            excess, rest = parts(kappa)
            return kappa * rest / (excess + rest)

        kappa = jax.lax.fori_loop(0, 60, newton, ridge + eigenvalues.sum())
        total = (power / (eigenvalues * P + kappa) ** 2).sum()
        return kappa**3 / parts(kappa)[1] * total

    return jnp.vectorize(error)(P, ridge)


@jax.jit
def _phase_one_weights(t, a0, w0, v, rate):
    wv = _einsum("nd,d->n", w0, v)

    def at(t):
        cosh, sinh = jnp.cosh(rate * t), jnp.sinh(rate * t)
        moved = 2 * jnp.sinh(rate * t / 2) ** 2 * wv + sinh * a0
        return cosh * a0 + sinh * wv, w0 + moved[:, None] * v[None, :]

    return TwoLayer(*jnp.vectorize(at, signature="()->(n),(n,d)")(t))


@partial(jax.jit, static_argnames="D")
def _transfer_error(P, spike, overlap, ridge, D):
    first = jnp.zeros(D, jnp.result_type(P, spike, overlap, ridge)).at[0].set(1.0)

    def error(P, spike, overlap, ridge):
        power = overlap**2 * first + (1 - overlap**2) / (D - 1) * (1 - first)
        return _learning_curve(P, 1 + spike * first, power, ridge)

    return jnp.vectorize(error)(P, spike, overlap, ridge)


# Part IV: deep linear networks.


class RateSpikes(NamedTuple):
    """Spikes of the final kernel in units of its isotropic part: plain, and weighted by rates."""

    plain: Float[Array, ""]
    weighted: float


def deep_linear_time(c: Scalars, c0: Scalars, s: Scalars, L: int) -> Float[Array, "..."]:
    """Time that a deep linear network takes from size c0 to size c.

    The exact inverse of the solution of ``dc/dt = L c^(2 - 2/L) (s - c)``, where c = u^L is the
    size of a balanced network's function along the teacher.

    Args:
        c: size at the end, between 0 and ``s``.
        c0: size at the start, between 0 and ``s``.
        s: teacher size.
        L: number of weight layers, at least 2.

    Returns:
        The time; negative where ``c`` is below ``c0``.

    Raises:
        ValueError: an argument is not finite and positive, ``c`` or ``c0`` is not below ``s``.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), Section 4.1.1 and eq. (60), mended: erratum 2. The integral is
        done by partial fractions at the L-th roots of unity.

    Example:
        >>> print(deep_linear_time(0.5, 0.1**3, 1.0, L=3))
        9.145
    """
    c, c0, s = _reals(c=c, c0=c0, s=s, positive="c c0 s")
    L = _checks.count("L", L, least=2)
    for name, x in (("c", c), ("c0", c0)):
        _require(lambda x: x < 1, f"{name} / s", x / s, "numbers less than 1")
    return (_elapsed(jnp.log(c / s), L) - _elapsed(jnp.log(c0 / s), L)) / s ** (2 - 2 / L)


def deep_linear_amplitude(t: Scalars, c0: Scalars, s: Scalars, L: int) -> Float[Array, "..."]:
    """Size of a deep linear network's function: the solution of dc/dt = L c^(2 - 2/L) (s - c).

    With learning rates that differ between layers, give the geometric mean of the rates times
    ``t`` in place of ``t``.

    Args:
        t: time.
        c0: size at time 0, u0^L, between 0 and ``s``.
        s: teacher size.
        L: number of weight layers, at least 2.

    Returns:
        ``c = u**L``, between 0 and ``s``.

    Raises:
        ValueError: an argument is not finite, or ``c0`` or ``s`` is out of range.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), Section 4.1.1 and eq. (60), mended: erratum 2. Newton's method on
        :func:`deep_linear_time`.

    Example:
        >>> t = jax.numpy.array([0.0, 9.14475, 50.0])
        >>> print(deep_linear_amplitude(t, 1e-3, 1.0, L=3).round(3))
        [0.001 0.5   1.   ]
    """
    t, c0, s = _reals(t=t, c0=c0, s=s, positive="c0 s")
    L = _checks.count("L", L, least=2)
    _require(lambda x: x < 1, "c0 / s", c0 / s, "numbers less than 1")
    return _deep_linear_amplitude(t, c0, s, L)


def half_loss_time(c0: Scalars, s: Scalars, L: int) -> Float[Array, "..."]:
    """Time at which the loss of a linear network is half of its start.

    Args:
        c0: size of its function at time 0, u0^L, between 0 and ``s``.
        s: teacher size.
        L: number of weight layers, at least 2.

    Returns:
        The time at which ``(s - c)**2`` has halved.

    Raises:
        ValueError: an argument is not finite and positive, or ``c0`` is not below ``s``.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), Fig. 3a and Appendix E.1, mended: errata 1 and 2.

    Example:
        >>> print(half_loss_time(0.1**3, 1.0, L=3), half_loss_time(0.03**4, 1.0, L=4).round(2))
        8.743 554.93
    """
    c0, s = _reals(c0=c0, s=s, positive="c0 s")
    return deep_linear_time(s - (s - c0) / 2**0.5, c0, s, L)


def transition_time(sigma: Scalars, s: Scalars, L: int) -> Float[Array, "..."]:
    """When a linear network starts to learn, to leading order in small weights.

    Args:
        sigma: weight scale; more exactly the u0 of the growing mode.
        s: teacher size.
        L: number of weight layers, at least 2.

    Returns:
        ``log(s / sigma**2) / (2 s)`` for L = 2, ``sigma**(2 - L) / (s (L - 2))`` for deeper ones.

    Raises:
        ValueError: an argument is not finite and positive.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), Sections 3.1.2 and 4.1.1, mended: errata 1 and 2.

    Example:
        >>> print(transition_time(0.03, 1.0, L=2), transition_time(0.03, 1.0, L=4))
        3.507 555.6
    """
    sigma, s = _reals(sigma=sigma, s=s, positive="sigma s")
    if _checks.count("L", L, least=2) == 2:
        return jnp.log(s / sigma**2) / (2 * s)
    return sigma ** (2 - L) / (s * (L - 2))


def spiked_kernel(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None,
    beta: Float[Array, " d"],
    spike: Scalars,
) -> Float[Array, "n1 n2"]:
    """The kernel ``x · (spike * beta beta^T + I) x'``.

    Args:
        x1: inputs, one row an example.
        x2: other inputs; None for ``x1``.
        beta: unit vector.
        spike: one number: 1 for two layers, ``L - 1`` for L, A in Appendix F.

    Returns:
        The kernel matrix.

    Raises:
        ValueError: shapes disagree, or a value is out of range or not finite.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), eq. (8) and Appendix F.

    Example:
        >>> print(spiked_kernel(jax.numpy.eye(2), None, jax.numpy.array([1.0, 0.0]), 3.0))
        [[4. 0.]
         [0. 1.]]
    """
    x1, x2, beta = _points_and_direction(x1, x2, beta)
    (spike,) = _reals(spike=spike)
    along = _einsum("id,d,e,je->ij", x1, beta, beta, x2)
    return spike * along + _einsum("id,jd->ij", x1, x2)


def deep_linear_ntk(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None,
    beta: Float[Array, " d"],
    u: Scalars,
    L: int,
) -> Float[Array, "n1 n2"]:
    """NTK of a linear network of one output, trained from small weights.

    Args:
        x1: inputs, one row an example.
        x2: other inputs; None for ``x1``.
        beta: unit vector that the first layer is aligned with; the teacher's at the end.
        u: size of each layer, one number; ``s**(1 / L)`` at the end.
        L: number of weight layers, at least 2.

    Returns:
        ``u**(2 (L - 1)) * x . ((L - 1) beta beta^T + I) x'``.

    Raises:
        ValueError: shapes disagree, or a value is out of range or not finite.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), eq. (10), and eqs. (58) and (63), mended: erratum 3.

    Example:
        >>> print(deep_linear_ntk(jax.numpy.eye(2), None, jax.numpy.array([1.0, 0.0]), 2.0, L=3))
        [[48.  0.]
         [ 0. 16.]]
    """
    (u,) = _reals(u=u)
    L = _checks.count("L", L, least=2)
    return u ** (2 * (L - 1)) * spiked_kernel(x1, x2, beta, L - 1)


def hidden_gram(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None,
    beta: Float[Array, " d"],
    u: Scalars,
    layer: int,
) -> Float[Array, "n1 n2"]:
    """Inner products of the activations of a hidden layer, trained from small weights.

    Args:
        x1: inputs, one row an example.
        x2: other inputs; None for ``x1``.
        beta: unit vector that the first layer is aligned with; the teacher's at the end.
        u: size of each layer, one number; ``s**(1 / L)`` at the end.
        layer: number of weight layers below, at least 1.

    Returns:
        ``u**(2 * layer) * x . beta beta^T x'``.

    Raises:
        ValueError: shapes disagree, or a value is out of range or not finite.
        TypeError: an argument is not floating, or ``layer`` is not whole.

    Source:
        Atanasov et al. (2022), Appendix E.3.

    Example:
        >>> print(hidden_gram(jax.numpy.eye(2), None, jax.numpy.array([1.0, 0.0]), 2.0, layer=2))
        [[16.  0.]
         [ 0.  0.]]
    """
    x1, x2, beta = _points_and_direction(x1, x2, beta)
    (u,) = _reals(u=u)
    size = u ** (2 * _checks.count("layer", layer))
    return size * _einsum("id,d,e,je->ij", x1, beta, beta, x2)


def final_alignment(rank: Scalars, L: Scalars) -> Float[Array, "..."]:
    """Alignment ``y · K y / (|K|_F |y|^2)`` of the final NTK with the targets, whitened data.

    Args:
        rank: of the data, the smaller of P and D.
        L: number of weight layers.

    Returns:
        ``L / sqrt(rank - 1 + L**2)``.

    Raises:
        ValueError: an argument is not finite, or less than 1.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Appendix E.2.

    Example:
        >>> print(final_alignment(30, jax.numpy.array([2.0, 3.0, 4.0, 5.0])).round(4))
        [0.3482 0.4867 0.5963 0.6804]
    """
    rank, L = _reals(rank=rank, L=L)
    for name, x in (("rank", rank), ("L", L)):
        _require(lambda x: x >= 1, name, x, "numbers of at least 1")
    return L / jnp.sqrt(rank - 1 + L**2)


def layer_sizes(s: Scalars, rates: Float[Array, " layers"]) -> Float[Array, " layers"]:
    """Final sizes u_l of the layers of a linear network with learning rates of their own.

    Args:
        s: teacher size, one number.
        rates: learning rate of each layer, first layer first.

    Returns:
        ``u_l = sqrt(rate_l) * m``, where their product is ``s``.

    Raises:
        ValueError: an argument is not finite and positive, or there are fewer than two rates.
        TypeError: an argument is not floating.

    Source:
        The conserved ``u_l^2 / rate_l - u_k^2 / rate_k``: Atanasov et al. (2022), Appendix D,
        with the layer rates that the paper's first version names in its abstract: erratum 10.

    Example:
        >>> print(layer_sizes(1.0, jax.numpy.array([4.0, 1.0])).round(3))
        [1.414 0.707]
    """
    (s,) = _reals(s=s, positive="s")
    rates = _rates(rates)
    m = (s / jnp.sqrt(rates).prod()) ** (1 / len(rates))
    return m * jnp.sqrt(rates)


def layer_rate_spikes(rates: Float[Array, " layers"]) -> RateSpikes:
    """Spike of the final kernel of a linear network with learning rates of their own.

    Args:
        rates: learning rate of each layer, first layer first.

    Returns:
        ``plain``: ``rate_1 * sum_(l>=2) 1 / rate_l``, of the NTK; ``weighted``: ``L - 1``, of
        the kernel that drives learning, ``sum_l rate_l <grad_l f, grad_l f'>``.

    Raises:
        ValueError: a rate is not finite and positive, or there are fewer than two.
        TypeError: ``rates`` is not floating.

    Source:
        The paper's first version names layer rates in its abstract: erratum 10.

    Example:
        >>> plain, weighted = layer_rate_spikes(jax.numpy.array([10.0, 1.0, 0.1]))
        >>> print(plain, weighted)
        110.0 2.0
    """
    rates = _rates(rates)
    return RateSpikes(rates[0] * (1 / rates[1:]).sum(), len(rates) - 1.0)


def multi_output_ntk(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None,
    teacher: Float[Array, "c d"],
    L: int,
) -> Float[Array, "n1 n2 c c"]:
    """NTK of a linear network of several outputs, trained from small weights.

    Args:
        x1: inputs, one row an example.
        x2: other inputs; None for ``x1``.
        teacher: one row an output; during training, the map that the network has learned so far.
        L: number of weight layers, at least 2.

    Returns:
        The blocks ``K_cc'(x, x') = x . sum_l (O_l)_cc' H_l x'`` in the order of
        ``empirical_ntk(..., output="full")``, where for the teacher's singular triplets
        ``(u_a**L, z_a, r_a)``: ``O_l = sum_a u_a**(2 (L - l)) z_a z_a^T`` and ``O_L = I``,
        ``H_l = sum_a u_a**(2 (l - 1)) r_a r_a^T`` and ``H_1 = I``.

    Raises:
        ValueError: shapes disagree, or a value is not finite.
        TypeError: an argument is not floating, or ``L`` is not whole.

    Source:
        Atanasov et al. (2022), Section 4.2 and Appendix H; its rank: erratum 6.

    Example:
        >>> teacher = jax.numpy.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> x = jax.numpy.eye(3)
        >>> print(multi_output_ntk(x, None, teacher, L=2)[2, 2])
        [[2. 0.]
         [0. 1.]]
    """
    x1, x2 = _checks.points(x1, x2)
    x2 = x1 if x2 is None else x2
    teacher = _checks.floats("teacher", teacher, shape=("C", "D"))
    if teacher.shape[1] != x1.shape[1]:
        raise ValueError(
            f"teacher has D = {teacher.shape[1]} and x1 has D = {x1.shape[1]}; expected one D"
        )
    L = _checks.count("L", L, least=2)
    return _multi_output_ntk(x1, x2, teacher, L)


def growing_modes(
    w1: Float[Array, "n d"], w2: Float[Array, "c n"], teacher: Float[Array, "c d"]
) -> Float[Array, " modes"]:
    """The u0^2 of each mode of a two-layer network of several outputs.

    A mode grows along a vector of hidden units of its own. What this vector shares with those of
    faster modes is used up by the time that they are learned, so only the rest counts.

    Args:
        w1: first layer at initialisation, one row a hidden unit.
        w2: second layer at initialisation, one row an output.
        teacher: one row an output; its singular values must be positive and well apart.

    Returns:
        ``|h_a|**2 / 4``, fastest mode first, where ``w2.T @ z_a + w1 @ r_a`` less its projection
        on the vectors of the faster modes is ``h_a``.

    Raises:
        ValueError: shapes disagree, or a value is not finite.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Section 4.2, for the modes; what they share is the book's own.

    Example:
        >>> w1, w2 = jax.numpy.array([[0.2, 0.1], [0.0, 0.4]]), jax.numpy.zeros((2, 2))
        >>> print(growing_modes(w1, w2, jax.numpy.diag(jax.numpy.array([3.0, 1.0]))))
        [0.01 0.04]
    """
    w1 = _checks.floats("w1", w1, shape=("N", "D"))
    w2 = _checks.floats("w2", w2, shape=("C", "N"))
    teacher = _checks.floats("teacher", teacher, shape=("C", "D"))
    if w2.shape + w1.shape != (len(teacher), len(w1), len(w1), teacher.shape[1]):
        raise ValueError(
            f"w1 has shape {w1.shape}, w2 {w2.shape}, teacher {teacher.shape}; "
            "expected (N, D), (C, N), (C, D)"
        )
    z, _, r = jnp.linalg.svd(teacher, full_matrices=False)
    hidden = _einsum("cn,ca->na", w2, z) + _einsum("nd,ad->na", w1, r)
    return jnp.diagonal(jnp.linalg.qr(hidden, mode="r")) ** 2 / 4


def silent_alignment_ratio(
    singular_values: Float[Array, " a"], u0_squared: Scalars
) -> Float[Array, ""]:
    """Time in which the slowest mode aligns, over the time at which the fastest is learned.

    The paper asks for a small ratio. It is necessary but not sufficient where the singular values
    differ: the kernel then turns as each mode is learned (erratum 6).

    Args:
        singular_values: of the teacher, those that are not zero.
        u0_squared: size of the initial weights squared, one number.

    Returns:
        ``(1 / s_min) / (log(s_max / u0_squared) / s_max)``.

    Raises:
        ValueError: an argument is not finite and positive, or ``u0_squared`` is not below s_max.
        TypeError: an argument is not floating.

    Source:
        Atanasov et al. (2022), Section 4.2.

    Example:
        >>> print(silent_alignment_ratio(jax.numpy.array([3.0, 1.0]), 1e-4))
        0.291
    """
    s = _checks.floats("singular_values", singular_values, shape=("A",))
    _require(lambda s: s > 0, "singular_values", s, "numbers greater than 0")
    (u0_squared,) = _reals(u0_squared=u0_squared, positive="u0_squared")
    _require(lambda x: x < 1, "u0_squared / s_max", u0_squared / s.max(), "a number less than 1")
    return s.max() / (s.min() * jnp.log(s.max() / u0_squared))


@partial(jax.jit, static_argnames="L")
def _multi_output_ntk(x1, x2, teacher, L):
    z, s, r = jnp.linalg.svd(teacher, full_matrices=False)
    size = lambda layers: s ** (2 * layers / L)  # of their product, squared
    along1, along2 = (_einsum("id,ad->ia", x, r) for x in (x1, x2))
    kernel = 0.0
    for layer in range(1, L + 1):
        if layer == L:
            above = jnp.eye(len(teacher), dtype=teacher.dtype)
        else:
            above = _einsum("ca,a,ea->ce", z, size(L - layer), z)
        if layer == 1:
            below = _einsum("id,jd->ij", x1, x2)
        else:
            below = _einsum("ia,a,ja->ij", along1, size(layer - 1), along2)
        kernel = kernel + _einsum("ij,ce->ijce", below, above)
    return kernel


@partial(jax.jit, static_argnames="L")
def _deep_linear_amplitude(t, c0, s, L):
    log_x0 = jnp.log(c0 / s)
    target = _elapsed(log_x0, L) + s ** (2 - 2 / L) * t

    def newton(_, z):  # z = logit(c / s), of which the time is a concave function: no overshoot
        log_x = jax.nn.log_sigmoid(z)
        step = (target - _elapsed(log_x, L)) * L * jnp.exp((1 - 2 / L) * log_x)
        return jnp.clip(z + step, -80.0, 80.0)

    z0 = log_x0 - jnp.log1p(-c0 / s)
    return s * jax.nn.sigmoid(jax.lax.fori_loop(0, 60, newton, jnp.broadcast_to(z0, target.shape)))


@partial(jax.jit, static_argnames="L")
def _elapsed(log_x, L):
    """An antiderivative of 1 / (L x^(2 - 2/L) (1 - x)) at x, 0 < x < 1."""
    # With u = x^(1/L) the integrand is u^(1 - L) + u / (1 - u^L); the second term has its poles
    # at the roots of unity w = exp(i theta), with residues -w^2 / L.
    log_u = log_x / L
    u, below_one = jnp.exp(log_u), -jnp.expm1(log_u)
    total = log_u if L == 2 else -jnp.exp((2 - L) * log_u) / (L - 2)
    total = total - jnp.log(below_one) / L
    for k in range(1, L):
        theta = 2 * math.pi * k / L
        cos, sin = math.cos(theta), math.sin(theta)
        size = jnp.log(below_one**2 + 2 * u * (1 - cos)) / 2  # log |1 - u / w|
        angle = jnp.arctan2(u * sin, 1 - u * cos)
        total = total - (math.cos(2 * theta) * size - math.sin(2 * theta) * angle) / L
    return total


# Checks that only this module needs.


def _reals(*, positive="", not_negative="", **values):
    """Return the arguments as floating arrays of one shape, with their signs checked."""
    arrays = {}
    for name, x in values.items():
        x = float(x) if isinstance(x, numbers.Real) else x  # a plain number fits any dtype
        arrays[name] = x = _checks.floats(name, x, shape=("...",))
        if name in positive.split():
            _require(lambda x: x > 0, name, x, "numbers greater than 0")
        if name in not_negative.split():
            _require(lambda x: x >= 0, name, x, "numbers of at least 0")
    if len({x.shape for x in arrays.values() if x.shape}) < 2:
        return arrays.values()  # one shape, and single numbers that fit it
    try:
        return jnp.broadcast_arrays(*arrays.values())
    except ValueError as error:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in arrays.items())
        raise ValueError(f"shapes are {shapes}; expected shapes that broadcast") from error


def _require(test, name, x, wanted):
    """Refuse values that fail ``test``; where there are values, that is not under jit."""
    if isinstance(x, jax.core.Tracer):
        return
    x = np.asarray(x)
    wrong = ~test(x)
    if wrong.any():
        raise ValueError(f"{name}: {x[wrong].flat[0]:g} is not allowed; expected {wanted}")


def _unit(name, v):
    """Return a vector of norm 1, or say what its norm is."""
    if not isinstance(v, jax.core.Tracer):
        norm = float(np.linalg.norm(np.asarray(v)))
        if abs(norm - 1) > 1e-4:
            raise ValueError(f"{name} has norm {norm:g}; expected a unit vector")
    return v


def _targets(shape, y, f0):
    y = _checks.floats("y", y, shape=("P",))
    f0 = _checks.floats("f0", f0, shape=("M",))
    if (len(f0), len(y)) != shape or len(y) > len(f0):
        raise ValueError(
            f"a kernel of shape {shape}, f0 of length {len(f0)}, y of length {len(y)}; "
            "expected (M, P), M and P, where M is at least P"
        )
    return y, f0


def _two_layer(a0, w0, name, vector):
    a0 = _checks.floats("a0", a0, shape=("N",))
    w0 = _checks.floats("w0", w0, shape=("N", "D"))
    vector = _checks.floats(name, vector, shape=("D",))
    if w0.shape != a0.shape + vector.shape:
        raise ValueError(
            f"a0 has shape {a0.shape}, w0 {w0.shape}, {name} {vector.shape}; "
            "expected (N,), (N, D), (D,)"
        )
    return a0, w0, vector


def _points_and_direction(x1, x2, beta):
    x1, x2 = _checks.points(x1, x2)
    beta = _unit("beta", _checks.floats("beta", beta, shape=("D",)))
    if len(beta) != x1.shape[1]:
        raise ValueError(f"beta has D = {len(beta)} and x1 has D = {x1.shape[1]}; expected one D")
    return x1, x1 if x2 is None else x2, beta


def _rates(rates):
    rates = _checks.floats("rates", rates, shape=("L",))
    _require(lambda r: r > 0, "rates", rates, "numbers greater than 0")
    if len(rates) < 2:
        raise ValueError(f"rates has length {len(rates)}; expected at least 2 layers")
    return rates
