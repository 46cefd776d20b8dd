"""The first steps' diagnostics are kept as they were computed, whatever is resumed, timed or drained."""

import torch

from cqlbench.engine.diagnostics import FIRST_STEPS
from cqlbench.engine.product_rate import ProductRate


def test_the_first_steps_are_kept_one_by_one_to_the_bit_and_through_a_resumption(make_engine) -> None:
    engine = make_engine()
    computed = [engine.step(0)]
    engine.seconds_per_step()  # takes steps that do not count
    resumed = make_engine()
    resumed.load_state_dict(engine.state_dict())
    computed += [resumed.step(step) for step in range(1, FIRST_STEPS + 2)]
    kept = resumed.first_diagnostics()
    assert kept == [{name: each.tolist() for name, each in one.items()} for one in computed[:FIRST_STEPS]]
    assert kept[0] != kept[1]


def test_a_state_from_before_they_were_kept_still_loads(make_engine) -> None:
    engine = make_engine()
    engine.step(0)
    state = engine.state_dict()
    del state["diagnostics"]["first"]
    resumed = make_engine()
    resumed.load_state_dict(state)
    resumed.step(1)
    assert resumed.first_diagnostics() == []


def test_products_are_counted_over_the_time_they_took() -> None:
    rate = ProductRate(torch.device("cpu"))
    assert rate.per_second is None
    rate.measure()
    first = rate.per_second
    rate.measure()
    assert first > 100
    assert rate.per_second > 100
