"""Quick or full scale: the same code at two sizes."""

import os
from typing import Literal, TypeVar

import jax

Scale = Literal["quick", "full"]
T = TypeVar("T")


def scale() -> Scale:
    """Say at which scale the book runs here.

    The environment variable ``NTKBOOK_SCALE`` decides when it is set. Otherwise the scale is
    ``"full"`` when JAX has an accelerator and ``"quick"`` on a CPU.

    Returns:
        ``"quick"`` or ``"full"``.

    Raises:
        ValueError: ``NTKBOOK_SCALE`` is neither ``quick`` nor ``full``.

    Example:
        >>> import os
        >>> os.environ["NTKBOOK_SCALE"] = "quick"
        >>> scale()
        'quick'
    """
    asked = os.environ.get("NTKBOOK_SCALE", "")
    if asked in ("quick", "full"):
        return asked
    if asked:
        raise ValueError(f"NTKBOOK_SCALE is {asked!r}; set it to 'quick' or 'full', or unset it")
    return "quick" if jax.default_backend() == "cpu" else "full"


def pick(*, quick: T, full: T) -> T:
    """Choose a size by the scale at which the book runs here.

    Args:
        quick: the value at quick scale.
        full: the value at full scale.

    Returns:
        One of the two, by :func:`scale`.

    Example:
        >>> import os
        >>> os.environ["NTKBOOK_SCALE"] = "quick"
        >>> pick(quick=(64, 256), full=(64, 256, 1024, 4096))
        (64, 256)
    """
    return quick if scale() == "quick" else full
