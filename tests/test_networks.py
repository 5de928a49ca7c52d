import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ntkbook import mlp


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
    assert all(p.b is None for p in mlp((4, 5, 2)).init(jax.random.key(0)))


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
        (ValueError, "parametrization is 'mup'", (3, 2, 1), {"parametrization": "mup"}),
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
