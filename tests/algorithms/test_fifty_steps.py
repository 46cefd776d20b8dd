"""Nothing moves a number by accident: fifty steps of every algorithm and option, to the last bit."""

import json

import pytest
from golden import fifty_steps

GOLDEN = json.loads(fifty_steps.PATH.read_text())
MACHINE = GOLDEN.pop("machine")


def test_every_case_is_golden() -> None:
    assert set(GOLDEN) == set(fifty_steps.CASES)
    assert len({case["parameters.critics.0.weight"][0] for case in GOLDEN.values()}) == len(GOLDEN)


@pytest.mark.parametrize("name", fifty_steps.CASES)
def test_fifty_steps_compute_what_they_did(name: str) -> None:
    found, golden = fifty_steps.compute(name), GOLDEN[name]
    assert found.keys() == golden.keys()
    for key, (digest, *sums) in golden.items():
        assert found[key][1:] == pytest.approx(sums, rel=1e-3, abs=1e-6), key
        if fifty_steps.machine() == MACHINE:
            assert found[key][0] == digest, key
