import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook.measures import (
    alignment,
    best_collapse,
    collapse_spread,
    first_time,
    fit_exponent,
    half_loss_time,
    kernel_cosine,
    kernel_distance,
)

RNG = np.random.default_rng(0)
J = RNG.standard_normal((5, 6, 9))
KERNELS = np.float32(J @ J.swapaxes(1, 2))  # (times, P, P)
Y = np.float32(RNG.standard_normal((6, 2)))


def test_alignment_equals_its_definition():
    k, y = KERNELS.astype(float), Y.astype(float)
    size = np.linalg.norm(k, axis=(1, 2))
    one = np.einsum("p,tpq,q->t", y[:, 0], k, y[:, 0]) / (size * (y[:, 0] @ y[:, 0]))
    np.testing.assert_allclose(alignment(KERNELS, Y[:, 0]), one, rtol=1e-5)
    np.testing.assert_allclose(alignment(KERNELS, Y[:, :1]), one, rtol=1e-5)
    many = np.einsum("pc,tpq,qc->t", y, k, y) / (size * np.linalg.norm(y @ y.T))
    np.testing.assert_allclose(alignment(KERNELS, Y), many, rtol=1e-5)
    np.testing.assert_allclose(alignment(KERNELS[1], Y), many[1], rtol=1e-5)
    np.testing.assert_allclose(alignment(Y @ Y.T, Y), 1.0, rtol=1e-6)


def test_alignment_of_a_rank_one_spike_is_the_closed_form():
    """K = (L - 1) v v^T + I of rank r: A = L / sqrt(r - 1 + L^2), .3482 at L = 2, r = 30."""
    v = jnp.ones(30) / 30**0.5
    for length, want in ((2, 0.3482), (3, 0.4867), (4, 0.5963), (5, 0.6804)):
        kernel = (length - 1) * jnp.outer(v, v) + jnp.eye(30)
        np.testing.assert_allclose(alignment(kernel, v), want, atol=5e-5)


def test_cosine_and_distance_equal_their_definitions(x64):
    k, k0 = KERNELS.astype(float), KERNELS[0].astype(float)
    cosine = [(a * k0).sum() / np.linalg.norm(a) / np.linalg.norm(k0) for a in k]
    distance = [np.linalg.norm(a - k0) / np.linalg.norm(k0) for a in k]
    np.testing.assert_allclose(kernel_cosine(k, k0), cosine, rtol=1e-12)
    np.testing.assert_allclose(kernel_distance(k, k0), distance, rtol=1e-12, atol=1e-15)
    full = RNG.standard_normal((3, 4, 2, 2))
    np.testing.assert_allclose(kernel_cosine(-2 * full, full), -1.0, rtol=1e-12)
    np.testing.assert_allclose(
        kernel_distance(np.stack([full, 3 * full]), full), [0, 2], rtol=1e-12
    )


def test_the_cosine_of_weights_with_a_direction():
    """cos(W^T W, beta beta^T) is the alignment with beta, and 1 for a rank-one W."""
    w, beta = np.float32(RNG.standard_normal((8, 6))), Y[:, 0] / np.linalg.norm(Y[:, 0])
    gram = w.T @ w
    want = np.sum((w @ beta) ** 2) / np.linalg.norm(gram)
    np.testing.assert_allclose(kernel_cosine(gram, np.outer(beta, beta)), want, rtol=1e-5)
    np.testing.assert_allclose(alignment(gram, beta), want, rtol=1e-5)
    spike = np.outer(w[:, 0], beta)
    np.testing.assert_allclose(kernel_cosine(spike.T @ spike, np.outer(beta, beta)), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_kernels_of_any_size_in_float32(scale):
    small = np.float32(scale) * KERNELS
    np.testing.assert_allclose(alignment(small, Y), alignment(KERNELS, Y), rtol=1e-5)
    np.testing.assert_allclose(
        kernel_distance(small, small[0]), kernel_distance(KERNELS, KERNELS[0]), rtol=1e-5
    )


def test_measures_trace():
    many = jax.jit(jax.vmap(alignment, (0, None)))(KERNELS, Y)
    np.testing.assert_allclose(many, alignment(KERNELS, Y), rtol=1e-5)
    assert jnp.isfinite(jax.grad(lambda k: kernel_cosine(k, KERNELS[0]))(KERNELS[1])).all()
    t, losses = np.arange(4, dtype=np.float32), np.float32([[4, 3, 1, 0], [4, 4, 4, 4]])
    times = jax.jit(jax.vmap(half_loss_time, (None, 0)))(t, losses)
    np.testing.assert_allclose(times, [1.5, np.inf])


def test_first_time():
    t = jnp.array([0.0, 1.0, 3.0, 4.0])
    curve = jnp.array([4.0, 3.0, 1.0, 2.0])
    for level, want in ((5.0, 0.0), (4.0, 0.0), (3.5, 0.5), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0)):
        assert first_time(t, curve, level) == want
        assert first_time(t, -curve, -level, falling=False) == want
    assert first_time(t, curve, 0.5) == jnp.inf
    assert first_time(t, curve, 5.0, falling=False) == jnp.inf
    levels = jnp.array([3.0, 0.0])
    np.testing.assert_array_equal(first_time(t, jnp.stack([curve, curve]), levels), [1, np.inf])
    cube = jnp.broadcast_to(curve, (2, 3, 4))
    np.testing.assert_array_equal(first_time(t, cube, 2.0), jnp.full((2, 3), 2.0))


def test_half_loss_time_of_a_decay(x64):
    t = np.linspace(0, 3, 3001)
    rates = np.array([[0.5], [1.0], [2.0]])
    np.testing.assert_allclose(
        half_loss_time(t, 7 * np.exp(-rates * t)), np.log(2) / rates[:, 0], atol=1e-6
    )
    assert half_loss_time(t, np.ones_like(t)) == np.inf


WIDTHS = np.array([64.0, 128.0, 256.0, 512.0])


def test_fit_recovers_a_power_law():
    fit = fit_exponent(WIDTHS, np.stack([3 * WIDTHS**-0.5, 12 * WIDTHS**-0.5]))
    np.testing.assert_allclose(fit, (-0.5, -0.5, -0.5, 6.0), rtol=1e-9)
    noisy = 2 * WIDTHS**0.7 * np.exp(0.1 * RNG.standard_normal((7, 4)))
    fit = fit_exponent(WIDTHS, noisy)
    slope, constant = np.polyfit(np.log(WIDTHS), np.log(noisy).mean(0), 1)
    np.testing.assert_allclose((fit.slope, fit.prefactor), (slope, np.exp(constant)))
    assert fit.low < fit.slope < fit.high
    assert fit == fit_exponent(WIDTHS, noisy, seed=0) != fit_exponent(WIDTHS, noisy, seed=1)


@pytest.mark.parametrize("seeds, coverage", [(5, 0.84), (20, 0.93)])
def test_the_interval_holds_the_exponent_as_often_as_documented(seeds, coverage):
    rng, runs, hits = np.random.default_rng(1), 1000, 0
    for run in range(runs):
        y = WIDTHS**-0.5 * np.exp(0.2 * rng.standard_normal((seeds, 4)))
        fit = fit_exponent(WIDTHS, y, seed=run, resamples=400)
        hits += fit.low <= -0.5 <= fit.high
    assert abs(hits / runs - coverage) < 3 * (coverage * (1 - coverage) / runs) ** 0.5


X = np.logspace(-2, 2, 9)


def test_spread_of_curves_that_differ_by_a_factor():
    """Two curves a factor e^2 apart everywhere lie one unit of log from their mean."""
    curves = np.array([[1.0], [np.e**2]]) * X**-1.5
    assert collapse_spread(X, curves, np.ones(2)) == pytest.approx(1.0)
    # y = x^-1.5 at scale c is a factor c^1.5 higher at the same abscissa
    assert collapse_spread(X, curves, [1.0, np.e ** (-4 / 3)]) == pytest.approx(0.0, abs=1e-9)
    assert collapse_spread(X, curves[:1], [1.0]) == 0
    crossing = np.stack([X, X**1.5])  # the gap grows away from x = 1; half of it is the deviation
    want = 0.25 * np.log(10) * np.sqrt(np.mean(np.linspace(-2, 2, 50) ** 2))
    assert collapse_spread(X, crossing, np.ones(2)) == pytest.approx(want)


def lazy_curves(exponent, seeds, noise):
    noise = noise * RNG.standard_normal((seeds, len(WIDTHS), 1))
    return np.exp(noise) / (1 + WIDTHS[:, None] ** exponent * X) ** 1.2


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_best_collapse_finds_the_exponent(exponent):
    found = best_collapse(X, lazy_curves(exponent, 3, 0.0), WIDTHS)
    assert found.exponent == pytest.approx(exponent, abs=0.021)  # log-log interpolation
    assert found.spread < 0.02
    uncollapsed = collapse_spread(X, lazy_curves(exponent, 1, 0.0)[0], np.ones(4))
    assert found.spread < 0.1 * uncollapsed


def test_collapse_is_reported_with_its_own_spread_and_interval():
    y = lazy_curves(0.5, 6, 0.05)
    found = best_collapse(X, y, WIDTHS)
    mean = np.exp(np.log(y).mean(0))
    assert found.spread == pytest.approx(collapse_spread(X, mean, WIDTHS**found.exponent))
    assert found.low <= found.exponent <= found.high and 0 < found.high - found.low < 0.2


def test_exponents_that_leave_little_in_common_are_passed_over():
    """Bumps of unequal height agree best where only their flat ends overlap."""
    x, widths = np.logspace(-2, 2, 41) / 11, np.array([64.0, 512.0])
    bump = np.exp(-((2 * np.log(widths[:, None] ** 0.5 * x)) ** 2))
    y = 1 + np.array([[[2.0], [3.0]], [[2.1], [3.1]]]) * bump
    found = best_collapse(x, y, widths, exponents=np.arange(0, 44) / 10)
    assert collapse_spread(x, y[0], widths**4.0) < 0.5 * found.spread
    assert found.exponent == pytest.approx(0.5)


def test_the_interval_of_a_collapse_holds_the_exponent():
    exponents = np.arange(30, 71) / 100
    runs = [
        best_collapse(X, lazy_curves(0.5, 10, 0.1), WIDTHS, exponents=exponents, seed=i)
        for i in range(40)
    ]
    assert sum(r.low - 0.01 <= 0.5 <= r.high + 0.01 for r in runs) >= 32


K = np.eye(3, dtype=np.float32)
T = np.arange(3, dtype=np.float32)
ROWS = np.ones((2, 3))


@pytest.mark.parametrize(
    "error, words, call",
    [
        (ValueError, "kernel has shape", lambda: alignment(K, T[:2] + 1)),
        (ValueError, r"expected \(..., 3, 3\), as k0", lambda: kernel_distance(K[:2], K)),
        (ValueError, "k2 is zero", lambda: kernel_cosine(K, 0 * K)),
        (ValueError, "k0 is zero", lambda: kernel_distance(K, 0 * K)),
        (ValueError, "kernel is zero", lambda: alignment(np.stack([K, 0 * K]), T)),
        (ValueError, "y is zero", lambda: alignment(K, 0 * T)),
        (ValueError, "kernel holds NaN", lambda: alignment(K * np.nan, T)),
        (TypeError, "k1 has dtype int32", lambda: kernel_cosine(K.astype(np.int32), K)),
        (ValueError, "y has shape", lambda: alignment(K, np.ones((3, 1, 1), np.float32))),
        (ValueError, "curve has shape", lambda: first_time(T, T[:2], 0.5)),
        (ValueError, "curve has shape", lambda: first_time(T, np.float32(1), 0.5)),
        (ValueError, "t does not increase", lambda: first_time(T[::-1].copy(), T, 0.5)),
        (ValueError, "curve holds NaN", lambda: first_time(T, T * np.nan, 0.5)),
        (ValueError, "level holds NaN", lambda: first_time(T, T, np.nan)),
        (ValueError, "level has shape", lambda: first_time(T, T, T)),
        (ValueError, "loss holds NaN", lambda: half_loss_time(T, T * np.inf)),
        (ValueError, "curve has shape", lambda: half_loss_time(T, np.float32(1))),
        (ValueError, "y holds numbers that are not pos", lambda: fit_exponent(T + 1, 0 * ROWS)),
        (ValueError, "y holds numbers that are not pos", lambda: fit_exponent(T + 1, ROWS / 0)),
        (ValueError, "x holds numbers that are not pos", lambda: fit_exponent(T, ROWS)),
        (ValueError, "two or more seeds", lambda: fit_exponent(T + 1, ROWS[:1])),
        (ValueError, "two or more values of x", lambda: fit_exponent(T * 0 + 1, ROWS)),
        (ValueError, r"y has shape \(3,\)", lambda: fit_exponent(T + 1, ROWS[0])),
        (TypeError, "y is str", lambda: fit_exponent(T + 1, "y")),
        (ValueError, "resamples is 0", lambda: fit_exponent(T + 1, ROWS, resamples=0)),
        (ValueError, "share no range", lambda: collapse_spread(T + 1, ROWS, [1.0, 9.0])),
        (ValueError, "scale has shape", lambda: collapse_spread(T + 1, ROWS, [1.0])),
        (ValueError, "an increasing x", lambda: collapse_spread(3 - T, ROWS, [1.0, 1.0])),
        (ValueError, "different widths", lambda: best_collapse(T + 1, ROWS[None], [2.0, 2.0])),
        (
            ValueError,
            "at the end of the exponents, 0.3",
            lambda: best_collapse(X, lazy_curves(0.5, 2, 0), WIDTHS, exponents=[0.1, 0.2, 0.3]),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_bad_input_is_refused(error, words, call):
    with pytest.raises(error, match=words):
        call()
