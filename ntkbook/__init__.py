"""Neural tangent kernels, computed: the laboratory of the book.

The names used most are here; the rest is in the modules ``networks``, ``kernels``, ``infinite``,
``claims``, ``scaling``, ``plotting`` and ``live``.
"""

import jaxlib

if jaxlib.__version__ in ("0.9.1", "0.9.2", "0.10.0", "0.10.1", "0.10.2"):
    raise ImportError(
        f"jaxlib {jaxlib.__version__} computes wrong numbers on CPU (jax issue 39103), so ntkbook "
        'does not run on it. Install another: pip install "jax!=0.9.1,!=0.9.2,!=0.10.*"'
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
