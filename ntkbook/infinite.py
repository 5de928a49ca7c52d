"""Kernels of infinitely wide networks: NNGP and NTK of a fully connected network."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ntkbook import _checks


class InfiniteKernels(NamedTuple):
    """Kernels of an infinitely wide network.

    Attributes:
        nngp: covariance of the outputs at initialisation.
        ntk: the tangent kernel, which training leaves as it is.
    """

    nngp: Float[Array, "n1 n2"]
    ntk: Float[Array, "n1 n2"]


def infinite_kernels(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None = None,
    *,
    depth: int,
    activation: str,
    w_std: float = 1.0,
    b_std: float = 0.0,
) -> InfiniteKernels:
    """NNGP and NTK of an infinitely wide fully connected network.

    The network is that of :func:`ntkbook.networks.mlp` in the NTK parametrization, all its hidden
    widths sent to infinity one after another.

    Args:
        x1: inputs, one row an example.
        x2: other inputs; by default ``x1``.
        depth: number of hidden layers; 0 is a linear model.
        activation: ``"relu"``, ``"erf"``, ``"gelu"``, ``"sin"`` or ``"linear"``.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases.

    Returns:
        The two kernels of one scalar output, named ``nngp`` and ``ntk``, in the dtype of ``x1``.

    Raises:
        ValueError: an argument is out of range, empty or not finite.
        TypeError: ``x1`` or ``x2`` is not float32 or float64.

    Source:
        Jacot, Gabriel & Hongler (2018), Theorem 1. ReLU: Cho & Saul (2009); erf: Williams (1996);
        gelu and sin: Gaussian integration by parts, checked against an independent library.

    Example:
        >>> x = jax.numpy.eye(2)
        >>> kernels = infinite_kernels(x, depth=1, activation="relu", w_std=2**0.5)
        >>> print(kernels.ntk.round(3))
        [[2.    0.318]
         [0.318 2.   ]]
    """
    x1, x2 = _checks.points(x1, x2)
    return _recursion(
        x1,
        x1 if x2 is None else x2,
        depth=_checks.count("depth", depth, least=0),
        dual=_DUALS[_checks.choice("activation", activation, tuple(_DUALS))],
        w_var=_checks.number("w_std", w_std, above=True) ** 2,
        b_var=_checks.number("b_std", b_std) ** 2,
    )


@partial(jax.jit, static_argnames=("depth", "dual"))
def _recursion(x1, x2, *, depth, dual, w_var, b_var):
    def covariance(inner):  # of the first layer's pre-activations, from inner products / D
        return w_var * inner + b_var

    d = x1.shape[1]
    product = jnp.matmul(x1, x2.T, precision=jax.lax.Precision.HIGHEST)
    nngp = covariance(product / d)
    var1 = covariance((x1 * x1).sum(1) / d)[:, None]
    var2 = covariance((x2 * x2).sum(1) / d)[None, :]
    ntk = nngp
    for _ in range(depth):
        second_moment, derivative_moment = dual(var1, nngp, var2)
        nngp = w_var * second_moment + b_var
        ntk = nngp + w_var * derivative_moment * ntk
        var1, var2 = (w_var * dual(v, v, v)[0] + b_var for v in (var1, var2))
    return InfiniteKernels(nngp, ntk)


# E[phi(u) phi(v)] and E[phi'(u) phi'(v)] for Gaussian u, v of mean 0, variances v1 and v2 and
# covariance c.


def _relu_dual(v1, c, v2):
    norm = jnp.sqrt(v1 * v2)
    # Rounding leaves the cosine of two equal points a few units below 1, and the angle at
    # sqrt(eps). Cosines that close to 1 are 1. The inner `where` keeps gradients finite.
    positive = norm > 0
    cosine = jnp.where(positive, c / jnp.where(positive, norm, 1.0), 1.0)
    apart = jnp.abs(cosine) < 1 - 16 * jnp.finfo(c.dtype).eps
    inside = jnp.where(apart, cosine, 0.0)
    end = jnp.where(cosine > 0, 0.0, jnp.pi).astype(c.dtype)
    angle = jnp.where(apart, jnp.arccos(inside), end)
    sine = jnp.where(apart, jnp.sqrt(1 - inside**2), 0.0)
    cosine = jnp.where(apart, inside, jnp.sign(cosine))
    second = norm * (sine + (jnp.pi - angle) * cosine) / (2 * jnp.pi)
    return second, (jnp.pi - angle) / (2 * jnp.pi)


def _erf_dual(v1, c, v2):
    scale = (1 + 2 * v1) * (1 + 2 * v2)
    second = (2 / jnp.pi) * jnp.arcsin(2 * c / jnp.sqrt(scale))
    return second, (4 / jnp.pi) / jnp.sqrt(scale - 4 * c**2)


def _gelu_dual(v1, c, v2):
    """Write gelu(u) = u P(r < u) for a standard Gaussian r and integrate by parts."""
    shrunk = 1 / (1 + v1) + 1 / (1 + v2) - 1
    spread = (1 + v1) * (1 + v2)
    gap = spread - c**2
    both_on = 0.25 + jnp.arcsin(c / jnp.sqrt(spread)) / (2 * jnp.pi)
    edge = (v1 * v2 + shrunk * c**2) / (2 * jnp.pi * jnp.sqrt(gap))
    edge_slope = c * (1 + 2 * shrunk) / (2 * jnp.pi * jnp.sqrt(gap)) + edge * c / gap
    return c * both_on + edge, both_on + edge_slope  # the second is the first's derivative by c


def _sin_dual(v1, c, v2):
    rising, falling = (jnp.exp(sign * c - (v1 + v2) / 2) / 2 for sign in (1, -1))
    return rising - falling, rising + falling


def _linear_dual(v1, c, v2):
    return c, jnp.ones_like(c)


_DUALS = {
    "relu": _relu_dual,
    "erf": _erf_dual,
    "gelu": _gelu_dual,
    "sin": _sin_dual,
    "linear": _linear_dual,
}
