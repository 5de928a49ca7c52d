"""Training as a flow in time: one ``train`` for gradient flow, descent, momentum and Adam."""

import math
import os
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ntkbook import _checks, measures
from ntkbook.kernels import Apply, empirical_ntk, ntk_vector_product

Method = Literal["auto", "tsit5", "exponential", "geiger", "gd", "momentum", "adam"]
Loss = Literal["squared", "hinge"]
METHODS = ("tsit5", "exponential", "geiger", "gd", "momentum", "adam")
RTOL = {"tsit5": 1e-5, "momentum": 1e-5, "exponential": 1e-2}
STIFF = 1e3  # times that the fastest mode of the kernel decays in a run, where Tsit5 gives up
DENSE = 2000  # entries of the kernel's side up to which its eigenvectors are affordable

RUNNING, STOPPED, NOT_FINITE, STUCK, AT_REST, OUT_OF_STEPS = range(6)
_REASONS = {
    NOT_FINITE: "the loss is not finite: the step is too long; choose a smaller learning_rate "
    "(below 2 / lambda_max of the kernel / P), or an adaptive method",
    STUCK: "the step shrank to nothing: the flow is not smooth there, or rtol is finer than the "
    "dtype can tell; choose a larger rtol, float64, or method='geiger'",
    AT_REST: "the gradient has vanished, so the loss will not fall to stop; choose another start, "
    "or a t_max at which to end",
    OUT_OF_STEPS: "max_steps were taken; choose a larger max_steps, a larger rtol or "
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


class State(NamedTuple):
    """All that a run needs to go on: the last step, from t0 to t1, and the method's memory."""

    t0: Array
    t1: Array
    y0: Array
    y1: Array
    loss: Array
    step_size: Array
    memory: Any
    gradient_calls: Array
    steps: Array
    status: Array
    loss_start: Array
    f_start: Array


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

    t: Float[Array, " times"]
    loss: Float[Array, " times"]
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
        return self.state.status <= STOPPED

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


def train(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "p ..."],
    y: Float[Array, "p c"] | Float[Array, " p"],
    *,
    t_max: float = math.inf,
    stop: float | None = None,
    at: Sequence[float] | Float[Array, " times"] | None = None,
    record: Sequence[str] | Mapping[str, str | Callable[[Point], Any]] = (),
    method: Method = "auto",
    loss: Loss = "squared",
    alpha: float | Array = 1.0,
    center: bool = False,
    rates: PyTree | None = None,
    learning_rate: float | None = None,
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
        progress = not traced and _watched()

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


def _flatten(apply, arrays, f_start, center):
    """Parameters and rates as vectors, and what the loss sees as a function of that vector."""
    flat, unravel = ravel_pytree(arrays.params)
    spread = lambda rate, leaf: jnp.broadcast_to(rate, leaf.shape)
    rates = ravel_pytree(jax.tree.map(spread, arrays.rates, arrays.params))[0]

    def outputs(w, rows=slice(None)):
        f = apply(unravel(w), arrays.x[rows])
        return arrays.alpha * (f - f_start[rows] if center else f)

    return flat, unravel, rates, outputs


@partial(
    jax.jit,
    static_argnames=("apply", "method", "loss", "center", "record", "batch_size", "progress"),
)
def _run(
    apply, arrays, times, numbers, key, state, max_steps,
    *, method, loss, center, record, batch_size, progress,
):  # fmt: skip
    _, x, y, alpha, rates = arrays
    f_start = apply(arrays.params, x) if state is None else state.f_start
    flat, unravel, flat_rates, outputs = _flatten(apply, arrays, f_start, center)
    n = flat.size

    def mean_loss(u, rows=slice(None)):
        return _LOSSES[loss].value(u, y[rows]).sum() / (len(u) * alpha**2)

    def loss_of(w, rows=slice(None)):
        return mean_loss(outputs(w, rows), rows)

    def gradient(w, step):
        if batch_size is None:
            return jax.value_and_grad(loss_of)(w)
        draw = jax.random.fold_in(key, step)
        rows = jax.random.choice(draw, len(x), (batch_size,), replace=False)
        return jax.value_and_grad(loss_of)(w, rows)

    def flow(w, step):
        value, slope = gradient(w, step)
        return value, -flat_rates * slope

    def heavy(both, step):  # parameters and their velocity
        value, slope = flow(both[:n], step)
        return value, jnp.concatenate([both[n:], (slope - both[n:]) / numbers["tau"]])

    if method == "tsit5":
        solver = _runge_kutta(flow, numbers["rtol"])
    elif method == "momentum":
        solver = _runge_kutta(heavy, numbers["rtol"], longest=numbers["tau"])
    elif method == "exponential":
        frozen = _frozen_flow(apply, unravel, outputs, arrays, flat_rates, _LOSSES[loss])
        solver = _exponential(*frozen, mean_loss, alpha, f_start, numbers["rtol"])
    elif method == "geiger":
        solver = _geiger(flow)
    elif method == "gd":
        solver = _descent(flow, numbers["learning_rate"])
    else:
        solver = _adam(gradient, flat_rates, numbers["learning_rate"])

    if state is None:
        start = jnp.concatenate([flat, jnp.zeros_like(flat)]) if method == "momentum" else flat
        first, step_size, memory, calls = solver.start(start)
        zero = jnp.zeros((), flat.dtype)
        state = State(
            t0=zero,
            t1=zero,
            y0=start,
            y1=start,
            loss=first,
            step_size=step_size,
            memory=memory,
            gradient_calls=jnp.int32(calls),
            steps=jnp.int32(0),
            status=jnp.int32(RUNNING),
            loss_start=first,
            f_start=f_start,
        )
    limit = state.steps + jnp.minimum(max_steps, jnp.iinfo(jnp.int32).max - state.steps)
    target = numbers["stop"] * state.loss_start if "stop" in numbers else -jnp.inf
    state = state._replace(  # a state may come with another rule, or from a run out of steps
        status=jnp.select(
            [~jnp.isfinite(state.loss), state.loss <= target], [NOT_FINITE, STOPPED], RUNNING
        ).astype(jnp.int32)
    )

    def reached(now, t):  # up to rounding, or gd would take a step too many
        return now >= t * (1 - 4 * jnp.finfo(flat.dtype).eps)

    def step(s):
        new = solver.attempt(s)
        finite = jnp.isfinite(new.loss)
        accept = new.accept & finite
        keep = lambda a, b: jax.tree.map(partial(jnp.where, accept), a, b)
        shrunk = jnp.where(finite, new.step_size, s.step_size / 10)
        stopped = accept & (new.loss <= target)
        if solver.fixed:
            stuck, rest = False, False
            broken = ~finite
        else:
            stuck, rest = ~(s.t1 + shrunk > s.t1), jnp.isinf(s.t1 + shrunk)
            broken = False
        over = (s.steps + 1 >= limit) & ~(accept & reached(new.t, times[-1]))
        status = jnp.select(
            [stopped, broken, rest, stuck, over],
            [STOPPED, NOT_FINITE, AT_REST, STUCK, OUT_OF_STEPS],
            RUNNING,
        ).astype(jnp.int32)
        return s._replace(
            t0=keep(s.t1, s.t0),
            t1=keep(new.t, s.t1),
            y0=keep(s.y1, s.y0),
            y1=keep(new.y, s.y1),
            loss=keep(new.loss, s.loss),
            step_size=shrunk,
            memory=keep(new.memory, s.memory),
            gradient_calls=s.gradient_calls + new.gradient_calls,
            steps=s.steps + 1,
            status=status,
        )

    def advance(s, t):
        unfinished = lambda s: (s.status == RUNNING) & ~reached(s.t1, t)
        if not progress:
            return jax.lax.while_loop(unfinished, step, s)

        def burst(s):
            more = lambda i_s: (i_s[0] < 100) & unfinished(i_s[1])
            s = jax.lax.while_loop(more, lambda i_s: (i_s[0] + 1, step(i_s[1])), (0, s))[1]
            jax.debug.callback(_progress.show, s.t1, s.loss)
            return s

        return jax.lax.while_loop(unfinished, burst, s)

    def passed(s):
        """When, within the last step, the loss passed the stopping rule; by regula falsi."""
        height = lambda t: jnp.log(
            mean_loss(outputs(solver.dense(s, t)[:n])) / (numbers["stop"] * s.loss_start)
        )

        def narrow(_, bracket):
            (low, above), (high, below) = bracket
            t = jnp.clip(low + (high - low) * above / (above - below), low, high)
            here = height(t)  # Illinois: halving the end that stays moves it the next time
            return jax.tree.map(
                partial(jnp.where, here > 0),
                ((t, here), (high, below / 2)),
                ((low, above / 2), (t, here)),
            )

        ends = (s.t0, height(s.t0)), (s.t1, jnp.minimum(height(s.t1), -1e-6))
        (_, _), (high, _) = jax.lax.fori_loop(0, 6, narrow, ends)
        crossed = (s.status == STOPPED) & (height(s.t0) > 0)
        return jnp.where(crossed, high, s.t1)

    def row(s, t):
        s = advance(s, t)
        between = "stop" in numbers and not solver.fixed
        now = jnp.clip(t, s.t0, passed(s) if between else s.t1)
        w = solver.dense(s, now)[:n]
        u = outputs(w)
        value_now = mean_loss(u)
        driving = unravel(solver.preconditioner(s)) if solver.preconditioner else rates
        point = Point(now, unravel(w), u, value_now, driving)
        records = {
            name: what(point) if callable(what) else _RECORDS[what](apply, arrays, point)
            for name, what in record
        }
        return s, (now, value_now, records, w)

    state, (t, losses, records, ws) = jax.lax.scan(row, state, times)
    return Run(t, losses, records, unravel(ws[-1]), state, method)


class _Step(NamedTuple):
    """What a method proposes; the driver keeps it if ``accept``."""

    accept: Array
    t: Array
    y: Array
    loss: Array
    step_size: Array
    memory: Any
    gradient_calls: Any


class _Solver(NamedTuple):
    """One method: how it starts, tries a step, and fills the last step in between."""

    start: Callable  # y -> loss, step size, memory, gradient calls
    attempt: Callable  # State -> _Step
    dense: Callable  # State, t -> y
    fixed: bool = False  # the step never shrinks
    preconditioner: Callable | None = None  # State -> what multiplies the gradient


def _first_step(y, loss, slope):
    """A guess that moves the parameters by a hundredth, or from zero the loss by a thousandth."""
    length, speed = jnp.linalg.norm(y), jnp.linalg.norm(slope)
    moving = jnp.where(speed > 0, speed, 1)
    guess = jnp.where(length > 0, 0.01 * length / moving, 0.001 * loss / moving**2)
    return jnp.where(speed > 0, guess, 1)


def _linear(s, t):
    fraction = (t - s.t0) / jnp.where(s.t1 > s.t0, s.t1 - s.t0, 1)
    return s.y0 + fraction * (s.y1 - s.y0)


# Tsitouras (2011), Table 1: stages (the last row is also the step), the error estimate, and the
# coefficients of theta, theta^2, theta^3, theta^4 of the stages' weights within a step.
_A = np.zeros((7, 7))
_A[1, :1] = 0.161
_A[2, :2] = -0.008480655492356989, 0.335480655492357
_A[3, :3] = 2.8971530571054935, -6.359448489975075, 4.3622954328695815
_A[4, :4] = 5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525
_A[5, :5] = (
    5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
    -0.028269050394068383,
)  # fmt: skip
_A[6, :6] = (
    0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
    2.324710524099774,
)  # fmt: skip
_ERROR = np.array([
    -0.00178001105222577714, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629,
    0.5823571654525552, -0.45808210592918697, 1 / 66,
])  # fmt: skip
_DENSE = np.array(
    [
        [1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216],
        [0.0, 0.1317, -0.2234, 0.1017],
        [0.0, 3.930296236894751, -5.941033872131505, 2.490627285651253],
        [0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902],
        [0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928],
        [0.0, -27.896526289197286, 65.09189467479368, -34.87065786149661],
        [0.0, 1.5, -4.0, 2.5],
    ]
)


def _runge_kutta(flow, rtol, longest=jnp.inf):
    """Tsitouras' method of order 5, whose last stage is the next step's first."""
    norm = jnp.linalg.norm

    def start(y):
        loss, slope = flow(y, 0)
        slopes = jnp.zeros((7, y.size), y.dtype).at[6].set(slope)
        return loss, jnp.minimum(_first_step(y, loss, slope), longest), (slopes, y), 1

    def attempt(s):
        h, rows = s.step_size, jnp.asarray(_A, s.y1.dtype)

        def stage(i, carry):
            slopes, _ = carry
            loss, slope = flow(s.y1 + h * (rows[i] @ slopes), 0)
            return slopes.at[i].set(slope), loss

        slopes, origin = s.memory
        slopes = jnp.zeros_like(slopes).at[0].set(slopes[6])
        slopes, loss = jax.lax.fori_loop(1, 7, stage, (slopes, s.loss))
        y = s.y1 + h * (rows[6] @ slopes)
        error = h * norm(jnp.asarray(_ERROR, y.dtype) @ slopes)
        way = jnp.maximum(norm(s.y1 - origin), norm(y - origin))
        allowed = rtol * way + jnp.finfo(y.dtype).eps * norm(y)
        ratio = jnp.where(error == 0, 0, error / allowed)
        h_next = h * jnp.clip(0.9 * ratio**-0.2, 0.2, 5)
        return _Step(
            (ratio <= 1) & jnp.isfinite(allowed), s.t1 + h, y, loss, h_next, (slopes, origin), 6
        )

    def dense(s, t):
        h = s.t1 - s.t0
        theta = (t - s.t0) / jnp.where(h > 0, h, 1)
        weights = jnp.asarray(_DENSE, s.y0.dtype) @ theta ** jnp.arange(1, 5, dtype=theta.dtype)
        return s.y0 + h * (weights @ s.memory[0])

    return _Solver(start, attempt, dense)


class _Frozen(NamedTuple):
    """The kernel over P at the start of a step: eigenvectors, eigenvalues, residual in them."""

    vectors: Array
    values: Array
    residual: Array


def _frozen_flow(apply, unravel, outputs, arrays, flat_rates, loss):
    """Two functions: the kernel's eigenvectors at a point, and the flow if it stays as it is."""
    x, y, alpha = arrays.x, arrays.y, arrays.alpha

    def freeze(w):
        kernel = empirical_ntk(apply, unravel(w), x, weights=arrays.rates)
        u = outputs(w)
        active = loss.active(u, y).ravel()
        kernel = (
            kernel.swapaxes(1, 2).reshape(u.size, u.size) * active[:, None] * active[None] / len(x)
        )
        values, vectors = jnp.linalg.eigh(kernel)
        return _Frozen(vectors, jnp.maximum(values, 0), vectors.T @ loss.slope(u, y).ravel())

    def move(w, frozen, t):
        """Parameters and outputs after time t; the residual's error and its expected change."""
        vectors, values, residual = frozen
        positive = values > 0
        elapsed = jnp.where(positive, -jnp.expm1(-values * t) / jnp.where(positive, values, 1), t)
        pull = (vectors @ (elapsed * residual)).reshape(y.shape)
        _, back = jax.vjp(lambda w: apply(unravel(w), x), w)
        w = w - flat_rates * back(pull)[0] / (alpha * len(x))
        u = outputs(w)
        missed = loss.slope(u, y).ravel() - vectors @ (jnp.exp(-values * t) * residual)
        moved = jnp.linalg.norm(jnp.expm1(-values * t) * residual)
        return w, u, jnp.linalg.norm(missed), moved

    return freeze, move


def _exponential(freeze, move, value, alpha, f_start, rtol):
    """Solve the flow of the frozen kernel; what it misses by sets the next step's length."""

    def start(w):
        frozen = freeze(w)
        step_size = 1 / jnp.maximum(frozen.values[-1], 1e-30)
        memory = (frozen, frozen, jnp.linalg.norm(frozen.residual))
        return value(move(w, frozen, 0.0)[1]), step_size, memory, 0

    def attempt(s):
        before, now, scale = s.memory
        w, u, missed, moved = move(s.y1, now, s.step_size)
        # what rounding alone misses where a large alpha multiplies the outputs
        noise = 8 * jnp.finfo(u.dtype).eps * (jnp.linalg.norm(u) + alpha * jnp.linalg.norm(f_start))
        ratio = jnp.where(missed == 0, 0, missed / (rtol * (moved + 0.01 * scale) + noise))
        accept = ratio <= 1  # a residual that is not a number is not accepted
        memory = jax.lax.cond(accept, lambda: (now, freeze(w), scale), lambda: (before, now, scale))
        step_size = s.step_size * jnp.clip(0.9 / jnp.sqrt(ratio), 0.1, 10)
        return _Step(accept, s.t1 + s.step_size, w, value(u), step_size, memory, 1)

    return _Solver(start, attempt, lambda s, t: move(s.y0, s.memory[0], t - s.t0)[0])


def _geiger(flow):
    """Euler steps whose length keeps the change of the gradient within a band."""

    def change(slope, new):
        lengths = jnp.linalg.norm(slope) * jnp.linalg.norm(new)
        return jnp.sum((new - slope) ** 2) / jnp.maximum(lengths, 1e-30)

    def start(y):
        loss, slope = flow(y, 0)
        guess = _first_step(y, loss, slope)
        changed = change(slope, flow(y + guess * slope, 0)[1])
        return loss, guess * jnp.sqrt(1e-3 / jnp.clip(changed, 1e-9, 1e9)), slope, 2

    def attempt(s):
        y = s.y1 + s.step_size * s.memory
        loss, slope = flow(y, 0)
        changed = change(s.memory, slope)
        factor = jnp.where(changed > 1e-2, 0.5, jnp.where(changed < 1e-4, 1.1, 1.0))
        step_size = s.step_size * factor.astype(y.dtype)
        return _Step(changed <= 1e-2, s.t1 + s.step_size, y, loss, step_size, slope, 1)

    return _Solver(start, attempt, _linear)


def _descent(flow, learning_rate):
    def start(y):
        loss, slope = flow(y, 0)
        return loss, learning_rate, slope, 1

    def attempt(s):
        y = s.y1 + learning_rate * s.memory
        loss, slope = flow(y, s.steps + 1)
        t = (s.steps + 1).astype(y.dtype) * learning_rate
        return _Step(jnp.array(True), t, y, loss, learning_rate, slope, 1)

    return _Solver(start, attempt, _linear, fixed=True)


def _adam(gradient, rates, learning_rate):
    first, second, least = 0.9, 0.999, 1e-8

    def start(y):
        loss, slope = gradient(y, 0)
        return loss, learning_rate, (jnp.zeros_like(y), jnp.zeros_like(y), slope), 1

    def root_mean_square(squares, steps):
        correction = 1 - second ** jnp.maximum(steps, 1).astype(squares.dtype)
        return jnp.sqrt(squares / correction)

    def attempt(s):
        mean, squares, slope = s.memory
        step = s.steps + 1
        mean = first * mean + (1 - first) * slope
        squares = second * squares + (1 - second) * slope**2
        direction = mean / (1 - first ** step.astype(mean.dtype))
        y = s.y1 - learning_rate * rates * direction / (root_mean_square(squares, step) + least)
        loss, slope = gradient(y, step)
        t = step.astype(y.dtype) * learning_rate
        return _Step(jnp.array(True), t, y, loss, learning_rate, (mean, squares, slope), 1)

    def preconditioner(s):
        _, squares, slope = s.memory
        # before the first step the gradient itself is what the first step divides by
        scale = jnp.where(s.steps > 0, root_mean_square(squares, s.steps), jnp.abs(slope))
        return rates / (scale + least)

    return _Solver(start, attempt, _linear, fixed=True, preconditioner=preconditioner)


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
    flat, unravel, flat_rates, outputs = _flatten(apply, arrays, f_start, center)
    freeze, move = _frozen_flow(apply, unravel, outputs, arrays, flat_rates, _LOSSES[loss])
    frozen = freeze(flat)
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
    return t / fastest, move(flat, frozen, t)[2] / scale


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


def _watched():
    if os.environ.get("NTKBOOK_PROGRESS", "") == "0":
        return False
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or (ipython is not None and ipython.get_ipython() is not None)
