"""Make or refresh `.venv` from `requirements.lock`. Standard library only; run by the Makefile.

    python scripts/bootstrap.py .venv/.ready

The file named is written last and removed first: whoever finds it finds a whole environment.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
INPUTS = (LOCK, ROOT / "pyproject.toml")


class SetupError(Exception):
    """A setup that cannot go on; the message is for the user."""


def main(ready: Path) -> None:
    """Leave a whole environment behind, and `ready` inside it."""
    folder = ready.parent
    with _alone():
        wanted = _fingerprint()
        if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
            ready.touch()
            return
        whole = ready.is_file() and (folder / "bin" / "python").exists()
        for stamp in folder.glob(".ready*"):
            stamp.unlink()
        if not whole:
            _create(folder)
        _install(folder / "bin" / "python", whole)
        ready.write_text(wanted, encoding="utf-8")


def _fingerprint() -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in INPUTS)).hexdigest() + "\n"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One setup at a time in this checkout; the lock goes with the process, however it ends."""
    with Path(__file__).open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another setup is under way in this checkout; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _create(folder: Path) -> None:
    _say(f"Making {folder} with Python {sys.version.split()[0]}: once, and a few minutes of downloads.")
    if folder.exists():
        shutil.rmtree(folder)
    try:
        venv.create(folder, with_pip=True)
    except (subprocess.CalledProcessError, ImportError) as error:
        raise SetupError(
            f"{sys.executable} cannot make a virtual environment; on Debian and Ubuntu, install python3-venv."
        ) from error


def _install(python: Path, refresh: bool) -> None:
    if refresh:
        _say(f"Refreshing {python.parent.parent}: requirements.lock or pyproject.toml has changed.")
    # torch alone and first: pip then takes the build that fits this machine before anything else asks for it.
    _pip(python, _pin("torch"))
    _pip(python, "-r", str(LOCK))
    _pip(python, "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def _pin(package: str) -> str:
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line.partition(";")[0].strip()
    raise SetupError(f"{LOCK.name} has no line '{package}=='.")


def _pip(python: Path, *arguments: str) -> None:
    options = ["--disable-pip-version-check", "--no-input"]
    if not sys.stdout.isatty():
        options.append("--quiet")
    command = [str(python), "-m", "pip", "install", *options, *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise SetupError(
            f"Setup stopped at 'pip install {' '.join(arguments)}'; pip's reason is above, "
            "and the same command may be run again."
        )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        main(Path(sys.argv[1]))
    except SetupError as error:
        _say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _say("Setup interrupted; the next command starts it again.")
        sys.exit(130)
