"""Each formula against the gradient flow that it is about, integrated here in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm

from ntkbook import theory

RNG = np.random.default_rng


def products(weights):
    """W_l ... W_1 and W_L ... W_(l+1), for l = 0 to L."""
    below, above = [np.eye(weights[0].shape[1])], [np.eye(len(weights[-1]))]
    for w in weights:
        below.append(w @ below[-1])
    for w in reversed(weights):
        above.append(above[-1] @ w)
    return below, above[::-1]


def train(weights, teacher, times, *, covariance=None, rates=None):
    """Weights of a linear network along gradient flow on (1/2) |(B - W_L ... W_1) Sigma^1/2|^2."""
    covariance = np.eye(teacher.shape[1]) if covariance is None else covariance
    rates = rates or [1.0] * len(weights)
    cuts = np.cumsum([w.size for w in weights])[:-1]

    def layers(flat):
        return [v.reshape(w.shape) for v, w in zip(np.split(flat, cuts), weights, strict=True)]

    def velocity(_, flat):
        below, above = products(layers(flat))
        pull = (teacher - below[-1]) @ covariance
        return np.concatenate(
            [(r * above[k + 1].T @ pull @ below[k].T).ravel() for k, r in enumerate(rates)]
        )

    start = np.concatenate([w.ravel() for w in weights])
    span = (0, times[-1])
    path = solve_ivp(velocity, span, start, "DOP853", t_eval=times, rtol=1e-9, atol=1e-13)
    assert path.success
    return [layers(flat) for flat in path.y.T]


def draw(rng, widths, sigma):
    return [sigma / np.sqrt(d) * rng.normal(size=(n, d)) for d, n in itertools.pairwise(widths)]


def unit(rng, d):
    v = rng.normal(size=d)
    return v / np.linalg.norm(v)


def ntk(weights, x, rates=None):
    """The (rate-weighted) tangent kernel of a linear network, (N, N, C, C), layer by layer."""
    below, above = products(weights)
    return sum(
        r * np.einsum("ij,ce->ijce", x @ b.T @ b @ x.T, a @ a.T)
        for r, b, a in zip(rates or [1.0] * len(weights), below, above[1:], strict=False)
    )


def error(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


# Part I and Appendix A


def test_modes_decay_as_the_dynamics_they_solve(x64):
    rng = RNG(0)
    kernel = rng.normal(size=(5, 5))
    kernel = kernel @ kernel.T
    eigenvalues, vectors = np.linalg.eigh(kernel / 5)
    start, lr = rng.normal(size=5), 0.1
    descent = start
    for _ in range(7):
        descent = descent - lr * kernel @ descent / 5
    decay = theory.gd_mode_decay(jnp.array([7]), eigenvalues, lr)
    np.testing.assert_allclose(decay * (vectors.T @ start), vectors.T @ descent, rtol=1e-9)
    decay = theory.flow_mode_decay(0.7, eigenvalues)
    want = vectors.T @ expm(-0.7 * kernel / 5) @ start
    np.testing.assert_allclose(decay * (vectors.T @ start), want, rtol=1e-9)


def test_kernel_path_flow_is_exact_for_a_kernel_that_only_grows(x64):
    """Even a singular one, on any grid, where its growth is linear."""
    rng = RNG(1)
    features = rng.normal(size=(6, 3))
    kernel, y, f0 = (features @ features.T)[:, :4], rng.normal(size=4), rng.normal(size=6)
    velocity = lambda t, f: (1 + t) * kernel @ (y - f[:4]) / 4
    times = np.array([0.0, 0.5, 3.0])
    want = solve_ivp(velocity, (0, 3), f0, t_eval=times, rtol=1e-10, atol=1e-12).y.T
    got = theory.kernel_path_flow(times, (1 + times)[:, None, None] * kernel, y, f0)
    np.testing.assert_allclose(got, want, atol=1e-8)


def test_kernel_path_flow_orders_kernels_that_do_not_commute(x64):
    rng = RNG(2)
    first, last = (a @ a.T for a in rng.normal(size=(2, 5, 5)))
    kernel = lambda t: ((1 - t) * first + t * last)[:, :4]
    y, f0 = rng.normal(size=4), rng.normal(size=5)
    velocity = lambda t, f: kernel(t) @ (y - f[:4]) / 4
    want = solve_ivp(velocity, (0, 1), f0, rtol=1e-11, atol=1e-12).y[:, -1]

    def miss(steps):
        times = np.linspace(0, 1, steps + 1)
        path = theory.kernel_path_flow(times, np.array([kernel(t) for t in times]), y, f0)
        np.testing.assert_array_equal(path[0], f0)
        return error(path[-1], want)

    assert miss(80) < 1e-4
    assert 3.8 < miss(40) / miss(80) < 4.2  # second order
    # Eq. (2) as it stands, with the exponential of the integrated kernel, needs kernels that
    # commute.
    commuting = y - expm(-kernel(0.5)[:4] / 4) @ (y - f0[:4])
    assert error(commuting, want[:4]) > 30 * miss(80)


def test_silent_kernel_ends_in_regression_with_the_final_kernel(x64):
    """An error of order eps tau, as the theorem of Section 2 has it; large where eps is not."""
    rng = RNG(3)
    k0, k_inf = ((a @ a.T)[:, :4] for a in rng.normal(size=(2, 6, 6)))
    y, tau = rng.normal(size=4), 2.0
    times = np.concatenate([np.linspace(0, tau, 101), tau + np.linspace(0, 80, 401)[1:]])
    want = k_inf @ np.linalg.solve(k_inf[:4], y)

    def miss(eps):
        kernels = theory.silent_kernel(times, k0, k_inf, eps=eps, tau=tau)
        np.testing.assert_allclose(kernels[0], eps * k0, rtol=1e-12)
        np.testing.assert_allclose(kernels[100], eps * k_inf, rtol=1e-12)
        np.testing.assert_allclose(kernels[-1], k_inf, rtol=1e-9)
        return error(theory.kernel_path_flow(times, kernels, y, np.zeros(6))[-1], want)

    misses = np.array([miss(eps) for eps in (1e-4, 1e-3, 1.0)])
    np.testing.assert_allclose(misses[1] / misses[0], 10, rtol=0.02)
    assert misses[0] < 0.01 and misses[2] > 0.1


# Part III: two layers


def overlaps(a, w, beta):
    along = w @ beta
    return (a @ a + along @ along) / 2, a @ along


def test_phase_one_is_the_early_flow(x64):
    rng = RNG(44)
    s, beta = 1.5, unit(rng, 6)
    w0, a0 = draw(rng, (6, 8, 1), 1e-4)
    times = np.linspace(0, 2, 9)
    path = train([w0, a0], s * beta[None], times)
    want = np.array([overlaps(a[0], w, beta) for w, a in path]).T
    q0, r0 = overlaps(a0[0], w0, beta)
    np.testing.assert_allclose(theory.phase_one(times, q0, r0, s), want, rtol=1e-5, atol=1e-12)
    weights = theory.phase_one_weights(times, a0[0], w0, s * beta)
    for t in range(9):
        assert error(weights.w[t], path[t][0]) < 1e-5 and error(weights.a[t], path[t][1][0]) < 1e-5
    assert error(q0 * np.cosh(2 * s * times), want[0]) > 0.05  # eq. (7), without r_0


def test_alignment_time_does_not_depend_on_the_scale(x64):
    """cos(W^T W, beta beta^T) = .9 at t = 1.87, sd .10 over initialisations (D = 30, n = 50)."""
    rng, times, beta = RNG(5), np.linspace(1, 3, 101), np.eye(30)[0]
    found = []
    for _ in range(20):
        w0, a0 = draw(rng, (30, 50, 1), 1.0)
        w = np.asarray(theory.phase_one_weights(times, a0[0], w0, beta).w)
        gram = np.einsum("tnd,tne->tde", w, w)
        cosine = gram[:, 0, 0] / np.linalg.norm(gram, axis=(1, 2))
        found.append(times[np.argmax(cosine > 0.9)])
    assert abs(np.mean(found) - 1.87) < 3.5 * 0.10 / np.sqrt(20)


def test_mean_initial_overlap(x64):
    rng, sigma, n, d = RNG(6), 0.3, 9, 6
    a = sigma / np.sqrt(n) * rng.normal(size=(4000, n))
    along = sigma / np.sqrt(d) * rng.normal(size=(4000, n))  # w beta, for any unit beta
    q0 = ((a**2).sum(1) + (along**2).sum(1)) / 2
    standard_error = q0.std() / np.sqrt(len(q0))
    assert abs(theory.mean_initial_overlap(sigma, n, d) - q0.mean()) < 4 * standard_error
    assert abs(sigma**2 / 2 * (1 + d / n) - q0.mean()) > 20 * standard_error


@pytest.mark.parametrize("sigma, bound", [(0.1, 0.02), (0.03, 0.003), (0.01, 4e-4)])
def test_two_layer_sigmoids(x64, sigma, bound):
    """The error vanishes with sigma; with |a_0|^2 for u_0^2 or q_0 for |a_0 + W_0 b|^2 / 2 not."""
    rng, times, s = RNG(49), np.linspace(0, 10, 60), 1.0  # a seed with r_0 = -.33 q_0
    beta = unit(rng, 30)
    w0, a0 = draw(rng, (30, 50, 1), sigma)
    path = train([w0, a0], s * beta[None], times)
    q, r = np.array([overlaps(a[0], w, beta) for w, a in path]).T
    largest = lambda got, want: np.abs(got - want).max() / s
    u0_squared = theory.growing_mode(a0[0], w0, beta)
    assert largest(theory.two_layer_amplitude(times, s, u0_squared), r) < bound
    joined = theory.joined_phases(times, s, 2 * u0_squared)
    assert largest(joined.q, q) < bound and largest(joined.r, r) < bound
    np.testing.assert_allclose(joined.q[0], 2 * u0_squared, rtol=1e-9)
    assert largest(theory.two_layer_amplitude(times, s, (a0**2).sum()), r) > 0.03
    assert largest(theory.joined_phases(times, s, overlaps(a0[0], w0, beta)[0]).r, r) > 0.03


@pytest.mark.parametrize("rates", [(4.0, 1.0), (1.0, 4.0)])
def test_two_layers_with_learning_rates(x64, rates):
    rng, times, s = RNG(8), np.linspace(0, 6, 60), 1.2
    beta = unit(rng, 30)
    w0, a0 = draw(rng, (30, 50, 1), 0.01)
    path = train([w0, a0], s * beta[None], times, rates=rates)
    rate_w, rate_a = rates
    m0_squared = theory.growing_mode(a0[0], w0, beta, rate_a=rate_a, rate_w=rate_w)
    got = theory.two_layer_with_rates(times, s, m0_squared, rate_a, rate_w)
    g = np.sqrt(rate_a * rate_w)
    want = np.array([(a[0] @ w @ beta, (a**2).sum(), ((w @ beta) ** 2).sum()) for w, a in path]).T
    for size, factor in zip(want, (1, rate_a / g, rate_w / g), strict=True):
        np.testing.assert_allclose(got * factor, size, atol=2e-3)
    plain = theory.growing_mode(a0[0], w0, beta)
    wrong = theory.two_layer_with_rates(times, s, plain, rate_a, rate_w)
    assert np.abs(wrong - want[0]).max() > 0.02


def test_unwhitened_spike_and_its_growth(x64):
    """Spectrum 1/k, sigma = 1e-4: the top right singular vector of W is along Sigma beta."""
    rng, d = RNG(9), 30
    covariance, beta = np.diag(1 / np.arange(1.0, d + 1)), unit(rng, d)
    w0, a0 = draw(rng, (d, 50, 1), 1e-4)
    spike = theory.early_spike(covariance, beta, 1.0)
    times = np.array([0.0, 10.0]) / float(spike.rate)
    w, a = train([w0, a0], beta[None], times, covariance=covariance)[-1]
    early = theory.phase_one_weights(times[1], a0[0], w0, covariance @ beta)
    assert error(early.w, w) < 1e-3 and error(early.a, a[0]) < 1e-3
    _, sizes, right = np.linalg.svd(w)
    assert abs(right[0] @ spike.direction) > 0.999 and abs(right[0] @ beta) < 0.9
    prefactor = theory.growing_mode(a0[0], w0, spike.direction)
    np.testing.assert_allclose(sizes[0] ** 2, prefactor * np.exp(10.0), rtol=5e-3)
    whitened = theory.early_spike(np.eye(d), beta, 1.5)
    np.testing.assert_allclose(whitened.rate, 3.0, rtol=1e-12)


@pytest.mark.parametrize("L", [2, 3, 4])
def test_regression_with_the_final_kernel_for_few_points(x64, L):
    """P < D: at 1/L of the network's distance to the min-norm solution, which is as predicted."""
    rng, d, p, s, sigma = RNG(10), 10, 6, 1.5, 0.05
    distances, t = [], float(4 * theory.transition_time(sigma, s, L) + 8)
    for _ in range(8 if L < 4 else 1):
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0][:, :p]
        beta = basis @ unit(rng, p)
        weights = draw(rng, (d, *[12] * (L - 1), 1), sigma)
        (end,) = train(weights, s * beta[None], [t], covariance=basis @ basis.T)
        network = products(end)[0][-1][0]
        kernel = ntk(end, np.concatenate([np.eye(d), basis.T]))[:, d:, 0, 0]
        regression = kernel[:d] @ np.linalg.solve(kernel[d:], basis.T @ network)
        gap = np.linalg.norm(network - regression) / np.linalg.norm(network - s * beta)
        np.testing.assert_allclose(gap, theory.regression_gap_ratio(L - 1.0), rtol=0.03)
        distances.append(np.linalg.norm(network - s * beta) / s)
    want = theory.min_norm_distance(sigma, s, rank=p, D=d, L=L)
    if L < 4:
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(distances))), want, rtol=0.25)


@pytest.mark.parametrize("rates", [[4.0, 1.0], [1.0, 4.0]])
def test_regression_gap_with_learning_rates_and_unwhitened_data(x64, rates):
    rng, d, p = RNG(11), 10, 6
    x = rng.normal(size=(p, d))
    beta = np.linalg.pinv(x) @ x @ rng.normal(size=d)
    beta /= np.linalg.norm(beta)
    weights = draw(rng, (d, 12, 1), 1e-3)
    (end,) = train(weights, 1.5 * beta[None], [200.0], covariance=x.T @ x / p, rates=rates)
    network = products(end)[0][-1][0]
    spikes = theory.layer_rate_spikes(np.array(rates))
    for weighting, spike in zip((None, rates), spikes, strict=True):
        kernel = ntk(end, np.concatenate([np.eye(d), x]), weighting)[:, d:, 0, 0]
        regression = kernel[:d] @ np.linalg.solve(kernel[d:], x @ network)
        gap = np.linalg.norm(network - regression) / np.linalg.norm(network - 1.5 * beta)
        np.testing.assert_allclose(gap, theory.regression_gap_ratio(spike), rtol=0.02)


def simulated_transfer(rng, p, spike, overlap, d, ridge, runs):
    kernel = np.diag([1 + spike] + [1.0] * (d - 1))
    teacher = np.array([overlap, np.sqrt(1 - overlap**2)] + [0.0] * (d - 2))
    x = rng.normal(size=(runs, p, d))
    gram = x @ kernel @ x.transpose(0, 2, 1) + ridge * np.eye(p)
    dual = np.linalg.solve(gram, (x @ teacher)[:, :, None])[..., 0]
    learned = np.einsum("rpd,rp->rd", x @ kernel, dual)
    errors = ((learned - teacher) ** 2).sum(1)
    return errors.mean(), errors.std() / np.sqrt(runs)


@pytest.mark.parametrize("spike, overlap, p", [(1.0, 0.8, 30), (0.0, 0.3, 20), (5.0, 0.5, 80)])
def test_transfer_error_equals_simulation(x64, spike, overlap, p):
    measured, standard_error = simulated_transfer(RNG(12), p, spike, overlap, 60, 1.0, 400)
    theory_says = theory.transfer_error(p, spike=spike, overlap=overlap, D=60, ridge=1.0)
    assert abs(theory_says - measured) < 4 * standard_error + 0.015 * measured


def test_transfer_error_numbers_and_limits(x64):
    case = dict(spike=1.0, overlap=0.8, D=60)
    np.testing.assert_allclose(theory.transfer_error(30, ridge=1.0, **case), 0.3305, atol=5e-5)
    # Nothing learned; and, without a ridge, nothing left to learn from P = D on.
    curve = theory.transfer_error(jnp.array([0.0, 59.0, 61.0, 300.0]), ridge=1e-10, **case)
    np.testing.assert_allclose(curve[0], 1, rtol=1e-12)
    assert np.all(np.diff(curve) < 0) and curve[1] > 1e-3 and curve[2] < 1e-8
    # A dense set of modes solved by root finding elsewhere: kappa by bisection.
    eigenvalues, power, p, ridge = np.array([3.0, 1.0, 1e-3]), np.array([1.0, 0.5, 0.1]), 2.0, 1e-3
    low, high = 0.0, ridge + eigenvalues.sum()
    for _ in range(200):
        kappa = (low + high) / 2
        above = kappa > ridge + (kappa * eigenvalues / (eigenvalues * p + kappa)).sum()
        low, high = (low, kappa) if above else (kappa, high)
    gamma = p * (eigenvalues**2 / (eigenvalues * p + kappa) ** 2).sum()
    bare = (power / (eigenvalues * p + kappa) ** 2).sum() / (1 - gamma)
    got = theory.learning_curve(p, eigenvalues, power, ridge)
    np.testing.assert_allclose(got, kappa**2 * bare, rtol=1e-9)
    assert error(got, bare) > 0.1  # eq. (67) without kappa^2


# Part IV: deep linear networks


def balanced(rng, widths, u0, beta):
    """Rank-one layers of size u0, each along the one before."""
    v = [beta, *(unit(rng, n) for n in widths[1:-1]), np.ones(1)]
    return [u0 * np.outer(b, a) for a, b in itertools.pairwise(v)]


@pytest.mark.parametrize("L, u0, t_half", [(2, 0.1, None), (3, 0.1, 8.7433), (4, 0.1, None)])
def test_deep_linear_amplitude_of_balanced_networks(x64, L, u0, t_half):
    rng, s = RNG(13), 1.0
    beta = unit(rng, 4)
    half = float(theory.half_loss_time(u0**L, s, L))
    times = half * np.array([0.0, 0.3, 0.9, 1.0, 1.05, 2.0])
    path = train(balanced(rng, (4, *[3] * (L - 1), 1), u0, beta), s * beta[None], times)
    sizes = np.array([products(w)[0][-1][0] @ beta for w in path])
    np.testing.assert_allclose(theory.deep_linear_amplitude(times, u0**L, s, L), sizes, rtol=1e-6)
    loss = (s - sizes) ** 2
    np.testing.assert_allclose(loss[3] / loss[0], 0.5, rtol=1e-6)
    slow = theory.deep_linear_amplitude(times / L, u0**L, s, L)  # without the factor L
    assert error(slow, sizes) > 0.1
    if t_half:
        np.testing.assert_allclose(half, t_half, atol=5e-5)


def test_deep_linear_numbers_and_limits(x64):
    near = lambda got, want, places: np.testing.assert_allclose(got, want, atol=0.6 * 10**-places)
    near(theory.half_loss_time(0.03**4, 1.0, 4), 554.93, 2)
    near(theory.deep_linear_time(1 - 0.5**0.5, 0.1**3, 1.0, 3), 8.742, 3)
    for L in (3, 4, 5):  # t_half approaches its leading order, whatever s
        exact = theory.half_loss_time((1e-4) ** L, 0.7, L)
        np.testing.assert_allclose(exact, theory.transition_time(1e-4, 0.7, L), rtol=1e-3)
    # Two layers: half the amplitude comes .4407 / s after half the loss.
    s, u0_squared = np.array([1.0, 3.0]), 1e-9
    later = theory.mode_half_time(s, u0_squared) - theory.half_loss_time(u0_squared, s, 2)
    np.testing.assert_allclose(later * s, np.log(1 + np.sqrt(2)) / 2, atol=1e-6)
    np.testing.assert_allclose(
        theory.mode_half_time(s, u0_squared),
        theory.transition_time(u0_squared**0.5, s, 2),
        rtol=1e-8,
    )


@pytest.mark.parametrize("L", [2, 3, 4, 7])
def test_deep_linear_time_equals_its_integral(x64, L):
    s, c0 = 1.7, 0.01
    for c in (0.001, 0.02, 0.9, 1.69):
        want, _ = quad(
            lambda c: 1 / (L * c ** (2 - 2 / L) * (s - c)), c0, c, epsabs=0, epsrel=1e-12
        )
        np.testing.assert_allclose(theory.deep_linear_time(c, c0, s, L), want, rtol=1e-10)
    times = theory.half_loss_time(1e-12, s, L) * jnp.array([-0.5, 0.0, 0.99, 1.0, 1.01, 1e3])
    sizes = theory.deep_linear_amplitude(times, 1e-12, s, L)
    back = theory.deep_linear_time(sizes[:4], 1e-12, s, L)
    np.testing.assert_allclose(back, times[:4], rtol=1e-10, atol=1e-10 * times[3])
    assert sizes[-1] == s


@pytest.mark.parametrize("L, sigma, bound", [(2, 0.03, 2e-3), (3, 0.03, 4e-3), (4, 0.1, 0.02)])
def test_final_kernels(x64, L, sigma, bound):
    rng, d, s = RNG(14), 10, 1.5
    beta, x = unit(rng, d), rng.normal(size=(10, d))
    t = float(4 * theory.transition_time(sigma, s, L) + 8)
    weights = draw(rng, (d, *[12] * (L - 1), 1), sigma)
    (end,) = train(weights, s * beta[None], [t])
    u = s ** (1 / L)
    kernel = ntk(end, x)[:, :, 0, 0]
    got = theory.deep_linear_ntk(x, None, beta, u, L)
    assert error(got, kernel) < bound
    np.testing.assert_allclose(theory.deep_linear_ntk(x, x[:3], beta, u, L), got[:, :3])
    if L > 2:  # without the factor L - 1
        assert error(u ** (2 * L - 2) * theory.spiked_kernel(x, None, beta, 1.0), kernel) > 0.1
    below, _ = products(end)
    for layer in range(1, L):
        hidden = x @ below[layer].T @ below[layer] @ x.T
        assert error(theory.hidden_gram(x, None, beta, u, layer), hidden) < 8 * bound
    whitened = ntk(end, np.eye(d))[:, :, 0, 0]  # alignment with y = s beta
    alignment = beta @ whitened @ beta / np.linalg.norm(whitened)
    np.testing.assert_allclose(theory.final_alignment(d, L), alignment, rtol=bound)


def test_final_alignment_numbers(x64):
    got = theory.final_alignment(30.0, jnp.array([2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_allclose(got, [0.3482, 0.4867, 0.5963, 0.6804], atol=5e-5)


@pytest.mark.parametrize(
    "rates, plain", [([4.0, 1.0], 4), ([1.0, 4.0], 0.25), ([10.0, 1.0, 0.1], 110)]
)
def test_spikes_with_learning_rates(x64, rates, plain):
    rng, d, s = RNG(15), 6, 1.5
    beta, L = unit(rng, d), len(rates)
    weights = draw(rng, (d, *[8] * (L - 1), 1), 0.01 if L == 2 else 0.03)
    (end,) = train(weights, s * beta[None], [60.0 if L == 2 else 150.0], rates=rates)
    spikes = theory.layer_rate_spikes(np.array(rates))
    np.testing.assert_allclose(spikes, (plain, L - 1), rtol=1e-12)
    sizes = theory.layer_sizes(s, np.array(rates))
    np.testing.assert_allclose(sizes, [np.linalg.norm(w, 2) for w in end], rtol=0.01)
    np.testing.assert_allclose(sizes.prod(), s, rtol=1e-12)
    for weighting, spike in zip((None, rates), spikes, strict=True):
        kernel = ntk(end, np.eye(d), weighting)[:, :, 0, 0]
        along = beta @ kernel @ beta
        isotropic = (np.trace(kernel) - along) / (d - 1)
        np.testing.assert_allclose(along / isotropic - 1, spike, rtol=0.02)


SINGULAR_VALUES = np.array([3.0, 1.5, 0.75])


def three_outputs(rng, d):
    z, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    r, _ = np.linalg.qr(rng.normal(size=(d, 3)))
    return z, r, z * SINGULAR_VALUES @ r.T


@pytest.mark.parametrize("L, sigma", [(2, 0.03), (3, 0.1)])
def test_multi_output_ntk(x64, L, sigma):
    rng, d = RNG(16), 8
    _, _, teacher = three_outputs(rng, d)
    x = rng.normal(size=(4, d))
    (end,) = train(draw(rng, (d, *[10] * (L - 1), 3), sigma), teacher, [80.0])
    kernel = theory.multi_output_ntk(x, None, teacher, L)
    assert error(kernel, ntk(end, x)) < 6e-3
    np.testing.assert_allclose(theory.multi_output_ntk(x, x[:2], teacher, L), kernel[:, :2])
    # One output is the kernel of eq. (10).
    beta = unit(rng, d)
    np.testing.assert_allclose(
        theory.multi_output_ntk(x, None, 2.0 * beta[None], L)[:, :, 0, 0],
        theory.deep_linear_ntk(x, None, beta, 2.0 ** (1 / L), L),
        rtol=1e-9,
    )


def test_kernel_of_distinct_modes_turns_however_small_the_weights(x64):
    """At the first mode's half time the others have not begun; the cosine with the end is .878."""
    teacher = np.eye(3, 30) * SINGULAR_VALUES[:, None]
    first = np.eye(3, 30) * np.array([[1.5], [0.0], [0.0]])
    early, late = (theory.multi_output_ntk(np.eye(30), None, b, 2) for b in (first, teacher))
    cosine = (early * late).sum() / jnp.linalg.norm(early) / jnp.linalg.norm(late)
    np.testing.assert_allclose(cosine, 0.878, atol=1e-3)


@pytest.mark.parametrize("width", [6, 50])
def test_modes_are_learned_when_predicted(x64, width):
    rng, d, times = RNG(17), 10, np.linspace(0, 25, 2501)
    z, r, teacher = three_outputs(rng, d)
    w1, w2 = draw(rng, (d, width, 3), 1e-3)
    amplitudes = np.array([np.diag(z.T @ b @ a @ r) for a, b in train([w1, w2], teacher, times)])
    reached = zip(SINGULAR_VALUES, amplitudes.T, strict=True)
    measured = np.array([np.interp(s / 2, c, times) for s, c in reached])
    u0_squared = theory.growing_modes(w1, w2, teacher)
    predicted = theory.mode_half_time(SINGULAR_VALUES, u0_squared)
    np.testing.assert_allclose(predicted, measured, atol=5e-3)
    np.testing.assert_allclose(
        u0_squared[0], theory.growing_mode(w2.T @ z[:, 0], w1, r[:, 0]), rtol=1e-9
    )
    # Each mode on its own, as in the first; and the paper's time, twice too late.
    alone = jnp.stack([theory.growing_mode(w2.T @ z[:, a], w1, r[:, a]) for a in range(3)])
    assert np.abs(theory.mode_half_time(SINGULAR_VALUES, alone) - measured).max() > 0.02
    assert np.all(2 * predicted > 1.9 * measured)


def test_silent_alignment_ratio(x64):
    got = theory.silent_alignment_ratio(SINGULAR_VALUES, 1e-4)
    np.testing.assert_allclose(got, (1 / 0.75) / (np.log(3e4) / 3), rtol=1e-12)


# All of them

V, W, X = np.eye(3, 2)[:, 0], np.ones((3, 2)), np.ones((4, 2))
E, K = np.eye(2)[0], np.eye(3, 2) + 1
CALLS = {
    "gd_mode_decay": lambda t: theory.gd_mode_decay(jnp.arange(2), t, 0.1),
    "flow_mode_decay": lambda t: theory.flow_mode_decay(t, 0.5),
    "kernel_path_flow": lambda t, k, y, f: theory.kernel_path_flow(t, jnp.stack([k, 2 * k]), y, f),
    "silent_kernel": lambda t, k: theory.silent_kernel(t, k, 2 * k, eps=0.1, tau=1),
    "phase_one": lambda t: theory.phase_one(t, 1e-3, 0, 1),
    "phase_one_weights": lambda t, a, w, v: theory.phase_one_weights(t, a, w, v),
    "mean_initial_overlap": lambda t: theory.mean_initial_overlap(t, 50, 30),
    "growing_mode": lambda a, w, v: theory.growing_mode(a, w, v),
    "growing_modes": lambda w: theory.growing_modes(w, w.T, w.T @ w + jnp.eye(2, dtype=w.dtype)),
    "two_layer_amplitude": lambda t: theory.two_layer_amplitude(t, 1, 0.1),
    "two_layer_with_rates": lambda t: theory.two_layer_with_rates(t, 1, 0.1, 2, 1),
    "joined_phases": lambda t: theory.joined_phases(t, 1, 0.1),
    "mode_half_time": lambda t: theory.mode_half_time(t, 0.1),
    "early_spike": lambda v: theory.early_spike(jnp.eye(2, dtype=v.dtype), v),
    "regression_gap_ratio": lambda t: theory.regression_gap_ratio(t),
    "min_norm_distance": lambda t: theory.min_norm_distance(t, 1, rank=1, D=2, L=2),
    "learning_curve": lambda t, y: theory.learning_curve(t, y, y, 1),
    "transfer_error": lambda t: theory.transfer_error(t, spike=1, overlap=0.5, D=3, ridge=1),
    "deep_linear_time": lambda t: theory.deep_linear_time(t, 0.1, 2, 3),
    "deep_linear_amplitude": lambda t: theory.deep_linear_amplitude(t, 0.1, 2, 3),
    "half_loss_time": lambda t: theory.half_loss_time(t, 2, 3),
    "transition_time": lambda t: theory.transition_time(t, 2, 3),
    "spiked_kernel": lambda x, v: theory.spiked_kernel(x, None, v, 1),
    "deep_linear_ntk": lambda x, v: theory.deep_linear_ntk(x, None, v, 1, 3),
    "hidden_gram": lambda x, v: theory.hidden_gram(x, None, v, 1, 1),
    "final_alignment": lambda t: theory.final_alignment(10, t + 1),
    "layer_sizes": lambda t: theory.layer_sizes(1, t),
    "layer_rate_spikes": lambda t: theory.layer_rate_spikes(t).plain,
    "multi_output_ntk": lambda x, w: theory.multi_output_ntk(x, None, w, 2),
    "silent_alignment_ratio": lambda t: theory.silent_alignment_ratio(t, 0.1),
}
ARGUMENTS = dict(t=np.array([0.5, 1.5]), k=K, y=np.ones(2), f=np.zeros(3), a=V, w=W, v=E, x=X)


@pytest.mark.parametrize("name", CALLS)
def test_traces_and_keeps_the_dtype(name, x64):
    call = CALLS[name]
    names = call.__code__.co_varnames[: call.__code__.co_argcount]
    arguments = [jnp.asarray(ARGUMENTS[n], "float32") for n in names]
    with jax.numpy_rank_promotion("raise"):
        leaves = jax.tree.leaves(jax.eval_shape(call, *arguments))
    assert all(leaf.dtype == "float32" for leaf in leaves)


def test_calls_hold_every_public_function():
    public = {n for n, f in vars(theory).items() if getattr(f, "__module__", "") == theory.__name__}
    public = {n for n in public if not n.startswith("_") and not isinstance(vars(theory)[n], type)}
    assert public == set(CALLS)


def test_vmaps_and_has_gradients(x64):
    sigmas = jnp.array([0.1, 0.2])
    times = jax.vmap(lambda u: theory.half_loss_time(u**3, 1.0, 3))(sigmas)
    np.testing.assert_allclose(times[1], theory.half_loss_time(0.2**3, 1.0, 3), rtol=1e-12)
    slope = jax.jacfwd(lambda t: theory.deep_linear_amplitude(t, 1e-3, 1.0, 3))(9.0)
    c = theory.deep_linear_amplitude(9.0, 1e-3, 1.0, 3)
    np.testing.assert_allclose(slope, 3 * c ** (4 / 3) * (1 - c), rtol=1e-8)


BAD = [
    (ValueError, r"s: -1 is not allowed; .* greater than 0", "phase_one", (1, 1, 0, -1)),
    (
        ValueError,
        "t: -1 is not allowed; expected numbers of at least 0",
        "joined_phases",
        (-1, 1, 1),
    ),
    (ValueError, "q0 holds NaN", "joined_phases", (1, 1, np.nan)),
    (TypeError, "t is str", "flow_mode_decay", ("now", 1)),
    (TypeError, "t has dtype int32", "flow_mode_decay", (np.arange(3), 1)),
    (ValueError, r"t \(3,\), eigenvalues \(2,\); .*broadcast", "flow_mode_decay", (V, E)),
    (ValueError, "steps: 0.5 is not allowed; expected whole", "gd_mode_decay", (0.5, 1, 1)),
    (ValueError, "u0_squared / s: 2 is", "mode_half_time", (1, 2)),
    (ValueError, r"c0 / s: 1 is not allowed", "deep_linear_amplitude", (1.0, 1, 1, 3)),
    (ValueError, r"c / s: 1 is not allowed", "deep_linear_time", (1, 0.5, 1, 3)),
    (ValueError, "L is 1; expected", "deep_linear_time", (0.5, 0.1, 1, 1)),
    (TypeError, "L is 2.5; expected", "transition_time", (0.5, 0.1, 2.5)),
    (ValueError, "beta has norm 2; expected a unit vector", "spiked_kernel", (X, None, 2 * E, 1)),
    (ValueError, "beta has D = 3 and x1 has D = 2", "hidden_gram", (X, None, V, 1, 1)),
    (ValueError, "teacher has D = 3", "multi_output_ntk", (X, None, W.T, 2)),
    (ValueError, r"a0 has shape \(3,\), w0 \(2, 3\)", "growing_mode", (V, W.T, E)),
    (ValueError, r"w1 has shape \(3, 2\), w2 \(3, 2\)", "growing_modes", (W, W, X)),
    (ValueError, "direction has norm 2", "growing_mode", (V, W, 2 * E)),
    (ValueError, "norm of drive: 0 is", "phase_one_weights", (1.0, V, W, 0 * E)),
    (ValueError, "norm of Sigma beta: 0 is", "early_spike", (np.diag(1 - E), E)),
    (ValueError, r"covariance has shape \(3, 2\)", "early_spike", (W, E)),
    (ValueError, "kernel of shape", "kernel_path_flow", (1 - E, np.stack([K.T, K.T]), V, E)),
    (ValueError, "steps of times: 0 is", "kernel_path_flow", (0 * E, np.stack([K, K]), E, V)),
    (
        ValueError,
        "times has length 3 and kernels 2",
        "kernel_path_flow",
        (V, np.stack([K, K]), E, V),
    ),
    (ValueError, "rates has length 1", "layer_sizes", (1.0, np.ones(1))),
    (ValueError, "rates: -1 is", "layer_rate_spikes", (-np.ones(2),)),
    (ValueError, r"eigenvalues has shape \(2,\) and power", "learning_curve", (1, E, V, 1)),
    (ValueError, "ridge: 0 is", "learning_curve", (1, E, E, 0)),
    (ValueError, "power: -1 is", "learning_curve", (1, E, -E, 1)),
    (ValueError, "rank: 0.5 is", "final_alignment", (0.5, 2)),
    (ValueError, "spike: -1 is", "regression_gap_ratio", (-1,)),
    (ValueError, "singular_values: 0 is", "silent_alignment_ratio", (E, 0.1)),
]


@pytest.mark.parametrize("kind, words, name, arguments", BAD)
def test_bad_input_is_refused(kind, words, name, arguments):
    with pytest.raises(kind, match=words):
        getattr(theory, name)(*arguments)


def test_bad_keywords_are_refused():
    with pytest.raises(ValueError, match="overlap: 2 is not allowed; expected numbers between"):
        theory.transfer_error(1, spike=1, overlap=2, D=3, ridge=1)
    with pytest.raises(ValueError, match="rank is 5; expected at most D = 3"):
        theory.min_norm_distance(0.1, 1, rank=5, D=3, L=2)
    with pytest.raises(ValueError, match="eps is 0"):
        theory.silent_kernel(1.0, K, K, eps=0, tau=1)
    with pytest.raises(ValueError, match="k0 has shape"):
        theory.silent_kernel(1.0, K, K.T, eps=1, tau=1)
