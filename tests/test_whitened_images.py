import re
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest

from ntkbook import data, live
from ntkbook.live.whitened_images import POINTS, path, whitened_images

CHAPTER = Path(__file__).parent.parent / "chapters/nonlinear/whitened_images.md"


@pytest.fixture(scope="module")
def chapter():
    """The chapter's functions, without the experiments that follow them in their cells."""
    matplotlib.use("Agg")
    names = {"n": 100, "seeds": 4}
    ends = ("\nwhitened_images(", "\nP, n, seeds = ", "\nsigmas = ", "\nfor name, errors in ")
    for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", CHAPTER.read_text(), re.DOTALL):
        code = re.sub(r"^:tags:.*\n", "", cell)
        if code.lstrip().startswith("from functools") or "\ndef " in "\n" + code:
            for end in ends:
                code = code.partition(end)[0]
            if "claim(" not in code:
                exec(code, names)
    return names


def fake(count, shape, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 10
    means = rng.normal(size=(10, *shape))
    x = means[labels] + rng.normal(size=(count, *shape))
    return data.Examples(x.astype(np.float32), labels)


def test_full_scale_runs_at_a_reduced_size_and_goes_on(monkeypatch, chapter, tmp_path):
    """The chapter's cell for full scale, on synthetic images of the shapes of the real ones."""
    shapes, asked = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}, []

    def load(name, download):
        asked.append(name)
        return fake(200, shapes[name])

    def found():
        with jax.numpy_rank_promotion("allow"):
            return dict(chapter["at_full_scale"](P=20, n=30, seeds=2, folder=tmp_path))

    monkeypatch.setattr(data, "load", load)
    first = found()
    assert set(first) == set(shapes) and sorted(asked) == ["cifar10"] * 2 + ["mnist"] * 2
    for errors in first.values():
        assert errors.shape == (2, 2) and (errors > 0).all() and (errors[:, 0] < 0.5).all()
        assert len(np.unique(errors)) == 4  # draws differ
        assert errors[:, 0].mean() < errors[:, 1].mean()  # the final kernel tells more
    next(tmp_path.glob("*mnist*")).unlink()
    asked.clear()
    second = found()
    assert asked == ["mnist"]
    for name in shapes:
        np.testing.assert_array_equal(first[name], second[name])


def test_whitened_training_points_are_a_simplex(chapter):
    task = chapter["white"](chapter["key"], data.two_classes(fake(300, (8, 8, 1)), 0, 1), 20)
    assert task.x.shape == (20, 19) and task.x_test.shape == (40, 19)
    np.testing.assert_allclose(task.x @ task.x.T, 20 * np.eye(20) - 1, atol=1e-3)


def test_the_live_network_is_a_network_on_a_simplex():
    """Its activities, made of scalar products, are those of weights trained as usual."""
    a, z = path(-1.0, 3, 2)
    x = np.linalg.cholesky(POINTS * np.eye(POINTS) - 1 + 1e-12 * np.eye(POINTS))
    w, b = np.linalg.lstsq(x, z[0].T, rcond=None)[0].T, a[0]
    y = np.repeat([1.0, -1.0], POINTS // 2)
    for _ in range(3 * 20):  # twenty moments of three steps each
        on = w @ x.T > 0
        left = (y - b @ np.maximum(w @ x.T, 0)) / POINTS
        w, b = (
            w + 0.05 * b[:, None] * ((on * left) @ x),
            b + 0.05 * (on * left * (w @ x.T)).sum(1),
        )
    np.testing.assert_allclose(b, a[20], rtol=1e-6)
    np.testing.assert_allclose(w @ x.T, z[20], atol=1e-6)


def test_live_units_end_on_their_half_of_a_class():
    found = live.reference("whitened_images", whitened_images(-3.0, 5, 100).state)
    assert found["other"][-1] == 0 and found["other"][0] > 0.3
    assert found["loss"][int(np.argmin(found["other"]))] > 0.99
    assert found["alignment"][0] < 0.5 and 0.55 < found["alignment"][-1] < 0.75


@pytest.mark.parametrize("changes", [{"log10_sigma": 0.5}, {"log2_width": 6}, {"moment": 101}])
def test_a_whitened_network_out_of_range_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        whitened_images(**changes)
