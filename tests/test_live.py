import json
import re

import numpy as np
import pytest

from ntkbook import infinite_kernels, live
from ntkbook.live.infinite_width import infinite_width


def test_html_is_self_contained_and_says_what_it_shows():
    html = infinite_width(depth=3)._repr_html_()
    assert not re.search(r"(src|href|from)\s*=?\s*[\"']https?:", html)
    assert "import " not in html.replace("import(URL", "")
    assert 'aria-label="Neural tangent kernel' in html
    assert html.count("</script>") == 1 and html.count("<script>") == 1
    starts = [match.end() for match in re.finditer(r"load\((?=\")", html)]
    code, kit = (json.JSONDecoder().raw_decode(html, start)[0] for start in starts)
    assert "export function render" in code and "export function live" in kit


def test_two_figures_on_a_page_have_two_names():
    ids = {re.search(r'id="(live-\w+)"', infinite_width()._repr_html_())[1] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_reference_is_the_kernel_by_angle(x64, activation):
    curves = live.reference("infinite_width", {"depth": 2, "activation": activation})
    x = 2**0.5 * np.array([[1.0, 0.0], [0.0, 1.0]])
    kernels = infinite_kernels(x, depth=2, activation=activation, w_std=2**0.5)
    assert curves["ntk"][0] == 1.0
    np.testing.assert_allclose(curves["ntk"][18], kernels.ntk[0, 1] / kernels.ntk[0, 0], atol=1e-12)
    np.testing.assert_allclose(curves["nngp"][0], kernels.nngp[0, 0] / kernels.ntk[0, 0])


@pytest.mark.parametrize("changes", [{"depth": 0}, {"log2_width": 12}, {"activation": "tanh"}])
def test_bad_state_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        infinite_width(**changes)
