import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ntkbook import empirical_ntk, mlp, networks
from ntkbook.networks import cnn, deep_linear, end_to_end, reparametrize, wide_resnet


@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
@pytest.mark.parametrize("b_std", [0.0, 0.7])
def test_both_parametrizations_draw_the_same_distribution(parametrization, b_std):
    """Variance of a linear network's output: w_std^4 |x|^2 / D, plus the biases' share."""
    net = mlp((3, 50, 1), "linear", parametrization=parametrization, w_std=1.3, b_std=b_std)
    x = jnp.array([[1.0, 2.0, -1.0]])
    draw = lambda key: net.apply(net.init(key), x)[0, 0]
    outputs = jax.lax.map(draw, jax.random.split(jax.random.key(0), 4000), batch_size=500)
    want = 1.3**4 * 6 / 3 + (1.3**2 + 1) * b_std**2
    assert abs(outputs.var() / want - 1) < 5 * np.sqrt(2.1 / 4000)
    assert abs(outputs.mean()) < 5 * np.sqrt(want / 4000)


def test_weights_are_independent_over_layers_and_seeds():
    net = mlp((4, 100, 100, 2), "relu", b_std=1.0)
    a, b = net.init(jax.random.key(0)), net.init(jax.random.key(1))
    flat = [ravel_pytree(p)[0] for p in (a, b)]
    assert abs(jnp.corrcoef(*flat)[0, 1]) < 0.05
    assert abs(flat[0].mean()) < 0.05 and abs(flat[0].std() - 1) < 0.05
    assert [p.w.shape for p in a] == [(4, 100), (100, 100), (100, 2)]
    assert [p.b.shape for p in a] == [(100,), (100,), (2,)]
    for name in PARAMETRIZATIONS:
        net = mlp((4, 5, 5, 2), parametrization=name)
        assert all(p.b is None for p in net.init(jax.random.key(0)))


def test_dtype(x64):
    net = mlp((3, 4, 1), "erf", b_std=0.1)
    assert net.init(jax.random.key(0))[0].w.dtype == jnp.float64
    params = net.init(jax.random.key(0), dtype=jnp.float32)
    assert net.apply(params, jnp.ones((2, 3), jnp.float32)).dtype == jnp.float32


def test_activations_by_layer():
    net = mlp((2, 3, 3, 1), ("relu", jnp.sin))
    params, x = net.init(jax.random.key(0)), jnp.ones((1, 2))
    (u, _), (v, _), (w, _) = params
    by_hand = jnp.sin(jax.nn.relu(x @ u / 2**0.5) @ v / 3**0.5) @ w / 3**0.5
    np.testing.assert_allclose(net.apply(params, x), by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    "error, words, widths, options",
    [
        (ValueError, r"widths is \(3,\)", (3,), {}),
        (ValueError, "widths is 3", 3, {}),
        (ValueError, r"widths\[1\] is 0", (3, 0, 1), {}),
        (TypeError, r"widths\[1\] is 2.5", (3, 2.5, 1), {}),
        (ValueError, "activation is 'gelo'", (3, 2, 1), {"activation": "gelo"}),
        (ValueError, "activation has 2 entries", (3, 2, 1), {"activation": ("relu", "relu")}),
        (ValueError, "parametrization is 'muP'", (3, 2, 1), {"parametrization": "muP"}),
        (ValueError, "w_std is -1", (3, 2, 1), {"w_std": -1}),
        (ValueError, "b_std is inf", (3, 2, 1), {"b_std": float("inf")}),
    ],
)
def test_bad_input_is_refused(error, words, widths, options):
    with pytest.raises(error, match=words):
        mlp(widths, **options)


def test_apply_refuses_what_does_not_fit():
    net = mlp((3, 2, 1))
    params = net.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"x has shape \(3,\); expected \(N, 3\)"):
        net.apply(params, jnp.ones(3))
    with pytest.raises(ValueError, match=r"params\[1\].w has shape \(3, 2\)"):
        net.apply((params[0], params[0]), jnp.ones((1, 3)))


PARAMETRIZATIONS = ("ntk", "standard", "mean_field", "mup")


def square_loss_step(net, params, x, y, rates):
    """One step of gradient descent with learning rates of their own for all arrays."""
    loss = lambda p: ((net.apply(p, x) - y) ** 2).sum()
    return jax.tree.map(lambda p, g, r: p - 0.01 * r * g, params, jax.grad(loss)(params), rates)


@pytest.mark.parametrize("target", PARAMETRIZATIONS)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_reparametrized_network_trains_alike(x64, kind, target):
    """Same function before and after three steps, with the translated rates and only with them."""
    if kind == "mlp":
        make = lambda name: mlp((3, 6, 5, 2), "erf", parametrization=name, w_std=1.4, b_std=0.3)
        x = jax.random.normal(jax.random.key(1), (4, 3))
    else:
        make = lambda name: cnn((4, 4, 1), (3, 3), 2, "erf", parametrization=name, b_std=0.3)
        x = jax.random.normal(jax.random.key(1), (4, 4, 4, 1))
    source, other = make("ntk"), make(target)
    params = source.init(jax.random.key(0))
    y = jnp.ones((4, 2))
    ones = jax.tree.map(lambda _: 1.0, params)
    moved, rates = reparametrize(params, source, other)
    plain = moved
    for _ in range(3):
        params = square_loss_step(source, params, x, y, ones)
        moved = square_loss_step(other, moved, x, y, rates)
        plain = square_loss_step(other, plain, x, y, ones)
    np.testing.assert_allclose(other.apply(moved, x), source.apply(params, x), rtol=1e-10)
    same = np.allclose(other.apply(plain, x), source.apply(params, x), rtol=1e-6)
    assert same == (target == "ntk")


def test_mean_field_at_rate_n_is_mup(x64):
    """The kernel of mup is n times that of mean field for the same function, at any depth."""
    kinds = [mlp((3, 8, 8, 2), "erf", parametrization=p, w_std=1.3, b_std=0.2)
             for p in ("mean_field", "mup")]  # fmt: skip
    params = kinds[0].init(jax.random.key(0))
    moved, rates = reparametrize(params, *kinds)
    np.testing.assert_allclose(jax.tree.leaves(rates), 1 / 8, rtol=1e-12)
    same_draw = jax.tree.leaves(kinds[1].init(jax.random.key(0)))
    for a, b in zip(jax.tree.leaves(moved), same_draw, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    x = jax.random.normal(jax.random.key(1), (4, 3))
    np.testing.assert_allclose(
        empirical_ntk(kinds[1].apply, moved, x),
        8 * empirical_ntk(kinds[0].apply, params, x),
        rtol=1e-10,
    )


@pytest.mark.parametrize(
    "parametrization, output_power, kernel_power",
    [("ntk", 0.0, 0.0), ("standard", 0.0, 1.0), ("mean_field", -0.5, -1.0), ("mup", -0.5, 0.0)],
)
def test_scaling_with_width(parametrization, output_power, kernel_power):
    """Powers of n by which the output's spread and the kernel grow: what the names mean."""
    x = jnp.array([[1.0, -0.5, 2.0]])
    sizes = []
    for n in (32, 256):
        net = mlp((3, n, n, 1), "erf", parametrization=parametrization)
        draw = lambda key, net=net: (
            net.apply(net.init(key), x)[0, 0],
            empirical_ntk(net.apply, net.init(key), x)[0, 0, 0, 0],
        )
        f, kernel = jax.lax.map(draw, jax.random.split(jax.random.key(0), 100))
        sizes.append((f.std(), kernel.mean()))
    powers = np.log(np.array(sizes[1]) / np.array(sizes[0])) / np.log(8)
    np.testing.assert_allclose(powers, (output_power, kernel_power), atol=0.12)


def test_deep_linear(x64):
    net = deep_linear((4, 7, 6, 3), sigma=0.1)
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 4))
    np.testing.assert_allclose(net.apply(params, x), x @ end_to_end(params), rtol=1e-12)
    assert abs(params[1].w.std() * 7**0.5 - 0.1) < 0.03
    with pytest.raises(ValueError, match="params is empty"):
        end_to_end(())


def test_convolutions_by_hand(x64):
    """One 3 x 3 convolution with zero padding, then the mean over positions, then the readout."""
    net = cnn((3, 3, 1), (2,), 1, "linear", w_std=1.5)
    (w, _), (a, _) = params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (1, 3, 3, 1))
    padded = jnp.pad(x[0, :, :, 0], 1)
    window = lambda i, j: jnp.einsum("ab,abc->c", padded[i : i + 3, j : j + 3], w[:, :, 0])
    mean = sum(window(i, j) for i in range(3) for j in range(3)) / 9
    by_hand = 1.5 / 3 * mean @ a * 1.5 / 2**0.5
    np.testing.assert_allclose(net.apply(params, x)[0], by_hand, rtol=1e-12)


@pytest.mark.parametrize("pool", ["mean", "flatten"])
def test_shapes_of_a_strided_cnn(pool):
    net = cnn((7, 6, 1), (4, 5), 3, stride=2, pool=pool, b_std=0.1)
    assert net.shapes == ((3, 3, 1, 4), (3, 3, 4, 5), (5 if pool == "mean" else 5 * 2 * 2, 3))
    params = net.init(jax.random.key(0))
    assert net.apply(params, jnp.ones((2, 7, 6, 1))).shape == (2, 3)


def test_wide_resnet_has_six_convolutions_a_block_and_one():
    for blocks in (1, 2):
        net = wide_resnet((8, 8, 3), 2, blocks=blocks, widening=2)
        assert sum(shape[0] == 3 for shape in net.shapes) == 6 * blocks + 1
        assert sum(shape[0] == 1 for shape in net.shapes) == 3  # shortcuts where channels change


def test_wide_resnet_is_homogeneous_and_residual(x64):
    """relu blocks of zero weights leave the shortcuts: a linear map of the pooled first layer."""
    net = wide_resnet((8, 8, 1), 2, widening=1, w_std_first=6.0, w_std=0.3)
    params = net.init(jax.random.key(0))
    assert abs(params[0].w.std() * 3 - 6) < 1.5 and abs(params[1].w.std() * 12 - 0.3) < 0.02
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    assert net.apply(params, x).shape == (2, 2)
    np.testing.assert_allclose(net.apply(params, 3 * x), 3 * net.apply(params, x), rtol=1e-10)
    # widening 1: the first block keeps 16 channels and has no shortcut of its own
    kinds = [shape[0] for shape in net.shapes[:-1]]
    shortcuts = [i for i, size in enumerate(kinds) if size == 1]
    assert len(shortcuts) == 2
    off = tuple(
        layer if i in (0, *shortcuts, len(params) - 1) else layer._replace(w=0 * layer.w)
        for i, layer in enumerate(params)
    )
    g = networks._convolve(x, off[0].w, 1)
    for i in shortcuts:
        g = g[:, ::2, ::2] @ off[i].w[0, 0]
    np.testing.assert_allclose(net.apply(off, x), g.mean((1, 2)) @ off[-1].w, rtol=1e-10)


@pytest.mark.parametrize("kernel_size, stride, size", [(3, 1, 7), (3, 2, 7), (1, 2, 8), (4, 3, 8)])
def test_derivatives_of_a_convolution_are_xlas_own(kernel_size, stride, size):
    """They are computed another way, which is faster on a CPU."""
    keys = jax.random.split(jax.random.key(0), 4)
    g, dg = (jax.random.normal(key, (2, size, size + 1, 3)) for key in keys[:2])
    w, dw = (jax.random.normal(key, (kernel_size, kernel_size, 3, 5)) for key in keys[2:])

    def ours(g, w):
        return jnp.sin(networks._convolve(g, w, stride))

    def plain(g, w):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jnp.sin(
            jax.lax.conv_general_dilated(
                g, w, (stride, stride), "SAME", dimension_numbers=dimensions
            )
        )

    def derivatives(f):
        z, forward = jax.jvp(f, (g, w), (dg, dw))
        of_both = jax.grad(lambda g, w: (f(g, w) ** 2).sum(), argnums=(0, 1))
        curved = jax.jvp(of_both, (g, w), (dg, dw))[1]
        each = jax.vmap(jax.grad(lambda g, w: f(g[None], w).sum(), argnums=1), (0, None))(g, w)
        return z, forward, *of_both(g, w), *curved, each

    for mine, xlas in zip(derivatives(ours), derivatives(plain), strict=True):
        np.testing.assert_allclose(mine, xlas, rtol=1e-4, atol=1e-4 * abs(xlas).max())


@pytest.mark.parametrize(
    "error, words, make",
    [
        (ValueError, r"image is \(8, 8\)", lambda: cnn((8, 8), (4,), 1)),
        (ValueError, "channels is empty", lambda: cnn((8, 8, 1), (), 1)),
        (ValueError, "pool is 'max'", lambda: cnn((8, 8, 1), (4,), 1, pool="max")),
        (ValueError, "stride is 0", lambda: cnn((8, 8, 1), (4,), 1, stride=0)),
        (TypeError, "kernel_size is 2.5", lambda: cnn((8, 8, 1), (4,), 1, kernel_size=2.5)),
        (ValueError, "blocks is 0", lambda: wide_resnet((8, 8, 1), 1, blocks=0)),
        (ValueError, "w_std_first is 0", lambda: wide_resnet((8, 8, 1), 1, w_std_first=0)),
        (
            ValueError,
            "parametrization is 'mup'",
            lambda: wide_resnet((8, 8, 1), 1, parametrization="mup"),
        ),
        (
            ValueError,
            "expected the architecture of source",
            lambda: reparametrize(mlp((2, 3)).init(jax.random.key(0)), mlp((2, 3)), mlp((2, 4))),
        ),
    ],
)
def test_bad_architectures_are_refused(error, words, make):
    with pytest.raises(error, match=words):
        make()


def test_biases_cannot_appear_or_vanish():
    plain, biased = mlp((2, 3)), mlp((2, 3), b_std=0.1)
    for source, target in ((plain, biased), (biased, plain)):
        with pytest.raises(ValueError, match="expected b_std > 0 in both or none"):
            reparametrize(source.init(jax.random.key(0)), source, target)


def test_images_of_another_shape_are_refused():
    net = cnn((8, 8, 1), (4,), 1)
    params = net.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"x has shape \(2, 64\); expected \(N, 8, 8, 1\)"):
        net.apply(params, jnp.ones((2, 64)))
    with pytest.raises(ValueError, match="params has 1 layers; expected 2"):
        net.apply(params[:1], jnp.ones((2, 8, 8, 1)))


def test_equal_networks_share_compiled_code():
    nets = [mlp((3, 8, 1), "relu") for _ in range(2)]
    assert nets[0] is nets[1] and mlp((3, 8, 1), "erf") is not nets[0]
    counted = jax.jit(lambda params, x, apply: apply(params, x), static_argnames="apply")
    for net in nets:
        counted(net.init(jax.random.key(0)), jnp.ones((2, 3)), apply=net.apply)
    assert counted._cache_size() == 1
