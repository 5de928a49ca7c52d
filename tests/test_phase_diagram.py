import json

import jax
import numpy as np
import pytest

from ntkbook import data, measures, phase_diagram
from ntkbook.claims import ClaimError, claim
from ntkbook.phase_diagram import ALPHAS, TIMES, Diagram, collect, point, sweep, task

ONE = {"widths": (16,), "alphas": (0.1, 10.0), "seeds": 2}


@pytest.fixture(scope="module")
def question():
    return task(data.digits(), 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    sweep(folder, **ONE)
    return folder


def test_activation_has_unit_second_moment(x64):
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    second = (weight * np.asarray(phase_diagram.softplus(jax.numpy.asarray(z))) ** 2).sum()
    assert second / weight.sum() == pytest.approx(1, abs=1e-12)


def test_inputs_are_centred_and_of_one_length():
    question = task(data.digits(), 300, axes=10)
    assert question.x.shape == (300, 10) and question.x_test.shape == (1497, 10)
    np.testing.assert_allclose(np.square(question.x).sum(1), 10, rtol=1e-5)
    assert set(np.unique(question.y)) == {-1, 1}


def test_a_lazy_network_keeps_its_kernel_and_a_feature_one_does_not(question):
    feature, lazy = (point(question, 64, alpha, seed=0) for alpha in (0.01, 100.0))
    assert lazy.kernel_change[-1] < 0.05 < 10 < feature.kernel_change[-1]
    for run in (feature, lazy):
        assert run.loss[0] == 1 and run.loss[-1] == pytest.approx(1e-3, rel=1e-2)
        assert run.kernel_change[0] == 0 and run.t_end <= TIMES[-1]


def test_the_wrong_readout_is_another_alpha_and_a_slower_clock(question):
    """Dividing by n in place of sqrt(n) is alpha / sqrt(n), with time multiplied by n."""
    wrong = point(question, 16, 1.0, seed=0, readout=1.0)
    right = point(question, 16, 0.25, seed=0)
    assert wrong.t_end == pytest.approx(16 * float(right.t_end), rel=1e-2)
    np.testing.assert_allclose(wrong.kernel_change[-1], right.kernel_change[-1], rtol=1e-2)


def test_a_sweep_computes_only_what_is_missing(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 4
    lost = sorted(before)[1]
    content = dict(np.load(lost))
    lost.unlink()
    (folder / "width16-alpha0.1-seed0.99999.part").write_bytes(b"half a point")
    calls = []
    real = phase_diagram.point
    monkeypatch.setattr(phase_diagram, "point", lambda *a: calls.append(a[1:]) or real(*a))
    sweep(folder, **ONE)
    assert len(calls) == 1
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert {p for p in after if after[p] != before[p]} == {lost}
    for name, value in dict(np.load(lost)).items():
        np.testing.assert_array_equal(value, content[name])


def test_a_sweep_of_another_question(tmp_path):
    """As the chapter on alpha does with MNIST at full scale."""
    other = task(data.mnist_subset(), 30, axes=10)
    options = dict(question=other, widths=(8,), alphas=(0.1, 10.0), seeds=2)
    sweep(tmp_path, **options)
    diagram = collect(tmp_path, **options)
    assert (diagram.kernel_change[0, 0, :, -1] > diagram.kernel_change[0, 1, :, -1]).all()
    assert (diagram.test_error < 0.5).all()
    assert diagram.settings["task"] == "another, 30 for training, 4970 for testing"


def test_collect_says_what_is_missing(folder):
    with pytest.raises(FileNotFoundError, match=r"width16-alpha10-seed2.npz is missing"):
        collect(folder, widths=(16,), alphas=(10.0,), seeds=3)


def test_ensemble_is_the_mean_of_the_other_seeds(folder):
    diagram = collect(folder, **ONE)
    assert diagram.loss.shape == (1, 2, 2, len(TIMES))
    # with two seeds the mean without one of them is the other
    np.testing.assert_array_equal(diagram.ensemble_error, diagram.test_error[..., ::-1])
    outputs = [np.load(folder / f"width16-alpha10-seed{s}.npz")["outputs"] for s in (0, 1)]
    expected = np.mean((outputs[0] - outputs[1]) ** 2) / 2
    assert diagram.variance[0, 1] == pytest.approx(expected, rel=1e-5)


def test_command_line_writes_what_load_reads(folder, tmp_path):
    file = tmp_path / "grid.npz"
    arguments = ["--widths", "16", "--alphas", "0.1", "10", "--seeds", "2"]
    phase_diagram.main([str(folder), *arguments, "--collect", str(file)])
    with np.load(file) as kept:
        assert set(kept) == set(Diagram._fields)
        (device,) = json.loads(str(kept["settings"]))["devices"]
        assert device.endswith(f", jax {jax.__version__}")


def test_the_kept_grid_is_what_is_computed_today():
    kept = phase_diagram.load()
    assert kept.widths.tolist() == list(phase_diagram.WIDTHS)
    assert kept.alphas.tolist() == list(ALPHAS) and kept.settings["seeds"] == phase_diagram.SEEDS
    again = point(task(data.digits()), 32, kept.alphas[4], 3)
    where = 1, 4, 3
    np.testing.assert_allclose(again.kernel_change, kept.kernel_change[where], rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(again.loss, kept.loss[where], rtol=0.02, atol=1e-3)


def test_the_kept_grid_collapses():
    kept = phase_diagram.load()
    wide, below = kept.widths >= 64, kept.alphas <= 1.001  # beyond, kernels change as 1 / (n alpha)
    change = kept.kernel_change[..., -1].mean(-1)[wide][:, below]
    raw, scaled = (
        measures.collapse_spread(kept.alphas[below], change, kept.widths[wide] ** exponent)
        for exponent in (0.0, 0.5)
    )
    assert scaled < 0.2 * raw


@pytest.mark.parametrize(("readout", "holds"), [(0.5, True), (1.0, False)])
def test_the_wrong_readout_fails_the_claim_on_alpha_star(readout, holds):
    """By the identity above, a point of the grid at alpha is the wrong readout's at more."""
    kept = phase_diagram.load()
    wide = kept.widths >= 64
    x, change = np.log(kept.alphas), np.log(kept.kernel_change[wide, ..., -1].swapaxes(1, 2))
    star = np.exp(measures.first_time(x.astype("f"), jax.numpy.asarray(change), 0.0))
    star = star * kept.widths[wide, None] ** (readout - 0.5)
    fit = measures.fit_exponent(kept.widths[wide], star.T)
    tolerance = 3 * (fit.high - fit.low) / 3.92 + np.log(1 + 64**-0.5) / np.log(2048 / 64)
    state = lambda: claim("star", "alpha* falls as n^(-1/2)", measured=fit.slope, expected=-0.5,
                          tolerance=tolerance, source="Geiger et al. (2020)")  # fmt: skip
    if holds:
        state()
    else:
        with pytest.raises(ClaimError, match=r"alpha\* falls"):
            state()
