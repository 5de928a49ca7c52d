"""Whether somebody watches who would like to see how far a long run is."""

import os
import sys


def watched() -> bool:
    """Whether stderr is a terminal or a notebook's; ``NTKBOOK_PROGRESS=0`` says no."""
    if os.environ.get("NTKBOOK_PROGRESS", "") == "0":
        return False
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or (ipython is not None and ipython.get_ipython() is not None)
