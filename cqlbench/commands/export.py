"""`cqlbench export`: a run's policy as one file that torch (or ONNX) runs without cqlbench."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError
from cqlbench.experiments.policy_module import FORMATS, exported
from cqlbench.records.find import find_policy
from cqlbench.records.policy import SavedPolicy


def export(
    console: Console,
    run: str,
    seed: int | None,
    results: Path,
    form: str | None,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Export a policy in the format named, or that of the output's ending.

    Raises:
        UserError: no such run, a missing package, a file that is there already, or no place to write.
    """
    by_suffix = {suffix: name for name, suffix in FORMATS.items()}
    if output and not form and output.suffix not in by_suffix:
        endings = ", ".join(f"{suffix} ({name})" for name, suffix in FORMATS.items())
        raise ConfigError(f"output={output} must end in one of {endings}, or say format=.")
    form = form or (by_suffix[output.suffix] if output else "export")
    saved = SavedPolicy.load(find_policy(results, run, seed))
    path = output or Path(f"{saved.notes['run'].replace('/', '-')}-seed{saved.notes['seed']}{FORMATS[form]}")
    outputs.check_file(path, overwrite)
    outputs.write_file(path, exported(saved, form), overwrite)
    sizes = f"{saved.observation_size} observations -> {saved.action_size} actions"
    console.print(Text(f"Policy   {path} ({form}: {sizes})"))
