import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import deep_linear, empirical_ntk, infinite_kernels, live, mlp, phase_diagram, train
from ntkbook.live import phase_one as first
from ntkbook.live import phase_two as second
from ntkbook.live import silent_alignment as silent
from ntkbook.live import unwhitened as unwhitened_live
from ntkbook.live.alpha_dial import EXPONENTS, WIDTHS, alpha_dial
from ntkbook.live.balance import balance
from ntkbook.live.balance import start as chain
from ntkbook.live.empirical_ntk import costs
from ntkbook.live.empirical_ntk import empirical_ntk as calculator
from ntkbook.live.function_space import function_space
from ntkbook.live.infinite_width import infinite_width
from ntkbook.live.kernel_dynamics import CAP, SHOWN, STEPS, kernel_dynamics
from ntkbook.live.laptop_to_cluster import laptop_to_cluster
from ntkbook.live.layer_rates import DIM as RATES_DIM
from ntkbook.live.layer_rates import layer_rates
from ntkbook.live.leaving_tangent_space import leaving_tangent_space
from ntkbook.live.several_outputs import several_outputs
from ntkbook.live.time_scales import DIM, LAST, START, WIDTH, time_scales
from ntkbook.live.transfer import transfer
from ntkbook.live.two_limits import GRID, SCALINGS, X, Y, draw, time_of, two_limits
from ntkbook.live.which_regime import which_regime
from ntkbook.measures import alignment
from ntkbook.networks import Layer, end_to_end
from ntkbook.regression import kernel_flow
from ntkbook.theory import deep_linear_amplitude, half_loss_time, kernel_path_flow


def test_html_is_self_contained_and_says_what_it_shows():
    html = infinite_width(depth=3)._repr_html_()
    assert not re.search(r"(src|href|from)\s*=?\s*[\"']https?:", html)
    assert "import " not in html.replace("import(URL", "")
    assert 'aria-label="Neural tangent kernel' in html
    assert html.count("</script>") == 1 and html.count("<script>") == 1
    starts = [match.end() for match in re.finditer(r"load\((?=\")", html)]
    code, kit = (json.JSONDecoder().raw_decode(html, start)[0] for start in starts)
    assert "export function render" in code and "export function live" in kit


def test_two_figures_on_a_page_have_two_names():
    ids = {re.search(r'id="(live-\w+)"', infinite_width()._repr_html_())[1] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_reference_is_the_kernel_by_angle(x64, activation):
    curves = live.reference("infinite_width", {"depth": 2, "activation": activation})
    x = 2**0.5 * np.array([[1.0, 0.0], [0.0, 1.0]])
    kernels = infinite_kernels(x, depth=2, activation=activation, w_std=2**0.5)
    assert curves["ntk"][0] == 1.0
    np.testing.assert_allclose(curves["ntk"][18], kernels.ntk[0, 1] / kernels.ntk[0, 0], atol=1e-12)
    np.testing.assert_allclose(curves["nngp"][0], kernels.nngp[0, 0] / kernels.ntk[0, 0])


@pytest.mark.parametrize("changes", [{"depth": 0}, {"log2_width": 12}, {"activation": "tanh"}])
def test_bad_state_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        infinite_width(**changes)


def test_reference_is_the_flow_and_the_descent_of_a_constant_kernel(x64):
    curves = live.reference("function_space", {"overlap": -0.5, "step": 0.8})
    k, y = np.array([[1.0, -0.5], [-0.5, 1.0]]), np.array([1.0, 0.0])
    flow = kernel_flow(k, y, np.zeros(2), np.linspace(0, 20, 201) * 2 / 1.5).train
    np.testing.assert_allclose(np.array([curves["flow_1"], curves["flow_2"]]).T, flow, atol=1e-12)
    f = np.zeros(2)
    for i in range(26):
        assert [curves["descent_1"][i], curves["descent_2"][i]] == pytest.approx(f, abs=1e-12)
        assert curves["descent_loss"][i] == pytest.approx(sum((f - y) ** 2) / 4, abs=1e-12)
        f = f - 0.8 * 2 / 1.5 * k @ (f - y) / 2
    assert len(curves["descent_1"]) == 26


@pytest.mark.parametrize("changes", [{"overlap": 1.0}, {"overlap": 0.55}, {"step": 0}])
def test_bad_steps_and_overlaps_are_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        function_space(**changes)


def test_costs_of_the_kernel_are_what_the_compiler_counts():
    net, points = mlp((32, 96, 96, 3), "erf"), 64
    params = jax.eval_shape(net.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((points, 32), np.float32)
    program = jax.jit(lambda p, x: empirical_ntk(net.apply, p, x)).lower(params, x)
    counted = program.cost_analysis()["flops"]
    cost = costs(points, inputs=32, width=96, depth=2, outputs=3)["layers"]
    assert counted == pytest.approx(cost.operations, rel=0.08)


def test_by_hand_is_one_hidden_layer():
    state = {"log2_points": 6, "log2_width": 5, "depth": 1, "log10_outputs": 0}
    assert len(live.reference("empirical_ntk", state)["operations"]) == 4
    assert len(live.reference("empirical_ntk", state | {"depth": 2})["bytes"]) == 3
    with pytest.raises(ValueError, match="expected one of"):
        calculator(depth=0)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_neurons_of_two_limits_follow_train(x64, scaling):
    n, moment = 16, 120
    state = two_limits(scaling, log2_width=4, moment=moment).state
    net = mlp((2, n, 1), lambda z: jax.nn.softplus(10 * z) / 10, w_std=2**0.5)
    start = jnp.asarray(draw(n, state["seed"]))
    params = (Layer(start[:, 1:].T, None), Layer(start[:, :1], None))
    points, grid = (jnp.stack([jnp.asarray(x), jnp.ones(len(x))], 1) for x in (X, GRID))
    alpha = 1.0 if scaling == SCALINGS[0] else n**-0.5
    options = dict(alpha=alpha, t_max=float(time_of(moment)), method="tsit5", rtol=1e-8)
    run = train(net.apply, params, points, jnp.asarray(Y), **options)
    curves = live.reference("two_limits", state)
    np.testing.assert_allclose(curves["f"], alpha * net.apply(run.params, grid)[:, 0], atol=1e-6)
    w, a = run.params[0].w[0], run.params[1].w[:, 0]
    np.testing.assert_allclose(curves["bends"], a * abs(w), atol=1e-6)


def test_modes_of_a_power_law_are_used_up_from_the_fastest(x64):
    state = {"spectrum": 1.5, "targets": 2.0, "step": 1.0, "time": 0}
    start, later = (live.reference("kernel_dynamics", state | {"time": i}) for i in (0, 25))
    assert start["descent"] == start["flow"] and start["loss of descent"][0] == pytest.approx(1)
    left = np.array(later["descent"]) / start["descent"]
    assert left[0] == 0 and (np.diff(left) >= 0).all() and left[-1] > 0.99
    loss = later["loss of flow"]
    i, j = (list(STEPS).index(k) for k in (10, 100))
    assert np.log10(loss[j] / loss[i]) == pytest.approx(-2 / 3, abs=0.03)
    k = np.arange(1, 1001.0)
    by_hand = np.exp(-2 * 10 * k**-1.5) @ k**-2 / np.sum(k**-2)
    assert loss[i] == pytest.approx(by_hand, rel=1e-12)


def test_a_mode_beyond_the_stable_step_grows_up_to_a_cap(x64):
    state = {"spectrum": 1.0, "targets": 2.0, "step": 2.4, "time": len(STEPS) - 1}
    curves = live.reference("kernel_dynamics", state)
    power = live.reference("kernel_dynamics", state | {"time": 0})["descent"]
    assert curves["descent"][0] == pytest.approx(CAP * power[0])
    assert curves["descent"][1] < power[1] and SHOWN[1] == 2
    for j in (1, 3):
        expected = power[0] * 1.4 ** (2 * j)
        now = live.reference("kernel_dynamics", state | {"time": j})["descent"][0]
        assert now == pytest.approx(expected)


@pytest.mark.parametrize("changes", [{"step": 3.0}, {"targets": 1.0}, {"spectrum": 0.1}])
def test_exponents_and_steps_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        kernel_dynamics(**changes)


@pytest.mark.parametrize("widths", WIDTHS)
def test_the_kept_grid_has_an_exponent_on_each_side(widths):
    curves = live.reference("alpha_dial", alpha_dial(widths=widths).state)
    assert curves["below best"][0] == pytest.approx(0.5, abs=0.1)
    if widths == "256 and wider":
        assert curves["above best"][0] > 0.75
    else:  # it falls as far as the curves have enough in common
        assert curves["above best"][0] == EXPONENTS[len(curves["above"]) - 1]


@pytest.mark.parametrize("changes", [{"exponent": 0.51}, {"widths": "narrow"}])
def test_a_dial_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        alpha_dial(**changes)


def test_a_point_of_the_map_shows_its_means_and_when_it_leaves():
    state = leaving_tangent_space(width=256, alpha=0.1).state
    grid, curves = phase_diagram.load(), live.reference("leaving_tangent_space", state)
    (w,), (a,) = np.nonzero(grid.widths == 256), np.nonzero(np.isclose(grid.alphas, 0.1))
    shown = slice(-len(curves["loss"]), None)
    loss = np.exp(np.log(grid.loss[w[0], a[0]]).mean(0))[shown]
    np.testing.assert_allclose(curves["loss"], loss, rtol=2e-3)
    log_t = np.log(grid.t[1:])
    change = np.log(grid.kernel_change[w[0], a[0]][:, 1:])
    t_1 = np.exp(np.mean([np.interp(np.log(0.3), curve, log_t) for curve in change]))
    assert curves["times"][0] == pytest.approx(t_1, rel=1e-2)
    feature, lazy = (leaving_tangent_space(256, alpha).state for alpha in (0.01, 10.0))
    early, _, needed = live.reference("leaving_tangent_space", feature)["times"]
    assert early < needed / 10 and lazy["data"]["left"][lazy["width"]][lazy["alpha"]] == 0


@pytest.mark.parametrize("point", [{"width": 100}, {"alpha": 0.2}])
def test_a_point_off_the_map_is_refused(point):
    with pytest.raises(ValueError, match="expected one of"):
        leaving_tangent_space(**point)


@pytest.mark.parametrize("axis", ["alpha", "sqrt(n) alpha"])
def test_averaging_helps_lazy_training_more(axis):
    curves = live.reference("which_regime", which_regime(5, 3, axis).state)
    assert curves["x"][0] == pytest.approx(0.01 * (32**0.5 if axis != "alpha" else 1))
    gain = np.subtract(curves["single"], curves["committee"])
    assert gain[6] > 2 * gain[0] > 0  # alpha = 10 and 0.01
    assert np.subtract(*curves["gap"]) == pytest.approx(gain[6] - gain[0], abs=2e-3)


@pytest.mark.parametrize("changes", [{"log2_width": 12}, {"log2_size": 4}, {"axis": "n"}])
def test_a_regime_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        which_regime(**changes)


@pytest.mark.parametrize("leak, start", [(0.0, 0.0), (0.4, 0.7)])
def test_a_kernel_that_turns_and_grows_is_followed_to_its_end(x64, leak, start):
    state = silent.silent_alignment(0.5, -2.0, leak, start).state
    curves, (k0, k_inf, y) = live.reference("silent_alignment", state), silent.kernels()
    t = np.linspace(0, np.log(100) + silent.AFTER, 4001)
    size = 1 / (1 + 99 * np.exp(-t))
    unturned = (1 - leak) * np.exp(-(2**0.5) * t) + leak * (1 - size)
    path = size[:, None, None] * (k_inf + unturned[:, None, None] * (k0 - k_inf))
    f0 = start * np.cos(np.pi * np.concatenate([silent.X, silent.GRID]))
    f = np.asarray(kernel_path_flow(t, path, y, f0))
    np.testing.assert_allclose(curves["f"], f[-1, 6:], atol=1e-5)
    loss = np.sum((f[:, :6] - y) ** 2, axis=1)
    np.testing.assert_allclose(curves["loss"], loss[::20] / loss[0], atol=1e-5)
    np.testing.assert_allclose(curves["alignment"][-1], alignment(k_inf[:6], y), atol=1e-6)
    if start == leak == 0:
        assert 1e-3 < curves["gap"][-1] < 0.05  # a kernel machine, nearly


@pytest.mark.parametrize("changes", [{"log2_rate": 3}, {"log10_eps": 1}, {"leak": 0.25}])
def test_a_toy_kernel_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        silent.silent_alignment(**changes)


@pytest.mark.parametrize("sigma, s", [(0.01, 1.0), (0.3, 0.5)])
def test_the_plane_of_functions_is_that_of_a_trained_network(x64, sigma, s):
    state = second.phase_two(t=4.0, sigma=sigma, s=s).state
    curves = live.reference("phase_two", state)
    units = jnp.linalg.cholesky(jnp.array(second.GRAM)).T * sigma  # three units will do
    params = (Layer(units[:, 1:].T, None), Layer(units[:, :1], None))
    x, at = jnp.array([[1.0, 0.0]]), jnp.array([0.0, 1.0, 4.0])
    options = dict(t_max=4.0, at=at, method="tsit5", rtol=1e-9, record=("params",))
    run = train(
        mlp((2, 3, 1), "linear", parametrization="standard").apply,
        params,
        x,
        jnp.array([s]),
        **options,
    )
    loss = run.loss[:3] / run.loss[0]
    np.testing.assert_allclose([curves["loss"][i] for i in (0, 20, 80)], loss, atol=1e-6)
    w, a = run["params"][0].w[2].T, run["params"][1].w[2, :, 0]
    f, m = a @ w, w.T @ w + a @ a * jnp.eye(2)
    turn = np.exp(1j * second.TURN)
    for name, (along, across) in (("dot", f / s), ("touch", m[0] / m[0, 0])):
        told = turn * complex(along, across)
        np.testing.assert_allclose(curves[name], [told.real, told.imag], atol=1e-6)
    values, vectors = np.linalg.eigh(m)
    assert curves["ratio"][0] == pytest.approx((values[1] / values[0]) ** 0.5, abs=1e-6)
    tilt = np.rad2deg(np.arccos(abs(vectors[0, 1])))
    assert curves["tilt"][0] == pytest.approx(tilt, abs=1e-3)
    if sigma == 0.01:
        assert curves["ratio"][0] == pytest.approx(2**0.5, abs=0.01) and tilt < 2


@pytest.mark.parametrize("changes", [{"t": 0.03}, {"sigma": 0.02}, {"s": 3.0}])
def test_a_moment_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        second.phase_two(**changes)


def test_a_typical_network_in_the_plane_is_a_trained_one(x64):
    state = unwhitened_live.unwhitened(3.0, 60, -1.0, 40).state
    variances, beta, sigma, t = unwhitened_live.problem(state)
    x = np.diag((2 * variances) ** 0.5)  # X^T X / P is diag(variances)
    w, a = sigma * np.array([[1.0, 0], [0, 1], [0, 0]]), sigma * np.array([0.0, 0, 1])
    params = (Layer(jnp.asarray(w.T), None), Layer(jnp.asarray(a[:, None]), None))
    net = deep_linear((2, 3, 1))
    run = train(net.apply, params, x, x @ beta, t_max=t[-1], at=t, record=("params",),
                method="tsit5", rtol=1e-8)  # fmt: skip
    curves = live.reference("unwhitened", state)
    np.testing.assert_allclose(curves["loss"], run.loss[:-1] / run.loss[0], atol=1e-6)
    w, a = (np.asarray(layer.w[160]) for layer in run["params"])
    kernel = w @ w.T + a[:, 0] @ a[:, 0] * np.eye(2)
    np.testing.assert_allclose(curves["kernel"], kernel[[0, 0, 1], [0, 1, 1]] / np.trace(kernel))
    np.testing.assert_allclose(curves["function"], (w @ a)[:, 0], atol=1e-6)
    turned = np.array(curves["second"])
    assert turned[np.array(curves["loss"]) > 0.5].max() < 0.75 and turned[-1] > 0.99


@pytest.mark.parametrize("changes", [{"log2_ratio": 5.0}, {"angle": 7}, {"moment": 101}])
def test_a_plane_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        unwhitened_live.unwhitened(**changes)


def test_a_turned_kernel_helps_a_related_task_and_harms_another():
    for overlap, sign in ((0.5, 1), (0.05, -1)):
        curves = live.reference("transfer", transfer(3.0, overlap, 0.0, 20).state)
        turned, isotropic = curves["chosen"]
        assert curves["turned"][20] == turned and curves["turned"][0] == pytest.approx(1)
        assert sign * (isotropic - turned) > 1e-3


@pytest.mark.parametrize("changes", [{"spike": 4.0}, {"overlap": 0.33}, {"points": 0}])
def test_a_transfer_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        transfer(**changes)


@pytest.mark.parametrize("L", [2, 3, 4, 5])
def test_a_balanced_network_waits_as_long_as_theory_says(x64, L):
    state = time_scales(L=L, log2_sigma=-4, s=1.5).state
    curves = {name: np.array(curve) for name, curve in live.reference("time_scales", state).items()}
    first = (START[L] / 16) ** L
    size = 1 - curves["loss"] ** 0.5
    want = np.asarray(deep_linear_amplitude(curves["t"], first, 1.5, L)) / 1.5
    np.testing.assert_allclose(size, want, rtol=1e-8)
    np.testing.assert_allclose(curves["kernel"], want ** (2 - 2 / L), rtol=1e-8)
    assert size[-1] == pytest.approx(LAST)
    # half of the loss of an output of zero, against half of the loss at the start
    assert curves["times"][0] == pytest.approx(float(half_loss_time(first, 1.5, L)), rel=2e-3)
    turned = np.interp(curves["times"][1], curves["t"], curves["cosine"])
    assert turned == pytest.approx(0.5, abs=2e-3)
    assert curves["cosine"][0] < 0.2 and curves["cosine"][-1] > 0.95


@pytest.mark.parametrize("L", [3, 4, 5])
def test_the_growing_mode_starts_as_in_a_wide_network(L):
    """A graph: each node has one new neighbour through each hidden matrix at its layer."""
    todo, count = [(1, 0, 0), (L - 1, 0, 0)], dict.fromkeys((1, L - 1), 1)
    entries = {layer: [] for layer in range(1, L - 1)}
    for layer, node, steps in todo:
        for other in {layer - 1, layer + 1} & set(range(1, L)) if steps < 9 else ():
            new = count[other] = count.get(other, 0) + 1
            entries[min(layer, other)].append((new - 1, node)[:: 1 if other > layer else -1])
            todo.append((other, new - 1, steps + 1))
    w = [np.eye(count[1])[0] * (WIDTH / DIM) ** 0.5]
    for layer, pairs in entries.items():
        w.append(np.zeros((count[layer + 1], count[layer])))
        w[-1][tuple(np.transpose(pairs))] = 1
    w.append(np.eye(count[L - 1])[0])

    def rates(w):  # on a clock on which the early flow does not explode
        f = list(itertools.accumulate(w[:-1], lambda v, m: m @ v))
        g = list(itertools.accumulate(w[:0:-1], lambda v, m: m.T @ v))[::-1]
        clock = (g[-1] @ g[-1]) ** (1 - L / 2)
        middle = [clock * np.outer(b, a) for a, b in zip(f, g[1:], strict=False)]
        return [clock * g[0], *middle, clock * f[-1], clock]

    state, h = [*w, 0.0], 0.01
    for _ in range(400):  # the midpoint rule
        half = [a + h / 2 * b for a, b in zip(state, rates(state[:-1]), strict=True)]
        state = [a + h * b for a, b in zip(state, rates(half[:-1]), strict=True)]
    wait = state[-1] + (state[-2] @ state[-2]) ** (1 - L / 2) / (L - 2)
    assert START[L] == pytest.approx(((L - 2) * wait) ** (-1 / (L - 2)), abs=1e-3)


@pytest.mark.parametrize("changes", [{"L": 6}, {"log2_sigma": 0}, {"s": 0}, {"axis": "log"}])
def test_a_wait_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        time_scales(**changes)


@pytest.mark.parametrize("exponents", [(0.0, 0.0, 2), (1.0, -0.5, 2), (-4.0, 0.0, 3)])
def test_a_network_in_line_follows_the_curves_of_layer_rates(x64, exponents):
    """Exact for any rates: each layer of size sigma, and in line with the next."""
    first, last, layers = exponents
    state, dim, sigma = layer_rates(first, last, layers, -1.0, 1.5).state, RATES_DIM, 0.1
    curves = live.reference("layer_rates", state)
    rates = 10 ** np.array([first, *[0.0] * (layers - 2), last])
    rates = tuple(rates / np.prod(rates) ** (1 / layers))
    widths = (dim, *[dim] * (layers - 1), 1)
    ends = [np.eye(a, b) if a == b and i == 0 else np.zeros((a, b))
            for i, (a, b) in enumerate(itertools.pairwise(widths))]  # fmt: skip
    for end in ends[1:]:
        end[0, 0] = 1.0
    params = tuple(Layer(sigma * jnp.array(end), None) for end in ends)
    net, beta = deep_linear(widths), jnp.eye(dim)[0]
    x = dim**0.5 * jnp.eye(dim)
    t = np.array(curves["t"])[[40, 100, 160, 200]]
    run = train(net.apply, params, x, 1.5 * x @ beta, t_max=t[-1], at=t, rates=rates,
                record=("params",), method="tsit5", rtol=1e-9)  # fmt: skip
    loss = run.loss[:-1] / (np.sum(((1.5 - sigma**layers) * x @ beta) ** 2) / dim / 2)
    np.testing.assert_allclose(np.array(curves["loss"])[[40, 100, 160, 200]], loss, rtol=1e-4)
    for row, i in enumerate((40, 100, 160, 200)):
        now = jax.tree.map(lambda leaf, row=row: leaf[row], run["params"])
        gram = now[0].w @ now[0].w.T
        np.testing.assert_allclose(
            curves["cosine"][i], gram[0, 0] / jnp.linalg.norm(gram), rtol=1e-4
        )
        for name, weights in (("plain", None), ("driving", rates)):
            k = empirical_ntk(net.apply, now, jnp.eye(dim), weights=weights)[..., 0, 0]
            across = (jnp.trace(k) - k[0, 0]) / (dim - 1)
            np.testing.assert_allclose(1 + curves[name][i], k[0, 0] / across, rtol=1e-4)


def test_equal_rates_are_the_deep_linear_network_of_theory(x64):
    half = live.reference("layer_rates", layer_rates(2.0, 2.0, 2, -2.0, 2.0).state)["half"][0]
    np.testing.assert_allclose(half, half_loss_time(1e-4, 2.0, L=2), rtol=1e-5)


@pytest.mark.parametrize("changes", [{"log10_first": 5.0}, {"layers": 5}, {"log10_sigma": 0.0}])
def test_layer_rates_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        layer_rates(**changes)


@pytest.mark.parametrize("layers, log10_sigma, uneven", [(2, -1.0, 1.5), (3, -0.5, 0.5)])
def test_the_chain_is_a_network_of_width_one(x64, layers, log10_sigma, uneven):
    curves = live.reference("balance", balance(layers, log10_sigma, uneven, moment=100).state)
    net, x = deep_linear((2,) + (1,) * layers), 2**0.5 * jnp.eye(2)
    sizes = chain(layers, 10**log10_sigma, uneven)
    weights = [jnp.asarray(sizes[:2])[:, None], *(jnp.full((1, 1), u) for u in sizes[2:])]
    params, y = tuple(Layer(w, None) for w in weights), x[:, 0]
    half = curves["half"][0]
    run = train(net.apply, params, x, y, t_max=half, method="tsit5", rtol=1e-9)
    first = jnp.mean((net.apply(params, x)[:, 0] - y) ** 2) / 2
    assert float(run.loss[-1] / first) == pytest.approx(0.5, abs=1e-6)
    ends = [float(jnp.linalg.norm(layer.w)) for layer in run.params]
    np.testing.assert_allclose(
        np.array(curves["sizes"]).reshape(layers, -1)[:, 100], ends, rtol=1e-6
    )
    k = empirical_ntk(net.apply, run.params, x, output="trace")
    assert curves["alignment"][100] == pytest.approx(float(alignment(k, y)), rel=1e-6)
    level = np.stack([curves["level_x"], curves["level_y"]], 1)
    values = np.einsum("pi,ij,pj->p", level, k, level) / 2
    assert np.ptp(values) < 1e-6 * values[0]
    assert curves["ratio"][-1] > layers**0.5  # uneven layers keep a part of their differences


@pytest.mark.parametrize("changes", [{"layers": 6}, {"uneven": 2.0}, {"moment": 1}])
def test_a_chain_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        balance(**changes)


@pytest.mark.parametrize(("sigma", "s", "dim"), [(0.01, 1.0, 30), (0.1, 2.0, 100), (1.0, 1.0, 30)])
def test_a_typical_network_follows_phase_one_on_its_slower_clock(sigma, s, dim):
    t, share = np.linspace(0, 14, 28_001), first.WIDTH / dim
    q, r = [sigma**2 * (1 + share) / 2], [0.0]
    slope = lambda q, r: (2 * (s - r) * r, 2 * (s - r) * q)
    for _ in t[1:]:  # midpoint rule
        half = [
            v + t[1] / 2 * dv for v, dv in zip((q[-1], r[-1]), slope(q[-1], r[-1]), strict=True)
        ]
        dq, dr = slope(*half)
        q.append(q[-1] + t[1] * dq)
        r.append(r[-1] + t[1] * dr)
    q, r = np.array(q), np.array(r)
    curves, loss = first.typical(t, sigma, s, dim), (1 - r / s) ** 2
    np.testing.assert_allclose(curves["loss"], loss, atol=1e-5)
    np.testing.assert_allclose(curves["along"], 2 * q, atol=1e-5)
    turned, halved = curves["times"]
    assert halved == pytest.approx(np.interp(-0.5, -loss, t), abs=1e-3)
    crossing = np.interp(first.TURNED, curves["cosine"], t)
    assert turned == -1 if sigma == 1 else turned == pytest.approx(crossing, abs=1e-3)
    assert curves["end"][0] == pytest.approx(curves["cosine"][-1], abs=1e-4)


@pytest.mark.parametrize("changes", [{"log10_sigma": 1.0}, {"s": 0.3}, {"dim": 40}])
def test_clocks_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        first.phase_one(**changes)


@pytest.mark.parametrize("layers, third", [(2, 0.5), (3, 1.0), (4, 0.6)])
def test_a_network_in_line_follows_the_modes_of_several_outputs(x64, layers, third):
    state = several_outputs(2.0, 0.5, third, -1.0, layers, 0.1).state
    curves = live.reference("several_outputs", state)
    dim, (a, b) = 30, (0.9, 0.8)
    starts, eye = 0.1 * np.array([1.0, a, b]), np.eye(3, dim)
    params = (Layer(jnp.array(eye.T * starts), None),)
    params += tuple(Layer(jnp.diag(jnp.array(starts)), None) for _ in range(layers - 1))
    net, x = deep_linear((dim,) + (3,) * layers), dim**0.5 * jnp.eye(dim)
    y = x[:, :3] @ jnp.diag(jnp.array([2.0, 1.0, third]))
    rows = [100, 200, 300, 400]
    t = np.array(curves["t"])[rows]
    run = train(net.apply, params, x, y, t_max=t[-1], at=t, record=("params",), method="tsit5",
                rtol=1e-9)  # fmt: skip
    end = empirical_ntk(net.apply, run.params, x)
    for row, i in enumerate(rows):
        now = jax.tree.map(lambda leaf, row=row: leaf[row], run["params"])
        k, learned = empirical_ntk(net.apply, now, x), end_to_end(now)
        for mode in range(3):
            got = learned[mode, mode] / (2.0, 1.0, third)[mode]
            assert curves[f"mode{mode + 1}"][i] == pytest.approx(float(got), abs=1e-6)
        full = jnp.vdot(k, end) / jnp.linalg.norm(k) / jnp.linalg.norm(end)
        assert curves["full"][i] == pytest.approx(float(full), abs=1e-3)  # the end is not quite it


@pytest.mark.parametrize("changes", [{"s1": 0.5}, {"second": 1.1}, {"layers": 5}, {"uneven": 0.4}])
def test_several_outputs_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        several_outputs(**changes)


def test_costs_of_a_job_are_shared_by_whole_runs():
    state = laptop_to_cluster(log10_n=2.0, log10_P=3.0, log10_runs=1, log2_devices=2).state
    found = live.reference("laptop_to_cluster", state)
    one = live.reference("laptop_to_cluster", state | {"log10_runs": 0})["here"]
    assert found["here"][:2] == pytest.approx([3 * one[0], 3 * one[1]])  # ten on four devices
    assert one[0] == pytest.approx(5e-5 + (4 * 64e5 + 6e3 * 10100) / 1e11)
    assert one[1] == pytest.approx(5e-5 + (2e3 * (6400 + 20200) + 2e6 * 465) / 1e11)
    assert one[2:] == [4e6, 4 * (6400 + 10100)]
    assert found["kernel"][8] == pytest.approx(found["here"][1])  # the curve passes the dot
    with pytest.raises(ValueError, match="expected one of"):
        laptop_to_cluster(log10_n=2.2)
