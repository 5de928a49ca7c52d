"""Neural tangent kernels, computed: the laboratory of the book.

The names used most are here; the rest is in the modules ``networks``, ``kernels``, ``infinite``,
``claims``, ``scaling``, ``plotting`` and ``live``.
"""

import jaxlib

if jaxlib.__version__ == "0.10.2":
    raise ImportError(
        "jaxlib 0.10.2 computes wrong numbers on CPU (jax issue 39103), so ntkbook does not run "
        'on it. Install another: pip install "jax!=0.10.2"'
    )

from ntkbook.claims import ClaimError, claim
from ntkbook.infinite import InfiniteKernels, infinite_kernels
from ntkbook.kernels import empirical_ntk
from ntkbook.networks import MLP, mlp

__all__ = [
    "MLP",
    "ClaimError",
    "InfiniteKernels",
    "claim",
    "empirical_ntk",
    "infinite_kernels",
    "mlp",
]
