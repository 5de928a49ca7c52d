import functools
import itertools
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from ntkbook import data, networks, phase_diagram, regimes, sweep
from ntkbook.dynamics import train
from ntkbook.regimes import Comparison, committees, compare, jackknife

CHAPTER = Path(__file__).parent.parent / "chapters/lazy_vs_feature/which_regime.md"


@pytest.fixture(scope="module")
def draws():
    return [phase_diagram.task(data.digits(), 20, seed=seed) for seed in range(2)]


def test_committees_without_each_network():
    outputs, y = np.random.default_rng(0).normal(0.3, 1, (5, 40)), np.ones(40)
    found = committees(outputs, y, (1, 4))
    alone = np.mean(outputs < 0, axis=1)
    np.testing.assert_allclose(found[0], (alone.sum() - alone) / 4)
    np.testing.assert_allclose(found[1, 2], np.mean(np.delete(outputs, 2, 0).sum(0) < 0))


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(1).normal(size=(3, 7))
    mean, error = jackknife((x.sum(-1, keepdims=True) - x) / 6)
    np.testing.assert_allclose(mean, x.mean(-1))
    np.testing.assert_allclose(error, x.std(-1, ddof=1) / 7**0.5)


def test_a_comparison_is_what_training_gives(draws):
    """With the integrator of the phase diagram, which controls its error, it says the same."""
    net, question = phase_diagram.network(16), draws[1]
    found = compare(net, draws, (1.0, 10.0), 2)
    assert found.test_error.shape == found.unexplained.shape == (2, 2, 2)
    outputs = []
    for key in jax.random.split(jax.random.key(1), 2):
        start = net.init(key)
        run = train(
            net.apply, start, question.x, question.y, loss="hinge", alpha=10.0, center=True,
            stop=1e-3, method="tsit5",
        )  # fmt: skip
        moved = net.apply(run.params, question.x_test) - net.apply(start, question.x_test)
        outputs.append(10.0 * np.asarray(moved[:, 0]))
    outputs, y = np.array(outputs), np.asarray(question.y_test)
    cosine = outputs[0] @ y / np.linalg.norm(outputs[0]) / len(y) ** 0.5
    assert found.unexplained[1, 1, 0] == pytest.approx(1 - cosine**2, abs=0.01)
    wrong = np.mean(np.sign(outputs) != y, -1)
    np.testing.assert_allclose(found.test_error[1, 1], wrong, atol=0.005)
    together = np.mean(np.sign(outputs.mean(0)) != y)
    assert found.committee_error[1, 1] == pytest.approx(together, abs=0.005)


def test_an_option_can_depend_on_alpha(draws):
    asked = []
    rate = lambda alpha: asked.append(alpha) or 0.01
    options = dict(method="adam", batch_size=10, learning_rate=rate)
    found = compare(phase_diagram.network(8), draws[:1], (0.1, 1.0), 1, **options)
    assert asked == [0.1, 1.0] and np.isfinite(found.unexplained).all()


def test_the_kept_grid_is_that_of_the_phase_diagram():
    errors, deviation, distance, _ = regimes.load()
    diagram = phase_diagram.load()
    alone = jackknife(errors)[0][..., 0]
    np.testing.assert_allclose(alone, diagram.test_error.mean(-1), atol=1e-6)
    np.testing.assert_allclose(deviation.sum(-1) / 9, diagram.variance, rtol=1e-4)
    assert distance.shape == (len(diagram.widths) - 1, *deviation.shape[1:])


def test_the_distance_of_means_is_free_of_the_chance_of_seeds():
    rng = np.random.default_rng(3)
    one, other = np.full(20_000, 1.0), np.full(20_000, 1.5)
    noisy = lambda mean: mean + rng.normal(size=(9, len(mean)))
    assert regimes._distance(noisy(other), noisy(one)) == pytest.approx(0.25, abs=0.02)
    assert regimes._distance(noisy(one), noisy(one)) == pytest.approx(0, abs=0.02)  # not 2 / 9


def test_what_is_kept_is_computed_and_goes_on(tmp_path, monkeypatch):
    y = np.asarray(phase_diagram.task(data.digits()).y_test)
    outputs = y + 2 * np.random.default_rng(2).normal(size=(3, len(y)))
    for seed in range(3):
        path = phase_diagram._path(tmp_path, 16, 0.1, seed)
        sweep.save(path, {"outputs": outputs[seed]})
    grid = regimes._grid(tmp_path, widths=(16,), alphas=(0.1,), seeds=3, sizes=(1, 2))
    np.testing.assert_allclose(grid[0][0, 0], committees(outputs, y, (1, 2)))
    np.testing.assert_allclose(grid[1].sum() / 2, outputs.var(0, ddof=1).mean())
    assert grid[2].shape[:1] == (0,)  # one width only: there is no wider one

    monkeypatch.setattr(regimes, "_grid", lambda folder: grid)
    one = Comparison(np.ones(1), np.ones((1, 1, 5)), np.ones((1, 1)), np.ones((1, 1, 5)))
    asked = []
    monkeypatch.setattr(regimes, "compare", lambda *a, **options: asked.append((a, options)) or one)
    net, draw, _, *others = regimes._settings()["digits, CNN, Adam"]
    monkeypatch.setattr(regimes, "_settings", lambda: {"digits": (net, draw, 2, *others)})
    for _ in range(2):  # nothing is computed twice
        regimes.main(str(tmp_path), str(tmp_path / "kept.npz"))
    (((_, draws, alphas), options),) = asked
    assert [question.x.shape for question in draws] == 2 * [(300, 8, 8, 1)]
    assert alphas == (0.01, 10.0) and options["learning_rate"](10.0) == 0.00025
    with np.load(tmp_path / "kept.npz") as kept:
        fields = {f"digits/{field}" for field in Comparison._fields}
        assert set(kept) == fields | {"errors", "deviation", "distance"}


def test_full_scale_runs_at_a_reduced_size(monkeypatch):
    """The chapter's cell for full scale, on synthetic images of the shapes of the real ones."""
    rng, shapes = np.random.default_rng(0), {"cifar10": (32, 32, 3)}

    def load(name, download):
        labels = rng.integers(47 if name == "emnist" else 10, size=40).astype(np.int32)
        means = rng.normal(size=(47, *shapes.get(name, (28, 28, 1))))
        x = means[labels] + rng.normal(size=(40, *means.shape[1:]))
        return data.Examples(x.astype(np.float32), labels)

    monkeypatch.setattr(data, "load", load)
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", CHAPTER.read_text(), re.DOTALL)
    (cell,) = [cell for cell in cells if "def at_full_scale" in cell]
    names = dict(data=data, phase_diagram=phase_diagram, itertools=itertools)
    brief = functools.partial(compare, alphas=(1.0,))  # one scale in place of four
    names |= dict(compare=brief, cnn=networks.cnn)
    exec(cell.partition("\n\n")[2].partition("\nfound = ")[0], names)
    found = dict(names["at_full_scale"](p=20, width=8, channels=2, networks=1, draws=1))
    assert len(found) == 8 and "cifar10, CNN, adam" in found
    assert all(np.isfinite(comparison.unexplained).all() for comparison in found.values())
