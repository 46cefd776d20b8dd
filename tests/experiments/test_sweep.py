import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir, yaml_names
from cqlbench.experiments.key_names import check_key, read_choice
from cqlbench.experiments.sweep import Sweep, job_words, multirun, sweep_jobs

SWEEPS = benchmarks_dir() / "sweep"


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


@pytest.mark.parametrize("algorithm", yaml_names(SWEEPS))
def test_shipped_sweeps_set_what_there_is_and_more_draws_add(algorithm: str) -> None:
    sweep = read_choice(SWEEPS, algorithm, Sweep, "algorithm")
    every = sweep.configurations(1000)
    assert (
        len({tuple(each) for each in every}) == len(every) >= sweep.draw == len(sweep.configurations()) == 8
    )
    assert sweep.configurations(5) == every[:5]
    for word in every[0]:
        check_key(word, algorithm)


@pytest.mark.parametrize(
    "text", ["[]", "title: x\ndraw: 0\nkeys: {a: [1]}", "title: x\ndraw: 1\nkeys: {a: []}"]
)
def test_a_sweep_that_makes_no_sense_is_named(tmp_path, text: str) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        read_choice(tmp_path / "sweep", "mine", Sweep, "algorithm")


def test_a_sweep_is_of_every_dataset_and_algorithm() -> None:
    jobs = sweep_jobs(["dataset=a,b", "algorithm=sac", "seeds=0,1", "algorithm=iql,td3_bc"], draw=2)
    assert [[word for word in job if word.startswith(("dataset", "algorithm="))] for job in jobs] == [
        [f"dataset={dataset}", f"algorithm={algorithm}"]
        for dataset in "ab"
        for algorithm in ("iql", "td3_bc")
        for _ in range(2)
    ]
    assert all("seeds=0,1" in job for job in jobs)
    assert len(set(map(tuple, jobs))) == 8
