"""The shape of the code as a test: import order, sizes, randomness, names that belong in data, tests' places.

Each rule is a function of source text, and each is shown a small bad example before it judges the package.
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cqlbench"

ORDER = (
    "core", "environments", "data", "algorithms", "engine", "trainer", "evaluation", "records", "reporting",
    "experiments", "commands",
)  # fmt: skip
"""Packages; a module imports its own package's, and those of packages before it."""
TOP = ("cqlbench", "cqlbench.__main__")

WITHOUT_TORCH = ("records", "reporting")
"""Whoever reads and reports records waits for no torch, and needs none."""
TORCH = {"torch", "torchrl", "tensordict"}

MODULE_LINES = 400
FUNCTION_LINES = 60

DRAWN_IN_PLACE = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
}  # fmt: skip
TORCH_DRAWS = {"bernoulli", "multinomial", "normal", "poisson", "rand", "randint", "randn", "randperm"}
TORCH_GLOBAL = {
    "manual_seed", "seed", "initial_seed", "set_rng_state", "get_rng_state",
    "cuda.manual_seed", "cuda.manual_seed_all", "cuda.seed", "cuda.seed_all", "random.manual_seed",
    "random.seed", "rand_like", "randn_like", "randint_like",
}  # fmt: skip
NUMPY_ALLOWED = {"BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}
LENDS_GLOBAL_STREAMS = "cqlbench.trainer.global_stream"
"""Seeds them for torchrl's parts and puts them back."""


def package_sources() -> dict[str, str]:
    """Dotted module name -> source, for every module of the package."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def place(module: str) -> str:
    """`cqlbench.data.validate` -> `data`; `cqlbench` -> ``."""
    return module.split(".")[1] if "." in module else ""


def imported(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of each import of our own code, wherever in the module it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            # `from cqlbench import data` imports the subpackage; `from cqlbench import __version__` does not.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "cqlbench" else [base]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "cqlbench":
                yield node.lineno, name


def import_faults(sources: dict[str, str]) -> list[str]:
    """Imports that point to the right, and modules that stand in no package."""
    faults = []
    for module, source in sources.items():
        if module in TOP:
            continue
        if place(module) not in ORDER:
            faults.append(f"{module} stands in no package")
            continue
        allowed = ("", *ORDER[: ORDER.index(place(module)) + 1])
        faults += [
            f"{module}:{line} imports {name}"
            for line, name in imported(module, source)
            if (place(name) if place(name) in ORDER else "") not in allowed
        ]
    return faults


def torch_faults(sources: dict[str, str]) -> list[str]:
    """Modules of `WITHOUT_TORCH` that import torch, at whatever depth and by whatever way.

    Inside these packages every import counts, elsewhere those that are run when the module is imported.
    """
    imports = {
        module: _named(module, source, late=place(module) in WITHOUT_TORCH)
        for module, source in sources.items()
    }
    faults = []
    for module in sources:
        if place(module) not in WITHOUT_TORCH:
            continue
        ways = {module: module}
        waiting = [module]
        while waiting:
            at = waiting.pop()
            for name in imports[at]:
                if name.split(".")[0] in TORCH:
                    faults.append(f"{ways[at]} > {name}")
                elif name in imports and name not in ways:
                    ways[name] = f"{ways[at]} > {name}"
                    waiting.append(name)
    return faults


def _named(module: str, source: str, late: bool) -> set[str]:
    """All that a module's imports may name, with the packages around it."""
    names = {module.rpartition(".")[0]}
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not typing_only and (late or not isinstance(node, ast.FunctionDef | ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return names


def long_functions(source: str, limit: int = FUNCTION_LINES) -> list[str]:
    """Functions of more lines than `limit`, their docstrings not counted."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if lines > limit:
                faults.append(f"{node.name}, line {node.lineno}: {lines} lines")
    return faults


def global_randomness(source: str) -> list[str]:
    """Uses of a global generator, and draws that are given no generator of their own."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    faults = [
        f"line {node.lineno}: import of 'random'"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "random" and not node.level)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            full = _dotted(node, names)
            if _is_global(full):
                faults.append(f"line {node.lineno}: {full}")
        if isinstance(node, ast.Call) and not any(keyword.arg == "generator" for keyword in node.keywords):
            full = _dotted(node.func, names)
            own = full.removeprefix("torch.") in TORCH_DRAWS and full.startswith("torch.")
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if own or method in DRAWN_IN_PLACE or method == "rsample":
                faults.append(f"line {node.lineno}: {full or method} without generator=")
            if full == "numpy.random.default_rng" and not (node.args or node.keywords):
                faults.append(f"line {node.lineno}: default_rng() without a seed")
    return sorted(set(faults))


def _is_global(full: str) -> bool:
    if full.startswith("numpy.random."):
        return full.split(".")[2] not in NUMPY_ALLOWED
    return full.startswith("torch.") and full.removeprefix("torch.") in TORCH_GLOBAL


def _imported_names(tree: ast.Module) -> dict[str, str]:
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`np.random.seed` -> `numpy.random.seed`; empty for what does not start at an imported name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])


def named_in_strings(source: str, names: Iterable[str]) -> list[str]:
    """String literals that hold one of `names` as a word.

    Documentation strings are exempt, and so are sentences (an example in a message to the user): what code
    compares with or looks up has no spaces.
    """
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)), re.IGNORECASE)
    return [
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in prose
        and " " not in node.value.strip()
        and pattern.search(node.value)
    ]


def names_in_data(root: Path = ROOT) -> set[str]:
    """Names of tasks, datasets, policies and environments in the cards, and of suites in the config tree."""
    names: set[str] = set()
    for path in sorted((root / "datasets" / "cards").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        for task, values in table.get("task", {}).items():
            names |= {task, values.get("environment", {}).get("id", task)}
        for dataset, values in table.get("card", {}).items():
            names |= {dataset, dataset.partition("/")[2], values.get("short_name", dataset)}
    return names | {path.stem for path in (root / "benchmarks" / "suite").glob("*.yaml")}


def misplaced_tests(tests: Iterable[str], modules: Iterable[str], listed: str) -> list[str]:
    """Test files that mirror no module and are not in the list of topics."""
    paths = (name.removeprefix("cqlbench.").replace(".", "/") for name in modules)
    mirrors = {re.sub(r"(\w+)$", r"test_\1.py", path) for path in paths}
    return [test for test in tests if test not in mirrors and f"`{test}`" not in listed]


SOURCES = package_sources()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cqlbench.data.validate", "from cqlbench.trainer.trainer import Trainer"),
        ("cqlbench.data.validate", "from cqlbench import algorithms"),
        ("cqlbench.core.errors", "from cqlbench.environments.make import spec"),
        ("cqlbench.data.validate", "import cqlbench.records.store"),
        ("cqlbench.data.validate", "from ..records import store"),
        ("cqlbench.data.validate", "def late():\n    from cqlbench.records import store"),
        ("cqlbench.trainer.trainer", "from cqlbench.evaluation import rollout"),
        ("cqlbench.reporting.tables.run", "from cqlbench.experiments.run import run"),
        ("cqlbench.data.validate", "from cqlbench.algorithms import config"),
        ("cqlbench.utils", ""),
    ],
)
def test_an_import_that_points_right_is_found(module: str, source: str) -> None:
    assert len(import_faults({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "cqlbench.reporting.tables.run",
            "from cqlbench.data.cards import Card\nimport cqlbench.reporting.aggregate",
        ),
        ("cqlbench.experiments.run", "from cqlbench.reporting import tables"),
        ("cqlbench.records.provenance", "from cqlbench import __version__"),
        ("cqlbench.environments", "from cqlbench.core.errors import UserError"),
        ("cqlbench.data.validate", "import data, trainer\nfrom .transitions import Transitions"),
    ],
)
def test_an_import_that_points_left_is_fine(module: str, source: str) -> None:
    assert import_faults({module: source}) == []


def test_imports_point_to_the_left() -> None:
    faults = import_faults(SOURCES)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "from torch import nn",
        "def late():\n    import torch.nn",
        "from cqlbench.data.buffer import Dataset",
        "from cqlbench.data import buffer",
    ],
)
def test_torch_in_reports_is_found(source: str) -> None:
    sources = {"cqlbench.data.buffer": "from tensordict import TensorDict", "cqlbench.reporting.run": source}
    assert torch_faults(sources)


def test_a_late_import_of_torch_elsewhere_is_fine() -> None:
    late = "if TYPE_CHECKING:\n    import torch\ndef generator():\n    import torch"
    sources = {"cqlbench.core.seeding": late, "cqlbench.reporting.run": "import cqlbench.core.seeding"}
    assert torch_faults(sources) == []


def test_records_and_reports_need_no_torch() -> None:
    faults = torch_faults(SOURCES)
    assert not faults, "\n".join(faults)


def test_a_long_function_is_found() -> None:
    long = "class C:\n    def long(self):\n" + "        x = 1\n" * FUNCTION_LINES
    documented = 'def short():\n    """Told\n    at length."""\n' + "    x = 1\n" * (FUNCTION_LINES - 1)
    assert long_functions(long) == [f"long, line 2: {FUNCTION_LINES + 1} lines"]
    assert long_functions(documented) == []


def test_modules_and_functions_fit_on_a_screen_or_few() -> None:
    scripts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")}
    for name, source in (SOURCES | scripts).items():
        assert source.count("\n") < MODULE_LINES, name
        assert long_functions(source) == [], name


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np; np.random.seed(0)",
        "import numpy; draw = numpy.random.normal",
        "from numpy.random import rand; rand(3)",
        "from numpy import random; random.shuffle([])",
        "import numpy as np; np.random.default_rng()",
        "import torch; torch.manual_seed(0)",
        "import torch as t; t.cuda.manual_seed_all(0)",
        "import torch; torch.randn(3)",
        "import torch; torch.randn_like(x)",
        "from torch import randn; randn(3)",
        "x.uniform_(-1, 1)",
        "policy.rsample()",
        "import random",
        "from random import choice",
    ],
)
def test_global_randomness_is_found(line: str) -> None:
    assert global_randomness(line)


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np; np.random.default_rng(3).normal(); x: np.random.Generator",
        "import torch; torch.randn(3, generator=g); torch.Generator().manual_seed(3)",
        "x.uniform_(-1, 1, generator=g)",
        "from cqlbench import seeding; seeding.random",
    ],
)
def test_own_generators_are_fine(line: str) -> None:
    assert global_randomness(line) == []


def test_no_module_draws_from_a_global_generator() -> None:
    faults = [
        f"{module}, {fault}"
        for module, source in SOURCES.items()
        for fault in global_randomness(source)
        if module != LENDS_GLOBAL_STREAMS
    ]
    assert not faults, "\n".join(faults)


def test_a_dataset_name_in_a_string_is_found() -> None:
    names = {"pen", "walker"}
    assert len(named_in_strings('if "pen" in dataset: pass', names)) == 1
    assert len(named_in_strings('print(f"{x}/Walker-v4")', names)) == 1
    prose = '"""Such as pen."""\nclass C:\n    x = 1\n    """Of pen."""\n    y = "open"'
    assert named_in_strings(prose, names) == []
    assert named_in_strings('raise E("say for instance pen")', names) == []


def test_names_come_from_the_cards(tmp_path: Path) -> None:
    (tmp_path / "datasets" / "cards").mkdir(parents=True)
    (tmp_path / "benchmarks" / "suite").mkdir(parents=True)
    (tmp_path / "benchmarks" / "suite" / "locomotion.yaml").touch()
    (tmp_path / "datasets" / "cards" / "x.toml").write_text(
        '[task.pen]\nenvironment = { id = "Pen-v1" }\n[card."d4rl/pen-human-v1"]\nshort_name = "pen-human"\n'
    )
    found = names_in_data(tmp_path)
    assert found == {"pen", "Pen-v1", "d4rl/pen-human-v1", "pen-human-v1", "pen-human", "locomotion"}


def test_no_module_knows_a_dataset_or_suite_by_name() -> None:
    names = names_in_data()
    assert names, "no cards: nothing to look for"
    faults = [
        f"{module}, {fault}"
        for module, source in SOURCES.items()
        for fault in named_in_strings(source, names)
    ]
    assert not faults, "\n".join(faults)


def test_no_module_but_the_algorithms_own_knows_an_algorithm_by_name() -> None:
    names = {path.stem for path in (ROOT / "benchmarks" / "algorithm").glob("*.yaml")}
    assert "bc" in names
    faults = [
        f"{module}, {fault}"
        for module, source in SOURCES.items()
        if module != "cqlbench" and not module.startswith("cqlbench.algorithms")  # which exports CQLConfig
        for fault in named_in_strings(source, names)
    ]
    assert not faults, "\n".join(faults)


def test_a_misplaced_test_is_found() -> None:
    modules = ["cqlbench.data.validate", "cqlbench.experiments.run"]
    tests = [
        "data/test_validate.py",
        "experiments/test_run.py",
        "test_ideas.py",
        "data/test_line.py",
        "test_topic.py",
    ]
    assert misplaced_tests(tests, modules, "| `test_topic.py` |") == ["test_ideas.py", "data/test_line.py"]


def test_tests_mirror_the_package() -> None:
    tests = [path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    listed = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert misplaced_tests(tests, SOURCES, listed) == []


def test_the_list_of_tests_names_only_files_that_are_there() -> None:
    listed = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]*test_\w+\.py)`", listed)
    assert named
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []
