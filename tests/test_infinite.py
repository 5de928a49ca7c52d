import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.special import erf
from scipy.stats import norm

from ntkbook import infinite, infinite_kernels

KEYS = re.compile(r"(relu|erf|gelu|sin|linear)_d(\d)_w([\d.]+)_b([\d.]+)_(11|12)_(nngp|ntk)")


def cases(golden):
    for key in golden.files:
        if match := KEYS.fullmatch(key):
            activation, depth, w, b, which, kind = match.groups()
            w_std = 2**0.5 if w == "1.414" else float(w)
            arguments = dict(depth=int(depth), activation=activation, w_std=w_std, b_std=float(b))
            yield key, arguments, golden["x2"] if which == "12" else None, kind


def test_kernels_equal_those_of_an_independent_library(golden, x64):
    seen = 0
    for key, arguments, x2, kind in cases(golden):
        got = np.array(getattr(infinite_kernels(golden["x1"], x2, **arguments), kind))
        want = golden[key]
        if x2 is None and arguments["activation"] == "relu" and kind == "ntk":
            np.fill_diagonal(got, 1.0)  # the library's own error; see the next test
            np.fill_diagonal(want, 1.0)
        np.testing.assert_allclose(got, want, rtol=1e-9, err_msg=key)
        seen += 1
    assert seen == 80


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


def test_erf_moments_equal_gaussian_integrals(x64):
    """Against two-dimensional quadrature, for variances that differ."""
    v1, v2, c = 1.3, 0.6, -0.4
    t = np.linspace(-9, 9, 1001)
    u = np.sqrt(v1) * t[:, None]
    v = c / np.sqrt(v1) * t[:, None] + np.sqrt(v2 - c**2 / v1) * t[None, :]
    weight = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / 2) * (t[1] - t[0]) ** 2 / (2 * np.pi)
    slope = lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))
    want = [(weight * f(u) * f(v)).sum() for f in (erf, slope)]
    got = infinite._erf_dual(jnp.array(v1), jnp.array(c), jnp.array(v2))
    np.testing.assert_allclose(got, want, rtol=1e-10)


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


def test_kernel_of_the_blog_is_a_rescaling(golden, x64):
    """Sigma^(0) = x.x' and c = 2 in every later layer: our kernel at x sqrt(D / c), w_std^2 = c."""
    x, c = golden["x1"], 2.0
    sigma = x @ x.T
    theta, norm = sigma, np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    for _ in range(2):
        angle = np.arccos(np.clip(sigma / norm, -1, 1))
        np.fill_diagonal(angle, 0.0)
        sigma = c * norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        theta = sigma + c * (np.pi - angle) / (2 * np.pi) * theta
    ours = infinite_kernels(x * np.sqrt(7 / c), depth=2, activation="relu", w_std=np.sqrt(c))
    np.testing.assert_allclose(ours.ntk, theta, rtol=1e-12)


def test_depth_zero_is_a_linear_model():
    x = jnp.eye(3)
    kernels = infinite_kernels(x, depth=0, activation="relu", w_std=2.0, b_std=1.0)
    np.testing.assert_allclose(kernels.ntk, 4 * jnp.eye(3) / 3 + 1, rtol=1e-6)
    np.testing.assert_array_equal(kernels.ntk, kernels.nngp)


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "sin", "linear"])
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


def test_zero_input_and_gradients_are_finite():
    x = jnp.concatenate([jnp.zeros((1, 3)), jnp.ones((2, 3))])
    for activation in ("relu", "erf"):
        total = lambda x, a=activation: infinite_kernels(x, depth=2, activation=a).ntk.sum()
        assert jnp.isfinite(total(x))
        assert jnp.isfinite(jax.grad(total)(x[1:] + jnp.eye(2, 3))).all()


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


def test_traces_under_jit_and_vmap(x64):
    x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    kernel = lambda x: infinite_kernels(x, depth=2, activation="erf").ntk
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
        (ValueError, "w_std is 0", X, None, {"w_std": 0}),
        (ValueError, "b_std is -1", X, None, {"b_std": -1}),
        (ValueError, "w_std is nan", X, None, {"w_std": float("nan")}),
        (TypeError, "w_std is 'a'", X, None, {"w_std": "a"}),
    ],
)
def test_bad_input_is_refused(error, words, x1, x2, changes):
    with pytest.raises(error, match=words):
        infinite_kernels(x1, x2, **{"depth": 1, "activation": "relu", **changes})
