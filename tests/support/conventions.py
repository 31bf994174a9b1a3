"""The semantic conventions as their own package has them: which names there are, and which are not to be used any more.

The package has no types; those of the names that we use are written down here as the registry has them.
"""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import opentelemetry.semconv._incubating as incubating
import opentelemetry.semconv.attributes as stable

OWN = "meshd."
NUMBERS = re.compile(r".*(\.port|\.pid|\.status_code|\.size|_count)")
BOOLEANS = frozenset({"tls.established", "tls.resumed"})
TEXTS = frozenset({"rpc.response.status_code"})  # a number by its name alone


@cache
def attributes():
    """Every attribute that may be used."""
    return _names(Path(stable.__path__[0]), Path(incubating.__path__[0]) / "attributes")


@cache
def metrics():
    """Every metric that may be used."""
    top = Path(incubating.__path__[0])
    return _names(top / "metrics", top.parent / "metrics")


def _names(*folders):
    found, gone = set(), set()
    for path in (each for folder in folders for each in folder.glob("*.py")):
        body = ast.parse(path.read_text()).body
        for here, after in pairwise(body):
            if isinstance(here, ast.AnnAssign) and isinstance(here.value, ast.Constant):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                # "Deprecated in favor of stable" only says that the name is in the stable package as well.
                is_gone = str(text).strip().startswith("Deprecated") and "in favor of stable" not in str(text)
                (gone if is_gone else found).add(here.value.value)
    return frozenset(found - gone)


def wrong(given):
    """What is wrong with these attributes, by name; nothing when all is as the conventions have it."""
    problems = {}
    for name, value in given.items():
        if value in ("", [], None):
            problems[name] = "empty"
        elif name.startswith(OWN):
            continue
        elif name not in attributes():
            problems[name] = "no name of the conventions"
        elif not isinstance(value, _type_of(name)) or (isinstance(value, bool) and name not in BOOLEANS):
            problems[name] = f"{value!r} is of the wrong type"
    return problems


def _type_of(name):
    if name in BOOLEANS:
        return bool
    return int if NUMBERS.fullmatch(name) and name not in TEXTS else (str, list, tuple)
