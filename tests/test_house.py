"""The rules of the design, held by reading the code."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from pipelines import stages

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for top in ("steps", "pipelines") for p in (ROOT / top).rglob("*.py"))
STAGES = sorted((ROOT / "steps").glob("[!_]*.py"))
# What a library may import of ours. `transfer` reads task types: a candidate answers in their terms
LIBRARIES = {
    "core": {"core"},
    "sources": {"sources", "core"},
    "readers": {"readers", "core"},
    "corpora": {"corpora", "core"},
    "checks": {"checks", "corpora", "core"},
    "drawing": {"drawing", "core"},
    "portrait": {"portrait", "corpora", "drawing", "core"},
    "tasks": {"tasks", "core"},
    "judge": {"judge", "drawing", "core"},
    "transfer": {"transfer", "tasks", "core"},
}
FLOWS = ("training", "promotion_flows", "fleet", "work", "deployment")
ONLY = {  # a package -> the files that may import it
    "dvc": ("pipelines/stages.py",),
    "prefect": tuple(f"pipelines/{name}.py" for name in FLOWS),
    "mlflow": ("pipelines/registry.py", "pipelines/served.py"),
    "daft": ("steps/corpora/",),
    "ray": ("steps/corpora/engine.py",),
}
HEAVY = {"torch", "transformers", "evaluate", "great_expectations", "mlflow", "sklearn", "daft"}
HEAVY |= {"pandas", "scipy", "datasets", "matplotlib", "skops", "dvc", "prefect"}
DOORS = {  # the stages that talk to a server, and through what
    ROOT / "steps/register.py": {"pipelines/registry.py", "pipelines/connection.py"},
    ROOT / "steps/fetch.py": {"pipelines/registry.py"},  # for sources of kind mlflow alone
}
TABLES = ("steps/readers/__init__.py", "steps/tasks/__init__.py")
TABLES += ("steps/transfer/strategies/__init__.py",)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Names of the modules that are imported; `from a import b` may mean a or a.b."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def all_imports(path: Path) -> set[str]:
    return imported(ast.walk(tree(path)))


def ours(path: Path) -> set[Path]:
    """The files of this repository that a file imports, packages' __init__ among them."""
    found = set()
    for module in all_imports(path):
        place = ROOT.joinpath(*module.split("."))
        found |= {p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()}
        if found and place.parent.joinpath("__init__.py").is_file() and place.is_relative_to(ROOT):
            found |= {p for p in [place.parent / "__init__.py"] if p.is_relative_to(ROOT)}
    return {p for p in found if name(p).startswith(("steps/", "pipelines/"))}


@cache
def closure(path: Path) -> frozenset[Path]:
    """The file and all that it imports, near and far. Tables of plug-ins end the walk: what they
    name is loaded where it is used; an empty file has nothing to change."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here in found or name(here) in TABLES or not here.read_text().strip():
            continue
        found.add(here)
        waiting += ours(here)
    return frozenset(found)


@cache
def declared() -> dict[str, tuple[str, frozenset[str], bool]]:
    """Each stage of dvc.yaml as DVC resolves it: its command, its deps, whether it always runs."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {
            str(stage.name): (
                str(stage.cmd),
                frozenset(str(dep.def_path) for dep in stage.deps),
                bool(stage.always_changed),
            )
            for stage in repo.index.stages
        }


def uncovered(files: frozenset[Path], deps: frozenset[str]) -> list[str]:
    names = sorted(name(path) for path in files)
    return [n for n in names if not any(n == dep or n.startswith(f"{dep}/") for dep in deps)]


def test_each_file_in_steps_is_run_by_the_stages_of_its_name() -> None:
    heads = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    files = {path.stem for path in STAGES}
    assert {head for head in heads if not any(_belongs(head, file) for file in files)} == set()
    assert {file for file in files if not any(_belongs(head, file) for head in heads)} == set()
    for stage, (command, _, _) in declared().items():
        file = command.split("python -m steps.")[1].split()[0]
        assert _belongs(stage.split("@")[0], file), stage


def _belongs(stage: str, file: str) -> bool:
    return stage == file or stage.startswith(f"{file}_")


def test_a_stage_depends_on_all_code_that_it_imports() -> None:
    missing = {}
    for stage, (command, deps, always) in declared().items():
        file = ROOT / "steps" / (command.split("python -m steps.")[1].split()[0] + ".py")
        code = frozenset(path for path in closure(file) if name(path).startswith("steps/"))
        if not always and (gap := uncovered(code, deps)):  # what a door leads to is no code of it
            missing[stage] = gap
    assert missing == {}


def test_a_stage_depends_on_the_plugins_that_it_uses() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    users = [
        *(("readers", c["reader"], [f"ingest_corpus@{n}"]) for n, c in params["corpora"].items()),
        *(("readers", t["reader"], [f"ingest_task@{n}"]) for n, t in params["tasks"].items()),
        *(("tasks", t["type"], [f"split@{n}"]) for n, t in params["tasks"].items()),
    ]
    missing = {
        (plugin, stage): gap
        for kind, plugin, names in users
        for stage in names
        if (gap := uncovered(closure(ROOT / "steps" / kind / f"{plugin}.py"), declared()[stage][1]))
    }
    assert missing == {}


def test_a_candidate_depends_on_its_strategys_code() -> None:
    """On the strategy through `prepare`, which notes its digest; on what it imports directly."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    missing = {}
    for recipe, settings in params["recipes"].items():
        code = ROOT / "steps/transfer/strategies" / f"{settings['strategy']}.py"
        prepare = declared()[f"prepare@{recipe}"][1]
        assert uncovered(frozenset({code}), prepare) == []
        for task in params["tasks"]:
            for stage in (f"finetune@{task}-{recipe}", f"evaluate@{task}-{recipe}"):
                if gap := uncovered(closure(code), prepare | declared()[stage][1]):
                    missing[stage] = gap
    assert missing == {}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    wrong = set()
    for other in ours(path) - {path, ROOT / "steps/__init__.py", ROOT / "pipelines/__init__.py"}:
        if not _may(name(path).split("/"), name(other).split("/")):
            wrong.add(name(other))
    assert wrong - DOORS.get(path, set()) == set()


def _may(own: list[str], other: list[str]) -> bool:
    if own[0] == "pipelines":
        return other[0] == "pipelines" or len(other) > 2  # of steps/ only the libraries
    if other[0] == "pipelines" or len(other) == 2:
        return False
    return len(own) == 2 or other[1] in LIBRARIES[own[1]]


@pytest.mark.parametrize("package", ONLY)
def test_a_package_is_imported_only_where_it_belongs(package: str) -> None:
    users = {name(p) for p in MODULES if package in {i.split(".")[0] for i in all_imports(p)}}
    assert {user for user in users if not user.startswith(ONLY[package])} == set()


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "core"], ids=name)
def test_core_imports_nothing_heavy(path: Path) -> None:
    assert not HEAVY & {module.split(".")[0] for module in all_imports(path)}


def test_the_command_line_imports_nothing_heavy_before_its_commands_do() -> None:
    top = imported(iter(tree(ROOT / "pipelines/cli.py").body))
    assert not HEAVY & {module.split(".")[0] for module in top}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_and_functions_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            assert (node.end_lineno or start) - start < 40, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_take_at_most_six_arguments(path: Path) -> None:
    for node in ast.walk(tree(path)):
        public = path.name.endswith("_commands.py") and getattr(node, "name", "_")[0] != "_"
        if isinstance(node, ast.FunctionDef) and not public and not _is_command(node):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert len([a for a in taken if a.arg not in ("self", "cls")]) <= 6, node.name


def _is_command(node: ast.FunctionDef) -> bool:
    """A stage's `main`, or a command of `outplant`: its arguments are those of a command line."""
    return node.name == "main" or any("command" in ast.dump(d) for d in node.decorator_list)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_error_is_caught_that_is_not_named(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert "Exception" not in {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}


def test_no_module_is_named_as_a_library() -> None:
    """But for stages, which the design names; as `python -m steps.evaluate` they hide nothing."""
    taken = set(packages_distributions()) | sys.stdlib_module_names
    taken -= {"steps", "pipelines"}
    vague = {"utils", "helpers", "common", "manager", "cfg", "tmp"}
    names = {path.stem for path in MODULES if path not in STAGES} - {"__init__"}
    assert names & (taken | vague) == set()


def test_the_flow_reads_the_graph_that_dvc_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert {stage.name for stage in stages.read().stages} == set(declared())
