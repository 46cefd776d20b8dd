"""How notebooks are executed while the documentation is built: nothing of the user's is read or written."""

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_INPUTS = ("cqlbench", "benchmarks", "datasets", "requirements.lock")


def isolate() -> None:
    """Let kernels run this checkout, offline; what they write ends with the build."""
    scratch = tempfile.mkdtemp(prefix="cqlbench-docs-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    os.environ |= {
        "CQLBENCH_CACHE": f"{scratch}/cache",
        "CQLBENCH_OFFLINE": "1",
        "COLUMNS": "96",
        "NO_COLOR": "1",
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_RUNTIME_DIR": f"{scratch}/jupyter",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def cache() -> str:
    """Where outputs are kept between builds: one folder, emptied when the code that made them has changed."""
    found = hashlib.sha256()
    for path in sorted(path for name in _INPUTS for path in (ROOT / name, *(ROOT / name).rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    folder = ROOT / "build" / "notebooks"
    wanted = folder / found.hexdigest()[:16]
    for other in folder.glob("*"):
        if other != wanted:
            shutil.rmtree(other)
    return str(wanted)
