"""The methods of :func:`ntkbook.dynamics.train`: how each starts, tries a step, fills it in.

Parameters are one flat vector here, and ``flow(y, step)`` gives the loss and the velocity at y.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ntkbook.kernels import empirical_ntk

RUNNING, STOPPED, NOT_FINITE, STUCK, AT_REST, OUT_OF_STEPS = range(6)


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


class Step(NamedTuple):
    """What a method proposes; the driver keeps it if ``accept``."""

    accept: Array
    t: Array
    y: Array
    loss: Array
    step_size: Array
    memory: Any
    gradient_calls: Any


class Solver(NamedTuple):
    """One method: how it starts, tries a step, and fills the last step in between."""

    start: Callable  # y -> loss, step size, memory, gradient calls
    attempt: Callable  # State -> Step
    dense: Callable  # State, t -> y
    fixed: bool = False  # the step never shrinks
    preconditioner: Callable | None = None  # State -> what multiplies the gradient


class Limits(NamedTuple):
    """Where a run ends: a loss, a time, or a number of steps."""

    loss: Array
    t: Array
    steps: Array


def begin(solver: Solver, y: Array, f_start: Array) -> State:
    """The state before the first step from parameters y."""
    loss, step_size, memory, calls = solver.start(y)
    zero, no_steps = jnp.zeros((), y.dtype), jnp.int32(0)
    return State(
        t0=zero,
        t1=zero,
        y0=y,
        y1=y,
        loss=loss,
        step_size=step_size,
        memory=memory,
        gradient_calls=jnp.int32(calls),
        steps=no_steps,
        status=jnp.int32(RUNNING),
        loss_start=loss,
        f_start=f_start,
    )


def reached(now: Array, t: Array) -> Array:
    """Whether a time is there, up to rounding: else gd would take a step too many."""
    return now >= t * (1 - 4 * jnp.finfo(now.dtype).eps)


def step(solver: Solver, limits: Limits, s: State) -> State:
    """Try one step; keep it or try a shorter one next, and say whether the run is over."""
    new = solver.attempt(s)
    finite = jnp.isfinite(new.loss) & ~jnp.isnan(new.step_size)
    accept = new.accept & finite
    keep = lambda a, b: jax.tree.map(partial(jnp.where, accept), a, b)
    step_size = jnp.where(finite, new.step_size, s.step_size / 10)
    broken = stuck = at_rest = False
    if solver.fixed:
        broken = ~finite
    else:
        stuck, at_rest = ~(s.t1 + step_size > s.t1), jnp.isinf(s.t1 + step_size)
    stopped = accept & (new.loss <= limits.loss)
    over = (s.steps + 1 >= limits.steps) & ~(accept & reached(new.t, limits.t))
    status = jnp.select(
        [stopped, broken, at_rest, stuck, over],
        [STOPPED, NOT_FINITE, AT_REST, STUCK, OUT_OF_STEPS],
        RUNNING,
    )
    return s._replace(
        t0=keep(s.t1, s.t0),
        t1=keep(new.t, s.t1),
        y0=keep(s.y1, s.y0),
        y1=keep(new.y, s.y1),
        loss=keep(new.loss, s.loss),
        step_size=step_size,
        memory=keep(new.memory, s.memory),
        gradient_calls=s.gradient_calls + new.gradient_calls,
        steps=s.steps + 1,
        status=status.astype(jnp.int32),
    )


def advance(
    solver: Solver, limits: Limits, s: State, t: Array, show: Callable | None = None
) -> State:
    """Step until t lies within the last step, or the run is over; ``show`` is told now and then."""
    unfinished = lambda s: (s.status == RUNNING) & ~reached(s.t1, t)
    if show is None:
        return jax.lax.while_loop(unfinished, partial(step, solver, limits), s)

    def burst(s):
        more = lambda i_s: (i_s[0] < 100) & unfinished(i_s[1])
        one = lambda i_s: (i_s[0] + 1, step(solver, limits, i_s[1]))
        s = jax.lax.while_loop(more, one, (0, s))[1]
        jax.debug.callback(show, s.t1, s.loss)
        return s

    return jax.lax.while_loop(unfinished, burst, s)


def root(height: Callable, low: Array, high: Array) -> Array:
    """A time at which a falling function is just below zero; regula falsi in six steps."""

    def narrow(_, bracket):
        (low, above), (high, below) = bracket
        t = jnp.clip(low + (high - low) * above / (above - below), low, high)
        here = height(t)  # Illinois: halving the end that stays moves it the next time
        return jax.tree.map(
            partial(jnp.where, here > 0),
            ((t, here), (high, below / 2)),
            ((low, above / 2), (t, here)),
        )

    ends = (low, height(low)), (high, jnp.minimum(height(high), -1e-6))
    return jax.lax.fori_loop(0, 6, narrow, ends)[1][0]


def first_step(y, loss, slope):
    """A guess that moves the parameters by a hundredth, or from zero the loss by a thousandth."""
    length, speed = jnp.linalg.norm(y), jnp.linalg.norm(slope)
    moving = jnp.where(speed > 0, speed, 1)
    guess = jnp.where(length > 0, 0.01 * length / moving, 0.001 * loss / moving**2)
    return jnp.where(speed > 0, guess, 1)


def linear(s, t):
    """Parameters at t on the straight line of the last step."""
    fraction = (t - s.t0) / jnp.where(s.t1 > s.t0, s.t1 - s.t0, 1)
    return s.y0 + fraction * (s.y1 - s.y0)


# Tsitouras (2011), Table 1: stages (the last row is also the step), the error estimate, and the
# coefficients of theta, theta^2, theta^3, theta^4 of the stages' weights within a step.
STAGES = np.zeros((7, 7))
STAGES[1, :1] = 0.161
STAGES[2, :2] = -0.008480655492356989, 0.335480655492357
STAGES[3, :3] = 2.8971530571054935, -6.359448489975075, 4.3622954328695815
STAGES[4, :4] = 5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525
STAGES[5, :5] = (
    5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
    -0.028269050394068383,
)  # fmt: skip
STAGES[6, :6] = (
    0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
    2.324710524099774,
)  # fmt: skip
ERROR = np.array([
    -0.00178001105222577714, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629,
    0.5823571654525552, -0.45808210592918697, 1 / 66,
])  # fmt: skip
DENSE = np.array(
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


def runge_kutta(flow, rtol, longest=jnp.inf):
    """Tsitouras' method of order 5, whose last stage is the next step's first."""
    norm = jnp.linalg.norm

    def start(y):
        loss, slope = flow(y, 0)
        slopes = jnp.zeros((7, y.size), y.dtype).at[6].set(slope)
        return loss, jnp.minimum(first_step(y, loss, slope), longest), (slopes, y), 1

    def attempt(s):
        h, rows = s.step_size, jnp.asarray(STAGES, s.y1.dtype)

        def stage(i, carry):
            slopes, _ = carry
            loss, slope = flow(s.y1 + h * (rows[i] @ slopes), 0)
            return slopes.at[i].set(slope), loss

        slopes, origin = s.memory
        slopes = jnp.zeros_like(slopes).at[0].set(slopes[6])
        slopes, loss = jax.lax.fori_loop(1, 7, stage, (slopes, s.loss))
        y = s.y1 + h * (rows[6] @ slopes)
        error = h * norm(jnp.asarray(ERROR, y.dtype) @ slopes)
        way = jnp.maximum(norm(s.y1 - origin), norm(y - origin))
        allowed = rtol * way + jnp.finfo(y.dtype).eps * norm(y)
        ratio = jnp.where(error == 0, 0, error / allowed)
        h_next = h * jnp.clip(0.9 * ratio**-0.2, 0.2, 5)
        return Step(
            (ratio <= 1) & jnp.isfinite(allowed), s.t1 + h, y, loss, h_next, (slopes, origin), 6
        )

    def dense(s, t):
        h = s.t1 - s.t0
        theta = (t - s.t0) / jnp.where(h > 0, h, 1)
        weights = jnp.asarray(DENSE, s.y0.dtype) @ theta ** jnp.arange(1, 5, dtype=theta.dtype)
        return s.y0 + h * (weights @ s.memory[0])

    return Solver(start, attempt, dense)


class Frozen(NamedTuple):
    """The kernel over P at the start of a step: eigenvectors, eigenvalues, residual in them."""

    vectors: Array
    values: Array
    residual: Array


def frozen_flow(apply, arrays, flow, loss):
    """Two functions: the kernel's eigenvectors at a point, and the flow if it stays as it is."""
    x, y, alpha = arrays.x, arrays.y, arrays.alpha

    def freeze(w):
        kernel = empirical_ntk(apply, flow.unravel(w), x, weights=arrays.rates)
        u = flow.outputs(w)
        active = loss.active(u, y).ravel()
        kernel = kernel.swapaxes(1, 2).reshape(u.size, u.size) / len(x)
        values, vectors = jnp.linalg.eigh(kernel * active[:, None] * active[None])
        return Frozen(vectors, jnp.maximum(values, 0), vectors.T @ loss.slope(u, y).ravel())

    def move(w, frozen, t):
        """Parameters and outputs after time t; the residual's error and its expected change."""
        vectors, values, residual = frozen
        positive = values > 0
        elapsed = jnp.where(positive, -jnp.expm1(-values * t) / jnp.where(positive, values, 1), t)
        pull = (vectors @ (elapsed * residual)).reshape(y.shape)
        _, back = jax.vjp(lambda w: apply(flow.unravel(w), x), w)
        w = w - flow.rates * back(pull)[0] / (alpha * len(x))
        u = flow.outputs(w)
        missed = loss.slope(u, y).ravel() - vectors @ (jnp.exp(-values * t) * residual)
        moved = jnp.linalg.norm(jnp.expm1(-values * t) * residual)
        return w, u, jnp.linalg.norm(missed), moved

    return freeze, move


def exponential(freeze, move, value, alpha, f_start, rtol):
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
        return Step(accept, s.t1 + s.step_size, w, value(u), step_size, memory, 1)

    return Solver(start, attempt, lambda s, t: move(s.y0, s.memory[0], t - s.t0)[0])


def geiger(flow):
    """Euler steps whose length keeps the change of the gradient within a band."""

    def change(slope, new):
        lengths = jnp.linalg.norm(slope) * jnp.linalg.norm(new)
        return jnp.sum((new - slope) ** 2) / jnp.maximum(lengths, 1e-30)

    def start(y):
        loss, slope = flow(y, 0)
        guess = first_step(y, loss, slope)
        changed = change(slope, flow(y + guess * slope, 0)[1])
        return loss, guess * jnp.sqrt(1e-3 / jnp.clip(changed, 1e-9, 1e9)), slope, 2

    def attempt(s):
        y = s.y1 + s.step_size * s.memory
        loss, slope = flow(y, 0)
        changed = change(s.memory, slope)
        factor = jnp.where(changed > 1e-2, 0.5, jnp.where(changed < 1e-4, 1.1, 1.0))
        step_size = s.step_size * factor.astype(y.dtype)
        return Step(changed <= 1e-2, s.t1 + s.step_size, y, loss, step_size, slope, 1)

    return Solver(start, attempt, linear)


def descent(flow, learning_rate):
    """Gradient descent, whose time is steps times learning rate."""

    def start(y):
        loss, slope = flow(y, 0)
        return loss, learning_rate, slope, 1

    def attempt(s):
        y = s.y1 + learning_rate * s.memory
        loss, slope = flow(y, s.steps + 1)
        t = (s.steps + 1).astype(y.dtype) * learning_rate
        return Step(jnp.array(True), t, y, loss, learning_rate, slope, 1)

    return Solver(start, attempt, linear, fixed=True)


def adam(gradient, rates, learning_rate):
    """Adam of Kingma & Ba (2015), with decay rates .9 and .999."""
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
        return Step(jnp.array(True), t, y, loss, learning_rate, (mean, squares, slope), 1)

    def preconditioner(s):
        _, squares, slope = s.memory
        # before the first step the gradient itself is what the first step divides by
        scale = jnp.where(s.steps > 0, root_mean_square(squares, s.steps), jnp.abs(slope))
        return rates / (scale + least)

    return Solver(start, attempt, linear, fixed=True, preconditioner=preconditioner)
