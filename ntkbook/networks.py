"""Networks: each is a pair of plain functions, ``init(key)`` and ``apply(params, x)``."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ntkbook import _checks

Parametrization = Literal["ntk", "standard"]
Activation = str | Callable[[Array], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "erf": jax.scipy.special.erf,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "sin": jnp.sin,
    "linear": lambda z: z,
}


class Layer(NamedTuple):
    """Weights and biases of one dense layer; ``b`` is None in a network without biases."""

    w: Float[Array, "fan_in fan_out"]
    b: Float[Array, " fan_out"] | None


class Scales(NamedTuple):
    """How one layer is drawn and scaled: ``z = w_scale * (g @ w) + b_scale * b``."""

    w_init: float
    w_scale: float
    b_init: float
    b_scale: float


@dataclass(frozen=True)
class MLP:
    """A fully connected network; make one with :func:`mlp`.

    Attributes:
        widths: input dimension, hidden widths, number of outputs.
        activations: one function for each hidden layer.
        parametrization: ``"ntk"`` or ``"standard"``.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 leaves them out.
    """

    widths: tuple[int, ...]
    activations: tuple[Callable[[Array], Array], ...]
    parametrization: Parametrization
    w_std: float
    b_std: float

    def scales(self, layer: int) -> Scales:
        """Scales of a weight layer, counted from 0."""
        w = self.w_std / math.sqrt(self.widths[layer])
        if self.parametrization == "ntk":
            return Scales(w_init=1.0, w_scale=w, b_init=1.0, b_scale=self.b_std)
        return Scales(w_init=w, w_scale=1.0, b_init=self.b_std, b_scale=1.0)

    def init(self, key: PRNGKeyArray, dtype: jnp.dtype | None = None) -> tuple[Layer, ...]:
        """Draw the parameters.

        Args:
            key: a JAX random key.
            dtype: of the parameters; by default float32, or float64 where JAX is in that mode.

        Returns:
            One :class:`Layer` for each weight layer, first layer first.
        """
        # One draw for all layers: a random generator takes half a second to compile.
        dtype = dtype or jnp.zeros(()).dtype
        fans = list(zip(self.widths, self.widths[1:], strict=False))
        sizes = [fan_in * fan_out for fan_in, fan_out in fans]
        sizes += [fan_out for _, fan_out in fans] if self.b_std else []
        draw = jax.random.normal(key, (sum(sizes),), dtype)
        parts = jnp.split(draw, list(itertools.accumulate(sizes))[:-1])
        ws, bs = parts[: len(fans)], parts[len(fans) :] or [None] * len(fans)
        layers = []
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            scales = self.scales(i)
            w = scales.w_init * w.reshape(fans[i])
            layers.append(Layer(w, None if b is None else scales.b_init * b))
        return tuple(layers)

    def dense(
        self, layer: int, params: Layer, g: Float[Array, "n fan_in"]
    ) -> Float[Array, "n fan_out"]:
        """Pre-activations of one layer from its input."""
        if params.w.shape != self.widths[layer : layer + 2]:
            raise ValueError(
                f"params[{layer}].w has shape {params.w.shape}; "
                f"expected {self.widths[layer : layer + 2]}, as in widths={self.widths}"
            )
        scales = self.scales(layer)
        z = scales.w_scale * (g @ params.w)
        return z if params.b is None else z + scales.b_scale * params.b

    def apply(self, params: Sequence[Layer], x: Float[Array, "n d"]) -> Float[Array, "n outputs"]:
        """Outputs of the network, one row an example.

        Args:
            params: what :meth:`init` returned, or a trained version of it.
            x: inputs, one row an example.

        Returns:
            The outputs, before any output activation.

        Raises:
            ValueError: ``x`` or ``params`` does not fit ``widths``.
        """
        self.check(params, x)
        g = x
        for i, phi in enumerate(self.activations):
            g = phi(self.dense(i, params[i], g))
        return self.dense(len(self.activations), params[-1], g)

    def check(self, params: Sequence[Layer], x: Array) -> None:
        """Refuse parameters and inputs that do not fit the network."""
        if x.ndim != 2 or x.shape[1] != self.widths[0]:
            raise ValueError(
                f"x has shape {x.shape}; expected (N, {self.widths[0]}), as in widths={self.widths}"
            )
        if len(params) != len(self.widths) - 1:
            raise ValueError(
                f"params has {len(params)} layers; "
                f"expected {len(self.widths) - 1}, as in widths={self.widths}"
            )


def mlp(
    widths: Sequence[int],
    activation: Activation | Sequence[Activation] = "relu",
    *,
    parametrization: Parametrization = "ntk",
    w_std: float = 1.0,
    b_std: float = 0.0,
) -> MLP:
    """Build a fully connected network.

    In the NTK parametrization the weights have variance 1 and each layer computes
    ``z = w_std / sqrt(fan_in) * g @ w + b_std * b``. In the standard parametrization the weights
    are drawn with variance ``w_std**2 / fan_in`` and ``z = g @ w + b``. Both draw the same
    distribution of functions; their tangent kernels differ.

    Args:
        widths: input dimension, hidden widths, number of outputs, as in ``(784, 512, 512, 1)``.
        activation: ``"relu"``, ``"erf"``, ``"gelu"``, ``"sin"``, ``"linear"`` or an elementwise
            function; or a sequence of them, one for each hidden layer.
        parametrization: ``"ntk"`` or ``"standard"``.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 builds a network without biases.

    Returns:
        An :class:`MLP` with ``init(key)`` and ``apply(params, x)``.

    Raises:
        ValueError: a width, name or scale is not one of the allowed.
        TypeError: a width is not a whole number.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 3, for the NTK parametrization.

    Example:
        >>> import jax
        >>> net = mlp((3, 64, 1), "relu", w_std=2**0.5)
        >>> params = net.init(jax.random.key(0))
        >>> net.apply(params, jax.numpy.ones((5, 3))).shape
        (5, 1)
    """
    if isinstance(widths, (str, int)) or len(widths) < 2:
        raise ValueError(f"widths is {widths!r}; expected at least (inputs, outputs)")
    widths = tuple(_checks.count(f"widths[{i}]", n) for i, n in enumerate(widths))
    hidden = len(widths) - 2
    one = isinstance(activation, str) or callable(activation)
    activations = (activation,) * hidden if one else tuple(activation)
    if len(activations) != hidden:
        raise ValueError(
            f"activation has {len(activations)} entries; "
            f"expected one, or {hidden}: one for each hidden layer of widths={widths}"
        )
    return MLP(
        widths=widths,
        activations=tuple(_activation(a) for a in activations),
        parametrization=_checks.choice("parametrization", parametrization, ("ntk", "standard")),
        w_std=_checks.number("w_std", w_std, above=True),
        b_std=_checks.number("b_std", b_std),
    )


def _activation(activation: Activation) -> Callable[[Array], Array]:
    if callable(activation):
        return activation
    return ACTIVATIONS[_checks.choice("activation", activation, tuple(ACTIVATIONS))]
