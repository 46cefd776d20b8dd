from cqlbench.core.text import counted


def test_numbers_of_things() -> None:
    assert [counted(number, "seed") for number in (0, 1, 1200)] == ["0 seeds", "1 seed", "1,200 seeds"]
