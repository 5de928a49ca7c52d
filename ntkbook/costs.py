"""What training and kernels cost: operations and time, counted and measured.

``python -m ntkbook.costs FILE`` measures the grid that :func:`load` reads on one device of this
machine, in a few minutes; nothing else should run meanwhile.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntkbook.kernels import empirical_ntk
from ntkbook.networks import mlp

INPUTS = 64  # D
WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # at P = POINT
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # P, at n = POINT
POINT = 256
SEEDS = (1, 4, 16, 64, 256)  # networks at once, at n = P = SMALL
SMALL = 32
KEPT = {"cpu": "costs.json", "gpu": "costs_gpu.json"}
Program = tuple[Callable, Any]


class Cost(NamedTuple):
    """What one call of a compiled program costs.

    Attributes:
        operations: floating-point operations of the program as it was written, by XLA's count (a
            product and a sum are two).
        seconds: of the fastest of several calls.
    """

    operations: float
    seconds: float


def step(n: int, p: int, seeds: int = 1) -> Program:
    """A step of gradient descent of a ReLU network with two hidden layers.

    Args:
        n: width of both hidden layers.
        p: training points, of dimension 64.
        seeds: networks that take the step at once, by ``jax.vmap``.

    Returns:
        A compiled function, and its argument.

    Example:
        >>> program, params = step(8, 16)
        >>> [layer.w.shape for layer in program(params)]
        [(64, 8), (8, 8), (8, 1)]
    """
    net, x = _network(n), _points(p)
    loss = lambda params: ((net.apply(params, x) - x[:, :1]) ** 2).mean() / 2
    one = lambda params: jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params))
    if seeds == 1:
        return jax.jit(one), net.init(jax.random.key(0))
    return jax.jit(jax.vmap(one)), jax.vmap(net.init)(jax.random.split(jax.random.key(0), seeds))


def kernel(n: int, p: int) -> Program:
    """The tangent kernel of :func:`ntkbook.costs.step`'s network on its training points.

    Args:
        n: width of both hidden layers.
        p: points, of dimension 64.

    Returns:
        A compiled function, and its argument.

    Example:
        >>> program, params = kernel(8, 16)
        >>> program(params).shape
        (16, 16)
    """
    net, x = _network(n), _points(p)
    program = jax.jit(lambda params: empirical_ntk(net.apply, params, x, output="trace"))
    return program, net.init(jax.random.key(0))


def operations(program: Callable, argument: Any) -> float:
    """Count a program's floating-point operations as it was written, before XLA rewrites it.

    Args:
        program: what ``jax.jit`` returned, of one argument.
        argument: its argument.

    Returns:
        XLA's count; a product and a sum are two. It does not depend on where the program runs.

    Example:
        >>> print(operations(jax.jit(lambda a: a @ a), jnp.ones((64, 64))))
        524288.0
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), argument)
    with jax.default_device(jax.devices("cpu")[0]):  # a GPU's client does not count
        return float(program.lower(shapes).cost_analysis()["flops"])


def measure(program: Callable, argument: Any, *, least: float = 0.3) -> Cost:
    """Count a program's operations, and time it.

    Args:
        program: what ``jax.jit`` returned, of one argument.
        argument: its argument.
        least: seconds to spend, in three calls or more.

    Returns:
        The cost of a call.

    Example:
        >>> measure(jax.jit(lambda a: a @ a), jnp.ones((64, 64)), least=0.0).operations >= 2 * 64**3
        True
    """
    compiled = program.lower(argument).compile()
    jax.block_until_ready(compiled(argument))
    times = []
    while len(times) < 3 or (sum(times) < least and len(times) < 1000):
        start = time.perf_counter()
        jax.block_until_ready(compiled(argument))
        times.append(time.perf_counter() - start)
    return Cost(operations(program, argument), min(times))


class Costs(NamedTuple):
    """Costs on a grid, which the book keeps.

    Attributes:
        step: by (n, P).
        kernel: by (n, P).
        seeds: of a step at n = P = 32, by the number of networks.
        machine: where they were measured.
    """

    step: dict[tuple[int, int], Cost]
    kernel: dict[tuple[int, int], Cost]
    seeds: dict[int, Cost]
    machine: str


def load(file: str | Path = "cpu") -> Costs:
    """Read costs: those that the book keeps, or your own.

    Args:
        file: what :func:`ntkbook.costs.main` wrote; or ``"cpu"``, kept, of one core of an x86
            server; or ``"gpu"``, kept, some of the same sizes on an NVIDIA H100.

    Returns:
        The costs.

    Example:
        >>> load().kernel[256, 256].operations
        220069888.0
    """
    results = resources.files("ntkbook") / "results"
    kept = json.loads((results / KEPT[file] if file in KEPT else Path(file)).read_text())
    grid = lambda rows: {(n, p): Cost(*cost) for n, p, *cost in rows}
    seeds = {count: Cost(*cost) for count, *cost in kept["seeds"]}
    return Costs(grid(kept["step"]), grid(kept["kernel"]), seeds, kept["machine"])


def main(arguments: list[str]) -> None:
    """Measure the grid and write it, as ``python -m ntkbook.costs FILE`` does.

    Args:
        arguments: the file.

    Raises:
        SystemExit: there is not one argument.
    """
    if len(arguments) != 1:
        sys.exit("usage: python -m ntkbook.costs FILE")
    grid = sorted({(n, POINT) for n in WIDTHS} | {(POINT, p) for p in SIZES})
    device = jax.devices()[0]
    kept = {
        "machine": f"{device.device_kind}, {platform.machine()}, jax {jax.__version__}",
        "step": [(n, p, *measure(*step(n, p))) for n, p in grid],
        "kernel": [(n, p, *measure(*kernel(n, p))) for n, p in grid],
        "seeds": [(count, *measure(*step(SMALL, SMALL, count))) for count in SEEDS],
    }
    Path(arguments[0]).write_text(json.dumps(kept, indent=1) + "\n")


def _network(n):
    return mlp((INPUTS, n, n, 1), "relu")


def _points(p):
    return jnp.asarray(np.random.default_rng(0).normal(size=(p, INPUTS)), jnp.float32)


if __name__ == "__main__":
    main(sys.argv[1:])
