"""Neural tangent kernels, computed: the laboratory of the book.

The names used most are here; the rest is in the modules ``networks``, ``kernels``, ``infinite``,
``dynamics``, ``regression``, ``measures``, ``theory``, ``data``, ``claims``, ``scaling``,
``plotting`` and ``live``.
"""

import jaxlib

if jaxlib.__version__ in ("0.9.1", "0.9.2", "0.10.0", "0.10.1", "0.10.2"):
    raise ImportError(
        f"jaxlib {jaxlib.__version__} computes wrong numbers on CPU (jax issue 39103), so ntkbook "
        'does not run on it. Install another: pip install "jax!=0.9.1,!=0.9.2,!=0.10.*"'
    )

from ntkbook.claims import ClaimError, claim
from ntkbook.dynamics import Run, TrainingError, choose_method, train
from ntkbook.infinite import InfiniteKernels, infinite_kernels
from ntkbook.kernels import empirical_ntk, layer_ntks, ntk_blocks, ntk_vector_product
from ntkbook.networks import (
    CNN,
    MLP,
    WideResNet,
    cnn,
    deep_linear,
    mlp,
    reparametrize,
    wide_resnet,
)

__all__ = [
    "CNN",
    "MLP",
    "ClaimError",
    "InfiniteKernels",
    "Run",
    "TrainingError",
    "WideResNet",
    "choose_method",
    "claim",
    "cnn",
    "deep_linear",
    "empirical_ntk",
    "infinite_kernels",
    "layer_ntks",
    "mlp",
    "ntk_blocks",
    "ntk_vector_product",
    "reparametrize",
    "train",
    "wide_resnet",
]
