"""Costs: what is counted is what runs, and the kept file holds the grid."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import costs
from ntkbook.live.laptop_to_cluster import kernel_operations, step_operations


@pytest.mark.parametrize(
    ("program", "formula"), [("step", step_operations), ("kernel", kernel_operations)]
)
@pytest.mark.parametrize(("n", "p"), [(256, 128), (64, 512)])
def test_operations_are_those_of_the_products(program, formula, n, p):
    counted = costs.operations(*getattr(costs, program)(n, p))
    assert counted == pytest.approx(formula(n, p), rel=10 / (2 * min(n, 64)))
    assert counted > formula(n, p)  # what acts on single numbers comes on top


def test_a_step_is_gradient_descent_and_seeds_do_not_mix():
    many, params = costs.step(8, 16, seeds=3)
    one, _ = costs.step(8, 16)
    moved = many(params)
    for seed in range(3):
        alone = one([type(layer)(layer.w[seed], *layer[1:]) for layer in params])
        for together, layer in zip(moved, alone, strict=True):
            np.testing.assert_allclose(together.w[seed], layer.w, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(moved[0].w[0], moved[0].w[1])
    assert not np.array_equal(moved[0].w, params[0].w)


def test_time_grows_with_work():
    power = lambda k: jax.jit(lambda a: jax.lax.fori_loop(0, k, lambda _, b: a @ b / 512, a))
    quick, slow = (costs.measure(power(k), jnp.ones((512, 512))) for k in (1, 100))
    assert 0 < quick.seconds < slow.seconds


def test_the_kept_costs_hold_the_grid():
    kept = costs.load()
    grid = {(n, 256) for n in costs.WIDTHS} | {(256, p) for p in costs.SIZES}
    assert set(kept.step) == set(kept.kernel) == grid and set(kept.seeds) == set(costs.SEEDS)
    for table, formula in ((kept.step, step_operations), (kept.kernel, kernel_operations)):
        for size, cost in table.items():
            if min(size) >= 256:
                assert cost.operations == pytest.approx(formula(*size), rel=0.02)
    assert "jax" in kept.machine


def test_the_costs_kept_of_a_gpu_are_of_the_same_programs():
    core, gpu = costs.load("cpu"), costs.load("gpu")
    assert "NVIDIA" in gpu.machine and set(gpu.seeds) == set(core.seeds)
    for name in ("step", "kernel"):
        ours, theirs = getattr(core, name), getattr(gpu, name)
        assert {(8, 256), (256, 4096), (4096, 256)} <= set(theirs) <= set(ours)
        assert all(theirs[size].operations == ours[size].operations for size in theirs)


def test_measuring_writes_what_is_loaded(tmp_path, monkeypatch):
    for name in ("WIDTHS", "SIZES", "SEEDS"):
        monkeypatch.setattr(costs, name, (2,))
    monkeypatch.setattr(costs, "POINT", 4)
    costs.main([str(tmp_path / "costs.json")])
    kept = json.loads((tmp_path / "costs.json").read_text())
    assert [row[:2] for row in kept["step"]] == [[2, 4], [4, 2]]
    loaded = costs.load(tmp_path / "costs.json")
    assert set(loaded.kernel) == {(2, 4), (4, 2)} and loaded.seeds[2].seconds > 0
    assert [len(row) for row in kept["kernel"] + kept["seeds"]] == [4, 4, 3]
    with pytest.raises(SystemExit, match="usage"):
        costs.main([])
