import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ntkbook import (
    TrainingError,
    choose_method,
    deep_linear,
    dynamics,
    empirical_ntk,
    mlp,
    solvers,
    train,
)

NET = mlp((3, 16, 1), "erf")
X = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32)
Y = np.array([1, -1, 1, -1], np.float32)
PARAMS = NET.init(jax.random.key(0))
AT = (0.0, 1.0, 3.0, 10.0)


def small(x64=True):
    """A network, data and a start in float64."""
    return NET.apply, NET.init(jax.random.key(0)), jnp.asarray(X, float), jnp.asarray(Y, float)


def loss_of(apply, params, x, y, alpha=1.0, f_start=0.0):
    u = alpha * (apply(params, x)[:, 0] - f_start)
    return ((u - y) ** 2 / 2).mean() / alpha**2


def fine_euler(gradient, params, t, steps=20_000):
    """An independent reference: many small steps of the midpoint rule."""
    flat, unravel = ravel_pytree(params)
    h = t / steps
    g = lambda w: ravel_pytree(gradient(unravel(w)))[0]
    step = lambda _, w: w - h * g(w - h / 2 * g(w))
    return unravel(jax.lax.fori_loop(0, steps, step, flat))


# Coefficients: conditions that any Runge-Kutta method of order 5 satisfies, and its interpolant's.


def test_runge_kutta_conditions_up_to_order_five():
    a, b, c = solvers.STAGES, solvers.STAGES[6], solvers.STAGES.sum(1)
    for power in range(5):
        assert math.isclose(b @ c**power, 1 / (power + 1), rel_tol=1e-12)
    trees = [  # rooted trees of order 3 to 5 that powers of c do not cover
        (1 / 6, b @ a @ c),
        (1 / 8, (b * c) @ a @ c),
        (1 / 12, b @ a @ c**2),
        (1 / 24, b @ a @ a @ c),
        (1 / 10, (b * c**2) @ a @ c),
        (1 / 20, b @ (a @ c) ** 2),
        (1 / 15, (b * c) @ a @ c**2),
        (1 / 30, (b * c) @ a @ a @ c),
        (1 / 20, b @ a @ c**3),
        (1 / 40, b @ a @ (c * (a @ c))),
        (1 / 60, b @ a @ a @ c**2),
        (1 / 120, b @ a @ a @ a @ c),
    ]
    for want, got in trees:
        assert math.isclose(got, want, rel_tol=1e-10), want
    embedded = b - solvers.ERROR
    for power in range(4):
        assert math.isclose(embedded @ c**power, 1 / (power + 1), rel_tol=1e-9)
    assert abs(embedded @ c**4 - 1 / 5) > 1e-5  # of order 4 only: else the error would be zero
    for theta in (0.2, 0.5, 0.9, 1.0):
        weights = solvers.DENSE @ theta ** np.arange(1, 5)
        for power in range(4):
            assert math.isclose(
                weights @ c**power, theta ** (power + 1) / (power + 1), rel_tol=1e-9
            )
        assert math.isclose(weights @ a @ c, theta**3 / 6, rel_tol=1e-9)


# Against independent solutions.


def test_gradient_flow_against_many_small_steps(x64):
    apply, params, x, y = small()
    run = train(apply, params, x, y, t_max=10.0, at=AT, method="tsit5", record=("params",))
    reference = fine_euler(lambda p: jax.grad(loss_of, 1)(apply, p, x, y), params, 3.0)
    for got, want in zip(
        jax.tree.leaves(jax.tree.map(lambda p: p[2], run["params"])),
        jax.tree.leaves(reference),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run.t, (*AT, 10.0))
    np.testing.assert_allclose(run.loss[0], loss_of(apply, params, x, y), rtol=1e-12)
    np.testing.assert_allclose(run.loss[-1], loss_of(apply, run.params, x, y), rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_methods_agree(x64, loss):
    """The same flow by five methods; each to its own accuracy, less where the hinge has corners."""
    apply, params, x, y = small()
    setting = dict(t_max=10.0, at=AT, alpha=3.0, center=True, loss=loss, record=("outputs",))
    fine = train(apply, params, x, y, method="tsit5", rtol=1e-9, **setting)
    for method, options, tolerance in (
        ("tsit5", {}, 1e-4 if loss == "squared" else 1e-3),
        ("tsit5", {"rtol": 1e-7}, 1e-5),
        ("exponential", {"rtol": 1e-4}, 3e-3),
        ("geiger", {}, 3e-2),
        ("gd", {"learning_rate": 0.01}, 1e-2),
        ("momentum", {"tau": 0.01}, 2e-2),
    ):
        run = train(apply, params, x, y, method=method, **options, **setting)
        error = np.abs(run["outputs"] - fine["outputs"]).max()
        assert error < tolerance, (method, error)
    assert fine.loss[-1] < 0.3 * fine.loss[0]


def test_a_linear_model_decays_mode_by_mode(x64):
    """f = x w has a constant kernel x x^T: the residual is exp(-K t / P) of the first one."""
    x = jax.random.normal(jax.random.key(0), (5, 3))
    y = jax.random.normal(jax.random.key(1), (5, 2))
    apply, w = lambda w, x: x @ w, jnp.zeros((3, 2))
    values, vectors = np.linalg.eigh(x @ x.T)
    want = [y - vectors @ (np.exp(-values * t / 5)[:, None] * (vectors.T @ y)) for t in AT]
    for method, tolerance in (("tsit5", 1e-5), ("exponential", 1e-12)):
        run = train(apply, w, x, y, t_max=10.0, at=AT, method=method, record=("outputs",))
        np.testing.assert_allclose(run["outputs"][:-1], want, atol=tolerance)
    assert int(run.gradient_calls) <= 4  # the kernel never changes, so steps may be long


def test_gradient_descent_is_exact(x64):
    """(1 - eta lambda)^k, not exp(-eta lambda k)."""
    apply, w, x, y = (lambda w, x: w * x), jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones(1)
    run = train(apply, w, x, y, t_max=5.0, at=(0.5, 2.5), method="gd", learning_rate=0.5,
                record=("outputs",))  # fmt: skip
    np.testing.assert_allclose(run["outputs"].ravel(), 1 - 0.5 ** np.array([1, 5, 10]), rtol=1e-12)
    assert int(run.gradient_calls) == 11
    assert int(train(apply, w, x, y, t_max=1.0, method="gd").gradient_calls) == 2  # 1 / lambda_max


def test_momentum_is_a_damped_oscillator(x64):
    """tau w'' + w' + (w - 1) = 0 from rest."""
    apply, w, x, y = (lambda w, x: w * x), jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones(1)
    at = np.linspace(0, 20, 9)
    run = train(apply, w, x, y, t_max=20.0, at=at, method="momentum", tau=5.0, rtol=1e-8,
                record=("outputs",))  # fmt: skip
    rate, omega = 1 / 10, math.sqrt(1 / 5 - 1 / 100)
    decay = np.exp(-rate * at) * (np.cos(omega * at) + rate / omega * np.sin(omega * at))
    np.testing.assert_allclose(run["outputs"][:-1].ravel(), 1 - decay, atol=1e-6)


def test_adam_step_by_step(x64):
    """Three steps by the formulas of the paper, and the preconditioner that they use."""
    apply, params, x, y = small()
    gradient = lambda p: jax.grad(loss_of, 1)(apply, p, x, y)
    m = v = jax.tree.map(jnp.zeros_like, params)
    by_hand, eta = params, 0.01
    for k in (1, 2, 3):
        g = gradient(by_hand)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
        root = jax.tree.map(lambda v, k=k: jnp.sqrt(v / (1 - 0.999**k)) + 1e-8, v)
        by_hand = jax.tree.map(
            lambda p, m, r, k=k: p - eta * m / (1 - 0.9**k) / r, by_hand, m, root
        )
    run = train(
        apply, params, x, y, method="adam", learning_rate=eta, t_max=0.03,
        record={"driving": lambda point: point.preconditioner},
    )  # fmt: skip
    pairs = (
        (run.params, by_hand),
        (
            jax.tree.map(lambda a: a[-1], run["driving"]),
            jax.tree.map(lambda r: 1 / r, root),
        ),
    )
    for got, want in pairs:
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_rates_weight_the_kernel_that_drives(x64):
    """d f / dt = -K (f - y) / P with the weighted kernel; by finite differences in time."""
    apply, params, x, y = small()
    rates = (5.0, 0.2)
    run = train(apply, params, x, y, t_max=2e-4, at=(1e-4,), method="tsit5", rates=rates,
                record=("outputs",))  # fmt: skip
    velocity = (run["outputs"][-1] - apply(params, x)) / 2e-4
    kernel = empirical_ntk(apply, params, x, output="trace", weights=rates)
    want = -kernel @ (apply(params, x) - y[:, None]) / 4
    np.testing.assert_allclose(velocity, want, rtol=1e-3)
    assert not np.allclose(velocity, -empirical_ntk(apply, params, x, output="trace")
                           @ (apply(params, x) - y[:, None]) / 4, rtol=0.1)  # fmt: skip


def test_balance_is_conserved_by_the_flow(x64):
    """W_1 W_1^T - W_2^T W_2 of a deep linear network stays (science: to 1e-8 and better)."""
    net = deep_linear((4, 6, 5, 1), sigma=0.5)
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (8, 4))
    run = train(net.apply, params, x, x[:, 0] - x[:, 1], t_max=50.0, method="tsit5", rtol=1e-9)
    balance = lambda p: p[0].w.T @ p[0].w - p[1].w @ p[1].w.T
    assert jnp.abs(balance(run.params) - balance(params)).max() < 1e-8
    assert run.loss[-1] < 1e-3 * run.loss[0]


# Centre, alpha, stopping.


def test_alpha_and_centre(x64):
    """At large alpha the loss curve does not depend on alpha, and the kernel does not move."""
    apply, params, x, y = small()
    setting = dict(
        t_max=30.0, at=np.linspace(0, 30, 5), center=True, method="tsit5", record=("kernel",)
    )
    lazy, lazier = (train(apply, params, x, y, alpha=a, **setting) for a in (100.0, 1000.0))
    np.testing.assert_allclose(lazy.loss[0] * 100**2, 0.5, rtol=1e-12)  # f - f_0 = 0 at the start
    np.testing.assert_allclose(lazy.loss * 100**2, lazier.loss * 1000**2, atol=1e-3)
    moved = [jnp.linalg.norm(r["kernel"][-1] - r["kernel"][0]) for r in (lazy, lazier)]
    assert 8 < moved[0] / moved[1] < 12


@pytest.mark.parametrize("method", ["tsit5", "exponential", "geiger"])
def test_the_stopping_rule_is_met_within_the_step(x64, method):
    apply, params, x, y = small()
    run = train(apply, params, x, y, stop=0.01, at=(0.0, 1.0), method=method)
    np.testing.assert_allclose(run.loss[-1] / run.loss[0], 0.01, rtol=1e-2)
    np.testing.assert_allclose(loss_of(apply, run.params, x, y), run.loss[-1], rtol=1e-9)
    later = train(apply, params, x, y, stop=0.01, at=(1e4,), t_max=1e6, method=method)
    np.testing.assert_allclose(later.t, run.t[-1], rtol=1e-9)  # rows after it repeat it


def test_a_run_goes_on_where_it_stopped(x64):
    """Bit for bit what one run gives, wherever the cut is."""
    apply, params, x, y = small()
    for options in (
        dict(method="tsit5"),
        dict(method="adam", learning_rate=0.1, batch_size=2, key=jax.random.key(3)),
    ):
        whole = train(apply, params, x, y, t_max=9.0, at=(2.0,), **options)
        half = train(apply, params, x, y, t_max=2.0, **options)
        rest = train(apply, params, x, y, t_max=9.0, at=(2.0,), state=half.state, **options)
        np.testing.assert_array_equal(whole.loss, rest.loss)
        np.testing.assert_array_equal(whole.params[0].w, rest.params[0].w)


def test_records_by_name():
    run = train(
        NET.apply, PARAMS, X, Y, t_max=1.0, at=(0.0, 0.5), method="tsit5",
        record={"k": "kernel", "align": "alignment", "norms": "norms",
                "twice": lambda point: 2 * point.loss},
    )  # fmt: skip
    kernel = empirical_ntk(NET.apply, PARAMS, X, output="trace")
    np.testing.assert_allclose(run["k"][0], kernel, rtol=1e-6)
    np.testing.assert_allclose(
        run["align"][0], Y @ kernel @ Y / (jnp.linalg.norm(kernel) * 4), rtol=1e-5
    )
    np.testing.assert_allclose(run["norms"][0].w[0], jnp.linalg.norm(PARAMS[0].w), rtol=1e-6)
    np.testing.assert_allclose(run["twice"], 2 * run.loss, rtol=1e-6)
    assert run.t.shape == (3,) and run["k"].shape == (3, 4, 4)


# Transformations.


def test_vmap_over_seeds_alpha_and_scale():
    def one(key, alpha, sigma):
        params = jax.tree.map(lambda p: sigma * p, NET.init(key))
        return train(NET.apply, params, X, Y, t_max=5.0, at=(0.0, 1.0), alpha=alpha, center=True,
                     method="tsit5", record=("kernel",))  # fmt: skip

    keys = jax.random.split(jax.random.key(0), 3)
    alphas, sigmas = jnp.array([0.5, 1.0, 10.0]), jnp.array([1.0, 0.5, 2.0])
    many = jax.jit(jax.vmap(one))(keys, alphas, sigmas).check()
    assert many["kernel"].shape == (3, 3, 4, 4) and many.finished.all()
    for i in range(3):
        alone = one(keys[i], alphas[i], sigmas[i])
        np.testing.assert_allclose(many.loss[i], alone.loss, rtol=1e-3, atol=1e-7)


def test_forward_derivatives_pass_through_a_run():
    """With respect to alpha, against a finite difference."""
    final = lambda s: train(NET.apply, PARAMS, X, Y, t_max=1.0, alpha=s, method="gd",
                            learning_rate=0.1).loss[-1]  # fmt: skip
    slope = jax.jvp(final, (1.0,), (1.0,))[1]
    np.testing.assert_allclose(slope, (final(1.01) - final(0.99)) / 0.02, rtol=1e-2)


# Choice of method.


def test_the_method_follows_the_stiffness():
    wide = mlp((3, 512, 1), "erf")
    params = wide.init(jax.random.key(0))
    x = np.array([[1, 0, 0], [1, 0.05, 0], [0, 1, 0]], np.float32)
    y = np.array([1, -1, 1], np.float32)
    assert choose_method(wide.apply, params, x, y, t_max=10.0) == "tsit5"
    assert choose_method(wide.apply, params, x, y, t_max=1e5, alpha=100.0) == "exponential"
    assert choose_method(wide.apply, params, x, y, t_max=1e5, alpha=0.01) == "geiger"
    run = train(wide.apply, params, x, y, t_max=1e5, stop=1e-2, alpha=100.0, center=True)
    assert run.method == "exponential" and run.gradient_calls < 30
    assert run.loss[-1] <= 1.01e-2 * run.loss[0]


def test_a_large_training_set_is_not_diagonalised(monkeypatch):
    monkeypatch.setattr(dynamics, "DENSE", 3)
    assert choose_method(NET.apply, PARAMS, X, Y, t_max=1.0) == "tsit5"
    assert choose_method(NET.apply, PARAMS, X, Y, t_max=1e6) == "geiger"


# What goes wrong.


@pytest.mark.parametrize(
    "words, options",
    [
        ("the loss is not finite: the step is too long", dict(method="gd", learning_rate=1e3)),
        (r"t = .* after 5 steps .* max_steps were taken", dict(method="tsit5", max_steps=5)),
        ("the loss is not finite", dict(method="tsit5", alpha=1e38)),
    ],
)
def test_a_run_that_cannot_finish_says_how_far_it_came(words, options):
    with pytest.raises(TrainingError, match=words) as error:
        train(NET.apply, PARAMS, X, Y, t_max=1e4, at=(0.0, 1e3), **options)
    run = error.value.run
    assert run.loss.shape == (3,) and not run.finished


def test_one_of_a_batch_that_cannot_finish():
    run = jax.vmap(
        lambda eta: train(NET.apply, PARAMS, X, Y, t_max=1e4, method="gd", learning_rate=eta)
    )(jnp.array([0.1, 1e3, 0.2]))
    np.testing.assert_array_equal(run.finished, [True, False, True])
    with pytest.raises(TrainingError, match="1 of 3 runs did not finish; one stopped at t"):
        run.check()


def test_a_run_out_of_steps_can_go_on(x64):
    apply, params, x, y = small()
    setting = dict(t_max=20.0, method="tsit5")
    with pytest.raises(TrainingError) as error:
        train(apply, params, x, y, max_steps=4, **setting)
    rest = train(apply, params, x, y, state=error.value.run.state, **setting)
    np.testing.assert_array_equal(rest.loss[-1], train(apply, params, x, y, **setting).loss[-1])


@pytest.mark.parametrize(
    "error, words, options",
    [
        (ValueError, "method is 'sgd'", dict(method="sgd")),
        (ValueError, "loss is 'mse'", dict(loss="mse")),
        (ValueError, "t_max is missing", dict(t_max=math.inf)),
        (ValueError, "t_max is -1", dict(t_max=-1.0)),
        (ValueError, "t_max is nan", dict(t_max=math.nan)),
        (ValueError, "stop is 2.0; expected a fraction", dict(stop=2.0)),
        (ValueError, "alpha is 0", dict(alpha=0.0)),
        (ValueError, "expected finite times from 0 on", dict(at=(1.0, 0.5))),
        (ValueError, "expected no time after t_max = 1", dict(at=(2.0,))),
        (ValueError, "learning_rate is missing; method 'adam' needs it", dict(method="adam")),
        (ValueError, "tau is missing", dict(method="momentum")),
        (ValueError, "learning_rate is 0.1; method 'tsit5' has no", dict(learning_rate=0.1)),
        (ValueError, "rtol is -1", dict(rtol=-1.0)),
        (ValueError, "record 'kernal' is 'kernal'; expected one of", dict(record=("kernal",))),
        (ValueError, "rates has the structure", dict(rates=(1.0, 1.0, 1.0))),
        (
            ValueError,
            "batch_size is 9; expected at most P = 4",
            dict(method="gd", batch_size=9, key=jax.random.key(0)),
        ),
        (ValueError, "key is None", dict(method="gd", batch_size=2)),
        (ValueError, "max_steps is 0", dict(max_steps=0)),
        (ValueError, r"y has shape \(3, 1\); expected \(P, C\) = \(4, 1\)", dict(y=Y[:3])),
        (ValueError, "y holds values other than", dict(y=2 * Y, loss="hinge")),
        (ValueError, "y holds NaN", dict(y=Y * np.nan)),
        (TypeError, "y has dtype int", dict(y=Y.astype(int))),
        (TypeError, "x has dtype float16", dict(x=X.astype(np.float16))),
        (ValueError, "which is empty", dict(x=X[:0])),
    ],
)
def test_bad_input_is_refused(error, words, options):
    setting = {"x": X, "y": Y, "t_max": 1.0, "method": "tsit5"} | options
    x, y = setting.pop("x"), setting.pop("y")
    with pytest.raises(error, match=words):
        train(NET.apply, PARAMS, x, y, **setting)


def test_times_and_functions_that_jit_cannot_hold_are_refused():
    class Unhashable:
        __hash__ = None

        def __call__(self, params, x):
            return NET.apply(params, x)

    with pytest.raises(TypeError, match="which has no hash; expected a plain function"):
        train(Unhashable(), PARAMS, X, Y, t_max=1.0, method="tsit5")
    with pytest.raises(TypeError, match="at is traced; expected times that are known"):
        jax.jit(lambda at: train(NET.apply, PARAMS, X, Y, t_max=2.0, method="tsit5", at=at).loss)(
            jnp.array([0.0, 1.0])
        )


def test_auto_needs_numbers():
    with pytest.raises(ValueError, match=r"method is 'auto'.*choose_method\(\) says which"):
        jax.vmap(lambda a: train(NET.apply, PARAMS, X, Y, t_max=1.0, alpha=a))(jnp.ones(2))


def test_progress_is_shown_and_wiped(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr(dynamics.time, "monotonic", lambda: next(clock))
    train(NET.apply, PARAMS, X, Y, t_max=40.0, method="gd", learning_rate=0.1, progress=True)
    shown = capsys.readouterr().err
    assert "of 40, loss" in shown and shown.endswith("\r")
    train(NET.apply, PARAMS, X, Y, t_max=40.0, method="gd", learning_rate=0.1)
    assert capsys.readouterr().err == ""  # no terminal, no bar


# Corners: nothing to learn, nothing that moves, too little room.

LINE = lambda w, x: x @ w
ONE = jnp.ones((1, 1))
FLOWS = ["tsit5", "exponential", "geiger", "momentum", "gd"]


def options_of(method):
    return {"momentum": {"tau": 1.0}, "gd": {"learning_rate": 0.1}}.get(method, {})


@pytest.mark.parametrize("method", FLOWS)
def test_a_start_without_loss_stays(method):
    options = dict(at=(0.0, 1.0), method=method, **options_of(method))
    run = train(LINE, ONE, ONE, ONE, t_max=5.0, **options)
    np.testing.assert_allclose(run.t, (0, 1, 5), rtol=1e-5)
    np.testing.assert_array_equal(run.loss, 0)
    run = train(LINE, ONE, ONE, ONE, t_max=5.0, stop=0.1, **options)
    np.testing.assert_array_equal(run.t, 0)  # the rule is met at once
    np.testing.assert_array_equal(run.params, 1)


@pytest.mark.parametrize("method", FLOWS)
def test_a_start_without_gradient_stays_or_says_so(method):
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    run = train(NET.apply, zeros, X, Y, t_max=5.0, method=method, **options_of(method))
    np.testing.assert_allclose(run.t[-1], 5, rtol=1e-5)
    np.testing.assert_allclose(run.loss, 0.5)
    if method != "gd":  # whose clock never ends: max_steps does
        with pytest.raises(TrainingError, match="the gradient has vanished"):
            train(NET.apply, zeros, X, Y, stop=0.1, method=method, **options_of(method))


def test_no_learning_rate_fits_a_kernel_of_zeros():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    with pytest.raises(ValueError, match="learning_rate is missing, and the kernel"):
        train(NET.apply, zeros, X, Y, t_max=5.0, method="gd")


def test_a_step_that_overflows_is_not_taken():
    """Heavy momentum from zero in float32: .350 and .961 are the oscillator's values."""
    run = train(LINE, 0 * ONE, 0.01 * ONE, jnp.ones(1), t_max=3e4, at=(5e3,), method="momentum",
                tau=1e3, record=("outputs",))  # fmt: skip
    np.testing.assert_allclose(run["outputs"].ravel(), (0.350, 0.961), atol=2e-3)


@pytest.mark.parametrize("method", ["tsit5", "gd"])
def test_a_stopped_run_goes_on_to_another_rule(x64, method):
    apply, params, x, y = small()
    options = dict(method=method, **options_of(method))
    first = train(apply, params, x, y, stop=0.5, **options)
    second = train(apply, params, x, y, stop=0.1, state=first.state, **options)
    whole = train(apply, params, x, y, stop=0.1, **options)
    np.testing.assert_array_equal(second.loss[-1], whole.loss[-1])
    last = train(apply, params, x, y, t_max=40.0, state=first.state, **options)
    np.testing.assert_allclose(last.t[-1], 40)
    with pytest.raises(ValueError, match=r"t_max is 0\.1; the state is at t = "):
        train(apply, params, x, y, t_max=0.1, state=last.state, **options)


def test_a_step_whose_error_is_not_a_number_is_tried_again_shorter():
    """On a GPU the hinge of an output that is not a number may be 0, and the loss looks finite."""
    nan = jnp.float32(jnp.nan)

    def attempt(s):
        return solvers.Step(s.t1 * nan <= 1, s.t1 + s.step_size, s.y1 * nan, s.loss, nan, (), 1)

    solver = solvers.Solver(lambda y: (jnp.float32(1), jnp.float32(8), (), 1), attempt, None)
    state = solvers.begin(solver, jnp.ones(2), jnp.zeros(1))
    limits = solvers.Limits(jnp.float32(0), jnp.float32(10), jnp.int32(100))
    after = solvers.step(solver, limits, state)
    assert after.status == solvers.RUNNING and np.isclose(after.step_size, 0.8)
    assert after.t1 == 0 and after.y1.tolist() == [1, 1]


def test_steps_are_counted_exactly():
    for k in (5, 9, 10, 33):
        run = train(LINE, 0 * ONE, ONE, ONE, t_max=k / 100, method="gd", learning_rate=0.01)
        assert int(run.state.steps) == k
    run = train(LINE, 0 * ONE, ONE, ONE, t_max=1.0, method="gd", learning_rate=0.25, max_steps=4)
    assert run.finished
    rest = train(LINE, 0 * ONE, ONE, ONE, t_max=2.0, method="gd", learning_rate=0.25,
                 state=run.state, max_steps=2**31 - 1)  # fmt: skip
    assert int(rest.state.steps) == 8


@pytest.mark.parametrize(
    "error, words, options",
    [
        (TypeError, "record holds <function", dict(record=[lambda point: point.t])),
        (TypeError, "record is <function", dict(record=lambda point: point.t)),
        (ValueError, "float32 cannot hold it", dict(t_max=1e40)),
    ],
)
def test_more_bad_input_is_refused(error, words, options):
    with pytest.raises(error, match=words):
        train(NET.apply, PARAMS, X, Y, **({"t_max": 1.0, "method": "tsit5"} | options))


def test_small_start_rate_is_the_smaller_of_two(x64):
    x = jax.random.normal(jax.random.key(0), (12, 5))
    y = x @ jnp.arange(5.0)
    drive = np.linalg.norm(np.asarray(x.T @ y / 12))
    spread = np.sqrt(np.linalg.eigvalsh(np.asarray(x.T @ x / 12)).max())
    assert drive > spread
    np.testing.assert_allclose(dynamics.small_start_rate(x, y), 0.1 / drive, rtol=1e-12)
    np.testing.assert_allclose(dynamics.small_start_rate(x, 1e-3 * y), 0.1 / spread, rtol=1e-12)
    images = x[:, :4].reshape(12, 2, 2)
    assert dynamics.small_start_rate(images, y[:, None]) == dynamics.small_start_rate(x[:, :4], y)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (jnp.zeros((3, 2)), jnp.ones(3), "x is zero"),
        (jnp.ones((3, 2)), jnp.ones(4), "x has 3 rows and y 4"),
        (jnp.ones((3, 2)), jnp.full(3, jnp.nan), "y holds NaN"),
    ],
)
def test_small_start_rate_refuses(x, y, words):
    with pytest.raises(ValueError, match=words):
        dynamics.small_start_rate(x, y)


def in_parts(
    file, calls=None, start=PARAMS, method="gd", batch=False, at=AT, fail=None, parts=4, stop=0.05,
    rate=0.1, y=Y, net=NET, record=("kernel",), t_max=30.0, seed=None,
):  # fmt: skip
    """A run in parts; which of them were trained; one of them may fail."""
    settings = {"tsit5": {}, "gd": {"learning_rate": rate}, "adam": {"learning_rate": 0.01}}[method]
    if batch:
        start = jax.vmap(lambda scale: jax.tree.map(lambda w: scale * w, start))(jnp.arange(1.0, 4))

    def part(at, t_max, state):
        first = start if seed is None else net.init(jax.random.key(seed))
        if calls is not None and not isinstance(jnp.zeros(()), jax.core.Tracer):
            calls.append(float(at[-1]))
            if calls[-1] == fail:
                raise KeyboardInterrupt
        run = lambda params, state: train(
            net.apply, params, X, y, method=method, at=at, t_max=t_max, state=state, stop=stop,
            record=record, **settings,
        )  # fmt: skip
        return (jax.vmap(run) if batch else run)(first, state)

    return dynamics.train_in_parts(part, at, file, t_max=t_max, parts=parts)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.mark.parametrize("method", ["gd", "adam", "tsit5"])
@pytest.mark.parametrize("batch", [False, True])
def test_parts_make_the_whole_run(tmp_path, method, batch):
    whole = in_parts(None, method=method, batch=batch)
    same(in_parts(tmp_path / "run.npz", method=method, batch=batch), whole)
    assert whole.t.shape == ((3, 5) if batch else (5,))


@pytest.mark.parametrize("at", [(), (0.0,), (0.0, 0.0, 1.0, 1.0), (2.0, 3.0)])
def test_parts_end_where_training_can(tmp_path, at):
    for parts in (1, 2, 10):
        same(in_parts(tmp_path / f"{parts}.npz", at=at, parts=parts), in_parts(None, at=at))


def test_a_run_in_parts_that_is_cut_goes_on_to_the_same_result(tmp_path):
    file, calls = tmp_path / "new/run.npz", []
    with pytest.raises(KeyboardInterrupt):
        in_parts(file, calls, batch=True, fail=3.0)
    assert calls == [1.0, 3.0]
    same(in_parts(file, calls, batch=True, parts=2), in_parts(None, batch=True))
    assert calls == [1.0, 3.0, 10.0]  # cuts need not be the same
    same(in_parts(file, calls, batch=True), in_parts(None, batch=True))
    assert len(calls) == 3  # a finished run is read
    file.write_bytes(file.read_bytes()[:1000])  # cut short, as no write of ours would leave it
    same(in_parts(file, calls, batch=True), in_parts(None, batch=True))
    assert calls[3:] == [1.0, 3.0, 10.0]


@pytest.mark.parametrize(
    "other",
    [
        {"start": jax.tree.map(lambda w: 1.001 * w, PARAMS)},
        {"at": (0.0, 1.0, 3.0, 9.0)},
        {"method": "adam"},
        {"batch": True},
        {"rate": 0.11},
        {"stop": 0.04},
        {"y": -Y},
        {"net": mlp((3, 16, 1), "relu")},
        {"record": {"kernel": lambda now: 0 * now.loss}},
        {"seed": 0},
    ],
)
def test_parts_of_another_run_are_refused(tmp_path, other):
    in_parts(tmp_path / "run.npz")
    with pytest.raises(ValueError, match=r"run\.npz holds another run.*name another file"):
        in_parts(tmp_path / "run.npz", **other)


def test_parts_tell_seeds_apart_that_are_drawn_within(tmp_path):
    in_parts(tmp_path / "run.npz", seed=1)
    with pytest.raises(ValueError, match="holds another run"):
        in_parts(tmp_path / "run.npz", seed=2)


def test_parts_leave_other_files_alone(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("1,2")
    for place in (file, tmp_path):
        with pytest.raises(ValueError, match="not of train_in_parts"):
            in_parts(place)
    with pytest.raises(OSError, match="table"):
        in_parts(file / "run.npz")
    assert file.read_text() == "1,2"
    in_parts(tmp_path / "run.npz")
    content = bytearray((tmp_path / "run.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "run.npz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        in_parts(tmp_path / "run.npz")


def test_a_part_that_fails_leaves_what_was_reached(tmp_path):
    for file in (None, tmp_path / "run.npz"):
        with pytest.raises(TrainingError, match="not finite") as failed:
            in_parts(
                file, net=mlp((3, 16, 1), "linear"), rate=40.0, at=range(0, 900, 100), t_max=900.0
            )
        assert len(failed.value.run.t) > 2


def test_a_full_disk_costs_no_more_than_one_part(tmp_path, monkeypatch):
    file, calls, save = tmp_path / "run.npz", [], dynamics.sweep.save

    def full(*args, **options):
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save(*args, **options)

    monkeypatch.setattr(dynamics.sweep, "save", full)
    with pytest.raises(OSError, match="No space"):
        in_parts(file, calls)
    monkeypatch.undo()
    same(in_parts(file, calls), in_parts(None))
    assert calls == [1.0, 3.0, 3.0, 10.0]
