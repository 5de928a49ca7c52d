"""Measure speed and memory of the package on one core: a table on stdout, and a JSON file.

    python tools/bench.py OUTPUT.json [PEERS_PYTHON]

Each time is the best of several runs, and stands beside what the machine does in the same run: a
large matrix product for the empirical kernels, a pass of arccos for the infinite ones. Memory is
what XLA allocates. PEERS_PYTHON is a Python that has torch, and perhaps nngeometry, installed.
"""

import json
import os
import platform
import subprocess
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["NTKBOOK_PROGRESS"] = "0"
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # a program from the cache has no cost analysis
CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else None
if CORE is not None:
    os.sched_setaffinity(0, {CORE})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import ntkbook as nb  # noqa: E402
from ntkbook import data  # noqa: E402

KEY = jax.random.key(0)
PRECISE = jax.lax.Precision.HIGHEST


def seconds(function, *args, least=0.5, most=20):
    """Time of the best of several calls; the first, which compiles, is not counted."""
    jax.block_until_ready(function(*args))
    best, total, calls = np.inf, 0.0, 0
    while calls < 3 or (total < least and calls < most):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        elapsed = time.perf_counter() - start
        best, total, calls = min(best, elapsed), total + elapsed, calls + 1
    return best


def cost(function, *args):
    """Floating-point operations, and bytes of what is allocated beside the arguments."""
    compiled = jax.jit(function).lower(*args).compile()
    memory = compiled.memory_analysis()
    return compiled.cost_analysis()[
        "flops"
    ], memory.temp_size_in_bytes + memory.output_size_in_bytes


def matrix_rate(n=1536):
    a = jax.random.normal(KEY, (n, n))
    return 2 * n**3 / seconds(jax.jit(lambda a: jnp.matmul(a, a, precision=PRECISE)), a)


def by_jacobian(apply, params, x, trace):
    """The usual way: the whole Jacobian by vmap(jacrev), then its product with itself."""
    one = lambda row: jax.jacrev(lambda p: apply(p, row[None])[0])(params)
    leaves = [j.reshape(*j.shape[:2], -1) for j in jax.tree.leaves(jax.vmap(one)(x))]
    pattern = "icp,jcp->ij" if trace else "icp,jdp->ijcd"
    kernels = [jnp.einsum(pattern, j, j, precision=PRECISE) for j in leaves]
    return sum(kernels) / (leaves[0].shape[1] if trace else 1)


def empirical(rows):
    """The layerwise kernel beside a matrix product, and beside vmap(jacrev)."""
    for widths, n, beside in (
        ((784, 512, 512, 512, 1), 256, True),
        ((784, 1024, 1024, 1024, 1), 512, False),
        ((784, 512, 512, 512, 10), 64, True),
    ):
        net, classes = nb.mlp(widths, "relu"), widths[-1]
        trace = classes == 1
        output = "trace" if trace else "full"
        params, x = net.init(KEY), jax.random.normal(KEY, (n, widths[0]))
        ours = jax.jit(lambda p, x, net=net, o=output: nb.empirical_ntk(net.apply, p, x, output=o))
        rate = matrix_rate()
        t = seconds(ours, params, x)
        flops, allocated = cost(ours, params, x)
        kernel_bytes = 4 * (n * classes) ** 2
        least = x.nbytes + 4 * n * classes * sum(widths[1:-1]) + kernel_bytes
        name = f"layerwise NTK {'-'.join(map(str, widths))}, N = {n}, {output}"
        row = rows.setdefault(name, {})
        row["seconds"], row["share of a matrix product's rate"] = t, flops / t / rate
        row["memory / (inputs, signals, output)"] = (x.nbytes + allocated) / least
        if beside:
            theirs = jax.jit(lambda p, x, net=net, t=trace: by_jacobian(net.apply, p, x, t))
            slow = seconds(theirs, params, x, most=3)
            slow_flops, slow_allocated = cost(theirs, params, x)
            row["vmap(jacrev): time ratio"] = slow / t
            row["vmap(jacrev): memory ratio"] = slow_allocated / allocated
            row["vmap(jacrev): FLOP ratio"] = slow_flops / flops
    net = nb.cnn((16, 16, 3), (32, 32, 32), 10, "relu")
    params, x = net.init(KEY), jax.random.normal(KEY, (32, 16, 16, 3))
    ours = jax.jit(lambda p, x: nb.empirical_ntk(net.apply, p, x))
    theirs = jax.jit(lambda p, x: by_jacobian(net.apply, p, x, False))
    t = seconds(ours, params, x, most=5)
    rows["NTK of a CNN, 16 x 16 x 3, 3 x 32 channels, C = 10, N = 32, full"] = {
        "seconds": t,
        "vmap(jacrev): time ratio": seconds(theirs, params, x, most=5) / t,
        "vmap(jacrev): memory ratio": cost(theirs, params, x)[1] / cost(ours, params, x)[1],
    }


def infinite(rows):
    """Infinite width beside one pass of arccos a layer, and its growth with N."""
    depth, sizes, times = 5, (500, 1000, 2000), []
    kernels = jax.jit(lambda x: nb.infinite_kernels(x, depth=depth, activation="relu"))
    for n in sizes:
        x = jax.random.normal(KEY, (n, 784))
        times.append(seconds(kernels, x, most=5))
    cosines = jnp.clip(jax.random.normal(KEY, (n, n)) / 3, -0.99, 0.99)
    arccos = seconds(jax.jit(jnp.arccos), cosines)
    rows[f"infinite width, relu, N = {n}, {depth} hidden layers"] = {
        "seconds": times[-1],
        "arccos passes a layer": times[-1] / arccos / depth,
        "memory / outputs": cost(kernels, x)[1] / (2 * 4 * n * n),
        f"power of N, {sizes[0]} to {n}": np.polyfit(np.log(sizes), np.log(times), 1)[0],
    }


def softplus(z):
    """softplus(5 z) / 5, scaled to unit second moment."""
    return 1.404 * jax.nn.softplus(5 * z) / 5


def problems():
    """Name, apply, params, x, y, options, and the methods to try with their options."""
    x = data.gaussian_inputs(jax.random.key(1), 50, 30, whitened=True)
    y = data.linear_teacher(jax.random.key(2), x).y
    fine = {"tsit5": {}, "geiger": {}, "gd": {"learning_rate": 0.05}}
    for layers, sigma, t_max in ((2, 0.01, 10.0), (3, 0.03, 60.0), (4, 0.1, 150.0)):
        net = nb.deep_linear((30, *(50,) * (layers - 1), 1), sigma=sigma)
        options = dict(t_max=t_max, at=np.linspace(0, t_max, 30))
        name = f"linear, L = {layers}, sigma = {sigma}"
        yield name, net.apply, net.init(jax.random.key(3)), x, y[:, None], options, fine
    digits = data.digits()
    train, _ = data.split(jax.random.key(4), data.parity(digits), 300)
    x = train.x.reshape(300, -1).astype(float)
    x = x - x.mean(0)
    x = 8 * x / np.linalg.norm(x, axis=1, keepdims=True)
    y = jnp.asarray(train.y, x.dtype)[:, None]
    net = nb.mlp((64, 64, 64, 64, 1), softplus)
    for alpha, name in ((100.0, "lazy"), (0.1, "rich")):
        options = dict(t_max=1e5, stop=1e-2, at=(0.0,), alpha=alpha, center=True)
        methods = {"tsit5": {}, "exponential": {}, "geiger": {}, "gd": {}}
        params = net.init(jax.random.key(5))
        yield f"digits, P = 300, {name}", net.apply, params, x, y, options, methods


def solvers(rows):
    """Gradient calls, CPU time and error of each method, against a fine reference; float64."""
    for name, apply, params, x, y, options, methods in problems():

        def run(method, apply=apply, params=params, x=x, y=y, options=options, **more):
            setting = dict(record=("outputs",), method=method, **options) | more
            return nb.train(apply, params, x, y, **setting)

        reference = run("tsit5", rtol=1e-8)
        chosen = nb.choose_method(
            apply, params, x, y,
            **{k: v for k, v in options.items() if k not in ("at",)},
        )  # fmt: skip
        for method, more in methods.items():
            try:
                run(method, **more)
                start = time.process_time()
                result = run(method, **more)
                jax.block_until_ready(result.loss)
                elapsed = time.process_time() - start
            except nb.TrainingError as error:
                rows[f"{name}: {method}"] = {"did not finish": str(error)}
                continue
            gap = np.abs(result["outputs"] - reference["outputs"]).max()
            rows[f"{name}: {method}" + (" (chosen)" if method == chosen else "")] = {
                "gradient calls": int(result.gradient_calls),
                "CPU seconds": elapsed,
                "error": float(gap / np.abs(reference["outputs"]).max()),
            }


PEERS = """
import json, sys, time, torch
torch.set_num_threads(1)
widths, n = json.loads(sys.argv[1])
layers = []
for a, b in zip(widths, widths[1:]):
    layers += [torch.nn.Linear(a, b, bias=False), torch.nn.ReLU()]
model, x = torch.nn.Sequential(*layers[:-1]), torch.randn(n, widths[0])
def best(f):
    f(); times = []
    for _ in range(3):
        start = time.perf_counter(); f(); times.append(time.perf_counter() - start)
    return min(times)
out = {}
def by_torch_func():
    params = {k: v.detach() for k, v in model.named_parameters()}
    f = lambda p, row: torch.func.functional_call(model, p, (row[None],))[0]
    jac = torch.func.vmap(torch.func.jacrev(f), (None, 0))(params, x)
    return sum(torch.einsum("icp,jcp->ij", j.flatten(2), j.flatten(2)) for j in jac.values())
out[f"torch.func {torch.__version__}"] = best(by_torch_func)
try:
    from nngeometry.gram import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset
    loader = DataLoader(TensorDataset(x, torch.zeros(n)), batch_size=n)
    def by_nngeometry():
        return GramMatrix(model, loader, function=lambda *d: model(d[0])).data
    out["nngeometry"] = best(by_nngeometry)
except Exception as error:
    print("nngeometry:", type(error).__name__, error, file=sys.stderr)
print(json.dumps(out))
"""


def peers(rows, python):
    """The same kernel by other libraries, on the same core."""
    widths, n = (784, 512, 512, 512, 1), 256
    command = [python, "-c", PEERS, json.dumps([widths, n])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    ours = rows[f"layerwise NTK {'-'.join(map(str, widths))}, N = {n}, trace"]["seconds"]
    for name, t in json.loads(done.stdout).items():
        rows[f"the first of these kernels by {name}"] = {"seconds": t, "time ratio": t / ours}


def show(rows):
    for name, row in rows.items():
        numbers = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        print(f"{name}\n    {numbers}", flush=True)


def main(output, peers_python=None):
    """Measure everything, print it and save it."""
    rows = {}
    for group in (empirical, infinite):
        group(rows)
    if peers_python:
        peers(rows, peers_python)
    jax.config.update("jax_enable_x64", True)
    solvers(rows)
    show(rows)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "core": CORE,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "GFLOP/s of a 1536 x 1536 float32 product": matrix_rate() / 1e9,
        "load": os.getloadavg()[0],
    }
    with open(output, "w", encoding="utf-8") as file:
        json.dump({"machine": machine, "rows": rows}, file, indent=1, default=float)
    print("; ".join(f"{key}: {value}" for key, value in machine.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
