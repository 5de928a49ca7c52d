import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import anisotropy, data, live, mlp
from ntkbook.anisotropy import follow, images, pull_cosines, setting, stack, two_sides
from ntkbook.dynamics import TrainingError
from ntkbook.live.partial_whitening import POWERS, SIGMAS, TILTS, partial_whitening, summary
from ntkbook.sweep import path, sweep

CHAPTER = Path(__file__).parent.parent / "chapters/nonlinear/partial_whitening.md"


def test_the_first_pull_leaves_what_the_best_step_leaves(x64):
    task = two_sides(jax.random.key(0), 1.0, 1.0)
    x, y = np.asarray(task.x), np.asarray(task.y)
    cosines = pull_cosines(x, y)

    def left(x, y):
        pulled = x @ (x.T @ y)
        return np.sum((y - pulled * (pulled @ y) / (pulled @ pulled)) ** 2)

    centred = y - y.mean()
    assert 1 - cosines.whole**2 == pytest.approx(left(x, centred) / np.sum(centred**2))
    halves = sum(left(x[half], y[half]) for half in (y > 0, y < 0)) / len(y)
    assert 1 - cosines.half**2 == pytest.approx(halves)
    assert halves > 0.1


def test_two_classes_on_white_data_are_eigenvectors_of_both_halves(x64):
    task = two_sides(jax.random.key(1), 0.0, 1.0)
    np.testing.assert_allclose(pull_cosines(task.x, task.y), 1, atol=1e-10)


def test_pull_cosines_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="3 rows and y 2"):
        pull_cosines(np.eye(3), np.ones(2))


def test_labels_do_not_depend_on_the_dial():
    white, raw = (two_sides(jax.random.key(2), g, 1.0) for g in (0.0, 1.0))
    np.testing.assert_array_equal(white.y, raw.y)
    for task, g in ((white, 0.0), (raw, 1.0)):
        again = data.whiten(raw.x, g=g)(raw.x)
        np.testing.assert_allclose(task.x, again, atol=2e-3)


def test_images_are_whitened_by_their_training_points(x64):
    examples = data.two_classes(data.digits(), 3, 5)
    task = images(jax.random.key(0), examples, 0.0, p=30, tests=50)
    assert task.x.dtype == np.float32 and task.x_test.shape == (50, 64)
    gram = 30 * np.eye(30) - 1
    np.testing.assert_allclose(task.x @ task.x.T, gram, atol=0.02)


@pytest.fixture(scope="module")
def settings():
    with live.enable_x64(True):
        return {(g, s): setting(g, 0.0, s, draws=4)[0] for g, s in ((0.0, 0.1), (1.0, 0.01))}


@pytest.mark.parametrize("g, sigma", [(0.0, 0.1), (1.0, 0.01)])
def test_the_kept_table_is_of_the_size_that_comes_out(settings, g, sigma):
    kept, found = anisotropy.load(), settings[g, sigma]
    i = 0, POWERS.index(g), SIGMAS.index(sigma)
    for name in ("final", "initial"):
        mean = getattr(kept, name)[i].mean()
        assert getattr(found, name).mean() == pytest.approx(mean, rel=0.4)


def test_main_writes_what_load_reads(tmp_path, settings):
    file = tmp_path / "kept.npz"
    anisotropy.main(file, tilts=[0.0], powers=[0.0, 1.0], sigmas=[0.1, 0.01], draws=4)
    with np.load(file) as arrays:
        assert set(arrays) == set(anisotropy.Kept._fields)
        assert arrays["half"].shape == (1, 2, 4)
        np.testing.assert_allclose(arrays["final"][0, 0, 0], settings[0.0, 0.1].final, rtol=1e-2)


def test_the_start_does_not_count_for_the_initial_kernel():
    net, keys = mlp((50, 30, 1), parametrization="standard"), jax.random.split(jax.random.key(0))
    tasks = stack([two_sides(key, 0.0, 1.0) for key in keys])
    found = follow(net, tasks, keys, (0.1, 0.1), at=(0.0, 5.0, 50.0))
    assert found.run["tests"].shape == (2, 4, anisotropy.TESTS)
    np.testing.assert_allclose(found.outputs, found.run["tests"][:, -1], rtol=1e-5)
    assert (found.final < found.initial).all()


def test_a_network_that_cannot_learn_is_refused():
    net, keys = mlp((50, 30, 1), parametrization="standard"), jax.random.split(jax.random.key(0))
    tasks = stack([two_sides(key, 0.0, 1.0) for key in keys])
    with pytest.raises(TrainingError, match="2 of 2 runs did not finish"):
        follow(net, tasks, keys, 0.1, max_steps=3)


def test_a_singular_kernel_is_refused():
    net, keys = mlp((3, 8, 1), parametrization="standard"), jax.random.split(jax.random.key(0), 1)
    x = jnp.diag(jnp.array([1.0, 1.0, 0.0]))[None]
    task = anisotropy.DialledTask(x, jnp.array([[1.0, -1.0, 0.001]]), x)
    with pytest.raises(ValueError, match="is singular"):
        follow(net, task, keys, 0.1, stop=1e-2)


def test_the_live_figure_shows_the_table():
    state = partial_whitening(1.0, 0.0, 0.01).state
    curves = live.reference("partial_whitening", state)
    kept = anisotropy.load()
    np.testing.assert_allclose(curves["final"], kept.final[0, 4].mean(-1), atol=1e-4)
    assert len(curves["errors"]) == len(curves["left"]) == 20
    assert (POWERS, TILTS, SIGMAS) == (anisotropy.POWERS, anisotropy.TILTS, anisotropy.SIGMAS)
    assert summary()["fit"][1] > 1


@pytest.mark.parametrize("changes", [{"g": 0.3}, {"h": 4.0}, {"sigma": 2.0}])
def test_a_setting_that_is_not_kept_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        partial_whitening(**changes)


def test_the_page_goes_to_full_scale_and_goes_on_when_cut(monkeypatch, tmp_path):
    """Its own code, at a small size, on images of the right shape."""
    cells = re.findall(r"```{code-cell} ipython3\n(.*?)```", CHAPTER.read_text(), re.S)
    wanted = ("def drawn(", "def at_full_scale(")
    code = {name: next(cell for cell in cells if name in cell) for name in wanted}

    def load(name, *, download):
        assert (name, download) == ("cifar10", True)
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 150)
        x = rng.uniform(size=(150, 32, 32, 3)) + 0.3 * labels[:, None, None, None]
        return data.Examples(x.astype(np.float32), labels.astype(np.int32))

    monkeypatch.setattr(anisotropy, "POWERS", (0.0, 1.0))
    space = dict(
        np=np, jax=jax, data=data, mlp=mlp, stack=stack, images=images, follow=follow,
        anisotropy=anisotropy, pick=lambda *, quick, full: quick, key=jax.random.key(0),
        shrink=lambda examples: examples, sweep=sweep, path=path,
    )  # fmt: skip
    exec(code["def drawn("], space)
    exec(code["def at_full_scale("].split("studies =")[0], space)
    monkeypatch.setattr(data, "load", load)
    space["many"] = 2
    small = partial(space["at_full_scale"], p=20, width=30, folder=tmp_path)
    ((name, found),) = small()
    assert name == "CIFAR-10" and list(found) == [0.0, 1.0]
    assert found[1.0]["eigenvalue"].shape == (2, 19) and found[1.0]["t"].shape == (2, 61)
    assert (found[1.0]["loss"][:, -1] < 2e-3).all() and np.isfinite(found[0.0]["final"]).all()
    (tmp_path / "g1-draw1.npz").unlink()
    trained = []
    monkeypatch.setitem(space, "follow", lambda *a, **k: trained.append(a) or follow(*a, **k))
    ((_, again),) = small()
    assert len(trained) == 1
    np.testing.assert_array_equal(found[1.0]["final"], again[1.0]["final"])
