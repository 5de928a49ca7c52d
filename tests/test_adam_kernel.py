"""The code of the chapter on Adam's kernel at full scale, at a reduced size."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from ntkbook import data, live
from ntkbook.live.adam_kernel import STEPS, adam_kernel
from ntkbook.live.adam_kernel import path as figure_path

matplotlib.use("Agg")
KERNELS = ("plain, start", "plain, end", "Adam's, end", "Adam's, path mean", "signs, start")
WANTED = re.compile(
    r"^(from functools|class Case|def (full_cases|trained|regressed|study|compare))", re.M
)
PAGE = Path(__file__).parent.parent / "chapters" / "nonlinear" / "adam_kernel.md"


@pytest.fixture
def page(monkeypatch):
    """What the page defines, with a small stand-in for CIFAR-10."""

    def load(name, *, download):
        assert name == "cifar10"
        draw = np.random.default_rng(0)
        return data.Examples(
            draw.normal(size=(60, 8, 8, 3)).astype(np.float32), np.arange(60, dtype=np.int32) % 3
        )

    monkeypatch.setattr(data, "load", load)
    source = PAGE.read_text()
    names = {}
    for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", source, re.S):
        if WANTED.search(cell):
            exec(re.sub(r"^:tags:.*\n", "", cell), names)
    return names


def test_full_scale_runs_and_resumes(page, tmp_path, monkeypatch):
    cases = page["full_cases"](P=(10, 8), steps=(40, 20), widening=1, draws=2)
    cases = {name: case._replace(tests=6) for name, case in cases.items()}
    starts = {"two layers": {"small": 0.01}, "convolutions": {"usual": 0.3}}
    results = page["compare"](cases, starts, tmp_path)
    assert set(results) == {("two layers", "small"), ("convolutions", "usual")}
    for result in results.values():
        for name in (*KERNELS, "path", "loss", "condition"):
            assert result[name].shape == (2,) and np.isfinite(result[name]).all()
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 4
    files[1].unlink()  # as if killed before it was done
    study, todo = page["study"], []
    monkeypatch.setitem(page, "study", lambda *a: todo.append(a) or study(*a))
    again = page["compare"](cases, starts, tmp_path)
    assert len(todo) == 1
    for where, result in results.items():
        for name in KERNELS:
            np.testing.assert_array_equal(result[name], again[where][name])


def test_path_mean_is_exact_when_residuals_decay_in_proportion(page):
    draw = np.random.default_rng(1)
    t = np.array([[0.0, 0.5, 1.5]])
    features = draw.normal(size=(1, 3, 7, 9))
    kernels = features @ features[:, :, :4].swapaxes(2, 3)
    shape = np.array([[1.0, 0.6, 0.2]])[..., None, None]
    mean = page["integral"](t, shape * kernels)
    f = np.stack([np.zeros((1, 7)), (mean @ draw.normal(size=(1, 4, 1)))[..., 0]], 1)
    np.testing.assert_allclose(page["regressed"](mean, f), 0, atol=1e-10)
    assert page["regressed"](kernels[:, -1], f)[0] > 0.01


def test_live_adam_starts_along_the_signs_and_descent_along_the_teacher():
    for rule, curve in (("Adam", "signs"), ("gradient descent", "teacher")):
        curves = live.reference("adam_kernel", {"rule": rule, "angle": 20, "step": STEPS})
        begun = np.argmax(np.array(curves["loss"]) < 0.9)
        assert curves[curve][begun] > 0.999
        assert curves["loss"][-1] < 1e-6
    run = figure_path("gradient descent", 20)
    balance = np.einsum("kij,kij->k", *2 * [run["theta"][:, 4:].reshape(-1, 4, 2)])
    drift = balance - (run["theta"][:, :4] ** 2).sum(1)
    assert abs(drift - drift[0]).max() < 0.05


@pytest.mark.parametrize("changes", [{"rule": "SGD"}, {"angle": 0}, {"step": 201}])
def test_live_bad_state_is_refused(changes):
    with pytest.raises(ValueError, match="expected one of"):
        adam_kernel(**changes)
