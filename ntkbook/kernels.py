"""The empirical neural tangent kernel of any ``apply(params, x)``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ntkbook import _checks
from ntkbook.networks import MLP

_JACOBIAN_BYTES = 2**28  # memory that one block of a Jacobian may take


def empirical_ntk(
    apply: Callable[[Any, Array], Array],
    params: Any,
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"] | None = None,
    *,
    output: Literal["full", "trace"] = "full",
    block_size: int | None = None,
) -> Float[Array, "n1 n2 c c"] | Float[Array, "n1 n2"]:
    """The empirical neural tangent kernel, ``<d f_c(x) / d params, d f_c'(x') / d params>``.

    For the ``apply`` of a network that :mod:`ntkbook.networks` built, the kernel is computed layer
    by layer, without the Jacobian. Any other function goes through its Jacobian, in blocks of
    rows. Compiled code is kept for each ``apply``: pass the same function again, not a new lambda.

    Args:
        apply: the network, ``apply(params, x)`` with ``x`` of shape (N, D), result (N, C).
            It must treat each row on its own (no batch statistics).
        params: its parameters, any pytree of floating arrays.
        x1: inputs, one row an example.
        x2: other inputs; by default ``x1``.
        output: ``"full"`` for all pairs of outputs, ``"trace"`` for the mean over outputs of
            the diagonal blocks.
        block_size: rows of a Jacobian held at once; by default what fits into 256 MiB. The
            layerwise path does not need it.

    Returns:
        Shape (N1, N2, C, C) for ``"full"``, (N1, N2) for ``"trace"``.

    Raises:
        ValueError: a shape, a value or ``output`` is not as above; an ``apply`` that returns
            (N,) is refused with a hint.
        TypeError: ``x1``, ``x2`` or a leaf of ``params`` is not a floating array.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 4; the layerwise form is the outer product
        structure of dense layers, Novak, Sohl-Dickstein & Schoenholz (2022).

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 2), "relu")
        >>> params, x = net.init(jax.random.key(0)), jax.numpy.eye(3)
        >>> empirical_ntk(net.apply, params, x).shape
        (3, 3, 2, 2)
        >>> empirical_ntk(lambda w, x: x @ w, jax.numpy.ones((3, 1)), x, output="trace").shape
        (3, 3)
    """
    if not callable(apply):
        raise TypeError(f"apply is {type(apply).__name__}; expected a function apply(params, x)")
    x1, x2 = _checks.points(x1, x2)
    trace = _checks.choice("output", output, ("full", "trace")) == "trace"
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            name = "params" + jax.tree_util.keystr(path)
            kind = dtype or f"type {type(leaf).__name__}"
            raise TypeError(f"{name} has {kind}; expected floating arrays only")
    shape = getattr(jax.eval_shape(apply, params, x1), "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x1):
        hint = " (for a scalar output, return f[:, None])" if shape == (len(x1),) else ""
        raise ValueError(f"apply returned shape {shape}; expected ({len(x1)}, C){hint}")

    if getattr(apply, "__func__", None) is MLP.apply:
        return _layerwise(apply.__self__, params, x1, x2, trace=trace)
    if block_size is None:
        bytes_a_row = sum(leaf.nbytes for leaf in jax.tree.leaves(params)) * shape[1]
        block_size = max(1, _JACOBIAN_BYTES // max(1, bytes_a_row))
    block_size = _checks.count("block_size", block_size)
    return _contraction(apply, params, x1, x2, trace=trace, block_size=block_size)


@partial(jax.jit, static_argnames=("net", "trace"))
def _layerwise(net, params, x1, x2, *, trace):
    """Sum over layers of (backward signals' Gram matrix) * (layer inputs' Gram matrix)."""
    first = _signals(net, params, x1)
    second = first if x2 is None else _signals(net, params, x2)
    kernel = 0.0
    for layer, ((g1, b1), (g2, b2)) in enumerate(zip(first, second, strict=True)):
        scales = net.scales(layer)
        inputs = scales.w_scale**2 * _product(g1, g2)
        if params[layer].b is not None:
            inputs = inputs + scales.b_scale**2
        kernel = kernel + (
            inputs * _product(_flat(b1), _flat(b2)) / b1.shape[1]
            if trace
            else inputs[:, :, None, None] * _blocks(b1, b2)
        )
    return kernel


def _signals(net, params, x):
    """For each layer its inputs g (N, fan_in) and backward signals b = df / dz (N, C, fan_out)."""
    inputs, slopes, g = [x], [], x
    for layer, phi in enumerate(net.activations):
        z = net.dense(layer, params[layer], g)
        g, slope = jax.jvp(phi, (z,), (jnp.ones_like(z),))
        inputs.append(g)
        slopes.append(slope)
    c = net.widths[-1]
    b = jnp.broadcast_to(jnp.eye(c, dtype=g.dtype), (len(x), c, c))
    signals = [b]
    for layer in reversed(range(len(slopes))):
        scale = net.scales(layer + 1).w_scale
        b = scale * (b @ params[layer + 1].w.T) * slopes[layer][:, None, :]
        signals.append(b)
    return list(zip(inputs, reversed(signals), strict=True))


@partial(jax.jit, static_argnames=("apply", "trace", "block_size"))
def _contraction(apply, params, x1, x2, *, trace, block_size):
    """Contract the two Jacobians leaf by leaf, a block of rows of each at a time."""
    x2 = x1 if x2 is None else x2

    def jacobian(x):  # of one example: leaves (C, size)
        leaves = jax.tree.leaves(jax.jacrev(lambda p: apply(p, x[None])[0])(params))
        return [leaf.reshape(len(leaf), -1) for leaf in leaves]

    def pair(j1, j2):
        if trace:
            product = partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST)
            return sum(map(product, j1, j2)) / len(j1[0])
        return sum(map(_product, j1, j2))

    def row(x):  # the vmaps inside `map` turn the products of pairs into one of blocks
        j1 = jacobian(x)
        return jax.lax.map(lambda y: pair(j1, jacobian(y)), x2, batch_size=block_size)

    return jax.lax.map(row, x1, batch_size=block_size)


def _product(a: Float[Array, "n k"], b: Float[Array, "m k"]) -> Float[Array, "n m"]:
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def _flat(b):
    return b.reshape(len(b), math.prod(b.shape[1:]))


def _blocks(b1: Float[Array, "n c k"], b2: Float[Array, "m c k"]) -> Float[Array, "n m c c"]:
    n, c, k = b1.shape
    gram = _product(b1.reshape(n * c, k), b2.reshape(-1, k))
    return gram.reshape(n, c, -1, c).swapaxes(1, 2)
