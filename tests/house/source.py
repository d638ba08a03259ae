"""The project's own files, and what they define."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("db", "enrich", "pages")
CODE = [*sorted(path for folder in PACKAGES for path in (PROJECT / folder).rglob("*.py")), PROJECT / "app.py"]
TESTS = sorted((PROJECT / "tests").rglob("*.py"))
ALL_FILES = [*CODE, *TESTS, *sorted((PROJECT / "bench").rglob("*.py"))]
MIGRATIONS = PROJECT / "db" / "migrations"


def relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def names(paths: Iterable[Path]) -> list[str]:
    return [relative(path) for path in paths]


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Every name that a file defines, with its line: functions, classes, parameters, variables, attributes, itself."""
    yield path.stem, 1
    for node in ast.walk(parsed(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)):
                yield name, node.lineno


def words(identifier: str) -> list[str]:
    """`_FirstLook` and `first_look` are first, look."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)
    return [part.lower() for part in parts]
