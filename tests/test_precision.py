import jax
import jax.numpy as jnp
import pytest

from ntkbook import cnn, empirical_ntk, mlp, ntk_vector_product, train
from ntkbook.regression import linearize

X = jnp.ones((3, 4))
NET = mlp((4, 5, 1), "relu")
PARAMS = NET.init(jax.random.key(0))


def plain(params, x):
    """A network that says nothing of precision, as most do."""
    return jnp.tanh(x @ params[0]) @ params[1]


WEIGHTS = [jnp.ones((4, 5)), jnp.ones((5, 1))]


def trained(method):
    options = dict(method=method, t_max=1.0) | ({"learning_rate": 0.1} if method == "gd" else {})
    return lambda w: train(plain, w, X, jnp.ones((3, 1)), **options).loss


COMPUTED = {
    "apply": (NET.apply, PARAMS, X),
    "a gradient": (jax.grad(lambda p: NET.apply(p, X).sum()), PARAMS),
    "a linearised network": (lambda p: linearize(NET.apply, PARAMS)(p, X), PARAMS),
    "a convolutional network": (
        (net := cnn((4, 4, 1), (2,), 1, "relu")).apply,
        net.init(jax.random.key(0)),
        jnp.ones((2, 4, 4, 1)),
    ),
    "a kernel": (lambda w: empirical_ntk(plain, w, X), WEIGHTS),
    "a kernel by layers": (lambda p: empirical_ntk(NET.apply, p, X), PARAMS),
    "a kernel times a vector": (
        lambda w: ntk_vector_product(plain, w, X, None, jnp.ones((3, 1))),
        WEIGHTS,
    ),
    **{method: (trained(method), WEIGHTS) for method in ("tsit5", "exponential", "geiger", "gd")},
}


def precisions(function, *args):
    """What every matrix product and convolution of a function's program asks for."""
    found = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
                found.append(eqn.params["precision"])
            for value in jax.tree.leaves(
                list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
            ):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    walk(inner)

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    assert found
    return {str(p) for each in found for p in (each if isinstance(each, tuple) else (each,))}


@pytest.mark.parametrize("name", COMPUTED)
def test_products_are_not_rounded_to_fewer_bits_on_a_gpu(name):
    assert precisions(*COMPUTED[name]) == {"HIGHEST"}


@pytest.mark.parametrize("name", ["apply", "a gradient"])
def test_a_precision_that_was_chosen_stays(name):
    with jax.default_matmul_precision("tensorfloat32"):
        assert "HIGHEST" not in precisions(*COMPUTED[name])
    assert precisions(*COMPUTED[name]) == {"HIGHEST"}


def test_the_test_sees_a_product_without_a_precision():
    assert precisions(plain, WEIGHTS, X) == {"None"}
