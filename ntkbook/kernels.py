"""The empirical neural tangent kernel of any ``apply(params, x)``."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ntkbook import _checks
from ntkbook._precision import full_precision
from ntkbook.networks import MLP

_JACOBIAN_BYTES = 2**28  # memory that one block of a Jacobian may take

Apply = Callable[[Any, Array], Array]
_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@full_precision()
def empirical_ntk(
    apply: Apply,
    params: PyTree,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    output: Literal["full", "trace"] = "full",
    weights: PyTree | None = None,
    block_size: int | None = None,
) -> Float[Array, "n1 n2 c c"] | Float[Array, "n1 n2"]:
    """The empirical neural tangent kernel, ``<d f_c(x) / d params, d f_c'(x') / d params>``.

    For the ``apply`` of a fully connected network of :mod:`ntkbook.networks` the kernel is
    computed layer by layer, without the Jacobian. Any other function goes through its Jacobian,
    leaf by leaf, in blocks of rows. Compiled code is kept for each ``apply``: pass the same
    function again, not a new lambda.

    Args:
        apply: the network, ``apply(params, x)`` with result (N, C), one row an example. It must
            treat each row on its own (no batch statistics).
        params: its parameters, any pytree of floating arrays.
        x1: inputs, one row an example; an example may be a vector or an image.
        x2: other inputs; by default ``x1``.
        output: ``"full"`` for all pairs of outputs, ``"trace"`` for the mean over outputs of
            the diagonal blocks.
        weights: factors of the terms of the inner product, by default 1: one pytree with the
            structure of ``params`` or of its upper part, each leaf a number (a learning rate of a
            layer) or an array of that parameter's shape (a preconditioner, as Adam's).
        block_size: rows of a Jacobian held at once; by default what fits into 256 MiB. The
            layerwise path does not need it.

    Returns:
        Shape (N1, N2, C, C) for ``"full"``, (N1, N2) for ``"trace"``.

    Raises:
        ValueError: a shape, a value or ``output`` is not as above; an ``apply`` that returns
            (N,) is refused with a hint.
        TypeError: ``x1``, ``x2`` or a leaf of ``params`` or ``weights`` is not floating.

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
        >>> rates = [1.0, 0.1]  # one learning rate for each layer
        >>> empirical_ntk(net.apply, params, x, output="trace", weights=tuple(rates)).shape
        (3, 3)
        >>> empirical_ntk(lambda w, x: x @ w, jax.numpy.ones((3, 1)), x, output="trace").shape
        (3, 3)
    """
    x1, x2 = _checks.points(x1, x2, images=True)
    trace = _checks.choice("output", output, ("full", "trace")) == "trace"
    outputs = _checks.outputs(apply, params, x1)
    full = _checks.weights(weights, params)
    elementwise = any(w.ndim for w in jax.tree.leaves(full))
    if _is_mlp(apply) and not elementwise:
        return _layerwise(apply.__self__, params, x1, x2, full, trace=trace)
    block_size = _block_size(block_size, params, outputs)
    full = None if weights is None else full  # to multiply by 1 would take a pass over Jacobians
    return _contraction(apply, params, x1, x2, full, trace=trace, block_size=block_size)


@full_precision()
def layer_ntks(
    apply: Apply,
    params: PyTree,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    output: Literal["full", "trace"] = "full",
    block_size: int | None = None,
) -> PyTree:
    """The share of each array of parameters in the tangent kernel; the shares add up to it.

    Args:
        apply: as in :func:`empirical_ntk`.
        params: parameters.
        x1: inputs, one row an example.
        x2: other inputs; by default ``x1``.
        output: ``"full"`` or ``"trace"``.
        block_size: rows of a Jacobian held at once.

    Returns:
        A pytree like ``params`` with a kernel in the place of each array; for the networks of
        :mod:`ntkbook.networks` a tuple of layers with kernels ``w`` and ``b``.

    Raises:
        ValueError: as :func:`empirical_ntk`.
        TypeError: as :func:`empirical_ntk`.

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 64, 1), "relu")
        >>> params, x = net.init(jax.random.key(0)), jax.numpy.eye(3)
        >>> shares = layer_ntks(net.apply, params, x, output="trace")
        >>> bool(jax.numpy.allclose(sum(layer.w for layer in shares),
        ...                         empirical_ntk(net.apply, params, x, output="trace"), rtol=1e-4))
        True
    """
    x1, x2 = _checks.points(x1, x2, images=True)
    trace = _checks.choice("output", output, ("full", "trace")) == "trace"
    outputs = _checks.outputs(apply, params, x1)
    if _is_mlp(apply):
        return _layerwise(apply.__self__, params, x1, x2, None, trace=trace)
    block_size = _block_size(block_size, params, outputs)
    return _contraction(
        apply, params, x1, x2, None, trace=trace, block_size=block_size, by_leaf=True
    )


@full_precision()
def ntk_vector_product(
    apply: Apply,
    params: PyTree,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    v: Float[Array, "n2 c"],
    *,
    weights: PyTree | None = None,
) -> Float[Array, "n1 c"]:
    """The tangent kernel times a vector, without the kernel: ``J(x1) weights J(x2)^T v``.

    One backward pass through ``x2`` and one forward pass of derivatives through ``x1``: time and
    memory grow with N1 + N2.

    Args:
        apply: as in :func:`empirical_ntk`.
        params: parameters.
        x1: inputs of the rows.
        x2: inputs of the columns; None for ``x1``.
        v: the vector, one entry for each column and output.
        weights: as in :func:`empirical_ntk`.

    Returns:
        ``sum_jd K[i, j, c, d] v[j, d]``.

    Raises:
        ValueError: as :func:`empirical_ntk`; ``v`` does not have shape (N2, C).
        TypeError: as :func:`empirical_ntk`.

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 1), "relu")
        >>> params, x, v = net.init(jax.random.key(0)), jax.numpy.eye(3), jax.numpy.ones((3, 1))
        >>> kernel = empirical_ntk(net.apply, params, x, output="trace")
        >>> product = ntk_vector_product(net.apply, params, x, None, v)
        >>> bool(jax.numpy.allclose(product, kernel @ v, rtol=1e-4))
        True
    """
    x1, x2 = _checks.points(x1, x2, images=True)
    columns = x1 if x2 is None else x2
    v = _checks.floats("v", v, shape=("N2", "C"))
    wanted = (len(columns), _checks.outputs(apply, params, x1))
    if v.shape != wanted:
        raise ValueError(f"v has shape {v.shape}; expected (N2, C) = {wanted}")
    if v.dtype != x1.dtype:
        raise TypeError(f"v has dtype {v.dtype} and x1 has {x1.dtype}; expected one dtype")
    return _vector_product(apply, params, x1, columns, v, _checks.weights(weights, params))


def ntk_blocks(
    apply: Apply,
    params: PyTree,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    rows: int,
    output: Literal["full", "trace"] = "full",
    weights: PyTree | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """The tangent kernel in blocks of rows, for a kernel too large for one device's memory.

    Every block is a program of one shape on one device, so its numbers do not depend on how many
    devices there are.

    Args:
        apply: as in :func:`empirical_ntk`.
        params: parameters.
        x1: inputs of the rows.
        x2: inputs of the columns; by default ``x1``.
        rows: of each block; the last may have fewer.
        output: ``"full"`` or ``"trace"``.
        weights: as in :func:`empirical_ntk`.
        devices: where to compute, one block on each at a time, as in ``jax.local_devices()``; by
            default where the arguments are. Each holds the parameters and ``x2``.

    Yields:
        ``(where, block)``: a slice of the rows of ``x1`` and the kernel's rows there, a NumPy
        array in the host's memory, ready for ``kernel[where] = block`` (a file that
        ``numpy.memmap`` opened may hold it).

    Raises:
        ValueError: as :func:`empirical_ntk`; ``rows`` is less than 1.
        TypeError: as :func:`empirical_ntk`.

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 1), "relu")
        >>> params, x = net.init(jax.random.key(0)), jax.numpy.ones((5, 3))
        >>> [(where, block.shape) for where, block in ntk_blocks(net.apply, params, x, rows=4,
        ...                                                      output="trace")]
        [(slice(0, 4, None), (4, 5)), (slice(4, 5, None), (1, 5))]
    """
    x1, x2 = _checks.points(x1, x2, images=True)
    if devices is not None and len(devices) == 0:
        raise ValueError("devices is empty; expected at least one, as in jax.local_devices()")
    n, rows = len(x1), min(_checks.count("rows", rows), len(x1))
    held = (params, x1 if x2 is None else x2, weights)
    places = [held] if devices is None else [jax.device_put(held, d) for d in devices]

    def block(i):
        first = min(i * rows, n - rows)  # the last is as high as the others: no new compilation
        x = x1[first : first + rows]
        x = x if devices is None else jax.device_put(x, devices[i % len(devices)])
        params, columns, weights = places[i % len(places)]
        found = empirical_ntk(apply, params, x, columns, output=output, weights=weights)
        return slice(i * rows, first + rows), found[i * rows - first :]

    started = deque()  # JAX returns before a device has computed: the others can start meanwhile
    for i in range(math.ceil(n / rows)):
        started.append(block(i))
        if len(started) == len(places):
            where, found = started.popleft()
            yield where, np.asarray(found)
    yield from ((where, np.asarray(found)) for where, found in started)


def _block_size(block_size, params, outputs):
    if block_size is None:
        bytes_a_row = sum(leaf.nbytes for leaf in jax.tree.leaves(params)) * outputs
        block_size = max(1, _JACOBIAN_BYTES // max(1, bytes_a_row))
    return _checks.count("block_size", block_size)


def _is_mlp(apply):
    return getattr(apply, "__func__", None) is MLP.apply


@partial(jax.jit, static_argnames=("net", "trace"))
def _layerwise(net, params, x1, x2, weights, *, trace):
    """Gram matrices of backward signals times those of layer inputs, by layer or weighted sum."""
    first = _signals(net, params, x1)
    second = first if x2 is None else _signals(net, params, x2)
    kernel, shares = 0.0, []
    for i, ((g1, b1), (g2, b2)) in enumerate(zip(first, second, strict=True)):
        scales = net.scales(i)
        inputs, bias = scales.w_scale**2 * _dot(g1, g2.T), scales.b_scale**2
        if trace:
            signals = _dot(_flat(b1), _flat(b2).T) / b1.shape[1]
        else:
            signals, inputs = _blocks(b1, b2), inputs[:, :, None, None]
        if weights is None:
            b = None if params[i].b is None else bias * signals
            shares.append(type(params[i])(inputs * signals, b))
            continue
        inputs = weights[i].w * inputs
        if params[i].b is not None:
            inputs = inputs + weights[i].b * bias
        kernel = kernel + inputs * signals
    return tuple(shares) or kernel


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


@partial(jax.jit, static_argnames=("apply", "trace", "block_size", "by_leaf"))
def _contraction(apply, params, x1, x2, weights, *, trace, block_size, by_leaf=False):
    """Contract the two Jacobians leaf by leaf, a block of rows of each at a time."""
    structure = jax.tree.structure(params)
    factors = [None] * structure.num_leaves if weights is None else jax.tree.leaves(weights)

    def jacobian(x):  # of one example: leaves (C, size)
        leaves = jax.tree.leaves(jax.jacrev(lambda p: apply(p, x[None])[0])(params))
        return [leaf.reshape(len(leaf), -1) for leaf in leaves]

    def weighted(j):
        return [a if w is None else a * w.reshape(1, -1) for a, w in zip(j, factors, strict=True)]

    def whole(shares):
        return structure.unflatten(shares) if by_leaf else sum(shares)

    def pair(j1, j2):
        if trace:
            product = partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST)
            return whole([product(a, b) / len(a) for a, b in zip(j1, j2, strict=True)])
        return whole([_dot(a, b.T) for a, b in zip(j1, j2, strict=True)])

    if x2 is None and len(x1) <= block_size:  # one Jacobian (N, C, size) serves both sides
        j = jax.vmap(jacobian)(x1)
        pairs = list(zip(jax.vmap(weighted)(j), j, strict=True))
        if trace:
            return whole([_dot(_flat(a), _flat(b).T) / a.shape[1] for a, b in pairs])
        return whole([_blocks(a, b) for a, b in pairs])

    # The vmaps inside `map` turn the products of pairs into one of blocks.
    def row(x):
        j1 = weighted(jacobian(x))
        columns = x1 if x2 is None else x2
        return jax.lax.map(lambda y: pair(j1, jacobian(y)), columns, batch_size=block_size)

    return jax.lax.map(row, x1, batch_size=block_size)


@partial(jax.jit, static_argnames="apply")
def _vector_product(apply, params, x1, x2, v, weights):
    _, back = jax.vjp(lambda p: apply(p, x2), params)
    direction = jax.tree.map(jnp.multiply, back(v)[0], weights)
    return jax.jvp(lambda p: apply(p, x1), (params,), (direction,))[1]


def _flat(b):
    return b.reshape(len(b), math.prod(b.shape[1:]))


def _blocks(b1: Float[Array, "n c k"], b2: Float[Array, "m c k"]) -> Float[Array, "n m c c"]:
    n, c, k = b1.shape
    gram = _dot(b1.reshape(n * c, k), b2.reshape(-1, k).T)
    return gram.reshape(n, c, -1, c).swapaxes(1, 2)
