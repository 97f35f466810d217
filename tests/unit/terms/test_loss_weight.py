"""Weights over a run: values by hand, where they end, and what is refused."""

from __future__ import annotations

import math

import pytest

from dckd_basicsr.distill import build_terms, loss_weight
from dckd_basicsr.errors import ConfigError


def shares(total: int) -> list[float]:
    return [(iteration - 1) / total for iteration in range(1, total + 1)]


def test_a_number_stays():
    weight = loss_weight(2)
    assert [weight.at(share) for share in (0.0, 0.5, 1.0)] == [2.0, 2.0, 2.0]
    assert not weight.is_over(0.9)
    assert loss_weight(0).is_over(0.0)


def test_a_line_by_hand():
    weight = loss_weight({"type": "linear", "from": 1.0, "to": 0.2, "until": 0.8})
    found = [weight.at(share) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)]
    assert found == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    assert found[-3:] == [0.2, 0.2, 0.2]  # exactly, from there on
    assert not weight.is_over(1.0)


def test_half_a_cosine_by_hand():
    weight = loss_weight({"type": "cosine", "from": 3.0, "to": 1.0})
    found = [weight.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([3.0, 2 + math.sqrt(0.5), 2.0, 2 - math.sqrt(0.5), 1.0])
    assert found[0] == 3.0
    assert found[-1] == 1.0


def test_the_end_is_zero_by_default_and_a_weight_may_grow():
    fading = loss_weight({"type": "linear", "from": 4})
    assert [fading.at(share) for share in (0.0, 0.5, 1.0)] == [4.0, 2.0, 0.0]
    growing = loss_weight({"type": "linear", "from": 0, "to": 2, "until": 0.5})
    assert [growing.at(share) for share in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]
    assert not growing.is_over(0.0)


def test_steps_change_at_their_shares():
    weight = loss_weight({"type": "steps", "at": [0.5, 0.8], "values": [1.0, 0.1, 0.0]})
    assert [weight.at(share) for share in shares(10)] == [1.0] * 5 + [0.1] * 3 + [0.0] * 2
    assert [weight.is_over(share) for share in shares(10)] == [False] * 8 + [True] * 2
    assert weight.at(math.nextafter(0.5, 0)) == 1.0
    assert weight.at(0.5) == 0.1


def test_a_pause_is_no_end():
    weight = loss_weight({"type": "steps", "at": [0.3, 0.6], "values": [1, 0, 2]})
    assert [weight.at(share) for share in (0.0, 0.3, 0.6)] == [1.0, 0.0, 2.0]
    assert not any(weight.is_over(share) for share in (0.0, 0.3, 0.6, 1.0))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("until", [0.3, 0.6, 0.7, 1.0])
def test_what_has_faded_is_over_exactly_where_it_is_zero(kind, until):
    """Shares of iterations are the decimal numbers of the option file: no rounding decides."""
    weight = loss_weight({"type": kind, "from": 1, "until": until})
    for total in (10, 1000):
        for i, share in enumerate(shares(total)):
            assert weight.is_over(share) == (weight.at(share) == 0) == (i >= round(until * total))
    assert loss_weight({"type": kind, "from": 0, "until": until}).is_over(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "cosinus", "from": 1}, "of type cosine, linear, steps, got type 'cosinus'"),
        ({"from": 1}, "of type cosine, linear, steps, got type None"),
        ({"type": ["linear"], "from": 1}, r"got type \['linear'\]"),
        ({"type": "linear", "from": 1, "untill": 0.5}, "unknown key 'untill' in a weight of type linear; known are: f"),
        ({"type": "steps", "from": 1}, "unknown key 'from' in a weight of type steps; known are: at, values"),
        ({"type": "linear", "to": 0}, "a weight of type linear needs from"),
        ({"type": "steps"}, "a weight of type steps needs at and values"),
        ({"type": "steps", "at": [0.5]}, "a weight of type steps needs values"),
        ({"type": "linear", "from": 1, "until": 0}, r"until must be a share of the run in \(0, 1\], got 0"),
        ({"type": "linear", "from": 1, "until": 1.5}, r"until must be a share of the run in \(0, 1\], got 1.5"),
        ({"type": "linear", "from": "1"}, "from must be a finite number, got '1'"),
        ({"type": "linear", "from": 1, "to": float("nan")}, "to must be a finite number, got nan"),
        ({"type": "linear", "from": 1, "until": True}, "until must be a finite number, got True"),
        ({"type": "steps", "at": 0.5, "values": [1, 0]}, "at must be a list of numbers, got 0.5"),
        ({"type": "steps", "at": [0.5], "values": [1, None]}, r"values\[1\] must be a finite number, got None"),
        ({"type": "steps", "at": [0.5], "values": [1]}, "values must be one more than at, .* got 1 and 1"),
        ({"type": "steps", "at": [0.5, 0.5], "values": [1, 2, 3]}, r"at must hold growing shares .* got \[0.5, 0.5\]"),
        ({"type": "steps", "at": [0.8, 0.5], "values": [1, 2, 3]}, r"growing shares of the run in \(0, 1\)"),
        ({"type": "steps", "at": [0.0], "values": [1, 2]}, r"growing shares of the run in \(0, 1\)"),
        ({"type": "steps", "at": [1.0], "values": [1, 2]}, r"growing shares of the run in \(0, 1\)"),
        ("0.5", "a weight must be a finite number, got '0.5'"),
        (float("inf"), "a weight must be a finite number, got inf"),
        (None, "a weight must be a finite number, got None"),
        (True, "a weight must be a finite number, got True"),
    ],
)
def test_what_is_no_weight_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        loss_weight(options)
    with pytest.raises(ConfigError, match=r"train\.losses\[0\]: .*" + message):
        build_terms({"losses": [{"type": "pixel", "weight": options}]})
