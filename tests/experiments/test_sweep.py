import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.sweep import job_words, multirun


def test_jobs_are_all_combinations_the_last_word_fastest() -> None:
    jobs = multirun(["dataset=x", "seeds=0,1", "algorithm.discount=0.9,0.99"])
    assert list(jobs) == [
        ["dataset=x", f"seeds=[{seed}]", f"algorithm.discount={discount}"]
        for seed in (0, 1)
        for discount in (0.9, 0.99)
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("steps=range(1,4)", ["steps=1", "steps=2", "steps=3"]),
        ("steps=choice(5,9)", ["steps=5", "steps=9"]),
        ("seeds=[0,1],[2]", ["seeds=[0,1]", "seeds=[2]"]),
        ("seeds=3", ["seeds=3"]),
        ("seeds=[0,1]", ["seeds=[0,1]"]),
        ("dataset=d4rl/hopper-medium-v2,'a b'", ["dataset=d4rl/hopper-medium-v2", "dataset=a b"]),
        ("dataset=/a b/it's=(odd).hdf5", ["dataset=/a b/it's=(odd).hdf5"]),
    ],
)
def test_what_a_word_stands_for(word: str, expected: list[str]) -> None:
    assert job_words(word) == expected


def test_a_glob_is_refused() -> None:
    with pytest.raises(ConfigError, match="list the values"):
        job_words("budget=glob(*)")
