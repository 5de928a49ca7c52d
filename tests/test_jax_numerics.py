"""The installed JAX computes the numbers that releases with a broken CPU backend do not.

jax issue 39103: jitted and reduced, a batch of small matrix-vector products is wrong from some row
on, as soon as the batch is long enough. jaxlib 0.10.2 fails all of these tests, jaxlib 0.9.1 to
0.10.1 the one of float32 sums; all values here are integers that both dtypes hold exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REDUCTIONS = {"sum": lambda v: v.sum(-1), "max": lambda v: v.max(-1), "square": lambda v: (v**2).sum(-1)}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batches_of_small_matrix_vector_products_are_exact(dtype, reduction, x64):
    reduce = REDUCTIONS[reduction]
    rng = np.random.default_rng(0)
    matrix = rng.integers(-9, 10, (3, 3))
    batch = rng.integers(-99, 100, (40_000, 3))

    @jax.jit
    def computed(matrix, batch):
        return jax.vmap(lambda row: reduce(matrix @ row))(batch)

    got = computed(jnp.asarray(matrix, dtype), jnp.asarray(batch, dtype))
    np.testing.assert_array_equal(got, reduce(batch @ matrix.T))


def test_the_last_of_many_squared_lengths_is_exact(x64):
    lengths = jnp.arange(16_385, dtype="float64")
    vectors = lengths[:, None] * jnp.array([1.0, 0.0, 0.0])
    squared = jax.jit(jax.vmap(lambda v: ((jnp.eye(3) @ v) ** 2).sum()))(vectors)
    assert squared[-1] == 268_435_456  # jaxlib 0.10.2: 266_342_400 or another, by processor
