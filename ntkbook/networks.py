"""Networks: each is a pair of plain functions, ``init(key)`` and ``apply(params, x)``."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ntkbook import _checks
from ntkbook._precision import full_precision

Parametrization = Literal["ntk", "standard", "mean_field", "mup"]
Activation = str | Callable[[Array], Array]
PARAMETRIZATIONS = ("ntk", "standard", "mean_field", "mup")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "erf": jax.scipy.special.erf,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "sin": jnp.sin,
    "linear": lambda z: z,
}


class Layer(NamedTuple):
    """Weights and biases of one layer; ``b`` is None in a network without biases.

    The weights of a dense layer have shape (fan_in, fan_out), those of a convolution
    (height, width, channels in, channels out).
    """

    w: Float[Array, "... fan_out"]
    b: Float[Array, " fan_out"] | None


class Scales(NamedTuple):
    """How one layer is drawn and scaled: ``z = w_scale * (g @ w) + b_scale * b``."""

    w_init: float
    w_scale: float
    b_init: float
    b_scale: float


@dataclass(frozen=True)
class MLP:
    """A fully connected network; make one with :func:`~ntkbook.networks.mlp`.

    Attributes:
        widths: input dimension, hidden widths, number of outputs.
        activations: one function for each hidden layer.
        parametrization: ``"ntk"``, ``"standard"``, ``"mean_field"`` or ``"mup"``.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 leaves them out.
    """

    widths: tuple[int, ...]
    activations: tuple[Callable[[Array], Array], ...]
    parametrization: Parametrization
    w_std: float
    b_std: float

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights, first layer first."""
        return tuple(itertools.pairwise(self.widths))

    def scales(self, layer: int) -> Scales:
        """Scales of a weight layer, counted from 0."""
        return _scales(self.parametrization, self.shapes, layer, self.w_std, self.b_std)

    def init(self, key: PRNGKeyArray, dtype: jnp.dtype | None = None) -> tuple[Layer, ...]:
        """Draw the parameters.

        Args:
            key: a JAX random key.
            dtype: of the parameters; by default float32, or float64 where JAX is in that mode.

        Returns:
            One :class:`Layer` for each weight layer, first layer first.
        """
        return _draw(self, key, dtype)

    def dense(
        self, layer: int, params: Layer, g: Float[Array, "n fan_in"]
    ) -> Float[Array, "n fan_out"]:
        """Pre-activations of one layer from its input."""
        return _affine(self.scales(layer), params, g @ params.w)

    @full_precision()
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
        _check_params(self, params)


def mlp(
    widths: Sequence[int],
    activation: Activation | Sequence[Activation] = "relu",
    *,
    parametrization: Parametrization = "ntk",
    w_std: float = 1.0,
    b_std: float = 0.0,
) -> MLP:
    """Build a fully connected network.

    Every layer computes ``z = w_scale * (g @ w) + b_scale * b`` with Gaussian weights. What is
    trained, and how the function scales with the width n, is the parametrization's choice:

    - ``"ntk"``: weights of variance 1, ``w_scale = w_std / sqrt(fan_in)``, ``b_scale = b_std``.
    - ``"standard"``: weights of variance ``w_std**2 / fan_in``, no scales. The same distribution
      of functions as ``"ntk"``, another tangent kernel.
    - ``"mean_field"``: as ``"ntk"``, but the last layer is divided by n instead of sqrt(n). The
      kernel is of order 1/n: multiply learning rates by n.
    - ``"mup"``: the same functions as ``"mean_field"``, written such that one learning rate fits
      all layers and widths: each layer's features move by order 1.

    :func:`reparametrize` translates parameters and learning rates between them.

    Args:
        widths: input dimension, hidden widths, number of outputs, as in ``(784, 512, 512, 1)``.
        activation: ``"relu"``, ``"erf"``, ``"gelu"``, ``"sin"``, ``"linear"`` or an elementwise
            function; or a sequence of them, one for each hidden layer.
        parametrization: ``"ntk"``, ``"standard"``, ``"mean_field"`` or ``"mup"``.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 builds a network without biases.

    Returns:
        An :class:`MLP` with ``init(key)`` and ``apply(params, x)``.

    Raises:
        ValueError: a width, name or scale is not one of the allowed.
        TypeError: a width is not a whole number.

    Source:
        Jacot, Gabriel & Hongler (2018), Section 3, for ``"ntk"``; Mei, Montanari & Nguyen (2018)
        and, with more layers, Geiger, Spigler, Jacot & Wyart (2020) for ``"mean_field"``; Yang &
        Hu (2021) for ``"mup"``.

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
    net = MLP(
        widths=widths,
        activations=tuple(_activation(a) for a in activations),
        parametrization=_checks.choice("parametrization", parametrization, PARAMETRIZATIONS),
        w_std=_checks.number("w_std", w_std, above=True),
        b_std=_checks.number("b_std", b_std),
    )
    return _one(net)


def deep_linear(widths: Sequence[int], sigma: float = 1.0) -> MLP:
    """Build a deep linear network in the standard parametrization, without biases.

    Args:
        widths: input dimension, hidden widths, number of outputs; as many weight layers L as
            there are steps between them.
        sigma: weight scale; ``W_ij`` is drawn with variance ``sigma**2 / fan_in``.

    Returns:
        An :class:`MLP`.

    Source:
        Saxe, McClelland & Ganguli (2014); the scale is that of Atanasov, Bordelon & Pehlevan
        (2022), Section 3.

    Example:
        >>> net = deep_linear((30, 50, 50, 1), sigma=0.01)
        >>> [layer.w.shape for layer in net.init(jax.random.key(0))]
        [(30, 50), (50, 50), (50, 1)]
    """
    return mlp(widths, "linear", parametrization="standard", w_std=sigma)


def end_to_end(params: Sequence[Layer]) -> Float[Array, "d outputs"]:
    """The matrix that a deep linear network in the standard parametrization multiplies by.

    Args:
        params: the layers of :func:`deep_linear`.

    Returns:
        The product of the weight matrices; ``apply(params, x)`` is ``x @ end_to_end(params)``.

    Raises:
        ValueError: there is no layer.

    Example:
        >>> params = (Layer(2 * jax.numpy.eye(2), None), Layer(jax.numpy.ones((2, 1)), None))
        >>> print(end_to_end(params).T)
        [[2. 2.]]
    """
    if len(params) == 0:
        raise ValueError("params is empty; expected at least one layer")
    return functools.reduce(jnp.matmul, (layer.w for layer in params))


@dataclass(frozen=True)
class CNN:
    """A convolutional network; make one with :func:`~ntkbook.networks.cnn`.

    Attributes:
        image: height, width and channels of an input.
        shapes: of the weights: convolutions (height, width, channels in, channels out), then
            the dense readout (features, outputs).
        activation: elementwise, after each convolution.
        stride: of every convolution.
        pool: ``"mean"`` over the positions before the readout, or ``"flatten"``.
        parametrization: as in :func:`mlp`.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 leaves them out.
    """

    image: tuple[int, int, int]
    shapes: tuple[tuple[int, ...], ...]
    activation: Callable[[Array], Array]
    stride: int
    pool: Literal["mean", "flatten"]
    parametrization: Parametrization
    w_std: float
    b_std: float

    def scales(self, layer: int) -> Scales:
        """Scales of a weight layer, counted from 0."""
        return _scales(self.parametrization, self.shapes, layer, self.w_std, self.b_std)

    def init(self, key: PRNGKeyArray, dtype: jnp.dtype | None = None) -> tuple[Layer, ...]:
        """Draw the parameters, as :meth:`MLP.init` does."""
        return _draw(self, key, dtype)

    @full_precision()
    def apply(
        self, params: Sequence[Layer], x: Float[Array, "n h w channels"]
    ) -> Float[Array, "n outputs"]:
        """Outputs of the network, one row an image.

        Raises:
            ValueError: ``x`` or ``params`` does not fit the network.
        """
        _check_images(self, params, x)
        g = x
        for i, layer in enumerate(params[:-1]):
            g = self.activation(_affine(self.scales(i), layer, _convolve(g, layer.w, self.stride)))
        g = g.mean((1, 2)) if self.pool == "mean" else g.reshape(len(g), -1)
        return _affine(self.scales(len(params) - 1), params[-1], g @ params[-1].w)


def cnn(
    image: Sequence[int],
    channels: Sequence[int],
    outputs: int,
    activation: Activation = "relu",
    *,
    kernel_size: int = 3,
    stride: int = 1,
    pool: Literal["mean", "flatten"] = "mean",
    parametrization: Parametrization = "ntk",
    w_std: float = 1.0,
    b_std: float = 0.0,
) -> CNN:
    """Build a convolutional network: convolutions with zero padding, then a dense readout.

    Args:
        image: height, width and channels of an input, as in ``(28, 28, 1)``.
        channels: of each convolution.
        outputs: number of outputs.
        activation: after each convolution; a name or a function, as in :func:`mlp`.
        kernel_size: height and width of the filters.
        stride: of every convolution.
        pool: ``"mean"`` averages over positions before the readout, ``"flatten"`` keeps them.
        parametrization: as in :func:`mlp`, with fan_in = kernel_size**2 x channels in.
        w_std: standard deviation of the weights, before the division by sqrt(fan_in).
        b_std: standard deviation of the biases; 0 builds a network without biases.

    Returns:
        A :class:`CNN` with ``init(key)`` and ``apply(params, x)``, x of shape (N, H, W, channels).

    Raises:
        ValueError: a size, name or scale is not one of the allowed.
        TypeError: a size is not a whole number.

    Source:
        Novak et al. (2019), for the scaling of weights that are shared over positions.

    Example:
        >>> net = cnn((8, 8, 1), (16, 16), 10)
        >>> net.apply(net.init(jax.random.key(0)), jax.numpy.ones((5, 8, 8, 1))).shape
        (5, 10)
    """
    image = _image(image)
    sizes = [_checks.count(f"channels[{i}]", n) for i, n in enumerate(channels)]
    if not sizes:
        raise ValueError("channels is empty; expected the channels of at least one convolution")
    k, stride = _checks.count("kernel_size", kernel_size), _checks.count("stride", stride)
    shapes = [(k, k, a, b) for a, b in itertools.pairwise([image[2], *sizes])]
    features = sizes[-1]
    if _checks.choice("pool", pool, ("mean", "flatten")) == "flatten":
        # a strided convolution with zero padding leaves the size divided by the stride, rounded up
        features *= math.prod(math.ceil(n / stride ** len(sizes)) for n in image[:2])
    net = CNN(
        image=image,
        shapes=(*shapes, (features, _checks.count("outputs", outputs))),
        activation=_activation(activation),
        stride=stride,
        pool=pool,
        parametrization=_checks.choice("parametrization", parametrization, PARAMETRIZATIONS),
        w_std=_checks.number("w_std", w_std, above=True),
        b_std=_checks.number("b_std", b_std),
    )
    return _one(net)


@dataclass(frozen=True)
class WideResNet:
    """A wide residual network; make one with :func:`~ntkbook.networks.wide_resnet`.

    Attributes:
        image: height, width and channels of an input.
        blocks: residual blocks in each of the three groups (b).
        widening: factor on the channels 16, 32, 64 of the groups (k).
        outputs: number of outputs.
        activation: elementwise, before each convolution of a block.
        parametrization: ``"ntk"`` or ``"standard"``.
        w_std: of the convolutions in the blocks.
        w_std_first: of the first convolution.
        w_std_last: of the readout.
    """

    image: tuple[int, int, int]
    blocks: int
    widening: int
    outputs: int
    activation: Callable[[Array], Array]
    parametrization: Literal["ntk", "standard"]
    w_std: float
    w_std_first: float
    w_std_last: float

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights in the order of use; a block's shortcut follows it."""
        shapes = [(3, 3, self.image[2], 16)]
        for _, fan_in, fan_out in self._plan():
            shapes += [(3, 3, fan_in, fan_out), (3, 3, fan_out, fan_out)]
            shapes += [(1, 1, fan_in, fan_out)] if fan_in != fan_out else []
        return (*shapes, (64 * self.widening, self.outputs))

    def _plan(self):
        """Stride, channels in and channels out of each block."""
        channels = 16
        for group, width in enumerate((16, 32, 64)):
            for block in range(self.blocks):
                yield (2 if group > 0 and block == 0 else 1), channels, width * self.widening
                channels = width * self.widening

    def scales(self, layer: int) -> Scales:
        """Scales of a weight layer, counted from 0."""
        shapes = self.shapes
        last = layer == len(shapes) - 1
        w_std = self.w_std_first if layer == 0 else self.w_std_last if last else self.w_std
        return _scales(self.parametrization, shapes, layer, w_std, 0.0)

    def init(self, key: PRNGKeyArray, dtype: jnp.dtype | None = None) -> tuple[Layer, ...]:
        """Draw the parameters, as :meth:`MLP.init` does."""
        return _draw(self, key, dtype)

    @full_precision()
    def apply(
        self, params: Sequence[Layer], x: Float[Array, "n h w channels"]
    ) -> Float[Array, "n outputs"]:
        """Outputs of the network, one row an image.

        Raises:
            ValueError: ``x`` or ``params`` does not fit the network.
        """
        _check_images(self, params, x)
        layers = iter(enumerate(params))

        def convolution(g, stride=1):
            i, layer = next(layers)
            return _affine(self.scales(i), layer, _convolve(g, layer.w, stride))

        g = convolution(x)
        for stride, fan_in, fan_out in self._plan():
            h = convolution(self.activation(g), stride)
            h = convolution(self.activation(h))
            g = h + (convolution(g, stride) if fan_in != fan_out else g)
        i, layer = next(layers)
        return _affine(self.scales(i), layer, g.mean((1, 2)) @ layer.w)


def wide_resnet(
    image: Sequence[int],
    outputs: int,
    activation: Activation = "relu",
    *,
    blocks: int = 1,
    widening: int = 4,
    parametrization: Literal["ntk", "standard"] = "standard",
    w_std: float = 1.0,
    w_std_first: float = 1.0,
    w_std_last: float = 1.0,
) -> WideResNet:
    """Build a wide residual network of 6 b + 1 convolutions, with neither normalisation nor biases.

    Three groups of ``blocks`` residual blocks with 16 k, 32 k and 64 k channels; the second and
    the third group halve the image. Each block is activation, convolution, activation,
    convolution, plus its input, which passes a 1 x 1 convolution where the channels change. The
    readout acts on the mean over positions.

    Args:
        image: height, width and channels of an input, as in ``(32, 32, 3)``.
        outputs: number of outputs.
        activation: a name or a function, as in :func:`mlp`.
        blocks: residual blocks in each group (b).
        widening: factor on the channels (k).
        parametrization: ``"standard"`` or ``"ntk"``.
        w_std: standard deviation of the convolutions in the blocks, before the division by
            sqrt(fan_in).
        w_std_first: of the first convolution.
        w_std_last: of the readout.

    Returns:
        A :class:`WideResNet` with ``init(key)`` and ``apply(params, x)``.

    Raises:
        ValueError: a size, name or scale is not one of the allowed.
        TypeError: a size is not a whole number.

    Source:
        Zagoruyko & Komodakis (2016). Atanasov, Bordelon & Pehlevan (2022), Appendix J, take
        k = 4, ``w_std=0.3`` and ``w_std_first=6.0``.

    Example:
        >>> net = wide_resnet((32, 32, 3), 10)
        >>> sum(math.prod(shape) for shape in net.shapes)  # 1.2 million parameters
        1196976
    """
    net = WideResNet(
        image=_image(image),
        blocks=_checks.count("blocks", blocks),
        widening=_checks.count("widening", widening),
        outputs=_checks.count("outputs", outputs),
        activation=_activation(activation),
        parametrization=_checks.choice("parametrization", parametrization, ("ntk", "standard")),
        w_std=_checks.number("w_std", w_std, above=True),
        w_std_first=_checks.number("w_std_first", w_std_first, above=True),
        w_std_last=_checks.number("w_std_last", w_std_last, above=True),
    )
    return _one(net)


Network = MLP | CNN | WideResNet


@functools.cache
def _one(net):
    """One object for equal networks: jit keeps code for the object behind ``net.apply``."""
    return net


def reparametrize(
    params: Sequence[Layer], source: Network, target: Network
) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Translate a network's parameters and learning rates into another parametrization.

    Only the product of a weight and its scale enters the function. So weights are multiplied by
    the ratio of the scales, and a step of gradient descent stays the same step if learning rates
    are multiplied by the ratio squared.

    Args:
        params: parameters of ``source``.
        source: a network of this module.
        target: the same architecture in another parametrization or with other scales.

    Returns:
        ``(params, rates)``: parameters with which ``target`` computes the same function, and for
        each leaf the learning rate, relative to that of ``source``, with which it trains alike.

    Raises:
        ValueError: the two networks have different weights, or ``params`` does not fit.

    Source:
        The symmetry of Yang & Hu (2021), Section 3, layer by layer.

    Example:
        >>> ntk = mlp((3, 64, 1)); standard = mlp((3, 64, 1), parametrization="standard")
        >>> _, rates = reparametrize(ntk.init(jax.random.key(0)), ntk, standard)
        >>> print([round(1 / rate.w) for rate in rates])  # fan_in
        [3, 64]
    """
    scales = ("parametrization", "w_std", "b_std", "w_std_first", "w_std_last")
    kept = {name: getattr(target, name) for name in scales if hasattr(target, name)}
    if type(source) is not type(target) or dataclasses.replace(source, **kept) != target:
        raise ValueError(f"target is {target}; expected the architecture of source, {source}")
    if (getattr(source, "b_std", 0) > 0) != (getattr(target, "b_std", 0) > 0):
        raise ValueError("one of source and target has biases; expected b_std > 0 in both or none")
    _check_params(source, params)
    moved, rates = [], []
    for i, (w, b) in enumerate(params):
        a, c = source.scales(i), target.scales(i)
        w_ratio, b_ratio = a.w_scale / c.w_scale, None if b is None else a.b_scale / c.b_scale
        moved.append(Layer(w_ratio * w, None if b is None else b_ratio * b))
        rates.append(Layer(w_ratio**2, None if b is None else b_ratio**2))
    return tuple(moved), tuple(rates)


def _scales(parametrization, shapes, layer, w_std, b_std) -> Scales:
    """Draw and scale of one layer: the one place that knows the parametrizations."""
    fan_in, fan_out = math.prod(shapes[layer][:-1]), shapes[layer][-1]
    root_in, root_out = math.sqrt(fan_in), math.sqrt(fan_out)
    first, last = layer == 0, layer == len(shapes) - 1
    if parametrization == "standard":
        return Scales(w_std / root_in, 1.0, b_std, float(b_std > 0))
    if parametrization == "ntk" or (first and last):
        return Scales(1.0, w_std / root_in, 1.0, b_std)
    if parametrization == "mean_field":
        if last:
            return Scales(1.0, w_std / fan_in, 1.0, b_std / root_in)
        return Scales(1.0, w_std / root_in, 1.0, b_std)
    if last:  # mup from here on
        return Scales(1 / root_in, w_std / root_in, 1 / root_in, b_std)
    if first:
        return Scales(1 / root_out, w_std * root_out / root_in, 1 / root_out, b_std * root_out)
    return Scales(1 / root_in, w_std, 1 / root_out, b_std * root_out)


def _draw(net, key, dtype):
    """Draw all layers in one go: a random generator takes half a second to compile."""
    dtype = dtype or jnp.zeros(()).dtype
    scales = [net.scales(i) for i in range(len(net.shapes))]
    sizes = [math.prod(shape) for shape in net.shapes]
    biases = [shape[-1] if s.b_scale else 0 for shape, s in zip(net.shapes, scales, strict=True)]
    draw = jax.random.normal(key, (sum(sizes) + sum(biases),), dtype)
    parts = jnp.split(draw, list(itertools.accumulate(sizes + biases))[:-1])
    ws, bs = parts[: len(sizes)], parts[len(sizes) :]
    return tuple(
        Layer(s.w_init * w.reshape(shape), s.b_init * b if b.size else None)
        for s, w, b, shape in zip(scales, ws, bs, net.shapes, strict=True)
    )


def _affine(scales, layer, product):
    z = scales.w_scale * product
    if layer.b is None:
        return z
    return z + jnp.broadcast_to(scales.b_scale * layer.b, z.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(g, w, stride):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        g, w, (stride, stride), "SAME", dimension_numbers=dimensions
    )


@_convolve.defjvp
def _convolve_jvp(stride, primals, tangents):
    # XLA's own gradient of a convolution takes one slow core of a CPU inside a loop, where training
    # is; that of a matrix product does not.
    def by_patches(g, w, dg, dw):
        flat = (-1, w.shape[-1])
        along_g = _patches(dg, w.shape, stride) @ w.reshape(flat)
        return along_g + _patches(g, w.shape, stride) @ dw.reshape(flat)

    def by_convolution(g, w, dg, dw):
        return _convolve(dg, w, stride) + _convolve(g, dw, stride)

    tangent = jax.lax.platform_dependent(
        *primals, *tangents, cpu=by_patches, default=by_convolution
    )
    return _convolve(*primals, stride), tangent


def _patches(g, shape, stride):
    """What the kernel of a convolution sees at each of its places: (N, H, W, kernel's inputs)."""
    out = [-(-size // stride) for size in g.shape[1:3]]
    pads = [
        max((o - 1) * stride + k - size, 0)
        for o, k, size in zip(out, shape, g.shape[1:3], strict=False)
    ]
    g = jnp.pad(g, ((0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)))
    rows, columns = ((o - 1) * stride + 1 for o in out)
    return jnp.concatenate(
        [
            g[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(shape[0])
            for j in range(shape[1])
        ],
        axis=-1,
    )


def _activation(activation: Activation) -> Callable[[Array], Array]:
    if callable(activation):
        return activation
    return ACTIVATIONS[_checks.choice("activation", activation, tuple(ACTIVATIONS))]


def _image(image):
    if isinstance(image, (str, int)) or len(image) != 3:
        raise ValueError(f"image is {image!r}; expected (height, width, channels)")
    return tuple(_checks.count(f"image[{i}]", n) for i, n in enumerate(image))


def _check_params(net, params):
    if len(params) != len(net.shapes):
        raise ValueError(f"params has {len(params)} layers; expected {len(net.shapes)}: {net}")
    for i, (layer, shape) in enumerate(zip(params, net.shapes, strict=True)):
        if layer.w.shape != shape:
            raise ValueError(f"params[{i}].w has shape {layer.w.shape}; expected {shape}: {net}")


def _check_images(net, params, x):
    if x.ndim != 4 or x.shape[1:] != net.image:
        raise ValueError(f"x has shape {x.shape}; expected (N, {', '.join(map(str, net.image))})")
    _check_params(net, params)
