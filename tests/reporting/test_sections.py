import pytest
from made_records import replace

from cqlbench.reporting.sections import sections, unversioned


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("d4rl/hopper-medium-v2", ("d4rl/hopper-medium", "v2")),
        ("minari/D4RL/pen/human-v12", ("minari/D4RL/pen/human", "v12")),
        ("file/my-video.hdf5-1a2b3c4d", ("file/my-video.hdf5-1a2b3c4d", "")),
    ],
)
def test_a_version_is_the_end_of_an_id(dataset, expected):
    assert unversioned(dataset) == expected


def test_runs_of_one_dataset_with_other_numbers_of_one_budget_are_sections(make_record):
    first = make_record(0, [1.0])
    other = replace(first, budget=replace(first.budget, evaluation_interval=7))
    elsewhere = replace(other, dataset=replace(other.dataset, id="d4rl/ant-v2"))
    # Of another dataset alone, other numbers are its own.
    (only,) = sections([first, elsewhere])
    assert (only.name, only.budget) == ("", "quick")
    found = sections([first, other, elsewhere])
    assert [each.name for each in found] == [
        "quick-evaluation_interval=7",
        "quick-evaluation_interval=1000",
    ]
    assert [len(each.records) for each in found] == [2, 1]
