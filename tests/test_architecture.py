"""The rules of the house, held against the source."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest

import roughsnn

PACKAGE = Path(inspect.getfile(roughsnn)).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Each part may import from itself and from the parts named behind it.
GROUND = {
    "_results",
    "_types",
    "_misc",
    "_check",
    "_random",
    "_origin",
    "_window",
    "_refine",
    "_sealed",
}
LAYERS = {
    "_results": {"_misc"},
    "_types": set(),
    "_check": {"_misc"},
    "_random": {"_types", "_misc", "_check"},
    "_misc": set(),
    "_sealed": set(),
    "_origin": {"_misc"},
    "_window": {"_types", "_misc", "_check"},
    "_refine": {"_window"},
    "_step": GROUND,
    "_path": GROUND,
    "_train": GROUND | {"_path"},
    "_event": GROUND | {"_path"},
    "_conditions": GROUND | {"_path", "_event"},
    "_solve": GROUND | {"_path", "_train", "_event", "_conditions"},
    "_model": GROUND | {"_path", "_train", "_event"},
    "_engine": GROUND | {"_path", "_train", "_event", "_conditions", "_solve", "_model"},
    "_kernel": GROUND | {"_train"},
    "_signature": GROUND | {"_path", "_train", "_kernel"},
    "_loss": GROUND | {"_path", "_train", "_kernel", "_signature"},
    "_fit": GROUND | {"_step", "_train", "_model", "_engine", "_loss"},
    "_save": GROUND
    | {"_path", "_train", "_model", "_engine", "_kernel", "_signature", "_loss", "_fit"},
    "_io": GROUND | {"_train"},
    "_scores": GROUND | {"_train", "_loss", "_engine"},
    "_plot": GROUND | {"_train", "_loss"},
    "_tasks": GROUND | {"_train"},
    "scores": {"_scores"},
    "tasks": {"_tasks"},
    "plot": {"_plot"},
    "_testing": GROUND
    | {"_path", "_train", "_event", "_conditions", "_solve", "_model", "_engine"},
    "losses": {"_loss"},
    "connectors": {"_model"},
    "neurons": {"_model"},
    "synapses": {"_model"},
    "testing": {"_step", "_testing"},
    "pytest_plugin": {"_testing"},
    "io": {"_io"},
    "__init__": None,
}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> list[tuple[int, str]]:
    """(level, module) of each import; level 0 is absolute."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    allowed = LAYERS[part_of(file)]
    depth = len(file.relative_to(PACKAGE).parts)
    for level, module in imports_of(file):
        if level == 0 or allowed is None:
            continue
        inside = level < depth
        target = part_of(file) if inside else module.split(".")[0]
        assert target == part_of(file) or target in allowed, f"{file} imports {module}"


def test_no_import_cycles():
    graph = {}
    for file in FILES:
        name = file.relative_to(PACKAGE).with_suffix("").parts
        targets = set()
        for level, module in imports_of(file):
            if level:
                base = name[: len(name) - level]
                targets.add((*base, *module.split(".")) if module else base)
        graph[name] = targets
    state: dict = {}

    def visit(node, trail):
        if state.get(node) == "done" or node not in graph:
            return
        assert state.get(node) != "open", f"import cycle: {[*trail, node]}"
        state[node] = "open"
        for target in graph[node]:
            visit(target, [*trail, node])
        state[node] = "done"

    for node in graph:
        visit(node, [])


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_are_short(file):
    assert len(file.read_text().splitlines()) <= 400


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_private_imports_of_other_libraries(file):
    for level, module in imports_of(file):
        if level == 0:
            assert not any(
                part.startswith("_") and part != "__future__" for part in module.split(".")
            ), f"{file} imports {module}"
            if module.startswith("equinox.internal"):
                assert file.name == "_misc.py"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_functions_have_at_most_ten_parameters(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            a = node.args
            named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            number = len(named) - (bool(named) and named[0].arg in ("self", "cls"))
            assert number <= 10, f"{file}:{node.lineno} {node.name} has {number} parameters"


def modules():
    for info in pkgutil.walk_packages(roughsnn.__path__, "roughsnn."):
        __import__(info.name)
        module = sys.modules[info.name]
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, eqx.Module) and cls.__module__ == info.name:
                yield cls


@pytest.mark.parametrize("cls", sorted(set(modules()), key=str), ids=lambda c: c.__qualname__)
def test_modules_are_abstract_or_final(cls):
    children = [c for c in modules() if cls in c.__bases__]
    if inspect.isabstract(cls) or cls.__name__.startswith("Abstract"):
        assert cls.__name__.startswith("Abstract")
    else:
        assert not children, f"{cls} is concrete and subclassed by {children}"


def test_public_names_are_documented():
    for name, thing in vars(roughsnn).items():
        if not name.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing)):
            assert inspect.getdoc(thing), f"{name} has no docstring"


@pytest.mark.slow
def test_import_is_light():
    code = (
        "import roughsnn, sys;"
        "heavy = {'matplotlib', 'neo', 'pynwb', 'nitime', 'pynapple', 'elephant', 'ott'};"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
