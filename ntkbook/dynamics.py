"""Training as a flow in time: one ``train`` for gradient flow, descent, momentum and Adam."""

import hashlib
import math
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ntkbook import _checks, measures, solvers, sweep
from ntkbook._precision import full_precision
from ntkbook._progress import watched
from ntkbook.kernels import Apply, empirical_ntk, ntk_vector_product
from ntkbook.solvers import State

Method = Literal["auto", "tsit5", "exponential", "geiger", "gd", "momentum", "adam"]
Loss = Literal["squared", "hinge"]
METHODS = ("tsit5", "exponential", "geiger", "gd", "momentum", "adam")
RTOL = {"tsit5": 1e-5, "momentum": 1e-5, "exponential": 1e-2}
STIFF = 1e3  # times that the fastest mode of the kernel decays in a run, where Tsit5 gives up
DENSE = 2000  # entries of the kernel's side up to which its eigenvectors are affordable

_REASONS = {
    solvers.NOT_FINITE: "the loss is not finite: the step is too long; choose a smaller "
    "learning_rate (below 2 / lambda_max of the kernel / P), or an adaptive method",
    solvers.STUCK: "the step shrank to nothing: the flow is not smooth there, or rtol is finer "
    "than the dtype can tell; choose a larger rtol, float64, or method='geiger'",
    solvers.AT_REST: "the gradient has vanished, so the loss will not fall to stop; choose "
    "another start, or a t_max at which to end",
    solvers.OUT_OF_STEPS: "max_steps were taken; choose a larger max_steps, a larger rtol or "
    "learning_rate, or go on with state=run.state",
}


class TrainingError(RuntimeError):
    """Training did not reach its end; ``run`` holds what was reached.

    Attributes:
        run: the :class:`Run` up to there; its ``state`` can be passed to :func:`train` again.
    """

    def __init__(self, message: str, run: "Run"):
        super().__init__(message)
        self.run = run


class Point(NamedTuple):
    """A moment of training, as the functions in ``record`` get it.

    Attributes:
        t: time.
        params: parameters.
        outputs: what the loss compares to the targets, alpha (f - f_0), shape (P, C).
        loss: the loss, of the whole training set.
        preconditioner: what multiplies the gradient, a pytree like ``params``: the rates; for
            Adam the rates over the running root mean square of the last step (at the start, of
            the first). The ``weights`` of the kernel that drives training, see
            :func:`ntkbook.kernels.empirical_ntk`.
    """

    t: Float[Array, ""]
    params: PyTree
    outputs: Float[Array, "p c"]
    loss: Float[Array, ""]
    preconditioner: PyTree


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("t", "loss", "records", "params", "state"),
    meta_fields=("method",),
)
@dataclass(frozen=True)
class Run:
    """What a training run recorded. Under vmap every array has the axis of the batch in front.

    Attributes:
        t: times of the rows: those asked for in ``at``, then the end. Rows that come after the
            stopping rule repeat the moment at which it stopped.
        loss: the loss at these times.
        records: what ``record`` asked for, by name, each with a row for each time;
            ``run["kernel"]`` is short for ``run.records["kernel"]``.
        params: parameters at the end.
        state: what :func:`train` needs to go on from the end.
        method: the method that was used.
    """

    t: Float[Array, "*batch times"]
    loss: Float[Array, "*batch times"]
    records: dict[str, Any]
    params: PyTree
    state: State = field(repr=False)
    method: str

    def __getitem__(self, name: str) -> Any:
        return self.records[name]

    @property
    def gradient_calls(self) -> Int[Array, ""]:
        """Gradients of the whole training set (or of a batch) that the run computed."""
        return self.state.gradient_calls

    @property
    def finished(self) -> Array:
        """Whether the run reached its last time or its stopping rule."""
        return self.state.status <= solvers.STOPPED

    def check(self) -> "Run":
        """Raise if the run, or one of a batch, did not finish; :func:`train` does so itself.

        Under vmap and jit ``train`` cannot raise: call this on what they return.

        Returns:
            The run itself.

        Raises:
            TrainingError: with the time that was reached, and why no further.
        """
        status = np.asarray(self.state.status)
        for code in _REASONS:
            bad = status == code
            if not bad.any():
                continue
            first = tuple(np.argwhere(bad)[0])
            t, loss, steps = (
                np.asarray(a)[first] for a in (self.state.t1, self.state.loss, self.state.steps)
            )
            batch = f"{bad.sum()} of {bad.size} runs did not finish; one " if bad.ndim else ""
            raise TrainingError(
                f"{batch or 'training '}stopped at t = {t:.4g} with loss {loss:.4g}, "
                f"after {steps} steps of method {self.method!r}: {_REASONS[code]}.",
                self,
            )
        return self


class _Loss(NamedTuple):
    """A loss of one output u with target y, its slope, and where its curvature is 1, not 0."""

    value: Callable
    slope: Callable
    active: Callable


_LOSSES = {
    "squared": _Loss(
        lambda u, y: (u - y) ** 2 / 2, lambda u, y: u - y, lambda u, y: jnp.ones_like(u)
    ),
    "hinge": _Loss(
        lambda u, y: jnp.maximum(0, 1 - y * u) ** 2 / 2,
        lambda u, y: -y * jnp.maximum(0, 1 - y * u),
        lambda u, y: (y * u < 1).astype(u.dtype),
    ),
}


@full_precision()
def train(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "p ..."],
    y: Float[Array, "p c"] | Float[Array, " p"],
    *,
    t_max: float = math.inf,
    stop: float | None = None,
    at: Sequence[float] | Float[Array | np.ndarray, " times"] | None = None,
    record: Sequence[str] | Mapping[str, str | Callable[[Point], Any]] = (),
    method: Method = "auto",
    loss: Loss = "squared",
    alpha: float | Array = 1.0,
    center: bool = False,
    rates: PyTree | None = None,
    learning_rate: Float[Array, ""] | float | None = None,
    tau: float | None = None,
    rtol: float | None = None,
    batch_size: int | None = None,
    key: PRNGKeyArray | None = None,
    max_steps: int = 1_000_000,
    state: State | None = None,
    progress: bool | None = None,
) -> Run:
    """Train a network and record what happens at chosen times.

    The loss of outputs ``u = alpha f``, or ``alpha (f - f_0)`` if ``center``, is
    ``sum_mu l(u_mu, y_mu) / (alpha^2 P)`` with l = (u - y)^2 / 2 or max(0, 1 - y u)^2 / 2, summed
    over outputs. Methods:

    - ``"tsit5"``: gradient flow ``d params / dt = -rates * gradient`` by an adaptive Runge-Kutta
      method of order 5.
    - ``"exponential"``: gradient flow near the lazy regime, stiff or not: each step solves the
      flow of the kernel frozen at its start exactly; its length is such that the kernel's change
      matters by less than ``rtol``. Needs the eigenvectors of a (P C) x (P C) matrix a step; with
      the hinge, a step for each point that passes its margin. Wrong at small initialisation.
    - ``"geiger"``: gradient flow by Euler steps for which the gradient g changes by
      ``1e-4 < |dg|^2 / (|g| |g'|) < 1e-2``. For stiff flows; its error is not controlled, and it
      is wrong at small initialisation.
    - ``"gd"``: gradient descent, of a minibatch if ``batch_size`` is given; time is steps times
      ``learning_rate``.
    - ``"momentum"``: the flow ``tau d v / dt = -(v + rates * gradient)``, ``d params / dt = v``.
    - ``"adam"``: Adam with decay rates .9 and .999; time is steps times ``learning_rate``.
    - ``"auto"``: one of the first three, by :func:`choose_method`.

    ``train`` can be traced: put it under ``jax.vmap`` to train over seeds, alpha or scales in one
    program, name a method then, and call :meth:`Run.check` on the result. Compiled code is kept
    for each ``apply`` and each function in ``record``: pass the same ones again.

    Args:
        apply: the network, ``apply(params, x)`` with result (P, C).
        params: where training starts, a pytree of floating arrays of one dtype.
        x: training inputs, one row an example.
        y: targets; (P,) will do for one output. +1 and -1 for the hinge.
        t_max: when to end; may be left out if ``stop`` is given.
        stop: end when the loss is at most this fraction of the first loss. A loss far below
            ``rtol**2`` of the first is noise.
        at: times to record at, not decreasing; by default the start. The end is recorded in any
            case. Within a step of the solver the record is interpolated to the solver's order.
        record: what to record besides time and loss: any of ``"outputs"`` (u), ``"params"``,
            ``"kernel"`` (the mean over outputs of the tangent kernel of x), ``"alignment"`` (of
            that kernel with y) and ``"norms"`` (of each array of parameters); or a mapping from
            names of your choice to these or to functions of a :class:`Point`.
        method: see above.
        loss: ``"squared"`` or ``"hinge"``, the quadratic hinge.
        alpha: scale of the output; large is lazy.
        center: subtract the outputs at the start.
        rates: learning rates relative to 1, a pytree like ``params`` or its upper part; see
            ``weights`` of :func:`ntkbook.kernels.empirical_ntk`.
        learning_rate: of ``"adam"`` and ``"gd"``, for which it is by default 1 / lambda_max of the
            kernel over P at the start, except under jit or vmap.
        tau: memory time of ``"momentum"``.
        rtol: error allowed per step: for ``"tsit5"`` and ``"momentum"`` relative to the distance
            from the start (default 1e-5), for ``"exponential"`` to the residual (1e-2).
        batch_size: of ``"gd"`` and ``"adam"``; ``stop`` then looks at the batch's loss.
        key: draws the batches.
        max_steps: attempted steps after which training gives up.
        state: ``run.state`` of an earlier run, to go on from there; only the times, ``stop`` and
            ``max_steps`` may have changed.
        progress: show how far training is on stderr, from five seconds on; by default where that is
            a terminal or a notebook, except under jit or vmap.

    Returns:
        A :class:`Run`.

    Raises:
        TrainingError: the end was not reached; it says how far training came and why.
        ValueError: an argument is out of range, does not fit the others or the method.
        TypeError: an array is not floating, or the dtypes differ.

    Source:
        Scaling by alpha and the step rule: Geiger, Spigler, Jacot & Wyart (2020); Chizat, Oyallon
        & Bach (2019). Runge-Kutta coefficients: Tsitouras (2011). Adam: Kingma & Ba (2015).

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 64, 1), "erf")
        >>> x, y = jax.numpy.eye(3), jax.numpy.array([1.0, -1.0, 0.5])
        >>> run = train(net.apply, net.init(jax.random.key(0)), x, y, t_max=100.0, stop=1e-3,
        ...             at=(0.0, 1.0), record=("outputs", "kernel"))
        >>> run["kernel"].shape, bool(run.loss[-1] < 2e-3 * run.loss[0])
        ((3, 3, 3), True)
    """
    p = _problem(apply, params, x, y, loss, alpha, center, rates)
    traced = any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(p.arrays))
    _checks.choice("method", method, ("auto", *METHODS))
    stop = 0.0 if stop is None else _checks.number("stop", stop, above=True)
    if stop >= 1:
        raise ValueError(f"stop is {stop}; expected a fraction of the first loss, below 1")
    times = _times(at, t_max, stop, state)
    if method == "auto":
        if traced:
            raise ValueError(
                "method is 'auto', which looks at numbers that do not exist yet under jit or vmap;"
                f" expected one of {', '.join(map(repr, METHODS))}: choose_method() says which"
            )
        method = _choose(p, times[-1], stop)
    rtol = _only(method, "rtol", rtol, RTOL, RTOL.get(method))
    tau = _only(method, "tau", tau, ("momentum",), None)
    if method == "gd" and learning_rate is None and not traced:
        largest = float(_largest(p))
        if largest == 0:
            raise ValueError("learning_rate is missing, and the kernel, which is zero, sets none")
        learning_rate = 1 / largest
    learning_rate = _only(method, "learning_rate", learning_rate, ("gd", "adam"), None)
    if batch_size is not None:
        _only(method, "batch_size", batch_size, ("gd", "adam"), None)
        if _checks.count("batch_size", batch_size) > len(p.x):
            raise ValueError(f"batch_size is {batch_size}; expected at most P = {len(p.x)}")
        if key is None:
            raise ValueError("key is None; expected a random key, which draws the batches")
    if progress is None:
        progress = not traced and watched()

    dtype = p.x.dtype
    if np.isfinite(times[-1]) and times[-1] > jnp.finfo(dtype).max:
        raise ValueError(
            f"t_max is {times[-1]:g}; {dtype} cannot hold it: leave it out, with stop="
        )
    numbers = {"rtol": rtol, "tau": tau, "learning_rate": learning_rate, "stop": stop or None}
    numbers = {k: jnp.asarray(v, dtype) for k, v in numbers.items() if v is not None}
    _progress.restart(times[-1])
    run = _run(
        p.apply,
        p.arrays,
        jnp.asarray(times, dtype),
        numbers,
        key,
        state,
        min(_checks.count("max_steps", max_steps), 2**31 - 1),
        method=method,
        loss=loss,
        center=bool(center),
        record=_record(record),
        batch_size=batch_size,
        progress=bool(progress),
    )
    if progress:
        jax.effects_barrier()
        _progress.close()
    return run if isinstance(run.state.status, jax.core.Tracer) else run.check()


def train_in_parts(
    part: Callable[[Float[np.ndarray, " some"], float, State | None], Run],
    at: Sequence[float] | Float[np.ndarray, " times"],
    file: str | os.PathLike | None,
    *,
    t_max: float | None = None,
    parts: int = 10,
) -> Run:
    """Train in parts and save after each, so that a killed run goes on to the same result.

    On one device and version of JAX that is the same bits as without a kill, or without parts. The
    file is known to be of this run by the traced program, with all arrays and numbers in it.

    Args:
        part: ``part(at, t_max, state)`` returns ``train(..., at=at, t_max=t_max, state=state)`` of
            one network, or of many under ``jax.vmap``; ``state`` is None at the start. Its method
            has a name, and with ``"gd"`` its learning rate a value; its ``max_steps`` are of a
            part. It is traced once more than it runs.
        at: times to record at, as in :func:`train`.
        file: where the run is kept, in ``.npz`` format, and written anew after each part. What is
            there is read, and the rest trained. None keeps nothing and trains in one part.
        t_max: when to end; by default the last time of ``at``.
        parts: in how many parts, at most; each ends at a time of ``at``, only the last at
            ``t_max``.

    Returns:
        The whole :class:`Run`, which is the one that ``part(at, t_max, None)`` would give.

    Raises:
        ValueError: the file holds something else, or another run.
        OSError: the file cannot be written; what was kept before stays.
        TrainingError: a part, or one network of it, did not reach its end; ``run`` holds all rows.
            The parts before it are kept.

    Example:
        >>> from ntkbook import networks
        >>> net = networks.mlp((3, 8, 1), "erf")
        >>> start, x, y = net.init(jax.random.key(0)), jnp.eye(3), jnp.array([1.0, -1.0, 0.5])
        >>> run = train_in_parts(
        ...     lambda at, t_max, state: train(net.apply, start, x, y, method="gd", at=at,
        ...                                    learning_rate=0.1, t_max=t_max, state=state),
        ...     [0.0, 1.0, 2.0, 3.0], "run.npz", parts=2)
        >>> run.t.round(1)
        Array([0., 1., 2., 3., 3.], dtype=float32)
    """
    at = np.atleast_1d(np.asarray(at, float))
    t_max = float(at.ravel()[-1]) if t_max is None else t_max
    if file is None:
        return part(at, t_max, None).check()
    rows = max(1, math.ceil(len(at) / _checks.count("parts", parts)))
    cuts = [cut for cut in range(rows, len(at), rows) if at[cut - 1] > 0] + [len(at)]
    program, structure = _traced(lambda: part(at, t_max, None))
    mark = np.array(_digest(program))
    run, shown = _resume(Path(file), mark, structure, program.out_avals), _Progress()
    shown.restart(t_max)
    for cut in cuts:
        begun = 0 if run is None else run.t.shape[-1] - 1  # the last row is the end
        if run is not None and cut <= begun:
            continue
        end = t_max if cut == len(at) else float(at[cut - 1])
        new = part(at[begun:cut], end, None if run is None else run.state)
        run = (new if run is None else _join(run, new)).check()
        leaves = {f"leaf{j}": np.asarray(leaf) for j, leaf in enumerate(jax.tree.leaves(run))}
        sweep.save(Path(file), {"mark": mark} | leaves, compress=False)
        if watched():
            shown.show(run.t[..., -1], run.loss[..., -1])
    shown.close()
    return run


def _traced(function):
    """The program of a function without arguments, and the structure of its result."""
    structures = []

    def leaves():
        result = function()
        structures.append(jax.tree.structure(result))
        return jax.tree.leaves(result)

    return jax.make_jaxpr(leaves)(), structures[0]


def _digest(program):
    """A number that tells a run, its program and the arrays in it, from another."""
    text = re.sub("0x[0-9a-f]+", "", str(program))  # without the addresses of functions
    digest = hashlib.sha256(text.encode())

    def add(jaxpr, constants):
        literals = [v.val for e in jaxpr.eqns for v in e.invars if hasattr(v, "val")]
        for a in (*constants, *literals):
            typed = jnp.issubdtype(getattr(a, "dtype", float), jax.dtypes.prng_key)
            digest.update(np.asarray(jax.random.key_data(a) if typed else a).tobytes())
        for equation in jaxpr.eqns:
            for inner in jax.tree.leaves(list(equation.params.values())):
                if hasattr(inner, "eqns"):  # a program within, closed or not
                    add(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()))

    add(program.jaxpr, program.consts)
    return digest.hexdigest()


def _resume(file, mark, structure, shapes):
    """The run so far, or None if there is none; a file of ours that was cut counts as none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        return None
    if file.is_file():
        with file.open("rb") as stream:
            begins = stream.read(2)
    if file.is_dir() or begins not in (b"", b"PK"):
        raise ValueError(f"{file} is there, and not of train_in_parts; expected a new file's name")
    if not zipfile.is_zipfile(file):
        return None
    try:
        with np.load(file) as kept:
            if "mark" in kept and kept["mark"] == mark:
                leaves = [kept[f"leaf{j}"].view(a.dtype) for j, a in enumerate(shapes)]
                return structure.unflatten(map(jnp.asarray, leaves))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file} is damaged ({error}): remove it to start again") from error
    raise ValueError(
        f"{file} holds another run, with other data, settings, times or initial weights (or of "
        "another version of JAX); expected the one to go on with: name another file, or remove it"
    )


def _join(run, new):
    """One run: without the end of the first part, which is a row of the second."""
    axis = run.t.ndim - 1  # of the rows, behind those of a batch
    # on the host: on a device each number of rows would be compiled anew
    rows = lambda a, b: jnp.asarray(np.concatenate([np.delete(a, -1, axis), b], axis))
    pick = lambda r: {"t": r.t, "loss": r.loss, "records": r.records}
    return replace(new, **jax.tree.map(rows, pick(run), pick(new)))


@full_precision()
def choose_method(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "p ..."],
    y: Float[Array, "p c"] | Float[Array, " p"],
    *,
    t_max: float = math.inf,
    stop: float | None = None,
    loss: Loss = "squared",
    alpha: float = 1.0,
    center: bool = False,
    rates: PyTree | None = None,
) -> str:
    """Choose how to integrate a gradient flow, from its stiffness at the start.

    Stiffness is the largest eigenvalue of the kernel over P times the length of the run, at most
    the time in which a frozen kernel would reach ``stop``. Up to 1,000 (10,000 with the hinge)
    ``"tsit5"`` is cheap and accurate. Above, one long step with the frozen kernel tells whether
    the flow is lazy: then ``"exponential"``; else, or with the hinge, or if P C > 2,000,
    ``"geiger"``.

    Args:
        apply: as in :func:`train`, like all other arguments.
        params: where training starts.
        x: training inputs.
        y: targets.
        t_max: when the run ends.
        stop: fraction of the first loss at which it ends.
        loss: ``"squared"`` or ``"hinge"``.
        alpha: scale of the output.
        center: subtract the outputs at the start.
        rates: relative learning rates.

    Returns:
        ``"tsit5"``, ``"exponential"`` or ``"geiger"``.

    Raises:
        ValueError: as :func:`train`.
        TypeError: as :func:`train`.

    Example:
        >>> import jax
        >>> from ntkbook import networks
        >>> net = networks.mlp((2, 512, 1), "erf")
        >>> params, x = net.init(jax.random.key(0)), jax.numpy.array([[1.0, 0.0], [1.0, 0.1]])
        >>> [choose_method(net.apply, params, x, jax.numpy.array([1.0, -1.0]), t_max=t, alpha=100.0)
        ...  for t in (1e2, 1e5)]
        ['tsit5', 'exponential']
    """
    problem = _problem(apply, params, x, y, loss, alpha, center, rates)
    stop = 0.0 if stop is None else _checks.number("stop", stop, above=True)
    return _choose(problem, _times((0.0,), t_max, stop, None)[-1], stop)


def small_start_rate(
    x: Float[Array, "p ..."], y: Float[Array, "p c"] | Float[Array, " p"]
) -> float:
    """A step of gradient descent for a network that starts small and grows to fit ``y``.

    ``.1 / max(|x^T y / P|, sqrt(lambda_max(x^T x / P)))``: the first is the rate at which the
    outputs of two small layers grow, the second bounds the curvature of their sum of squares as
    they fit targets of size one. With ``x`` whitened and such targets it is about .1.

    Args:
        x: training inputs; all axes but the first count as one.
        y: targets, (P,) or (P, C).

    Returns:
        The learning rate, for ``train(..., method="gd")``.

    Raises:
        ValueError: a shape or value is wrong, or ``x`` is zero.
        TypeError: an array is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> print(small_start_rate(2 * jnp.eye(4), jnp.array([1.0, -1.0, 1.0, -1.0])))
        0.1
    """
    x = np.asarray(_checks.floats("x", x, shape=("P", "D", "...")), float)
    x = x.reshape(len(x), -1)
    y = np.asarray(_checks.floats("y", y, shape=("P", "C") if np.ndim(y) == 2 else ("P",)), float)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}; expected as many")
    if not x.any():
        raise ValueError("x is zero; expected inputs that tell examples apart")
    drive = np.linalg.norm(x.T @ y.reshape(len(y), -1) / len(y), 2)
    spread = np.linalg.norm(x, 2) / math.sqrt(len(x))  # sqrt of the largest eigenvalue
    return 0.1 / float(max(drive, spread))


class _Arrays(NamedTuple):
    params: PyTree
    x: Array
    y: Array
    alpha: Array
    rates: PyTree


class _Problem(NamedTuple):
    apply: Apply
    arrays: _Arrays
    loss: str
    center: bool

    @property
    def x(self):
        return self.arrays.x


def _problem(apply, params, x, y, loss, alpha, center, rates):
    """Check the arguments that state what is to be trained, and on what."""
    x = _checks.floats("x", x, shape=("P", "D", "..."))
    if not isinstance(apply, Hashable):
        raise TypeError(f"apply is {apply!r}, which has no hash; expected a plain function")
    outputs = _checks.outputs(apply, params, x)
    params = jax.tree.map(jnp.asarray, params)  # NumPy's float64 becomes float32 as in x and y
    y = jnp.asarray(y)
    y = _checks.floats("y", y[:, None] if y.ndim == 1 and outputs == 1 else y, shape=("P", "C"))
    if y.shape != (len(x), outputs):
        raise ValueError(f"y has shape {y.shape}; expected (P, C) = {(len(x), outputs)}")
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves((params, x, y))}
    if len(dtypes) > 1:
        raise TypeError(f"params, x and y have dtypes {', '.join(sorted(dtypes))}; expected one")
    _checks.choice("loss", loss, tuple(_LOSSES))
    if loss == "hinge" and not isinstance(y, jax.core.Tracer) and bool((jnp.abs(y) != 1).any()):
        raise ValueError("y holds values other than +1 and -1, which the hinge loss expects")
    if not isinstance(alpha, jax.core.Tracer):
        alpha = _checks.number("alpha", alpha, above=True)
    alpha = jnp.asarray(alpha, x.dtype)
    return _Problem(
        apply, _Arrays(params, x, y, alpha, _checks.weights(rates, params, "rates")), loss, center
    )


def _times(at, t_max, stop, state):
    if isinstance(at, jax.core.Tracer):
        raise TypeError("at is traced; expected times that are known before jit or vmap")
    at = () if at is None and state is not None else (0.0,) if at is None else at
    times = np.atleast_1d(np.asarray(at, dtype=float))
    start = 0.0 if state is None or isinstance(state.t0, jax.core.Tracer) else float(state.t0)
    ok = times.ndim == 1 and np.isfinite(times).all() and (np.diff(times) >= 0).all()
    if not ok or (times.size and times[0] < start):
        raise ValueError(
            f"at is {np.array2string(times, threshold=8)}; "
            f"expected finite times from {start:g} on that do not decrease"
        )
    t_max = _checks.number("t_max", t_max, above=True, finite=False)
    if t_max < start:
        raise ValueError(f"t_max is {t_max:g}; the state is at t = {start:g} already")
    if t_max == math.inf and not stop:
        raise ValueError("t_max is missing; expected t_max= or stop=, or training would not end")
    if times.size and times[-1] > t_max:
        raise ValueError(f"at ends at {times[-1]:g}; expected no time after t_max = {t_max:g}")
    return np.append(times, t_max)


def _only(method, name, value, methods, default):
    """Return an option of some methods, or its default; refuse it for other methods."""
    if method not in methods:
        if value is not None:
            raise ValueError(f"{name} is {value!r}; method {method!r} has no {name}: leave it out")
        return None
    value = default if value is None else value
    if value is None:
        raise ValueError(f"{name} is missing; method {method!r} needs it")
    if isinstance(value, jax.core.Tracer):
        return value
    return _checks.number(name, value, above=True)


def _record(record):
    """The things to record as a tuple of names and functions, which jit can keep apart."""
    if isinstance(record, str):
        record = (record,)
    if not isinstance(record, (Mapping, Sequence)):
        raise TypeError(f"record is {record!r}; expected names, or a mapping of names")
    items = record.items() if isinstance(record, Mapping) else [(name, name) for name in record]
    pairs = []
    for name, what in items:
        if not isinstance(name, str):
            raise TypeError(f"record holds {name!r}; expected a name: record={{'name': function}}")
        if not callable(what):
            _checks.choice(f"record {name!r}", what, tuple(_RECORDS))
        pairs.append((name, what))
    return tuple(pairs)


_RECORDS = {
    "outputs": lambda apply, a, point: point.outputs,
    "params": lambda apply, a, point: point.params,
    "kernel": lambda apply, a, point: empirical_ntk(apply, point.params, a.x, output="trace"),
    "alignment": lambda apply, a, point: measures.alignment(
        empirical_ntk(apply, point.params, a.x, output="trace"), a.y
    ),
    "norms": lambda apply, a, point: jax.tree.map(
        jnp.linalg.norm, jax.tree.map(jnp.ravel, point.params)
    ),
}


@partial(
    jax.jit,
    static_argnames=("apply", "method", "loss", "center", "record", "batch_size", "progress"),
)
def _run(
    apply, arrays, times, numbers, key, state, max_steps,
    *, method, loss, center, record, batch_size, progress,
):  # fmt: skip
    f_start = apply(arrays.params, arrays.x) if state is None else state.f_start
    flow = _flow(apply, arrays, f_start, center, _LOSSES[loss], batch_size, key)
    solver, start = _solver(method, apply, arrays, flow, f_start, _LOSSES[loss], numbers)
    state = solvers.begin(solver, start, f_start) if state is None else state
    limits = solvers.Limits(
        loss=numbers["stop"] * state.loss_start if "stop" in numbers else -jnp.inf,
        t=times[-1],
        steps=state.steps + jnp.minimum(max_steps, jnp.iinfo(jnp.int32).max - state.steps),
    )
    state = state._replace(  # a state may come with another rule, or from a run out of steps
        status=jnp.select(
            [~jnp.isfinite(state.loss), state.loss <= limits.loss],
            [solvers.NOT_FINITE, solvers.STOPPED],
            solvers.RUNNING,
        ).astype(jnp.int32)
    )
    n = flow.start.size  # momentum's vector holds the velocity behind the parameters
    show = _progress.show if progress else None

    def stopped_at(s):
        """When, within the last step, the loss passed the stopping rule."""
        loss_at = lambda t: flow.mean_loss(flow.outputs(solver.dense(s, t)[:n]))
        height = lambda t: jnp.log(loss_at(t) / limits.loss)
        crossed = (s.status == solvers.STOPPED) & (height(s.t0) > 0)
        return jnp.where(crossed, solvers.root(height, s.t0, s.t1), s.t1)

    def row(s_w, t):
        s = solvers.advance(solver, limits, s_w[0], t, show)
        between = "stop" in numbers and not solver.fixed
        now = jnp.clip(t, s.t0, stopped_at(s) if between else s.t1)
        w = solver.dense(s, now)[:n]
        u = flow.outputs(w)
        value = flow.mean_loss(u)
        driving = flow.unravel(solver.preconditioner(s)) if solver.preconditioner else arrays.rates
        point = Point(now, flow.unravel(w), u, value, driving)
        records = {
            name: what(point) if callable(what) else _RECORDS[what](apply, arrays, point)
            for name, what in record
        }
        return (s, w), (now, value, records)

    (state, w), (t, losses, records) = jax.lax.scan(row, (state, flow.start), times)
    return Run(t, losses, records, flow.unravel(w), state, method)


class _Flow(NamedTuple):
    """What is integrated, with the parameters as one vector w.

    Attributes:
        start: w where training starts.
        unravel: w to the pytree of parameters.
        rates: relative learning rates, a vector like w.
        outputs: w to what the loss compares to the targets.
        mean_loss: outputs to the loss.
        gradient: w and the number of steps so far to the loss and its gradient.
    """

    start: Array
    unravel: Callable
    rates: Array
    outputs: Callable
    mean_loss: Callable
    gradient: Callable

    def __call__(self, w: Array, step: Array | int) -> tuple[Array, Array]:
        """Give the loss at w, and the velocity of the gradient flow."""
        value, slope = self.gradient(w, step)
        return value, -self.rates * slope


def _flow(apply, arrays, f_start, center, loss, batch_size=None, key=None):
    start, unravel = ravel_pytree(arrays.params)
    spread = lambda rate, leaf: jnp.broadcast_to(rate, leaf.shape)
    rates = ravel_pytree(jax.tree.map(spread, arrays.rates, arrays.params))[0]

    def outputs(w, rows=slice(None)):
        f = apply(unravel(w), arrays.x[rows])
        return arrays.alpha * (f - f_start[rows] if center else f)

    def mean_loss(u, rows=slice(None)):
        return loss.value(u, arrays.y[rows]).sum() / (len(u) * arrays.alpha**2)

    def gradient(w, step):
        rows = slice(None)
        if batch_size is not None:
            draw = jax.random.fold_in(key, step)
            rows = jax.random.choice(draw, len(arrays.x), (batch_size,), replace=False)
        return jax.value_and_grad(lambda w: mean_loss(outputs(w, rows), rows))(w)

    return _Flow(start, unravel, rates, outputs, mean_loss, gradient)


def _solver(method, apply, arrays, flow, f_start, loss, numbers):
    """The solver that a method's name stands for, and the vector from which it starts."""
    n = flow.start.size

    def heavy(both, step):  # parameters and their velocity
        value, slope = flow(both[:n], step)
        return value, jnp.concatenate([both[n:], (slope - both[n:]) / numbers["tau"]])

    if method == "momentum":
        start = jnp.concatenate([flow.start, jnp.zeros_like(flow.start)])
        return solvers.runge_kutta(heavy, numbers["rtol"], longest=numbers["tau"]), start
    if method == "tsit5":
        solver = solvers.runge_kutta(flow, numbers["rtol"])
    elif method == "exponential":
        freeze, move = solvers.frozen_flow(apply, arrays, flow, loss)
        solver = solvers.exponential(
            freeze, move, flow.mean_loss, arrays.alpha, f_start, numbers["rtol"]
        )
    elif method == "geiger":
        solver = solvers.geiger(flow)
    elif method == "gd":
        solver = solvers.descent(flow, numbers["learning_rate"])
    else:
        solver = solvers.adam(flow.gradient, flow.rates, numbers["learning_rate"])
    return solver, flow.start


def _choose(problem, t_max, stop):
    """``"tsit5"`` unless stiff; then ``"exponential"`` if a long frozen step comes out right."""
    x, y = problem.x, problem.arrays.y
    if y.size > DENSE:
        stiff = t_max == math.inf or float(_largest(problem)) * t_max > STIFF
        return "geiger" if stiff else "tsit5"
    stiffness, missed = _long_step(
        problem.apply, problem.arrays, jnp.asarray([t_max, stop], x.dtype),
        loss=problem.loss, center=bool(problem.center),
    )  # fmt: skip
    # Points that the hinge has fit pull no longer: measured runs are 3 to 7 times shorter.
    if float(stiffness) <= (10 * STIFF if problem.loss == "hinge" else STIFF):
        return "tsit5"
    lazy = float(missed) < 0.1 and problem.loss == "squared"
    return "exponential" if lazy else "geiger"


@partial(jax.jit, static_argnames=("apply", "loss", "center"))
def _long_step(apply, arrays, limits, *, loss, center):
    """Stiffness of the run with a frozen kernel, and what one step over its length misses."""
    t_max, stop = limits
    f_start = apply(arrays.params, arrays.x)
    flow = _flow(apply, arrays, f_start, center, _LOSSES[loss])
    freeze, move = solvers.frozen_flow(apply, arrays, flow, _LOSSES[loss])
    frozen = freeze(flow.start)
    scale = jnp.linalg.norm(frozen.residual)
    left = lambda t: jnp.sum((jnp.exp(-frozen.values * t) * frozen.residual) ** 2) / scale**2
    # the time at which the frozen kernel has done its work: bisection on the logarithm of time
    fastest = 1 / jnp.maximum(frozen.values[-1], 1e-30)
    low, high = jnp.log(fastest) - 5, jnp.log(fastest) + 30

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        done = left(jnp.exp(middle)) <= stop
        return jnp.where(done, low, middle), jnp.where(done, middle, high)

    reach = jnp.exp(jax.lax.fori_loop(0, 50, halve, (low, high))[1])
    t = jnp.minimum(t_max, jnp.where(stop > 0, reach, jnp.inf))
    return t / fastest, move(flow.start, frozen, t)[2] / scale


@partial(jax.jit, static_argnames=("apply",))
def _power_iteration(apply, params, x, v, rates):
    def turn(_, v):
        length = jnp.linalg.norm(v)
        v = v / jnp.where(length > 0, length, 1)
        return ntk_vector_product(apply, params, x, None, v, weights=rates)

    return jnp.linalg.norm(jax.lax.fori_loop(0, 30, turn, v)) / len(x)


def _largest(problem):
    """The largest eigenvalue of the kernel over P, by power iteration (from below)."""
    params, x, y, _, rates = problem.arrays
    v = jax.random.normal(jax.random.key(0), y.shape, y.dtype)
    return _power_iteration(problem.apply, params, x, v, rates)


class _Progress:
    """One line on stderr that says how far training is; silent for the first five seconds."""

    def restart(self, t_max):
        self.t_max, self.began, self.shown = t_max, time.monotonic(), 0.0

    def show(self, t, loss):
        now = time.monotonic()
        if now - self.began > 5 and now - self.shown > 0.5:
            self.shown = now
            end = f" of {self.t_max:.4g}" if math.isfinite(self.t_max) else ""
            text = f"t = {float(np.max(t)):.4g}{end}, loss {float(np.max(loss)):.3g}"
            print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)

    def close(self):
        if self.shown:
            print(f"\r{'':<60}\r", end="", file=sys.stderr, flush=True)


_progress = _Progress()
