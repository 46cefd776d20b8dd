"""Nothing moves a number by accident: fifty steps of every algorithm and option, to the last bit."""

import json

import pytest
from golden import fifty_steps

GOLDEN = json.loads(fifty_steps.PATH.read_text())


def test_every_case_is_golden() -> None:
    assert set(GOLDEN["cases"]) == set(fifty_steps.CASES)
    assert len({case["sha256"] for case in GOLDEN["cases"].values()}) == len(fifty_steps.CASES)


@pytest.mark.parametrize("name", fifty_steps.CASES)
def test_fifty_steps_compute_what_they_did(name: str) -> None:
    found, golden = fifty_steps.compute(name), GOLDEN["cases"][name]
    assert found["sums"].keys() == golden["sums"].keys()
    for key, sums in golden["sums"].items():
        assert found["sums"][key] == pytest.approx(sums, rel=1e-3, abs=1e-6), key
    if fifty_steps.machine() == GOLDEN["machine"]:
        assert found["sha256"] == golden["sha256"]
