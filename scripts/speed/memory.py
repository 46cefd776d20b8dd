"""Does a long run keep its memory flat?"""

from dataclasses import dataclass
from pathlib import Path

import torch

from cqlbench.core.progress import Progress
from cqlbench.trainer.trainer import CQLTrainer
from speed.workload import Workload

_WARMUP_STEPS = 1_000


@dataclass(frozen=True)
class Growth:
    """Resident memory before and after many gradient steps.

    Attributes:
        steps: taken in between.
        before: MiB.
        after: MiB.
        percent: by how much it grew.
    """

    steps: int
    before: float
    after: float
    percent: float


def memory_growth(steps: int, device: torch.device) -> Growth:
    """Train small networks for `steps` steps with the real trainer, diagnostics read every thousand."""
    engine = Workload(seeds=2, hidden=(64, 64), batch_size=64, proposals=4).engine(device)
    total = _WARMUP_STEPS + steps
    trainer = CQLTrainer(
        engine=engine, offline_steps=total, optim_steps_per_batch=_WARMUP_STEPS, progress_bar=False
    )
    readings = []
    with Progress(total, title="memory over a long run", unit="step") as progress:

        def read() -> None:
            engine.drain_diagnostics()
            readings.append(resident_mib())
            progress.update(trainer.gradient_steps)

        trainer.register_op("post_steps", read)
        trainer.train()
    before, after = readings[0], readings[-1]
    return Growth(steps, before, after, 100 * (after / before - 1))


def resident_mib() -> float:
    """The resident set of this process, from Linux's /proc; elsewhere its peak so far."""
    status = Path("/proc/self/statm")
    if status.exists():
        import os

        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
