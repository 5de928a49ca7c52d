"""The chapter on depth and classes: its live figure, and its code at full scale, made small."""

import re

import jax
import jax.numpy as jnp
import notebooks
import numpy as np
import pytest

from ntkbook import data, empirical_ntk, live, mlp, train
from ntkbook.live.depth_and_classes import depth_and_classes
from ntkbook.measures import kernel_cosine
from ntkbook.networks import Layer

PAGE = notebooks.ROOT / "chapters/nonlinear/depth_and_classes.md"


def teams(L, starts, beta):
    """Two teams of one unit a layer each."""
    up, down = np.eye(2)
    first = np.outer(beta, starts[0] * up - starts[1] * down)
    last = starts[0] * up - starts[1] * down
    weights = [first, *[np.diag(starts)] * (L - 2), last[:, None]]
    return tuple(Layer(jnp.asarray(w), None) for w in weights)


@pytest.mark.parametrize("L", [2, 3, 4])
def test_two_teams_follow_the_live_figure(x64, L):
    state = depth_and_classes(L, -0.5, 0.1).state
    curves = live.reference("depth_and_classes", state)
    P = 10
    label = np.repeat([1.0, -1.0], P // 2)
    u, s, _ = np.linalg.svd(np.eye(P) - 1 / P)
    x = P**0.5 * u[:, : P - 1] * s[: P - 1]
    beta = x.T @ label / P
    net = mlp((P - 1, *(2,) * (L - 1), 1), "relu", parametrization="standard")
    rows = [50, 150, 250, 350]
    t = np.array(curves["t"])[rows]
    params = teams(L, 10**-0.5 * np.array([1.0, 0.9]), beta)
    run = train(net.apply, params, x, label, t_max=t[-1], at=t, record=("outputs", "kernel"),
                method="tsit5", rtol=1e-9)  # fmt: skip
    got = run["outputs"][:-1, :, 0]
    for name, row, sign in (("class1", 0, 1), ("class2", -1, -1)):
        np.testing.assert_allclose(np.array(curves[name])[rows], sign * got[:, row], atol=1e-5)
    end = empirical_ntk(net.apply, teams(L, (1.0, 1.0), beta), x, output="trace")
    cosine = kernel_cosine(run["kernel"][:-1], end)
    np.testing.assert_allclose(np.array(curves["cosine"])[rows], cosine, atol=1e-5)
    np.testing.assert_allclose(np.array(curves["loss"])[rows], 2 * run.loss[:-1], atol=1e-5)


def test_equal_teams_are_silent_at_any_depth():
    curves = live.reference("depth_and_classes", depth_and_classes(5, -1.0, 0.0).state)
    np.testing.assert_allclose(curves["cosine"], 1)
    assert curves["half"][0] == curves["half"][1] and curves["first"] == [pytest.approx(1)]


@pytest.mark.parametrize("changes", [{"layers": 7}, {"log10_sigma": 0.0}, {"uneven": 0.03}])
def test_clocks_of_classes_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        depth_and_classes(**changes)


@pytest.fixture
def page():
    """Promotion of dtypes and ranks as a page has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_page_at_full_scale_made_small(monkeypatch, page, tmp_path):
    """Its own code, with images of CIFAR-10's and MNIST's shapes and fewer of everything."""
    shapes = {"cifar10": (32, 32, 3), "mnist": (28, 28, 1)}
    asked = []

    def load(name, *, download):
        asked.append(name)
        draw = np.random.default_rng(0)
        y = np.arange(300).astype(np.int32) % 10
        x = draw.uniform(size=(300, *shapes[name])).astype(np.float32)
        return data.Examples(x, y)

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setenv("NTKBOOK_SCALE", "full")
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    cells = [re.sub(r"\A:tags:.*\n", "", cell) for cell in cells]
    first, modes, end = (
        next(i for i, cell in enumerate(cells) if mark in cell)
        for mark in ("use_style", "def modes", "tanh3, tanh_misses")
    )
    assert end == modes + 1
    todo = [cell for cell in cells[first + 1 : end + 1] if not cell.startswith("---")]
    code = "\n".join(cell for cell in todo if "claim(" not in cell)
    fewer = {
        "full=dict(P=3000, tests=7000)": "full=dict(P=12, tests=8)",
        "full=10)": "full=2)",
        "full=1e-4)": "full=1e-2)",
        ", 5: 2.8}": "}",
        "[10] * 10": "[3] * 10",
        "1e-4 ** (1 / L)": "1e-2 ** (1 / L)",
    }
    for old, new in fewer.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    names = {}
    exec(cells[first].split("plotting.use_style")[0], names)
    exec(code, names)
    files = {file.stem: file for file in tmp_path.rglob("*.npz")}
    assert len(files) == 10
    written = files["ten-linear-2"].stat().st_mtime_ns
    again, _ = names["modes"]("linear", 2, names["ten"], 22, "ten-linear-2")
    assert files["ten-linear-2"].stat().st_mtime_ns == written  # read, not trained
    np.testing.assert_array_equal(again["loss"], names["linear2"]["loss"])
    assert asked == ["cifar10", "mnist"] and names["same"][2] == pytest.approx(0.1)
    assert names["miss"]["relu", 3, 0.1].shape == (2, 2)
    assert names["linear4"]["half"].shape == (2, 9)
    assert np.isfinite(names["linear2"]["half"]).all()
    assert jax.tree.all(jax.tree.map(np.isfinite, float(names["tanh_misses"]()[0].mean())))
