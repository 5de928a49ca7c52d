import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from ntkbook import cnn, empirical_ntk, kernels, layer_ntks, mlp, ntk_blocks, ntk_vector_product
from ntkbook.networks import Layer


def test_golden_network(golden, x64):
    net = mlp((7, 16, 16, 3), ("relu", "erf"), w_std=1.4, b_std=0.2)
    params = tuple(
        Layer(jnp.asarray(golden[f"emp_w{i}"]), jnp.asarray(golden[f"emp_b{i}"])[0])
        for i in range(3)
    )
    np.testing.assert_allclose(net.apply(params, golden["x1"]), golden["emp_f"], rtol=1e-12)
    for output in ("full", "trace"):
        for apply in (net.apply, lambda p, x: net.apply(p, x)):
            got = empirical_ntk(apply, params, golden["x1"], golden["x2"], output=output)
            np.testing.assert_allclose(got, golden[f"emp_ntk_{output}"], rtol=1e-9)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n1=st.integers(1, 5),
    n2=st.integers(0, 4),
    parametrization=st.sampled_from(["ntk", "standard"]),
    b_std=st.sampled_from([0.0, 0.3]),
    block_size=st.integers(1, 7),
)
def test_layerwise_equals_jacobian(widths, n1, n2, parametrization, b_std, block_size):
    """n2 = 0 stands for x2=None."""
    net = mlp(widths, jnp.tanh, parametrization=parametrization, w_std=1.2, b_std=b_std)
    params = net.init(jax.random.key(1))
    x = jax.random.normal(jax.random.key(2), (n1 + n2, widths[0]))
    x1, x2 = x[:n1], x[n1:] if n2 else None
    jacobian = lambda x: [
        j.reshape(*j.shape[:2], -1)
        for j in jax.tree.leaves(jax.jacrev(lambda p: net.apply(p, x))(params))
    ]
    pairs = zip(jacobian(x1), jacobian(x if x2 is None else x2), strict=True)
    want = sum(jnp.einsum("icp,jdp->ijcd", a, b) for a, b in pairs)
    generic = lambda p, x: net.apply(p, x)
    for apply in (net.apply, generic):
        full = empirical_ntk(apply, params, x1, x2, block_size=block_size)
        trace = empirical_ntk(apply, params, x1, x2, output="trace", block_size=block_size)
        np.testing.assert_allclose(full, want, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(
            trace, jnp.einsum("ijcc->ij", want) / widths[-1], rtol=2e-4, atol=2e-4
        )


def test_directional_derivatives(x64):
    """K(x, x) is the sum of squared derivatives along all directions; by finite differences."""
    net = mlp((3, 4, 1), "erf", w_std=1.5)
    params, x = net.init(jax.random.key(0)), jnp.array([[0.3, -1.0, 0.5]])
    flat, unflatten = ravel_pytree(params)
    step = 1e-6 * jnp.eye(flat.size)
    f = lambda p: net.apply(unflatten(p), x)[0, 0]
    slopes = jnp.array([(f(flat + e) - f(flat - e)) / 2e-6 for e in step])
    np.testing.assert_allclose(
        empirical_ntk(net.apply, params, x)[0, 0, 0, 0], (slopes**2).sum(), rtol=1e-8
    )


def test_two_layers_by_hand(x64):
    """sum_j [phi(u_j) phi(v_j) + a_j^2 phi'(u_j) phi'(v_j) x.x'/D] w^2 / n for one hidden layer."""
    net = mlp((5, 8, 1), "relu", w_std=1.5)
    (w, _), (a, _) = params = net.init(jax.random.key(3))
    x = jax.random.normal(jax.random.key(4), (6, 5))
    z = 1.5 * x @ w / math.sqrt(5)
    on = (z > 0).astype(float)
    last = jnp.maximum(z, 0) @ jnp.maximum(z, 0).T * 1.5**2 / 8
    first = (on * a[:, 0][None] ** 2) @ on.T * (1.5**2 / 8) * (1.5**2 * x @ x.T / 5)
    np.testing.assert_allclose(
        empirical_ntk(net.apply, params, x, output="trace"), last + first, rtol=1e-12
    )


def test_any_function_and_pytree():
    """A model that is not ours, with a nested pytree: f = tanh(x u) v, and its kernel in blocks."""
    params = {"u": jnp.ones((3, 2)), "rest": [jnp.ones((2, 2)), jnp.float32(2.0)]}
    apply = lambda p, x: p["rest"][1] * jnp.tanh(x @ p["u"]) @ p["rest"][0]
    x = jax.random.normal(jax.random.key(0), (7, 3))
    whole = empirical_ntk(apply, params, x)
    assert whole.shape == (7, 7, 2, 2)
    for block_size in (1, 3, 7, 100):
        np.testing.assert_allclose(
            empirical_ntk(apply, params, x, block_size=block_size), whole, rtol=1e-5
        )
    np.testing.assert_allclose(whole, whole.transpose(1, 0, 3, 2), rtol=1e-5)


def test_ntk_and_standard_parametrization_differ_by_fan_in(x64):
    """Same function, and each layer's kernel multiplied by fan_in / w_std^2."""
    ntk = mlp((3, 10, 1), "relu", w_std=1.5)
    standard = mlp((3, 10, 1), "relu", w_std=1.5, parametrization="standard")
    params = ntk.init(jax.random.key(0))
    moved = tuple(Layer(p.w * ntk.scales(i).w_scale, None) for i, p in enumerate(params))
    x = jax.random.normal(jax.random.key(1), (4, 3))
    np.testing.assert_allclose(ntk.apply(params, x), standard.apply(moved, x), rtol=1e-12)
    frozen = lambda net, p, i: empirical_ntk(
        lambda q, x: net.apply((*p[:i], q, *p[i + 1 :]), x), p[i], x, output="trace"
    )
    for i, fan_in in enumerate((3, 10)):
        np.testing.assert_allclose(
            frozen(standard, moved, i), frozen(ntk, params, i) * fan_in / 1.5**2, rtol=1e-12
        )


@pytest.mark.parametrize(
    "mutant",
    [
        lambda g, b: (g, b.at[..., 0].multiply(2.0)),  # one backward signal too large
        lambda g, b: (2**0.5 * g, b),  # a missing factor in one layer
        lambda g, b: (g[::-1], b),  # rows in another order
    ],
)
def test_mutants_of_the_layerwise_path_are_caught(monkeypatch, mutant):
    net = mlp((3, 5, 4, 2), "relu")
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (4, 3))
    want = empirical_ntk(lambda p, x: net.apply(p, x), params, x)
    signals = kernels._signals

    def mutated(*args):
        first, second, *rest = signals(*args)
        return [first, mutant(*second), *rest]

    monkeypatch.setattr(kernels, "_signals", mutated)
    jax.clear_caches()
    assert not np.allclose(empirical_ntk(net.apply, params, x), want, rtol=1e-2)
    jax.clear_caches()


def test_traces_under_jit_vmap_and_grad():
    net = mlp((3, 8, 1), "erf")
    x = jax.random.normal(jax.random.key(0), (4, 3))
    kernel = lambda key: empirical_ntk(net.apply, net.init(key), x, output="trace")
    keys = jax.random.split(jax.random.key(1), 3)
    many = jax.jit(jax.vmap(kernel))(keys)
    np.testing.assert_allclose(many[1], kernel(keys[1]), rtol=1e-5)
    moved = jax.grad(lambda s: empirical_ntk(net.apply, net.init(keys[0]), s * x).sum())(1.0)
    assert jnp.isfinite(moved)


def test_the_wrapped_layerwise_path_is_not_mistaken():
    """A function that only carries the network's name must go through its own Jacobian."""

    class Twice(type(mlp((3, 1)))):
        def apply(self, params, x):
            return 2 * super().apply(params, x)

    base = mlp((3, 4, 1), "erf")
    twice = Twice(base.widths, base.activations, "ntk", 1.0, 0.0)
    params, x = base.init(jax.random.key(0)), jnp.eye(3)
    np.testing.assert_allclose(
        empirical_ntk(twice.apply, params, x), 4 * empirical_ntk(base.apply, params, x), rtol=1e-5
    )


def by_jacobian(apply, params, x, weights):
    """The full kernel from the whole Jacobian, each column times its weight."""
    jacobian = jax.jacrev(lambda p: apply(p, x))(params)
    terms = zip(jax.tree.leaves(jacobian), jax.tree.leaves(weights), strict=True)
    flat = [(j.reshape(*j.shape[:2], -1), w.reshape(-1)) for j, w in terms]
    return sum(jnp.einsum("icp,jdp,p->ijcd", j, j, w) for j, w in flat)


def weighted_cases():
    net = mlp((3, 5, 4, 2), "erf", b_std=0.3)
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 3))
    draws = jax.random.split(jax.random.key(2), len(jax.tree.leaves(params)))
    structure = jax.tree.structure(params)
    elementwise = jax.tree.map(
        lambda key, p: jax.random.exponential(key, p.shape), structure.unflatten(draws), params
    )
    by_layer = (10.0, 1.0, 0.1)
    per_leaf = tuple(Layer(w, 2 * w) for w in by_layer)
    filled = lambda tree: jax.tree.map(lambda w, p: jnp.full(p.shape, w), tree, params)
    layers = filled(tuple(Layer(w, w) for w in by_layer))
    return (
        net,
        params,
        x,
        [
            (by_layer, layers),
            (per_leaf, filled(per_leaf)),
            (elementwise, elementwise),
            ((10.0, elementwise[1], 0.1), (layers[0], elementwise[1], layers[2])),
        ],
    )


def test_weights_by_layer_by_array_and_by_element():
    """Learning rates of layers and preconditioners, on the layerwise path and through Jacobians."""
    net, params, x, cases = weighted_cases()
    generic = lambda p, x: net.apply(p, x)
    v = jax.random.normal(jax.random.key(3), (6, 2))
    for weights, whole in cases:
        want = by_jacobian(net.apply, params, x, whole)
        for apply in (net.apply, generic):
            got = empirical_ntk(apply, params, x, weights=weights)
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-5)
        trace = empirical_ntk(net.apply, params, x, output="trace", weights=weights)
        np.testing.assert_allclose(trace, jnp.einsum("ijcc->ij", want) / 2, rtol=2e-4, atol=1e-5)
        product = ntk_vector_product(net.apply, params, x, None, v, weights=weights)
        np.testing.assert_allclose(
            product, jnp.einsum("ijcd,jd->ic", want, v), rtol=2e-4, atol=1e-5
        )


@pytest.mark.parametrize("output", ["full", "trace"])
def test_shares_of_layers_add_up(output):
    net, params, x, _ = weighted_cases()
    whole = empirical_ntk(net.apply, params, x, x[:4], output=output)
    shares = layer_ntks(net.apply, params, x, x[:4], output=output)
    assert jax.tree.structure(shares) == jax.tree.structure(params)
    np.testing.assert_allclose(sum(jax.tree.leaves(shares)), whole, rtol=1e-4, atol=1e-6)
    others = layer_ntks(lambda p, x: net.apply(p, x), params, x, x[:4], output=output, block_size=3)
    for share, other in zip(jax.tree.leaves(shares), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(share, other, rtol=1e-4, atol=1e-6)
    last_bias = shares[-1].b  # of a sum with a bias b: every output has slope b_std
    eye = 0.3**2 * np.eye(2) if output == "full" else 0.3**2
    np.testing.assert_allclose(last_bias, np.broadcast_to(eye, last_bias.shape), rtol=1e-5)


def test_vector_products_of_other_points():
    net, params, x, _ = weighted_cases()
    v = jax.random.normal(jax.random.key(3), (4, 2))
    kernel = empirical_ntk(net.apply, params, x, x[:4])
    product = ntk_vector_product(net.apply, params, x, x[:4], v)
    np.testing.assert_allclose(product, jnp.einsum("ijcd,jd->ic", kernel, v), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 4, 6, 100])
def test_blocks_of_rows_make_up_the_kernel(rows):
    net, params, x, _ = weighted_cases()
    whole = empirical_ntk(net.apply, params, x, output="trace")
    kernel = np.full((6, 6), np.nan, np.float32)
    for where, block in ntk_blocks(net.apply, params, x, rows=rows, output="trace"):
        assert isinstance(block, np.ndarray) and len(block) <= rows
        kernel[where] = block
    np.testing.assert_allclose(kernel, whole, rtol=1e-5)


def test_convolutional_networks_and_images():
    net = cnn((4, 4, 2), (3, 3), 2, "erf", b_std=0.1)
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 4, 4, 2))
    ones = jax.tree.map(jnp.ones_like, params)
    want = by_jacobian(net.apply, params, x, ones)
    for block_size in (None, 2):
        got = empirical_ntk(net.apply, params, x, block_size=block_size)
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)


def test_a_transposed_gram_matrix_is_caught(monkeypatch):
    """K(x1, x2) with different points is not symmetric, so a transposed factor must show."""
    net = mlp((3, 5, 1), "relu")
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, 3))
    want = empirical_ntk(lambda p, x: net.apply(p, x), params, x[:4], x[4:], output="trace")
    dot = kernels._dot
    monkeypatch.setattr(kernels, "_dot", lambda a, b: dot(a, b).T if a.shape[1] == 5 else dot(a, b))
    jax.clear_caches()
    got = empirical_ntk(net.apply, params, x[:4], x[4:], output="trace")
    jax.clear_caches()
    assert not np.allclose(got, want, rtol=1e-2)


NET = mlp((2, 3, 1), "relu")
PARAMS = NET.init(jax.random.key(0))
X = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    "error, words, apply, params, x1, x2, options",
    [
        (TypeError, "apply is int", 3, PARAMS, X, None, {}),
        (
            ValueError,
            r"return f\[:, None\]",
            lambda p, x: NET.apply(p, x)[:, 0],
            PARAMS,
            X,
            None,
            {},
        ),
        (ValueError, r"apply returned shape \(\)", lambda p, x: x.sum(), PARAMS, X, None, {}),
        (ValueError, "apply returned shape None", lambda p, x: (x, x), PARAMS, X, None, {}),
        (ValueError, "output is 'diag'", NET.apply, PARAMS, X, None, {"output": "diag"}),
        (
            ValueError,
            "block_size is 0",
            lambda p, x: x @ p,
            jnp.ones((2, 1)),
            X,
            None,
            {"block_size": 0},
        ),
        (
            ValueError,
            r"x has shape \(3, 1\); expected \(N, 2\)",
            NET.apply,
            PARAMS,
            X[:, :1],
            None,
            {},
        ),
        (ValueError, "params has 1 layers; expected 2", NET.apply, PARAMS[:1], X, None, {}),
        (ValueError, r"params\[0\].w has shape", NET.apply, PARAMS[::-1], X, None, {}),
        (ValueError, "x2 has D = 1", NET.apply, PARAMS, X, X[:, :1], {}),
        (TypeError, "x2 has dtype int", NET.apply, PARAMS, X, X.astype(int), {}),
        (
            TypeError,
            "has int32; expected floating",
            lambda p, x: x,
            {"step": jnp.zeros(1, int)},
            X,
            None,
            {},
        ),
        (TypeError, "params has type float; expected", lambda p, x: p * x, 2.0, X, None, {}),
        (ValueError, "x1 holds NaN", NET.apply, PARAMS, X * np.nan, None, {}),
        (ValueError, "which is empty", NET.apply, PARAMS, X[:0], None, {}),
    ],
)
def test_bad_input_is_refused(error, words, apply, params, x1, x2, options):
    with pytest.raises(error, match=words):
        empirical_ntk(apply, params, x1, x2, **options)


@pytest.mark.parametrize(
    "error, words, weights",
    [
        (ValueError, r"weights has the structure .*; expected that of params", (1.0, 1.0, 1.0)),
        (ValueError, r"weights\[0\].w has shape \(3,\); expected a number or", (np.ones(3), 1.0)),
        (TypeError, r"weights\[1\].w has dtype complex", (1.0, 1j)),
        (ValueError, r"weights\[1\].w holds NaN", (1.0, np.nan)),
    ],
)
def test_bad_weights_are_refused(error, words, weights):
    with pytest.raises(error, match=words):
        empirical_ntk(NET.apply, PARAMS, X, weights=weights)


def test_bad_vectors_and_blocks_are_refused():
    with pytest.raises(ValueError, match=r"v has shape \(2, 1\); expected \(N2, C\) = \(3, 1\)"):
        ntk_vector_product(NET.apply, PARAMS, X, None, np.ones((2, 1), np.float32))
    with pytest.raises(ValueError, match="rows is 0"):
        next(ntk_blocks(NET.apply, PARAMS, X, rows=0))
    with pytest.raises(ValueError, match="devices is empty"):
        next(ntk_blocks(NET.apply, PARAMS, X, rows=1, devices=[]))
    with pytest.raises(ValueError, match="x1 holds NaN"):
        layer_ntks(NET.apply, PARAMS, X * np.nan)
