"""The installed JAX computes the numbers that jaxlib 0.10.2 gets wrong (jax issue 39103).

There, jitted and reduced, a long batch of small matrix-vector products is wrong from some row on.
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_of_squared_lengths_is_exact(dtype, x64):
    rng = np.random.default_rng(0)
    matrix = rng.integers(-9, 10, (3, 3))
    batch = rng.integers(-99, 100, (40_000, 3))

    @jax.jit
    def squared_lengths(matrix, batch):
        return jax.vmap(lambda row: ((matrix @ row) ** 2).sum())(batch)

    computed = squared_lengths(jnp.asarray(matrix, dtype), jnp.asarray(batch, dtype))
    # All are integers that both dtypes hold exactly.
    np.testing.assert_array_equal(computed, ((batch @ matrix.T) ** 2).sum(1))


def test_the_last_squared_length_is_exact(x64):
    batch = jnp.arange(16_385.0)[:, None] * jnp.array([1.0, 0.0, 0.0])
    squared_lengths = jax.jit(jax.vmap(lambda row: ((jnp.eye(3) @ row) ** 2).sum()))(batch)
    assert squared_lengths[-1] == 268_435_456  # jaxlib 0.10.2 says 266_342_400


def test_ntkbook_refuses_to_run_on_it():
    code = "import jaxlib; jaxlib.__version__ = '0.10.2'; import ntkbook"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("ImportError: jaxlib 0.10.2 computes wrong numbers on CPU")
