import re
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, trapezoid
from scipy.special import erf, expit
from scipy.stats import norm

from ntkbook import infinite, infinite_kernels

gelu = partial(jax.nn.gelu, approximate=False)
steep_softplus = lambda z: jax.nn.softplus(5 * z) / 5
leaky_relu = lambda z: jnp.where(z > 0, z, 0.1 * z)

KEYS = re.compile(r"(relu|erf|gelu|sin|linear)_d(\d)_w([\d.]+)_b([\d.]+)_(11|12)_(nngp|ntk)")


def cases(golden):
    for key in golden.files:
        if match := KEYS.fullmatch(key):
            activation, depth, w, b, which, kind = match.groups()
            w_std = 2**0.5 if w == "1.414" else float(w)
            arguments = dict(depth=int(depth), activation=activation, w_std=w_std, b_std=float(b))
            yield key, arguments, golden["x2"] if which == "12" else None, kind


def compare_with_golden(golden, only="", **changes):
    seen = 0
    for key, arguments, x2, kind in cases(golden):
        if not key.startswith(only):
            continue
        got = np.array(getattr(infinite_kernels(golden["x1"], x2, **arguments | changes), kind))
        want = golden[key]
        if x2 is None and key.startswith("relu") and kind == "ntk":
            np.fill_diagonal(got, 1.0)  # the library's own error; see the test of the diagonal
            np.fill_diagonal(want, 1.0)
        np.testing.assert_allclose(got, want, rtol=1e-9, err_msg=key)
        seen += 1
    return seen


def test_kernels_equal_those_of_an_independent_library(golden, x64):
    assert compare_with_golden(golden) == 80


@pytest.mark.parametrize(
    "name, activation", [("erf_d3", jax.scipy.special.erf), ("gelu_d1", gelu), ("sin_d1", jnp.sin)]
)
def test_kernels_by_quadrature_equal_those_of_an_independent_library(golden, x64, name, activation):
    assert compare_with_golden(golden, name, activation=activation) == 8


def test_quadrature_equals_the_closed_form_in_a_deep_network(golden, x64):
    arguments = dict(depth=5, w_std=2**0.5, b_std=0.2)
    got = infinite_kernels(golden["x1"], activation=jax.scipy.special.erf, **arguments)
    want = infinite_kernels(golden["x1"], activation="erf", **arguments)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda second, derivative: (second, derivative / 2),  # no w_std^2 in the NTK's recursion
        lambda second, derivative: (second / 2, derivative),  # no w_std^2 in the NNGP's
        lambda second, derivative: (second * (1 + 1e-6), derivative),
        lambda second, derivative: (second, derivative * (1 + 1e-6)),
        lambda second, derivative: (second, second),
    ],
)
def test_wrong_recursions_are_caught(golden, x64, monkeypatch, mutant):
    wrong = lambda v1, c, v2: mutant(*infinite._erf_dual(v1, c, v2))
    monkeypatch.setitem(infinite._DUALS, "wrong", wrong)
    jax.clear_caches()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare_with_golden(golden, "erf_d1_w1.414", activation="wrong")
    jax.clear_caches()


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_relu_diagonal_equals_the_exact_recursion(golden, x64, depth):
    w_var, b_var = 1.7**2, 0.3**2
    kernels = infinite_kernels(golden["x1"], depth=depth, activation="relu", w_std=1.7, b_std=0.3)
    nngp = w_var * (golden["x1"] ** 2).sum(1) / 7 + b_var
    ntk = nngp
    for _ in range(depth):
        nngp = w_var * nngp / 2 + b_var
        ntk = nngp + w_var / 2 * ntk
    np.testing.assert_allclose(np.diag(kernels.nngp), nngp, rtol=1e-12)
    np.testing.assert_allclose(np.diag(kernels.ntk), ntk, rtol=1e-12)


def moments_by_plane_quadrature(phi, slope, v1, c, v2):
    t = np.linspace(-9, 9, 1801)
    u = np.sqrt(v1) * t[:, None]
    v = c / np.sqrt(v1) * t[:, None] + np.sqrt(max(v2 - c**2 / v1, 0)) * t[None, :]
    weight = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / 2) * (t[1] - t[0]) ** 2 / (2 * np.pi)
    return [(weight * f(u) * f(v)).sum() for f in (phi, slope)]


def test_erf_moments_equal_gaussian_integrals(x64):
    """Against two-dimensional quadrature, for variances that differ."""
    v1, v2, c = 1.3, 0.6, -0.4
    slope = lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))
    want = moments_by_plane_quadrature(erf, slope, v1, c, v2)
    got = infinite._erf_dual(jnp.array(v1), jnp.array(c), jnp.array(v2))
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize(
    "v1, cosine, v2", [(1.0, 1.0, 1.0), (1.3, -0.4, 0.6), (2.0, 0.9999, 0.3), (2.0, 1.0, 2.0)]
)
def test_steep_softplus_equals_gaussian_integrals(x64, v1, cosine, v2):
    c = cosine * np.sqrt(v1 * v2)
    softplus = lambda z: np.logaddexp(0, 5 * z) / 5
    want = moments_by_plane_quadrature(softplus, lambda z: expit(5 * z), v1, c, v2)
    v1, c, v2 = (jnp.full((1, 1), a) for a in (v1, c, v2))
    got = infinite._hermite_dual(steep_softplus, v1, c, v2)
    np.testing.assert_allclose(np.ravel(got), want, rtol=1e-8)
    assert infinite._missing_share(steep_softplus, v1) < 1e-8


def test_one_moment_equals_an_adaptive_integral(x64):
    v1, c, v2 = 1.0, 0.6, 1.3
    gap = v1 * v2 - c**2
    softplus = lambda z: np.logaddexp(0, 5 * z) / 5
    density = lambda u, v: np.exp(-(v2 * u * u - 2 * c * u * v + v1 * v * v) / (2 * gap))
    integrand = lambda v, u: softplus(u) * softplus(v) * density(u, v) / (2 * np.pi * gap**0.5)
    want = dblquad(integrand, -7, 7, -8, 8, epsabs=1e-9, epsrel=1e-9)[0]
    arguments = (jnp.full((1, 1), a) for a in (v1, c, v2))
    got = infinite._hermite_dual(steep_softplus, *arguments)[0][0, 0]
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_a_kink_is_told_and_its_error_is_the_documented_one(x64, monkeypatch):
    """leaky(z) = .1 z + .9 relu(z), and E[u relu(v)] = c / 2, so its moments are known."""

    def exact(v1, c, v2):
        second, derivative = infinite._relu_dual(v1, c, v2)
        return 0.1 * c + 0.81 * second, 0.1 + 0.81 * derivative

    monkeypatch.setitem(infinite._DUALS, "leaky", exact)
    x = np.random.default_rng(0).standard_normal((60, 3))
    x = np.concatenate([x, x, -x])
    want = infinite_kernels(x, depth=3, activation="leaky", w_std=1.4)
    with pytest.warns(UserWarning, match=r"misses 0.01 of .* relu, erf, gelu, sin, linear") as told:
        got = infinite_kernels(x, depth=3, activation=leaky_relu, w_std=1.4)
    assert told[0].filename == __file__
    size = np.linalg.norm(x, axis=1)
    apart = abs(x @ x.T) < 0.99 * np.outer(size, size)
    for far, near, g, w in zip((2e-4, 1e-3), (2e-4, 0.014), got, want, strict=True):
        error = abs(g - w) / np.sqrt(np.outer(np.diag(w), np.diag(w)))
        assert error[apart].max() < far and error.max() < near


@pytest.mark.parametrize(
    "activation",
    [jnp.abs, jnp.sign, jax.nn.relu, lambda z: jnp.tanh(20 * z), lambda z: jnp.sin(70 * z)],
)
def test_what_the_quadrature_cannot_resolve_is_told(activation):
    with pytest.warns(UserWarning, match=r"the quadrature misses"):
        infinite_kernels(X + jnp.eye(3, 2), depth=1, activation=activation)


@pytest.mark.parametrize(
    "dtype, activation",
    [("float32", jnp.tanh), ("float32", lambda z: z**3), ("float64", jnp.ones_like)],
)
def test_smooth_activations_pass_without_a_warning(x64, dtype, activation):
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    kernels = infinite_kernels(x, depth=1, activation=activation, b_std=0.1)
    assert kernels.ntk.dtype == dtype and np.isfinite(kernels.ntk).all()


def test_relu_moments_equal_gaussian_integrals(x64):
    """The mean over v given u is known; the integral over u > 0 has no kink."""
    v1, v2, c = 1.3, 0.6, -0.4
    u = np.linspace(0, 15, 200_001)
    mean, sd = c * u / v1, np.sqrt(v2 - c**2 / v1)
    density = norm.pdf(u, scale=np.sqrt(v1))
    given_u = mean * norm.cdf(mean / sd) + sd * norm.pdf(mean / sd)
    want = [trapezoid(density * f, u) for f in (u * given_u, norm.cdf(mean / sd))]
    got = infinite._relu_dual(jnp.array(v1), jnp.array(c), jnp.array(v2))
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_kernel_without_1_over_d_is_a_rescaling(golden, x64):
    """Sigma^(0) = x.x' and c in every later layer, as a sum over layers of products."""
    x, c, depth = golden["x1"], 2.0, 3
    sigmas, slopes = [x @ x.T], []
    for _ in range(depth):
        size = np.sqrt(np.diag(sigmas[-1]))
        angle = np.arccos(np.clip(sigmas[-1] / np.outer(size, size), -1, 1))
        np.fill_diagonal(angle, 0.0)
        kappa = np.sin(angle) + (np.pi - angle) * np.cos(angle)
        sigmas.append(c * np.outer(size, size) * kappa / (2 * np.pi))
        slopes.append(c * (np.pi - angle) / (2 * np.pi))
    theta = sum(s * np.prod(slopes[h:], axis=0) for h, s in enumerate(sigmas))
    arguments = dict(depth=depth, activation="relu", w_std=c**0.5)
    ours = infinite_kernels(x * (7 / c) ** 0.5, **arguments)
    np.testing.assert_allclose(ours.ntk, theta, rtol=1e-12)
    np.testing.assert_allclose(ours.nngp, sigmas[-1], rtol=1e-12)
    assert not np.allclose(infinite_kernels(x, **arguments).ntk, theta, rtol=1e-2)


def test_depth_zero_is_a_linear_model():
    x = jnp.eye(3)
    kernels = infinite_kernels(x, depth=0, activation="relu", w_std=2.0, b_std=1.0)
    np.testing.assert_allclose(kernels.ntk, 4 * jnp.eye(3) / 3 + 1, rtol=1e-6)
    np.testing.assert_array_equal(kernels.ntk, kernels.nngp)


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "sin", "linear", jnp.tanh])
def test_duplicated_and_opposite_points(activation):
    x = jax.random.normal(jax.random.key(0), (4, 9))
    x = jnp.concatenate([x, x, -x])
    kernels = infinite_kernels(x, depth=4, activation=activation, w_std=1.4)
    for k in kernels:
        assert jnp.isfinite(k).all()
        np.testing.assert_allclose(k[:4, :4], k[:4, 4:8], rtol=1e-5)
        np.testing.assert_allclose(jnp.diag(k)[:4], jnp.diag(k[:4, 4:8]), rtol=1e-5)
    eigenvalues = jnp.linalg.eigvalsh(kernels.ntk)
    assert eigenvalues[0] > -len(x) * jnp.finfo("float32").eps * eigenvalues[-1]


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_zero_input_and_gradients_are_finite(activation):
    x = jnp.concatenate([jnp.zeros((1, 3)), jnp.ones((2, 3)), jnp.eye(2, 3)])
    total = lambda x: infinite_kernels(x, depth=2, activation=activation).ntk.sum()
    value, slope = jax.value_and_grad(total)(x)  # equal points and a zero
    assert jnp.isfinite(value) and jnp.isfinite(slope).all() and slope[1:].any()


def test_gradients_equal_those_of_the_closed_form(x64):
    """At a zero row, at equal points and at others; and through one variance alone."""
    x = jnp.concatenate([jnp.zeros((1, 3)), jnp.ones((2, 3)), jnp.eye(2, 3)])
    weight = jax.random.normal(jax.random.key(0), (5, 5))
    total = lambda x, a: (weight * infinite_kernels(x, x + 1, depth=1, activation=a).ntk).sum()
    got, want = (jax.grad(total)(x, a) for a in (jnp.sin, "sin"))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.sampled_from(["relu", "erf"]))
def test_shapes_symmetry_and_cross_blocks(n1, n2, d, activation):
    x = jax.random.normal(jax.random.key(n1 + 10 * n2), (n1 + n2, d))
    arguments = dict(depth=2, activation=activation, w_std=1.4, b_std=0.1)
    whole = infinite_kernels(x, **arguments)
    block = infinite_kernels(x[:n1], x[n1:], **arguments)
    assert block.ntk.shape == block.nngp.shape == (n1, n2)
    for k, b in zip(whole, block, strict=True):
        np.testing.assert_allclose(k, k.T, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(k[:n1, n1:], b, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ["erf", jax.scipy.special.erf])
def test_traces_under_jit_and_vmap(x64, activation):
    x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    kernel = lambda x: infinite_kernels(x, depth=2, activation=activation).ntk
    np.testing.assert_allclose(
        jax.jit(jax.vmap(kernel))(x), jnp.stack([kernel(a) for a in x]), rtol=1e-12
    )


X = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    "error, words, x1, x2, changes",
    [
        (ValueError, r"x1 has shape \(3,\)", X[:, 0], None, {}),
        (ValueError, r"x1 has shape \(0, 2\), which is empty", X[:0], None, {}),
        (ValueError, "x2 has D = 1", X, X[:, :1], {}),
        (ValueError, "x1 holds NaN", X * np.nan, None, {}),
        (TypeError, "x1 has dtype int", X.astype(int), None, {}),
        (TypeError, "x1 has dtype float16", X.astype(np.float16), None, {}),
        (TypeError, "x1 is str", "x", None, {}),
        (ValueError, "depth is -1", X, None, {"depth": -1}),
        (TypeError, "depth is 1.0", X, None, {"depth": 1.0}),
        (
            ValueError,
            "activation is 'selu'; expected one of 'relu'",
            X,
            None,
            {"activation": "selu"},
        ),
        (TypeError, r"activation maps float32\[3, 2\] to", X, None, {"activation": jnp.sum}),
        (TypeError, "keeps shape and dtype", X, None, {"activation": lambda z: z > 0}),
        (TypeError, "keeps shape and dtype", X, None, {"activation": lambda z: (z, z)}),
        (ValueError, "is NaN or infinite", X, None, {"activation": jnp.log}),
        (ValueError, "w_std is 0", X, None, {"w_std": 0}),
        (ValueError, "b_std is -1", X, None, {"b_std": -1}),
        (ValueError, "w_std is nan", X, None, {"w_std": float("nan")}),
        (TypeError, "w_std is 'a'", X, None, {"w_std": "a"}),
    ],
)
def test_bad_input_is_refused(error, words, x1, x2, changes):
    with pytest.raises(error, match=words):
        infinite_kernels(x1, x2, **{"depth": 1, "activation": "relu", **changes})


def test_nothing_is_told_where_values_are_unknown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda x: infinite_kernels(x, depth=1, activation=jnp.abs))(X)
