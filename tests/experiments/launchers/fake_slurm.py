"""A stand-in for SLURM's programs, called by their names: `sbatch`, `srun`, `squeue`, `scontrol`, `scancel`.

    FAKE_SLURM=FOLDER fake_slurm.py PROGRAM ARGUMENTS…

Jobs run at once, each under a process of its own that does what the daemons do, as files in the folder
`FAKE_SLURM` ask: a job whose time is over is warned by SIGUSR2, as all of its processes are; one that is
queued again runs again; one that is lost, with its node, is ended without a word.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    (FOLDER / "options").write_text(json.dumps(options))
    number = 17
    while (FOLDER / str(number)).exists():
        number += 1
    (FOLDER / str(number)).touch()
    array = re.match(r"'?0-(\d+)", options.get("array", ""))
    jobs = [f"{number}_{task}" for task in range(int(array[1]) + 1)] if array else [str(number)]
    for job in jobs:
        (FOLDER / f"{job}.queued").touch()
        command = [sys.executable, __file__, "run", job, script]
        log = (FOLDER / f"{job}.log").open("a")
        subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    print(f"Submitted batch job {number}")  # noqa: T201


def run(job: str, script: str) -> None:
    """What SLURM's daemons do with a job."""
    main, _, task = job.partition("_")
    array = {"SLURM_ARRAY_JOB_ID": main, "SLURM_ARRAY_TASK_ID": task} if task else {}
    copy = FOLDER / f"{job}.sh"
    copy.write_text(Path(script).read_text())
    while True:
        process = subprocess.Popen(
            ["bash", str(copy)], env=os.environ | {"SLURM_JOB_ID": job, "SLURM_NTASKS": "1"} | array
        )
        while process.poll() is None:
            time.sleep(0.05)
            if (FOLDER / f"{job}.lost").exists():
                (FOLDER / f"{job}.lost").unlink()
                (FOLDER / f"{job}.queued").unlink()
                send(process.pid, signal.SIGSTOP)  # a node is lost at once: none of it sees another end
                send(process.pid, signal.SIGKILL)
            if (FOLDER / f"{job}.cancelled").exists():
                (FOLDER / f"{job}.queued").unlink(missing_ok=True)
                send(process.pid, signal.SIGTERM)
                time.sleep(1)
                send(process.pid, signal.SIGKILL)
            if (FOLDER / f"{job}.over").exists():
                (FOLDER / f"{job}.over").unlink()
                send(process.pid, signal.SIGUSR2)
        if not (FOLDER / f"{job}.again").exists():
            (FOLDER / f"{job}.queued").unlink(missing_ok=True)
            return
        (FOLDER / f"{job}.again").unlink()


def send(parent: int, number: int) -> None:
    """A signal to every process below `parent`, as SLURM does; bash's own end would end the job."""
    processes = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            processes[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below = {parent}
    while more := {child for child, above in processes.items() if above in below} - below:
        below |= more
    names = {pid: Path(f"/proc/{pid}/cmdline") for pid in below}
    for pid, path in names.items():
        try:
            words = path.read_bytes().split(b"\0")
            # bash and srun pass signals on, and wait.
            if number in (signal.SIGSTOP, signal.SIGKILL) or not (words[0] == b"bash" or b"srun" in words):
                os.kill(pid, number)
        except OSError:
            continue


def srun(*arguments: str) -> None:
    words, files = list(arguments), dict[str, str]()
    while words[0].startswith("--"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            name = words.pop(0).replace("%t", "0").replace("%j", os.environ["SLURM_JOB_ID"])
            name = name.replace("%A", os.environ.get("SLURM_ARRAY_JOB_ID", ""))
            files[option] = name.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
    if not files:  # from the login node: a job of its own, whose machine may have no such folder
        hidden = os.environ.get("FAKE_SLURM_HIDES")
        done = subprocess.run([word.replace(hidden, "/elsewhere") if hidden else word for word in words])
        sys.exit(done.returncode)
    with Path(files["--output"]).open("a") as output, Path(files["--error"]).open("a") as error:
        done = subprocess.run(words, stdout=output, stderr=error, check=False)
    sys.exit(done.returncode)


def squeue(*_: str) -> None:
    for path in FOLDER.glob("*.queued"):
        print(path.stem)  # noqa: T201


def scontrol(requeue: str, job: str) -> None:
    assert requeue == "requeue"
    (FOLDER / f"{job}.again").touch()


def scancel(*jobs: str) -> None:
    for job in jobs:
        (FOLDER / f"{job}.cancelled").touch()


globals()[sys.argv[1]](*sys.argv[2:])
