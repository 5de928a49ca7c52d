"""Live figures: they react in the reader's browser, with no kernel and no server behind them.

A live figure is one ES module beside one Python file. The module exports
``render(element, state, kit)``, which draws into ``element`` with the functions of ``kit.js`` and
keeps the numbers behind its curves in ``element.value.check``; the Python file says which state it
starts from and computes the same numbers with ntkbook (:func:`reference`), which is what the
browser tests compare.
"""

import hashlib
import html
import importlib
import itertools
import json
from dataclasses import dataclass
from importlib import resources

try:
    from jax import enable_x64
except ImportError:  # JAX 0.7
    from jax.experimental import enable_x64

# Figures that integrate an ODE in the browser, and how closely they follow Python, relative to the
# largest value of a curve. All others are closed forms and agree to 1e-6.
INTEGRATED: dict[str, float] = {
    "two_limits": 1e-4,
    "silent_alignment": 1e-3,
    "unwhitened": 1e-3,
    "balance": 1e-3,
    "layer_rates": 1e-3,
    "several_outputs": 1e-3,
    "depth_and_classes": 1e-3,
}

_counter = itertools.count()


@dataclass(frozen=True)
class LiveFigure:
    """A live figure, shown by leaving it as the last line of a notebook cell.

    Its HTML holds its own code and style, so that it works in a built page (from a server or from
    a file), in Jupyter and in Colab alike.

    Attributes:
        module: name of the ES module in ``ntkbook/live``.
        state: what the controls start from.
        description: what the figure shows, in words, for those who do not see it.
    """

    module: str
    state: dict
    description: str

    def _repr_html_(self) -> str:
        names = (f"{self.module}.js", "kit.js", "live.css")
        code, kit, style = (_text(name) for name in names)
        state = json.dumps(self.state, sort_keys=True)
        stamp = f"{self.module}{state}{next(_counter)}"
        name = "live-" + hashlib.sha256(stamp.encode()).hexdigest()[:12]
        # A module's text cannot be imported from a file:// address, but from a Blob it can.
        return (
            f"<style>{style}</style>"
            f'<div class="live-figure" id="{name}" role="group" '
            f'aria-label="{html.escape(self.description, quote=True)}" '
            f'data-module="{self.module}">This figure needs JavaScript. '
            "In a notebook, run this cell.</div>"
            "<script>(() => {"
            f'const element = document.getElementById("{name}");'
            "const load = (code) => "
            'import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})));'
            f"Promise.all([load({_script(code)}), load({_script(kit)})]).then(([module, kit]) => {{"
            f"element.replaceChildren(); module.render(element, {_script_json(state)}, kit);"
            "});})();</script>"
        )

    def __repr__(self):
        return f"LiveFigure({self.module!r}, {self.state!r})"


def reference(module: str, state: dict) -> dict[str, list[float]]:
    """The numbers behind a live figure's curves, computed by ntkbook.

    Args:
        module: name of the live figure.
        state: the state of its controls.

    Returns:
        For each curve its values, as ``element.value.check.curves`` holds them in the browser.
    """
    with enable_x64(True):  # as in the browser
        return importlib.import_module(f"ntkbook.live.{module}").reference(state)


def _text(name):
    return resources.files("ntkbook.live").joinpath(name).read_text(encoding="utf-8")


def _script(text):
    return _script_json(json.dumps(text))


def _script_json(text):
    return text.replace("<", "\\u003c")  # so that no "</script>" ends the script early
