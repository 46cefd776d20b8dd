from cqlbench.records.settings import differing_settings, differing_values, natural


def test_only_what_differs_within_a_place_is_named():
    runs = [
        ("hopper", {"algorithm": {"weight": 1.0, "hidden": [2, 2]}, "tf32": False, "budget": {"steps": 1}}),
        ("hopper", {"algorithm": {"weight": 0.5, "hidden": [2, 2]}, "tf32": False, "budget": {"steps": 2}}),
        ("walker", {"algorithm": {"weight": 1.0, "hidden": [3]}, "tf32": False, "budget": {"steps": 3}}),
    ]
    weights = [{"weight": "1"}, {"weight": "0.5"}, {"weight": "1"}]
    assert differing_values(runs, left_out=["budget."]) == weights
    assert differing_settings(runs)[1] == "weight=0.5, budget.steps=2"
    assert differing_settings(runs[1:]) == ["", ""]
    assert differing_settings([]) == []


def test_a_setting_that_one_does_not_have_is_unset_and_long_ones_are_cut():
    texts = differing_settings([("a", {}), ("a", {"x": {"flag": True, "start": "f" * 64}})])
    assert texts[0] == "x.flag=unset, x.start=unset"
    assert texts[1].startswith("x.flag=true, x.start=ffff")
    assert len(texts[1]) < 60


def test_long_values_that_differ_at_their_ends_are_whole():
    first, second = [8] * 8 + [16], [8] * 8 + [32]
    texts = differing_settings([("a", {"hidden": first}), ("a", {"hidden": second})])
    assert texts == [f"hidden={first}", f"hidden={second}"]


def test_numbers_in_names_are_sorted_as_numbers():
    names = ["w=10", "w=0.5", "w=2", "v=3", "w=1e-05"]
    assert sorted(names, key=natural) == ["v=3", "w=1e-05", "w=0.5", "w=2", "w=10"]
