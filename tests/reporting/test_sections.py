from made_records import replace

from cqlbench.reporting.sections import sections


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


def test_a_version_is_the_end_of_an_id(make_record):
    first = make_record(0, [1.0])
    names = ("minari/pen/human-v2", "minari/pen/human-v12", "minari/my-video.hdf5-1a2b3c4d")
    found = sections([replace(first, dataset=replace(first.dataset, id=name)) for name in names])
    assert [each.name for each in found] == ["", "v2", "v12"]
