"""The installed JAX computes the numbers that jaxlib 0.9.1 to 0.10.2 get wrong (jax issue 39103).

There, jitted and reduced, a long batch of small matrix-vector products is wrong from some row on:
in 0.10.2 whatever the reduction, in the others for sums and maxima in float32.
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REDUCTIONS = {
    "sum": lambda v: v.sum(-1),
    "maximum": lambda v: v.max(-1),
    "squared length": lambda v: (v**2).sum(-1),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_of_reduced_products_is_exact(dtype, reduction, x64):
    reduce = REDUCTIONS[reduction]
    rng = np.random.default_rng(0)
    matrix = rng.integers(-9, 10, (3, 3))
    batch = rng.integers(-99, 100, (40_000, 3))

    @jax.jit
    def reduced(matrix, batch):
        return jax.vmap(lambda row: reduce(matrix @ row))(batch)

    computed = reduced(jnp.asarray(matrix, dtype), jnp.asarray(batch, dtype))
    # All are integers that both dtypes hold exactly.
    np.testing.assert_array_equal(computed, reduce(batch @ matrix.T))


def test_the_last_squared_length_is_exact(x64):
    batch = jnp.arange(16_385.0)[:, None] * jnp.array([[1.0, 0.0, 0.0]])
    squared_lengths = jax.jit(jax.vmap(lambda row: ((jnp.eye(3) @ row) ** 2).sum()))(batch)
    assert squared_lengths[-1] == 268_435_456  # jaxlib 0.10.2 says 266_342_400


@pytest.mark.parametrize("version", ["0.9.1", "0.10.1", "0.10.2"])
def test_ntkbook_refuses_to_run_on_it(version):
    code = f"import jaxlib; jaxlib.__version__ = {version!r}; import ntkbook"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"ImportError: jaxlib {version} computes wrong numbers on CPU")
