"""A suite or sweep on a launcher: what its units are, what is not run again, what its end says."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_records import all_records

import cqlbench
from cqlbench.core.errors import UserError
from cqlbench.experiments.launchers import launch
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paper(suite_file: Path, bench: Run) -> Run:
    """`paper("key=value", ...)`: the command on a suite of one dataset, in this process or by a launcher."""
    return lambda *words: bench("suite=mine", "seeds=3", "plots=false", *words, verb="paper")


class Fake:
    """A launcher that runs nothing: `outcome` says what becomes of a unit."""

    where, slots = "nowhere", 2

    def __init__(self, outcome: Callable[[Unit], Outcome]) -> None:
        self.outcome, self.units, self.surroundings = outcome, [], None

    def submit(self, units: Sequence[Unit], surroundings: Surroundings) -> None:
        self.units, self.surroundings, self.left = list(units), surroundings, list(units)

    def wait(self, _seconds: float) -> Mapping[int, Outcome]:
        unit = self.left.pop()
        return {unit.number: self.outcome(unit)}

    def cancel(self) -> None:
        self.left = []

    def close(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Unit], Outcome]], Fake]:
    def install(outcome: Callable[[Unit], Outcome]) -> Fake:
        launcher = Fake(outcome)
        monkeypatch.setattr(launch, "connect", lambda *_: launcher)
        return launcher

    return install


def run_here(bench: Run) -> Callable[[Unit], Outcome]:
    """Runs a unit's command in this process."""
    return lambda unit: Outcome(bench(*unit.arguments[3:], verb=unit.arguments[2])[0])


def seeds_of(launcher: Fake) -> list[str]:
    return [next(word for word in unit.arguments if word.startswith("seeds=")) for unit in launcher.units]


def outcome_of(results: Path) -> list[tuple]:
    """What neither clocks nor the division of seeds decide."""
    return sorted(
        (record.seed, record.config_hash, record.diagnostics, [each.returns for each in record.evaluations])
        for record in all_records(results)
    )


def test_units_are_seeds_of_a_run_and_what_is_recorded_is_no_unit(world, paper, bench, fake) -> None:
    launcher = fake(run_here(bench))
    ray = ["launcher=ray", "launcher.seeds_per_run=2", "launcher.gpus_per_run=0", "launcher.cpus_per_run=1"]
    status, _, err = paper(*ray)
    assert status == 0, err
    assert seeds_of(launcher) == ["seeds=[0,1]", "seeds=[2]"]
    assert all("device=cpu" in unit.arguments for unit in launcher.units)
    assert launcher.surroundings.environment["OMP_NUM_THREADS"] == "1"
    done = json.loads((world / "results" / "suites" / "mine" / "status.json").read_text())
    assert [done[key] for key in ("where", "total", "done", "left")] == ["nowhere", 2, 2, None]
    assert (world / "results" / "report" / "mine" / "report.md").is_file()
    launcher.units = []
    status, out, err = paper(*ray)  # all is recorded
    assert status == 0, err
    assert (launcher.units, "nothing to run" in out) == ([], True)
    status, _, err = paper(*ray, "seeds=5")
    assert status == 0, err
    assert seeds_of(launcher) == [
        "seeds=[2,3]",
        "seeds=[4]",
    ]  # by place, so that a cut-off unit is found again
    assert len(all_records(world / "results")) == 5
    # A run that was killed after its last record is completed.
    (record,) = (path for path in (world / "results").rglob("seed-4.json"))
    (record.parent / "checkpoints-4").mkdir()
    launcher.units = []
    assert paper(*ray, "seeds=5")[0] == 0
    assert seeds_of(launcher) == ["seeds=[4]"]


def test_a_dry_run_runs_nothing_and_tells_time_from_what_is_recorded(world, paper, fake) -> None:
    launcher = fake(lambda _: pytest.fail("it ran"))
    words = ["launcher=local", "launcher.dry_run=true"]
    status, out, _ = paper(*words)
    assert status == 0
    assert "1 unit on nowhere" in out
    assert "not known" in out
    assert paper()[0] == 0  # in this process
    _, out, _ = paper(*words, "algorithm.conservative_weight=2")
    assert "about" in out
    assert launcher.units == []


def test_failures_are_named_and_the_rest_is_reported(world, paper, bench, fake) -> None:
    here = run_here(bench)
    fake(lambda unit: Outcome(70, "It broke.") if "seeds=[1]" in unit.arguments else here(unit))
    status, _, err = paper("launcher=local", "launcher.seeds_per_run=1")
    assert status == 70
    assert "It broke." in err
    assert (world / "results" / "report" / "mine" / "report.md").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["launcher=slurmm"], "Unknown launcher"),
        (["launcher=ray", "device=cuda:1"], "device=cuda:1"),
        (["launcher=local", "launcher.seeds_per_run=1", "trainer.save_trainer_file=x.pt"], "seeds_per_run"),
        (["launcher=local", "algorithm.batchsize=2"], "batchsize"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_runs(world, paper, fake, words, sentence) -> None:
    launcher = fake(lambda _: pytest.fail("it ran"))
    status, _, err = paper(*words)
    assert status == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert launcher.units == []


def test_a_sweep_is_launched_job_by_job(world, bench, fake) -> None:
    launcher = fake(run_here(bench))
    words = ["dataset=tiny-hopper", "steps=3,6", "seeds=[0]", "launcher=local"]
    status, _, err = bench(*words, "-m", verb="train")
    assert status == 0, err
    assert [unit.arguments[2] for unit in launcher.units] == ["train"] * 2
    assert {record.budget.steps for record in all_records(world / "results")} == {3, 6}


PROGRAM = """
import sys
from cqlbench.commands.main import main
results = f"results={sys.argv[1]}"
print(main(["train", *sys.argv[2:], results, "launcher=local"]), main(["status", results]))
import cqlbench.experiments.launchers.slurm
heavy = {"torch", "torchrl", "tensordict", "mujoco", "gymnasium", "h5py", "hydra", "matplotlib", "pandas"}
print(heavy & set(sys.modules))
"""


def test_a_driver_loads_no_torch_and_its_children_make_the_records_that_this_process_would(
    world: Path, bench: Run
) -> None:
    pytest.importorskip("submitit")
    file = world / "mine.hdf5"
    generator, rows = np.random.default_rng(0), 40
    with h5py.File(file, "w") as written:
        written["observations"] = generator.normal(size=(rows, 3)).astype(np.float32)
        written["actions"] = generator.uniform(-1, 1, (rows, 2)).astype(np.float32)
        written["rewards"] = generator.normal(size=rows).astype(np.float32)
        written["terminals"], written["timeouts"] = np.zeros(rows, bool), np.arange(rows) == rows - 1
    words = [f"dataset={file}", "seeds=2", "budget=smoke", "steps=6", "algorithm.batch_size=8"]
    driver = [sys.executable, "-c", PROGRAM, str(world / "launched"), *words]
    done = subprocess.run(driver, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
    assert "0 0" in done.stdout, done.stdout + done.stderr
    status, _, err = bench(*words, f"results={world / 'plain'}", verb="train")
    assert status == 0, err
    assert len(all_records(world / "plain")) == 2
    assert outcome_of(world / "plain") == outcome_of(world / "launched")
    (state,) = (json.loads(path.read_text()) for path in (world / "launched").rglob("status.json"))
    assert (state["done"], state["total"], state["failed"]) == (1, 1, [])


def test_suites_run_from_python_too(world, suite_file, shortcuts, bench, fake) -> None:
    launcher = fake(run_here(bench))
    settings = {"steps": 6, "algorithm.batch_size": 8, "budget": "smoke", "results": world / "results"}
    (run,) = cqlbench.run_suite("mine", algorithm=["bc"], seeds=2, launcher="local", **settings)
    assert run.scores.shape == (2,)
    assert len(launcher.units) == 1
    (again,) = cqlbench.run_suite("mine", algorithm="bc", seeds=2, **settings)  # in this process
    assert again.records == run.records
    assert cqlbench.run_suite("mine", launcher="local", **settings, **{"launcher.dry_run": True}) == []
    fake(lambda _: Outcome(2, "No such thing."))
    with pytest.raises(UserError, match="No such thing"):
        cqlbench.run_suite("mine", launcher="local", **settings, seeds=[7])
