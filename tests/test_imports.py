"""Importing charrnn is quick and light, and imports run one way: front ends, then parts, TensorFlow in one of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import charrnn
from tests.command_line import variables

PACKAGE = Path(charrnn.__file__).parent

# Whatever is not a part is a front end, or what joins the parts for one. `errors` and `events` belong to everybody.
MAY_IMPORT = {
    "charrnn.text": {"charrnn.text"},
    "charrnn.network": {"charrnn.network", "charrnn.text"},
    "charrnn.training": {"charrnn.training", "charrnn.network", "charrnn.text"},
    "charrnn.storage": set(),
    "charrnn.jobs": {"charrnn.jobs", "charrnn.storage", "charrnn.training", "charrnn.network"},
}
EVERYBODY = {
    *("charrnn", "charrnn.errors", "charrnn.events", "charrnn.lines"),
    *("charrnn.child", "charrnn.choices", "charrnn.config", "charrnn.files", "charrnn.processor"),
}
# the supervisor and what runs in a worker: the manager of the database knows neither
WORKERS = {"charrnn.jobs.worker", "charrnn.jobs.attempt", "charrnn.jobs.courier", "charrnn.jobs.supervisor"}


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], env=variables(), capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("charrnn", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    """The modules that a module's import statements name, in functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "charrnn")
    return names


def test_importing_charrnn_loads_nothing_heavy() -> None:
    heavy = (
        *("tensorflow", "keras", "numpy", "pydantic", "rich", "typer", "safetensors", "IPython"),
        *("sqlalchemy", "alembic", "fsspec", "pymysql"),
    )
    loaded = run_python(f"import sys, charrnn; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


def test_importing_charrnn_takes_less_than_a_fifth_of_a_second() -> None:
    code = "import time; start = time.process_time(); import charrnn; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.2


def test_every_public_name_can_be_had_and_none_of_them_loads_tensorflow() -> None:
    code = (
        "import sys, charrnn\n"
        "for name in charrnn.__all__: getattr(charrnn, name)\n"
        "assert set(charrnn.__all__) <= set(dir(charrnn))\n"
        "print('tensorflow' in sys.modules)"
    )
    assert run_python(code) == "False"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = charrnn.trian


def test_only_the_training_package_imports_tensorflow() -> None:
    users = {
        name
        for name, tree in modules()
        if any(target.split(".")[0] in ("tensorflow", "keras") for target in imported(tree))
    }
    assert {name for name in users if not name.startswith("charrnn.training.")} == set()


def test_the_training_process_is_reached_without_tensorflow() -> None:
    assert run_python("import sys, charrnn.training.process; print('tensorflow' in sys.modules)") == "False"


def test_parts_import_neither_front_ends_nor_parts_that_they_should_not_know() -> None:
    wrong = []
    for name, tree in modules():
        part = ".".join(name.split(".")[:2])
        if part not in MAY_IMPORT:
            continue
        for target in imported(tree):
            if target.split(".")[0] != "charrnn" or target in EVERYBODY:
                continue
            if ".".join(target.split(".")[:2]) not in MAY_IMPORT[part]:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_the_manager_of_the_database_knows_neither_files_nor_whoever_trains() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if name.startswith("charrnn.jobs") and name not in WORKERS
        for target in imported(tree)
        if target in WORKERS or target.startswith(("charrnn.storage", "charrnn.training"))
    ]
    assert wrong == []


def test_alembic_is_loaded_only_to_migrate() -> None:
    code = (
        "import sys, tempfile, charrnn\n"
        "folder = tempfile.mkdtemp()\n"
        "charrnn.Workspace(data_folder=folder).list()\n"
        "print('alembic' in sys.modules)\n"
        "del sys.modules['alembic']\n"
        "charrnn.Workspace(data_folder=folder).list()\n"
        "print('alembic' in sys.modules, 'tensorflow' in sys.modules)"
    )
    assert run_python(code).splitlines() == ["True", "False False"]


def test_front_ends_reach_training_only_through_its_process() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if not name.startswith("charrnn.training")
        for target in imported(tree)
        if target.startswith("charrnn.training") and target != "charrnn.training.process"
    ]
    assert wrong == []


def test_an_interrupt_while_training_is_imported_leaves_numpy_whole(tmp_path: Path) -> None:
    said = run_python(f"""
import importlib.abc, signal, sys
import charrnn

class Impatient(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "numpy.matrixlib":
            sys.meta_path.remove(self)
            print("interrupted")
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Impatient())
try:
    charrnn.train({str(tmp_path / "none.txt")!r}, max_steps=1)
except KeyboardInterrupt:
    import numpy
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(numpy.ravel([[1, 2]]), usual)
""")
    assert said.splitlines() == ["interrupted", "[1 2] True"]
