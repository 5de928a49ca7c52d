import pathlib

import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def strict():
    """Every test runs with strict promotion, so that no dtype or shape changes unnoticed."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64():
    """float64 for one test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="session")
def golden():
    return np.load(pathlib.Path(__file__).parent / "data" / "golden_neural_tangents.npz")
