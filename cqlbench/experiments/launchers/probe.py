"""Before anything runs: do workers see the results folder, and have they the same packages?"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cqlbench.core.errors import ConfigError
from cqlbench.records.provenance import git_state, versions

Seen = dict[str, Any]
"""What a worker says: see `looker`."""


def check_workers(results: Path, look: Callable[[Path], Sequence[Seen]]) -> None:
    """Make sure that workers run this code with these packages, and see the results folder.

    `look` has workers run `looker()` on a file that is there meanwhile, and returns what each of them says.

    Raises:
        ConfigError: naming the machine and what is wrong there.
    """
    token = secrets.token_hex(8)
    probe = results / f".probe-{token}"
    results.mkdir(parents=True, exist_ok=True)
    probe.write_text(token, encoding="utf-8")
    try:
        seen = look(probe)
        # By name: a listing of the folder may be an old one.
        answers = [probe.with_name(f"{probe.name}-{each['name']}") for each in seen]
        answered = [answer.exists() for answer in answers]
        for answer in answers:
            answer.unlink(missing_ok=True)
    finally:
        probe.unlink(missing_ok=True)
    here = versions() | {"commit": git_state().commit or "none"}
    for each, shared in zip(seen, answered, strict=True):
        if not each["versions"]:
            raise ConfigError(f"cqlbench is not installed on {each['host']} ({each['problem']}).")
        if each["content"] != token or not shared:
            raise ConfigError(
                f"{each['host']} does not see '{results}', or cannot write to it; choose a folder that all"
                " machines share with results=."
            )
        if different := _differences(here, each["versions"]) or _differences(
            seen[0]["versions"], each["versions"], exact=True
        ):
            raise ConfigError(f"{each['host']} has other packages: {'; '.join(different)}.")


def _differences(here: Mapping[str, str], there: Mapping[str, str], *, exact: bool = False) -> list[str]:
    """What differs, a clause each; builds of a version (`+cpu`) may, unless it must be `exact`."""

    def build(version: str) -> str:
        return version if exact else version.partition("+")[0]

    return [
        f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} "
        + ("on another node" if exact else "here")
        for name in sorted({*here, *there})
        if build(here.get(name, "absent")) != build(there.get(name, "absent"))
    ]


def looker() -> Callable[[str], dict[str, Any]]:
    """A function that travels by its code, so that it runs where cqlbench is missing or another one."""

    def look(probe: str) -> dict[str, Any]:
        import pathlib
        import socket
        import uuid

        seen: dict[str, Any] = {"versions": {}, "problem": "", "content": ""}
        seen |= {"host": socket.gethostname(), "name": uuid.uuid4().hex}
        try:
            from cqlbench.records.provenance import git_state, versions

            seen["versions"] = versions() | {"commit": git_state().commit or "none"}
        except Exception as error:  # noqa: BLE001 (whatever it is, the driver names it)
            seen["problem"] = f"{type(error).__name__}: {error}"
        try:
            seen["content"] = pathlib.Path(probe).read_text(encoding="utf-8")
            pathlib.Path(f"{probe}-{seen['name']}").touch()
        except OSError:
            pass
        return seen

    return look
