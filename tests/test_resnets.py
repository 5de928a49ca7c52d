import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import data, resnets, sweep
from ntkbook.kernels import empirical_ntk
from ntkbook.live import reference
from ntkbook.live.wide_resnet import wide_resnet
from ntkbook.measures import alignment

SMALL = dict(size=7, points=8, rate=1e-3, tests=16)


@pytest.fixture(scope="module")
def whole():
    return resnets.measure(**SMALL, seed=3)


def test_a_run_is_measured_from_its_start_to_its_end(whole):
    draw = resnets.task(3, size=7, points=8, tests=16)
    net = resnets.network(1, 1, (7, 7, 1))
    params = net.init(jax.random.fold_in(jax.random.key(3), 1))
    kernel = empirical_ntk(net.apply, params, draw.x, output="trace")
    centre = np.eye(8) - 1 / 8
    assert whole.aligned[0] == pytest.approx(float(alignment(kernel, draw.y)), rel=1e-4)
    centred = alignment(jnp.asarray(centre @ kernel @ centre), jnp.asarray(centre @ draw.y))
    assert whole.centred[0] == pytest.approx(float(centred), rel=1e-3)
    assert whole.norm[0] == pytest.approx(float(jnp.linalg.norm(kernel)), rel=1e-4)
    assert whole.loss[0] == 1 and whole.loss[-1] <= 1e-3 < whole.loss[-2]
    assert whole.turned[-1] == pytest.approx(1) and whole.turned[0] < 1
    assert whole.correlation("by_final") > whole.correlation("by_initial")
    assert whole.at(0.5, "loss") == pytest.approx(0.5)


def test_a_run_that_is_killed_and_resumed_is_the_same(whole, tmp_path):
    """Bit for bit, whatever was done between two checkpoints."""
    options = dict(**SMALL, seed=3, folder=tmp_path, patience=0.0)
    with pytest.raises(RuntimeError, match="14 steps were taken"):
        resnets.measure(**options, max_steps=14)
    checkpoints = list((tmp_path / "checkpoints").iterdir())
    assert len(checkpoints) == 1
    resumed = resnets.measure(**options)
    assert not list((tmp_path / "checkpoints").iterdir())
    for name, once, again in zip(whole._fields, whole, resumed, strict=True):
        np.testing.assert_array_equal(once, again, err_msg=name)
    read = resnets.measure(**options, max_steps=1)  # it is there: nothing is trained
    np.testing.assert_array_equal(read.outputs, whole.outputs)


def test_the_command_line_trains_a_grid_and_keeps_it(tmp_path, monkeypatch):
    folder, file = tmp_path / "runs", tmp_path / "kept.npz"
    words = [str(folder), "size=7", "points=8", "rate=1e-3", "seed=3:4", "g=0,1"]
    resnets.main(words)
    path = sweep.path(
        folder, images="mnist", size=7, g=1, points=8, blocks=1, widening=1, rate=1e-3, seed=3
    )
    assert resnets.read(path).loss[-1] <= 1e-3
    resnets.main(["--keep", str(file), str(folder)])
    with np.load(file) as kept:
        assert set(kept["names"]) == {"mnist-7-g0-b1-k1-seed3", "mnist-7-g1-b1-k1-seed3"}
    with pytest.raises(ValueError, match="expected one of"):
        resnets.sweep(folder, {"depth": [1]})
    for wrong, why in (("depth=1", "expected one of"), ("size=5", "1 of 1 points failed")):
        with pytest.raises(SystemExit, match=why):
            resnets.main([str(folder), "points=8", "seed=3:4", wrong])


def test_the_page_asks_for_its_data_at_full_scale(tmp_path, monkeypatch):
    """Its own cell, with small colour images: loaded by name, once, and every run kept."""
    page = Path(__file__).parent.parent / "chapters/nonlinear/wide_resnet.md"
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text(), re.S)
    cell = next(cell for cell in cells if "setting = pick(" in cell)
    x = np.random.default_rng(0).random((40, 8, 8, 3), np.float32)
    asked = []

    def load(name, download=False):
        asked.append((name, download))
        return data.Examples(x, np.arange(40) % 2)

    monkeypatch.setattr(data, "load", load)
    monkeypatch.chdir(tmp_path)
    resnets._images.cache_clear()
    for old, new in (
        ("full=8)", "full=2)"),
        ("size=32, widening=4, points=100, tests=200,", "size=8, widening=2, points=8, tests=16,"),
        ("rate=1e-5", "rate=1e-3"),
    ):
        assert cell.count(old) == 1, old
        cell = cell.replace(old, new)
    pick = lambda *, quick, full: full
    names = dict(jax=jax, data=data, resnets=resnets, key=jax.random.key(0), pick=pick)
    exec(cell, names)
    resnets._images.cache_clear()
    assert asked == [("cifar10", True), ("cifar10", False)]
    assert [run.outputs.shape for run in names["runs"]] == [(16,), (16,)]
    assert len(list(tmp_path.glob("runs/wide_resnet/images*.npz"))) == 2


def test_without_branches_the_network_sees_patch_means(x64):
    for size in (14, 9):
        net = resnets.network(2, 1, (size, size, 2))
        x = jax.random.normal(jax.random.key(0), (40, size, size, 2))
        params = net.init(jax.random.key(1))
        linear = tuple(
            p._replace(w=0 * p.w) if i and p.w.shape[:2] == (3, 3) else p
            for i, p in enumerate(params)
        )
        f, means = np.asarray(net.apply(linear, x)[:, 0]), resnets.patch_means(x)
        assert means.shape == (40, 18)
        fit = means @ np.linalg.lstsq(means, f, rcond=None)[0]
        np.testing.assert_allclose(fit, f, atol=1e-10 * abs(f).max())


def test_a_task_is_white_and_knows_its_basis():
    draw = resnets.task(1, points=20, tests=30)
    flat = np.asarray(draw.flat().x, float)
    spectrum = np.linalg.eigvalsh(flat @ flat.T / 20)
    np.testing.assert_allclose(spectrum[1:], 1, atol=1e-3)
    assert draw.basis.shape == (20, 9)
    np.testing.assert_allclose(draw.basis.T @ draw.basis, np.eye(9), atol=1e-10)
    assert 0 < draw.explained() < 1
    assert draw.flat().x_test.shape == (30, 196)


@pytest.mark.parametrize("changes", [{"size": 5}, {"images": "svhn"}])
def test_images_that_are_not_there_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        resnets.task(0, **changes)


@pytest.mark.parametrize("kernel", ["initial", "final"])
def test_the_live_figure_shows_kept_runs(kernel):
    state = wide_resnet(kernel=kernel).state
    curves = reference("wide_resnet", state)
    run = next(iter(state["kept"].values()))
    assert curves["loss"] == run["loss"] and len(curves["predicted"]) == len(run["outputs"])
    assert (curves["correlation"][0] > 0.9) == (kernel == "final")
    with pytest.raises(ValueError, match="expected one of"):
        wide_resnet(kernel="last")
