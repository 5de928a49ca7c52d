import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import InfiniteKernels, empirical_ntk, infinite_kernels, mlp
from ntkbook.regression import (
    ensemble,
    kernel_flow,
    kernel_regression,
    linearize,
    ntk_regression,
)

RNG = np.random.default_rng(0)
X, XT = RNG.standard_normal((6, 3)), RNG.standard_normal((4, 3))
Y, F, FT = (RNG.standard_normal((n, 2)) for n in (6, 6, 4))


W, MIX = RNG.standard_normal((3, 20)), RNG.standard_normal((2, 40, 30))


def problem(kind):
    """Train and test kernel of a random feature model, and the same flattened by hand."""
    features = lambda x: np.concatenate([np.sin(x @ W), np.cos(x @ W)], 1)
    if kind == "shared":
        k, kt = (features(x) @ features(X).T for x in (X, XT))
        return k, kt, k, kt
    jacobian = lambda x: np.einsum("nq,cqp->ncp", features(x), MIX)
    full = lambda x: np.einsum("icp,jbp->ijcb", jacobian(x), jacobian(X))
    flat = lambda k: np.block([[k[i, j] for j in range(k.shape[1])] for i in range(len(k))])
    k, kt = full(X), full(XT)
    return k, kt, flat(k), flat(kt)


@pytest.mark.parametrize("ridge", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["shared", "full"])
def test_regression_equals_the_linear_system(x64, kind, ridge):
    k, kt, flat, flat_t = problem(kind)
    shape = (-1, 2) if kind == "shared" else (-1,)
    solve = lambda r: np.linalg.solve(flat + ridge * np.eye(len(flat)), r.reshape(shape))
    want = (flat_t @ solve(Y)).reshape(4, 2)
    np.testing.assert_allclose(kernel_regression(k, Y, kt, ridge=ridge), want, rtol=1e-8)
    moved = FT + (flat_t @ solve(Y - F)).reshape(4, 2)
    got = kernel_regression(k, Y, kt, ridge=ridge, f_train=F, f_test=FT)
    np.testing.assert_allclose(got, moved, rtol=1e-8)
    if kind == "shared":
        one = kernel_regression(k, Y[:, 0], kt, ridge=ridge)
        np.testing.assert_allclose(one, want[:, 0], rtol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["shared", "full"])
def test_flow_equals_small_steps_and_ends_in_regression(x64, kind, ridge):
    """df/dt = -(1/P) K (f - y), integrated by Runge-Kutta; the ridge acts on the dual variables."""
    k, kt, flat, flat_t = problem(kind)
    shape = (6, 2) if kind == "shared" else (12,)
    dual, h, slope = (
        np.zeros(shape),
        0.002,
        lambda a: ((Y - F).reshape(shape) - (flat @ a + ridge * a)) / 6,
    )
    for _ in range(500):
        s1 = slope(dual)
        s2 = slope(dual + h / 2 * s1)
        s3 = slope(dual + h / 2 * s2)
        dual = dual + h / 6 * (s1 + 2 * s2 + 2 * s3 + slope(dual + h * s3))
    flow = kernel_flow(k, Y, F, np.array([0.0, 1.0, np.inf]), kt, FT, ridge=ridge)
    assert flow.train.shape == (3, 6, 2) and flow.test.shape == (3, 4, 2)
    np.testing.assert_allclose(flow.train[0], F, rtol=1e-12)
    np.testing.assert_allclose(flow.test[0], FT, rtol=1e-12)
    np.testing.assert_allclose(flow.train[1], F + (flat @ dual).reshape(6, 2), rtol=1e-6)
    np.testing.assert_allclose(flow.test[1], FT + (flat_t @ dual).reshape(4, 2), rtol=1e-6)
    end = kernel_regression(k, Y, kt, ridge=ridge, f_train=F, f_test=FT)
    np.testing.assert_allclose(flow.test[2], end, rtol=1e-8)
    one = kernel_flow(k, Y, F, 1.0, kt, ridge=ridge)
    np.testing.assert_allclose(one.train, flow.train[1], rtol=1e-12)
    np.testing.assert_allclose(one.test, flow.test[1] - FT, rtol=1e-9)
    assert kernel_flow(k, Y, F, 1.0).test is None


def test_a_singular_kernel_flows_but_does_not_end(x64):
    x = np.concatenate([X, X[:2]])
    k, y = x @ x.T, np.ones(8)
    flow = kernel_flow(k, y, 0 * y, np.array([0.0, 1e6]), k[:1])
    best = x @ np.linalg.lstsq(x, y)[0]
    np.testing.assert_allclose(flow.train[1], best, atol=1e-9)
    np.testing.assert_allclose(flow.test[1], best[:1], atol=1e-9)
    for call in (
        lambda: kernel_flow(k, y, 0 * y, np.inf),
        lambda: kernel_regression(k, y, k[:1]),
    ):
        with pytest.raises(ValueError, match=r"singular in float64.*equal.*pass a ridge"):
            call()
    np.testing.assert_allclose(kernel_regression(k, y, k, ridge=1e-7), best, atol=1e-6)


def test_the_suggested_ridge_is_accepted():
    k = np.ones((3, 3), np.float32) + np.diag(np.float32([0, 0, 1]))
    with pytest.raises(ValueError, match=r"singular in float32.*float64") as error:
        kernel_regression(k, np.ones(3, np.float32), k)
    ridge = float(str(error.value).split("ridge=")[1].split(",")[0])
    got = kernel_regression(k, np.ones(3, np.float32), k, ridge=ridge)
    np.testing.assert_allclose(got, np.ones(3), atol=1e-2)


@pytest.mark.parametrize("t, name", [(0.5, "0.5"), (10.0, "10.0"), (np.inf, "None")])
def test_ensemble_equals_an_independent_library(golden, x64, t, name):
    x1, x2, y = golden["x1"], golden["x2"], golden["y"]
    kernel = lambda *x: infinite_kernels(*x, depth=1, activation="relu", w_std=2**0.5, b_std=0.1)
    kernels = kernel(x1), kernel(x2, x1), kernel(x2)
    last_layer = [InfiniteKernels(k.nngp, k.nngp) for k in kernels]
    for kind, ks in (("ntk", kernels), ("nngp", last_layer)):
        mean, covariance = ensemble(*ks, y, t)
        # The library's NTK of a point with itself is off by 2e-8.
        np.testing.assert_allclose(mean, golden[f"pred_{kind}_t{name}_mean"], rtol=1e-7)
        np.testing.assert_allclose(covariance, golden[f"pred_{kind}_t{name}_cov"], rtol=1e-7)
    mean, covariance = ensemble(*kernels, y, 0.0)
    np.testing.assert_allclose(mean, 0 * mean)
    np.testing.assert_allclose(covariance, kernels[2].nngp, rtol=1e-12)
    # on the training points: zero covariance in the end, one kernel for two outputs
    two = np.concatenate([y, -y], 1)
    at_end = ensemble(kernels[0], kernels[0], kernels[0], two)
    np.testing.assert_allclose(at_end.mean, two, atol=1e-9)
    np.testing.assert_allclose(at_end.covariance, 0 * x1 @ x1.T, atol=1e-9)


def test_ensemble_equals_many_flows_from_gaussian_outputs():
    kernel = lambda *x: infinite_kernels(*x, depth=1, activation="erf", w_std=1.5, b_std=0.3)
    x, xt, y = (np.float32(a) for a in (X, XT, Y[:, 0]))
    both = np.concatenate([x, xt])
    draw = np.random.default_rng(1).multivariate_normal
    f = np.float32(draw(np.zeros(10), np.float64(kernel(both).nngp), 4000, tol=1e-5))
    k, kt = kernel(x).ntk, kernel(xt, x).ntk
    flow = jax.jit(jax.vmap(lambda f: kernel_flow(k, y, f[:6], 3.0, kt, f[6:]).test))
    outputs = flow(f)
    mean, covariance = ensemble(kernel(x), kernel(xt, x), kernel(xt), y, 3.0)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(abs(outputs.mean(0) - mean), 4 * sd / 4000**0.5)
    np.testing.assert_array_less(
        abs(np.cov(outputs.T) - covariance), 4 * np.outer(sd, sd) * (2 / 4000) ** 0.5
    )


def test_the_linearised_network_follows_its_kernel(x64):
    """Gradient descent on it, halving the step: the distance to the flow halves."""
    net = mlp((3, 5, 2), "erf", w_std=1.4, b_std=0.2)
    params = net.init(jax.random.key(0))
    linear = linearize(net.apply, params)
    np.testing.assert_allclose(linear(params, X), net.apply(params, X), rtol=1e-12)
    k, kt = empirical_ntk(net.apply, params, X), empirical_ntk(net.apply, params, XT, X)
    far = jax.tree.map(lambda p: p + 1.0, params)
    np.testing.assert_allclose(empirical_ntk(linear, far, X), k, rtol=1e-9)

    loss = lambda p: ((linear(p, X) - Y) ** 2).sum() / (2 * len(X))
    flow = kernel_flow(k, Y, net.apply(params, X), 2.0, kt, net.apply(params, XT))

    @jax.jit
    def errors(step):
        descend = lambda _, p: jax.tree.map(lambda a, g: a - step * g, p, jax.grad(loss)(p))
        trained = jax.lax.fori_loop(0, jnp.int32(2 / step + 0.5), descend, params)
        return jnp.stack(
            [abs(linear(trained, x) - f).max() for x, f in zip((X, XT), flow, strict=True)]
        )

    coarse, fine = errors(0.02), errors(0.01)
    assert (fine < 5e-3).all()
    np.testing.assert_allclose(coarse / fine, 2.0, rtol=0.05)


def test_targets_may_be_what_a_network_has_learned(x64):
    """The linearised network, trained to the end on the full kernel, is regression on its own f."""
    k, kt, *_ = problem("full")
    learned = kernel_flow(k, Y, F, np.inf, kt, FT)
    np.testing.assert_allclose(
        kernel_regression(k, learned.train, kt, f_train=F, f_test=FT), learned.test, rtol=1e-8
    )


@pytest.mark.parametrize("output", ["trace", "full"])
def test_regression_with_a_networks_kernel(x64, output):
    """Between kernel and solve nothing is lost: weights, output and the order of the points."""
    net = mlp((5, 32, 2), "erf")
    params = net.init(jax.random.key(0))
    x, x_test = (jax.random.normal(jax.random.key(i), (n, 5)) for i, n in ((1, 6), (2, 3)))
    y, weights = jnp.sin(x[:, :2]), (2.0, 0.5)
    kernel = lambda a, b: empirical_ntk(net.apply, params, a, b, output=output, weights=weights)
    wanted = kernel_regression(kernel(x, x), y, kernel(x_test, x), ridge=0.1)
    found = ntk_regression(
        net.apply, params, x, y, x_test, output=output, weights=weights, ridge=0.1
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    plain = ntk_regression(net.apply, params, x, y, x_test, output=output, ridge=0.1)
    assert abs(plain - wanted).max() > 1e-3  # the weights matter


def test_traces_under_jit_vmap_and_grad(x64):
    k, kt, *_ = problem("shared")
    predict = lambda k, y: kernel_regression(k, y, kt, ridge=0.1)
    many = jax.jit(jax.vmap(predict, (None, 1)))(k, Y)
    np.testing.assert_allclose(many[1], predict(k, Y[:, 1]), rtol=1e-10)
    assert jnp.isfinite(jax.grad(lambda k: predict(k, Y[:, 0]).sum())(jnp.asarray(k))).all()
    flow = jax.jit(lambda t: kernel_flow(k, Y, F, t, kt))(jnp.ones(2))
    np.testing.assert_allclose(flow.test[1], kernel_flow(k, Y, F, 1.0, kt).test, rtol=1e-10)
    one = InfiniteKernels(k, k), InfiniteKernels(kt, kt), InfiniteKernels(kt @ kt.T, kt @ kt.T)
    means = jax.vmap(lambda t: ensemble(*one, Y, t).mean)(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(means[0], ensemble(*one, Y, 1.0).mean, rtol=1e-10)


K = np.eye(3, dtype=np.float32)
ONES = np.ones(3, np.float32)
KERNELS = InfiniteKernels(K, K)


@pytest.mark.parametrize(
    "error, words, call",
    [
        (
            ValueError,
            "k_train is not symmetric",
            lambda: kernel_regression(K + np.tri(3, dtype="f"), ONES, K),
        ),
        (ValueError, r"k_train has shape \(2, 3\)", lambda: kernel_regression(K[:2], ONES, K)),
        (ValueError, r"k_train has shape \(3,\)", lambda: kernel_regression(ONES, ONES, K)),
        (
            ValueError,
            r"k_train has shape \(3, 3\); expected \(2, 2\)",
            lambda: kernel_regression(K, ONES[:2], K),
        ),
        (
            ValueError,
            r"k_test has shape \(3, 2\); expected \(T, 3\)",
            lambda: kernel_regression(K, ONES, K[:, :2]),
        ),
        (
            ValueError,
            r"y has shape \(3,\)",
            lambda: kernel_regression(K[:, :, None, None], ONES, K),
        ),
        (
            ValueError,
            "k_test has shape",
            lambda: kernel_regression(K[:, :, None, None], ONES[:, None], K),
        ),
        (ValueError, "k_train holds NaN", lambda: kernel_regression(K * np.nan, ONES, K)),
        (TypeError, "k_train has dtype int32", lambda: kernel_regression(K.astype("i"), ONES, K)),
        (ValueError, "ridge is -1", lambda: kernel_regression(K, ONES, K, ridge=-1)),
        (
            ValueError,
            "f_train and f_test are the outputs before training; expected both",
            lambda: kernel_regression(K, ONES, K, f_test=ONES),
        ),
        (
            ValueError,
            "f_train has shape",
            lambda: kernel_regression(K, ONES, K, f_train=K, f_test=ONES),
        ),
        (
            ValueError,
            "f_test is float32",
            lambda: kernel_regression(K, ONES, K, f_train=ONES, f_test=ONES[:2]),
        ),
        (
            ValueError,
            "eigenvalues from -1 to 1",
            lambda: kernel_flow(K - 2 * np.diag(K[0]), ONES, ONES, 1.0),
        ),
        (ValueError, "t is -1", lambda: kernel_flow(K, ONES, ONES, -1.0)),
        (ValueError, "t is nan", lambda: kernel_flow(K, ONES, ONES, np.nan)),
        (TypeError, "t is 'a'", lambda: kernel_flow(K, ONES, ONES, "a")),
        (ValueError, "f_train is float32", lambda: kernel_flow(K, ONES, ONES[:2], 1.0)),
        (
            ValueError,
            r"t has shape \(2,\)",
            lambda: ensemble(KERNELS, KERNELS, KERNELS, ONES, [1, 2]),
        ),
        (
            ValueError,
            "kernels_test.nngp is",
            lambda: ensemble(KERNELS, InfiniteKernels(K[:1], K[:1]), KERNELS, ONES),
        ),
        (TypeError, "apply is int", lambda: linearize(3, ())),
    ],
)
def test_bad_input_is_refused(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_two_dtypes_are_refused(x64):
    with pytest.raises(TypeError, match="k_train has dtype float32 and y has float64"):
        kernel_regression(K, np.ones(3), K)
    with pytest.raises(TypeError, match="k_test has dtype float64 and y has float32"):
        kernel_regression(K, ONES, np.eye(3))


def test_modes_that_the_kernel_does_not_reach_stay_still():
    """More points than features, float32: rounding must not grow with time into noise."""
    z, y = (
        jax.random.normal(jax.random.key(0), (30, 4)),
        jax.random.normal(jax.random.key(1), (30,)),
    )
    t = jnp.array([1e4, 1e6, 1e8, 1e10])
    flow = kernel_flow(z @ z.T, y, 0 * y, t, z[:3] @ z.T)
    limit = z @ jnp.linalg.lstsq(z, y)[0]
    np.testing.assert_allclose(flow.train, jnp.tile(limit, (4, 1)), atol=1e-4)
    np.testing.assert_allclose(flow.test, jnp.tile(limit[:3], (4, 1)), atol=1e-4)
