"""The precision of matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import jax


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep products of float32 matrices in float32; decorates what calls a network.

    On a GPU, JAX would round them to TF32, which has 10 bits where float32 has 23: more than a
    kernel changes in the lazy regime. Whoever sets ``jax_default_matmul_precision`` has chosen, and
    it stays.
    """
    chosen = jax.config.jax_default_matmul_precision is not None
    with nullcontext() if chosen else jax.default_matmul_precision("highest"):
        yield
