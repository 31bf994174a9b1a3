"""The house plan, held: every module proved by its twin, files of a size to read, the hot path free of what is slow."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MESHD = ROOT / "meshd"
MODULES = sorted(path for path in MESHD.rglob("*.py") if not path.name.startswith("__"))
TWINNED = ("admin", "core", "explain", "http", "identity", "routing", "telemetry")  # rooms where no module is without
HOT = ("core", "http", "net", "proxy", "upstream")
MOST_LINES = 400  # from 300 on we look for the second noun; this is where it is no question any more
SLOW = {"contextlib", "asyncio", "threading", "unittest.mock"}
TREE = ("meshd", "tests", "policies", "certs", "deploy", "docs")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".json", ".txt", ".service", ".cfg"}
# In two parts, so that this file does not hold what it looks for.
OF_ONE_MACHINE = re.compile(
    "|".join(["/wo" + r"rk/(?:main|shared)\b", "/ho" + r"me/[a-z]+/", "(?<![a-z])/ro" + r"ot/", "/Us" + r"ers/[a-z]+/"])
)


def name_of(path):
    return str(path.relative_to(ROOT))


def imports_of(path):
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", TWINNED)
def test_every_module_has_its_test(room):
    missing = [
        name_of(path)
        for path in MODULES
        if path.parent == MESHD / room and not (ROOT / "tests" / room / f"test_{path.name}").exists()
    ]
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_can_be_read_in_one_sitting(path):
    source = path.read_text()
    assert source.count("\n") <= MOST_LINES
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in HOT], ids=name_of)
def test_the_hot_path_imports_nothing_slow(path):
    assert not SLOW & set(imports_of(path))


@pytest.mark.parametrize("room", ["core", "http"])
def test_nouns_and_codecs_touch_no_socket_and_no_clock(room):
    banned = {"socket", "ssl", "select", "time", "trio", "OpenSSL", "threading"}
    guilty = {name_of(path): found for path in (MESHD / room).glob("*.py") if (found := banned & set(imports_of(path)))}
    assert not guilty


def test_no_path_of_one_machine_is_in_the_tree():
    files = [path for folder in TREE for path in (ROOT / folder).rglob("*") if path.suffix in TEXT]
    files += [path for path in ROOT.glob("*") if path.suffix in TEXT]
    assert len(files) > len(MODULES)
    found = {
        name_of(path): match[0]
        for path in files
        if path.is_file() and (match := OF_ONE_MACHINE.search(path.read_text(errors="replace")))
    }
    assert not found


# Patterns that documents make of their own, beside those of RE2: shown to be linear in time by tests of their own.
LINEAR = {("meshd/filters/strings.py", "_template")}


def made_patterns(path):
    """Functions that compile a pattern which is no constant, with Python's engine."""
    source = path.read_text()
    for function in ast.walk(ast.parse(source)) if "\nimport re\n" in source else ():
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else ():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            module, pattern = node.func.value, node.args[0]
            is_constant = isinstance(pattern, ast.Constant) or (isinstance(pattern, ast.Name) and pattern.id.isupper())
            if isinstance(module, ast.Name) and module.id == "re" and node.func.attr != "escape" and not is_constant:
                yield name_of(path), function.name


def test_patterns_of_documents_run_on_an_engine_that_is_linear_in_time():
    assert {found for path in MODULES for found in made_patterns(path)} == LINEAR
