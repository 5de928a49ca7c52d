"""Sweeps: what is lost, what is shared, and that nothing depends on the number of devices."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook.sweep import SweepError, main, path, save, sweep

GRID = {"width": (8, 16), "alpha": (0.1, 10.0), "seed": range(3)}
POINTS = 12
COMMAND = ["width=8,16", "alpha=0.1,10", "seed=0:3"]

EXPERIMENT = """
    import os, time, jax, jax.numpy as jnp

    def run(width, alpha, seed):
        time.sleep(float(os.environ.get("PAUSE", 0)))
        w = jax.random.normal(jax.random.key(seed), (width, width))
        device = jax.devices().index(*w.devices())
        return {"y": jnp.tanh(alpha * w @ w).sum(0), "place": jax.process_index() * 10 + device}
"""


class Result(NamedTuple):
    y: jax.Array


def plain(width, alpha, seed):
    return Result(alpha * jax.random.normal(jax.random.key(seed), (width,)))


def test_every_point_has_a_file_and_its_setting(tmp_path):
    sweep(plain, tmp_path / "new", GRID)
    assert len(list((tmp_path / "new").iterdir())) == POINTS
    with np.load(path(tmp_path / "new", width=16, alpha=0.1, seed=2)) as kept:
        np.testing.assert_array_equal(kept["y"], plain(16, 0.1, 2).y)
        assert str(kept["device"]).endswith(f"jax {jax.__version__}")


def test_only_what_is_missing_is_computed(tmp_path):
    sweep(plain, tmp_path, GRID)
    path(tmp_path, width=8, alpha=10.0, seed=1).unlink()
    calls = []
    sweep(lambda **point: calls.append(point) or plain(**point), tmp_path, GRID)
    assert calls == [{"width": 8, "alpha": 10.0, "seed": 1}]


def test_a_file_that_was_cut_short_is_computed_again(tmp_path):
    sweep(plain, tmp_path, GRID)
    torn = path(tmp_path, width=16, alpha=0.1, seed=0)
    torn.write_bytes(torn.read_bytes()[:-10])
    sweep(plain, tmp_path, GRID)
    with np.load(torn) as mended:
        np.testing.assert_array_equal(mended["y"], plain(16, 0.1, 0).y)


def test_a_point_that_fails_does_not_take_others_with_it(tmp_path):
    def broken(width, alpha, seed):
        if seed == 1:
            raise FloatingPointError("the loss is NaN")
        return plain(width, alpha, seed)

    with pytest.raises(SweepError, match=r"4 of 12 points failed(.|\n)*seed1: Float.*NaN"):
        sweep(broken, tmp_path, GRID)
    assert len(list(tmp_path.glob("*.npz"))) == 8


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(stream, **arrays):
        stream.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(SweepError, match=r"12 of 12 (.|\n)*No space left"):
        sweep(plain, tmp_path, GRID)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "one.npz", {"y": np.ones(1)})


@pytest.mark.parametrize("values", [(0.1, 0.1), (1.0, 1), (1e-9, 1.0000001e-9)])
def test_points_that_would_share_a_file_are_refused(tmp_path, values):
    with pytest.raises(ValueError, match="share a file"):
        sweep(plain, tmp_path, GRID | {"alpha": values})


def test_an_interruption_ends_the_sweep_and_keeps_what_is_done(tmp_path, request):
    # also where the tests run in the background, to which a shell passes no Ctrl-C on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(width, alpha, seed):
        if seed == 2:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C: Python hands it to the main thread
        return plain(width, alpha, seed)

    with pytest.raises(KeyboardInterrupt):
        sweep(interrupted, tmp_path, {"width": [8], "alpha": [1.0], "seed": range(99)})
    kept = len(list(tmp_path.glob("*.npz")))
    assert 2 <= kept < 99 and kept == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["math:none", "x=1"], "no attribute 'none'"),
        (["no_such_module:f", "x=1"], "No module named"),
        (["math:sqrt", "x"], "x: expected name=values"),
        (["math:sqrt", "x=0:a"], "invalid literal"),
    ],
)
def test_a_wrong_command_line_is_refused(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        main([str(tmp_path), *arguments])
    assert words in capsys.readouterr().err


def commands(folder, home, processes, devices, *, pause=0.0):
    """Command line and environment of the processes of a job, with that many virtual devices."""
    (home / "experiment.py").write_text("\n".join(line[4:] for line in EXPERIMENT.splitlines()))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(home), str(Path(__file__).parent.parent)]),
        "PAUSE": str(pause),
    }
    command = [sys.executable, "-m", "ntkbook.sweep", str(folder), "experiment:run", *COMMAND]
    shared = ["--coordinator", f"localhost:{port}", "--processes", str(processes)]
    return [
        (command + ([*shared, "--process", str(i)] if processes > 1 else []), environment)
        for i in range(processes)
    ]


def job(*where, **options):
    """Start the processes of a job."""
    return [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for command, environment in commands(*where, **options)
    ]


def test_slurm_says_who_is_who(tmp_path):
    """Nothing but SLURM's variables and --distributed: each process does its share."""
    home = tmp_path / "home"
    home.mkdir()
    [(command, environment)] = commands(tmp_path / "runs", home, processes=1, devices=1)
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),  # JAX makes a port of it
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": "2",
    }
    started = [
        subprocess.Popen(
            [*command, "--distributed"],
            env=environment | slurm | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    finish(started)
    places = [int(np.load(file)["place"]) for file in (tmp_path / "runs").iterdir()]
    assert sorted(places) == [0] * 6 + [11] * 6  # process 1 has device 1


def finish(processes):
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]


def test_two_processes_killed_in_the_middle_and_one_that_goes_on(tmp_path):
    """The numbers are those of one device, bit for bit, whoever computed them."""
    home = tmp_path / "home"
    home.mkdir()
    started = job(tmp_path / "runs", home, processes=2, devices=2, pause=0.5)
    done = lambda: sorted((tmp_path / "runs").glob("*.npz"))
    while len(done()) < 3 and all(p.poll() is None for p in started):
        time.sleep(0.05)
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    early = {file: file.stat().st_mtime_ns for file in done()}
    assert 3 <= len(early) < POINTS

    finish(job(tmp_path / "runs", home, processes=1, devices=3))
    finish(job(tmp_path / "alone", home, processes=1, devices=1))
    finish(job(tmp_path / "both", home, processes=2, devices=2))
    assert all(file.stat().st_mtime_ns == when for file, when in early.items())
    places = set()
    for file in sorted((tmp_path / "alone").iterdir()):
        alone, resumed, both = (
            np.load(tmp_path / run / file.name) for run in ("alone", "runs", "both")
        )
        np.testing.assert_array_equal(alone["y"], resumed["y"])
        np.testing.assert_array_equal(alone["y"], both["y"])
        places.add(int(both["place"]))
    assert len(places) == 4  # two devices of each process


def test_one_process_that_dies_does_not_take_the_other_with_it(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    first, second = job(tmp_path / "runs", home, processes=2, devices=1, pause=0.3)
    while not list((tmp_path / "runs").glob("*.npz")):
        time.sleep(0.05)
    second.kill()
    second.communicate()
    finish([first])
    assert len(list((tmp_path / "runs").glob("*.npz"))) >= POINTS // 2


def test_devices_of_one_process_work_side_by_side(tmp_path, monkeypatch):
    both = threading.Barrier(2, timeout=30)
    devices = [jax.devices()[0]] * 2
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    sweep(lambda seed: {"y": jnp.ones(1), "who": both.wait()}, tmp_path, {"seed": range(4)})


@pytest.mark.parametrize("wanted", [True, False])
def test_a_long_sweep_says_how_far_it_is(tmp_path, monkeypatch, capsys, wanted):
    """From five seconds on, where somebody watches."""
    clock = iter(range(0, 100, 4))
    now = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("ntkbook.sweep.time", now)
    monkeypatch.setattr("ntkbook.sweep.watched", lambda: wanted)
    sweep(lambda x: {"y": x}, tmp_path, {"x": [1.0, 2.0, 3.0]})
    assert capsys.readouterr().err == ("\r2 of 3 points\r3 of 3 points\n" if wanted else "")
