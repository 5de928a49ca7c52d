import json
from dataclasses import asdict

import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import ClaimError, claim, claims, scaling


@pytest.fixture
def shown(monkeypatch):
    records = []
    monkeypatch.setattr(claims, "_show", records.append)
    return records


def state(**changes):
    good = dict(measured=0.5, expected=0.5, tolerance=0.1, source="a paper")
    arguments = {"id": "an-id", "statement": "half is half", **good, **changes}
    claim(arguments.pop("id"), arguments.pop("statement"), **arguments)


def bound(**changes):
    state(expected=None, tolerance=None, **changes)


def test_a_claim_that_holds_prints_no_digits(capsys):
    state(spread=[0.4, 0.6])
    assert capsys.readouterr().out == "claim an-id: holds\n"


def test_record(shown):
    state(measured=jnp.array([0.55]), spread=jnp.array([0.5, 0.6]), statement="half is half.")
    (record,) = shown
    assert json.loads(json.dumps(asdict(record))) == {
        "id": "an-id",
        "statement": "half is half",
        "measured": pytest.approx(0.55),
        "spread": pytest.approx(np.std([0.5, 0.6], ddof=1)),
        "seeds": 2,
        "expected": 0.5,
        "tolerance": 0.1,
        "at_most": None,
        "at_least": None,
        "source": "a paper",
        "ok": True,
        "scale": "quick",
    }
    data, metadata = record._repr_mimebundle_()
    assert data["text/plain"] == "claim an-id: holds"
    assert "0.55 (sd 0.071 over 2 seeds)" in data["text/html"]
    assert "0.5 ± 0.1" in data["text/html"]
    assert metadata["ntkbook_claim"]["id"] == "an-id"


def test_html_is_escaped_and_minus_is_a_minus(shown):
    bound(measured=-1.0, at_most=0.0, statement="a < b & c")
    html = shown[0]._repr_mimebundle_()[0]["text/html"]
    assert "a &lt; b &amp; c" in html and "Measured −1;" in html and "at most 0." in html


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 0.61},
        {"measured": 0.39},
        {"measured": float("nan")},
        {"measured": float("inf"), "expected": None, "tolerance": None, "at_least": 0.0},
        {"expected": None, "tolerance": None, "at_most": 0.49},
        {"expected": None, "tolerance": None, "at_least": 0.51},
        {"expected": None, "tolerance": None, "at_least": 0.1, "at_most": 0.2},
    ],
)
def test_a_false_claim_raises_and_is_shown(shown, changes):
    with pytest.raises(ClaimError, match="claim an-id does not hold: half is half"):
        state(**changes)
    assert shown[0].ok is False and str(shown[0]) == "claim an-id: does not hold"


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 0.6000001, "tolerance": 0.1000002},
        {"expected": None, "tolerance": None, "at_most": 0.5},
        {"expected": None, "tolerance": None, "at_least": 0.5, "at_most": 0.5},
        {"measured": np.int64(1), "expected": 1},
    ],
)
def test_limits_are_allowed(shown, changes):
    state(**changes)
    assert shown[0].ok is True


@pytest.mark.parametrize(
    "error, words, changes",
    [
        (ValueError, "tolerance is None", {"tolerance": None}),
        (ValueError, "tolerance is 0.0", {"tolerance": 0}),
        (ValueError, "tolerance is -0.1", {"tolerance": -0.1}),
        (ValueError, "tolerance is inf", {"tolerance": float("inf")}),
        (ValueError, "tolerance is nan", {"tolerance": float("nan")}),
        (ValueError, "expected is nan", {"expected": float("nan")}),
        (ValueError, "give either", {"expected": None, "tolerance": None}),
        (ValueError, "give either", {"at_most": 1.0}),
        (ValueError, "give either", {"expected": None}),
        (ValueError, "a bound has no tolerance", {"expected": None, "at_most": 1.0}),
        (ValueError, "at_most is inf", {"expected": None, "tolerance": None, "at_most": np.inf}),
        (
            ValueError,
            "greater than at_most",
            {"expected": None, "tolerance": None, "at_most": 0.0, "at_least": 1.0},
        ),
        (ValueError, "expected lower-case words", {"id": "An id"}),
        (ValueError, "expected lower-case words", {"id": ""}),
        (ValueError, "statement is ''", {"statement": ""}),
        (ValueError, "source is ' '", {"source": " "}),
        (TypeError, "measured has shape", {"measured": [1.0, 2.0]}),
        (TypeError, "measured has shape", {"measured": "0.5"}),
        (TypeError, "measured has shape", {"measured": True}),
        (TypeError, "tolerance has shape", {"tolerance": [0.1, 0.2]}),
        (ValueError, "spread is", {"spread": [0.1]}),
        (ValueError, "spread is", {"spread": [0.1, float("nan")]}),
        (ValueError, "a standard deviation is not negative", {"spread": -1.0}),
    ],
)
def test_a_badly_stated_claim_is_refused(error, words, changes, shown):
    with pytest.raises(error, match=words):
        state(**changes)
    assert shown == []


def test_scale(monkeypatch):
    monkeypatch.setenv("NTKBOOK_SCALE", "full")
    assert scaling.scale() == "full" and scaling.pick(quick=1, full=2) == 2
    monkeypatch.setenv("NTKBOOK_SCALE", "quick")
    assert scaling.scale() == "quick" and scaling.pick(quick=1, full=2) == 1
    monkeypatch.setenv("NTKBOOK_SCALE", "large")
    with pytest.raises(ValueError, match="set it to 'quick' or 'full'"):
        scaling.scale()
    monkeypatch.delenv("NTKBOOK_SCALE")
    assert scaling.scale() == "quick"
