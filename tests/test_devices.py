"""Several devices: the same numbers when data are sharded over four virtual ones."""

import os
import subprocess
import sys
import textwrap

PROGRAM = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    import ntkbook as nb
    from ntkbook.regression import kernel_regression

    assert jax.device_count() == 4
    where = NamedSharding(Mesh(np.array(jax.devices()), "i"), PartitionSpec("i"))
    net = nb.mlp((3, 16, 1), "relu")
    params, x = net.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, 3))
    y = jnp.sign(x[:, 0])
    spread = jax.device_put(x, where)

    kernel = lambda x: nb.empirical_ntk(net.apply, params, x, output="trace")
    sharded = kernel(spread)
    assert {s.data.shape for s in sharded.addressable_shards} == {(2, 8)}  # each holds a quarter
    np.testing.assert_allclose(sharded, kernel(x), rtol=1e-6)
    generic = lambda p, x: net.apply(p, x)
    np.testing.assert_allclose(
        nb.empirical_ntk(generic, params, spread, output="trace"), kernel(x), rtol=1e-5
    )

    one, four = (
        list(nb.ntk_blocks(net.apply, params, x, rows=3, output="trace", devices=devices))
        for devices in (None, jax.devices())
    )
    assert [rows for rows, _ in four] == [slice(0, 3), slice(3, 6), slice(6, 8)]
    for (rows, block), (_, other) in zip(one, four, strict=True):
        np.testing.assert_array_equal(block, other)  # bit for bit
        np.testing.assert_allclose(block, kernel(x)[rows], rtol=1e-6)

    # regression with a kernel that no device holds as a whole, by products with it
    ridge = lambda v: sharded @ v + 0.1 * v
    dual = jax.jit(lambda y: jax.scipy.sparse.linalg.cg(ridge, y, tol=1e-6)[0])(y)
    wanted = kernel_regression(kernel(x), y, kernel(x), ridge=0.1)
    np.testing.assert_allclose(sharded @ dual, wanted, atol=1e-4)

    infinite = lambda x: nb.infinite_kernels(x, depth=2, activation="relu").ntk
    assert len(infinite(spread).sharding.device_set) == 4
    np.testing.assert_allclose(infinite(spread), infinite(x), rtol=1e-6)

    # in double precision: in single, rounding decides how long an adaptive step is
    jax.config.update("jax_enable_x64", True)
    x, y = x.astype(float), y.astype(float)
    one = lambda key: nb.train(
        net.apply, net.init(key), x, y, t_max=3.0, at=(1.0,), method="tsit5", record=("outputs",)
    )
    keys = jax.random.split(jax.random.key(2), 8)
    many = jax.jit(jax.vmap(one))
    runs = many(jax.device_put(keys, where)).check()
    assert len(runs.loss.sharding.device_set) == 4
    np.testing.assert_allclose(runs.loss, many(keys).loss, rtol=1e-10)
    assert runs.loss.dtype == float
    print("equal")
"""


def test_sharded_over_virtual_devices():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "equal\n", done.stderr[-3000:]
