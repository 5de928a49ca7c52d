"""Checks at the door: bad input is refused once, where the user calls in."""

import jax
import jax.numpy as jnp
import numpy as np


def floats(name, x, *, shape):
    """Return ``x`` as a floating array of the named shape, or say what is wrong with it.

    ``shape`` describes each axis in words, such as ``("N1", "D")``, or ``("N1", "D", "...")`` if
    more axes may follow; every axis must be non-empty. Values are looked at only where there are
    values, that is not under jit.
    """
    wanted = f"expected a float32 or float64 array of shape ({', '.join(shape)})"
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is {type(x).__name__}; {wanted}") from error
    more = shape[-1] == "..."
    if x.ndim < len(shape) - more or (x.ndim > len(shape) and not more):
        raise ValueError(f"{name} has shape {x.shape}; {wanted}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} has dtype {x.dtype}; {wanted}")
    if x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}, which is empty; {wanted}")
    return finite(name, x)


def finite(name, x):
    """Return ``x`` if all its values are finite, or if it has no values yet, as under jit."""
    if not isinstance(x, jax.core.Tracer):
        with jax.ensure_compile_time_eval():  # a constant inside a traced function has values too
            finite = bool(jnp.isfinite(x).all())
        if not finite:
            raise ValueError(f"{name} holds NaN or infinity; expected finite values")
    return x


def points(x1, x2, *, images=False):
    """Check two sets of points that a kernel compares; ``x2=None`` stays None.

    A point is a vector, or with ``images`` an array of any shape.
    """
    more = ("...",) if images else ()
    x1 = floats("x1", x1, shape=("N1", "D", *more))
    if x2 is None:
        return x1, None
    x2 = floats("x2", x2, shape=("N2", "D", *more))
    if x1.shape[1:] != x2.shape[1:]:
        d1, d2 = (" x ".join(map(str, x.shape[1:])) for x in (x1, x2))
        raise ValueError(f"x1 has D = {d1} and x2 has D = {d2}; expected one D")
    if x1.dtype != x2.dtype:
        raise TypeError(f"x1 has dtype {x1.dtype} and x2 has {x2.dtype}; expected one dtype")
    return x1, x2


def number(name, value, *, least=0.0, above=False, finite=True):
    """Return a Python float that is at least (or above) ``least``, and finite unless told."""
    kind = "a finite number" if finite else "a number"
    wanted = f"expected {kind} {'greater than' if above else 'of at least'} {least:g}"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is {value!r}; {wanted}") from error
    bad = np.isnan(number) or (finite and np.isinf(number))
    if bad or number < least or (above and number == least):
        raise ValueError(f"{name} is {value!r}; {wanted}")
    return number


def count(name, value, *, least=1):
    """Return a Python int that is at least ``least``."""
    wanted = f"expected a whole number of at least {least}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}; {wanted}")
    if value < least:
        raise ValueError(f"{name} is {value}; {wanted}")
    return int(value)


def choice(name, value, allowed):
    """Return ``value`` if it is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, allowed))}")
    return value


def outputs(apply, params, x):
    """Number of outputs C, after a look at ``apply`` and ``params``."""
    if not callable(apply):
        raise TypeError(f"apply is {type(apply).__name__}; expected a function apply(params, x)")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            name = "params" + jax.tree_util.keystr(path)
            kind = dtype or f"type {type(leaf).__name__}"
            raise TypeError(f"{name} has {kind}; expected floating arrays only")
    shape = getattr(jax.eval_shape(apply, params, x), "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x):
        hint = " (for a scalar output, return f[:, None])" if shape == (len(x),) else ""
        raise ValueError(f"apply returned shape {shape}; expected ({len(x)}, C){hint}")
    return shape[1]


def weights(given, params, name="weights"):
    """One weight for each leaf of ``params``, a number or an array of its shape; None for 1."""
    given = 1.0 if given is None else given
    try:
        spread = jax.tree.broadcast(given, params)
    except ValueError as error:
        raise ValueError(
            f"{name} has the structure {jax.tree.structure(given)}; "
            f"expected that of params, or of its upper part: {jax.tree.structure(params)}"
        ) from error

    def checked(path, weight, leaf):
        where = name + jax.tree_util.keystr(path)
        if jnp.shape(weight) not in ((), leaf.shape):
            wanted = f"expected a number or shape {leaf.shape}"
            raise ValueError(f"{where} has shape {jnp.shape(weight)}; {wanted}")
        dtype = jnp.result_type(weight)
        if not jnp.issubdtype(dtype, jnp.floating) and not isinstance(weight, int):
            raise TypeError(f"{where} has dtype {dtype}; expected a floating array")
        return finite(where, jnp.asarray(weight, leaf.dtype))

    return jax.tree_util.tree_map_with_path(checked, spread, params)
