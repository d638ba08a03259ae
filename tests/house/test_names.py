"""Names: the words of the glossary, unique classes, short test names, modules that are named after a concept."""

import ast
import re
from collections import defaultdict
from functools import cache

import pytest

from tests.house.source import ALL_FILES, CODE, MIGRATIONS, PROJECT, TESTS, identifiers, parsed, relative, words

LONGEST_TEST_NAME = 70
GLOSSARY = PROJECT / "docs" / "glossary.md"
# Identifiers that may contain a word of the glossary's last column, by file, each with its reason.
ALLOWED = {
    ("enrich/settings.py", "picture_edges"): "the setting EVERYFRAME_PICTURE_EDGES, which users have set",
    ("enrich/video/jpeg.py", "shift"): "a bit shift",
}
CHECKED = [
    path
    for path in ALL_FILES
    if MIGRATIONS not in path.parents  # they stay as they were released
]


def glossary_rows() -> list[list[str]]:
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert all(len(row) == 3 for row in rows)
    return rows[2:]


def banned_phrases() -> list[list[str]]:
    """The words of the last column; those with a note in parentheses are not checked."""
    entries = [entry.strip() for row in glossary_rows() for entry in row[2].split(",")]
    return [entry.split() for entry in entries if entry and "(" not in entry]


def contains(parts: list[str], phrase: list[str]) -> bool:
    """Whether the words of an identifier contain a phrase; its last word may have an ending."""
    *first, last = phrase
    endings = {last, f"{last}s", f"{last}es"}
    return any(
        parts[start : start + len(first)] == first and parts[start + len(first)] in endings
        for start in range(len(parts) - len(first))
    )


def test_glossary_uses_each_term_once():
    terms = [term.strip() for row in glossary_rows() for term in row[0].split(",")]
    assert len(terms) > 40
    assert [term for term in terms if terms.count(term) > 1 or not term] == []


@pytest.mark.parametrize(
    ("identifier", "is_banned"),
    [
        ("first_look", True),
        ("_FirstLook", True),
        ("KEEPERS", True),
        ("wishes", True),
        ("put_back_all", True),
        ("back_put", False),
        ("lanes", True),
        ("plane", False),
        ("HTTPCanary", True),
        ("facebook", False),
    ],
)
def test_banned_words_are_found_in_identifiers(identifier, is_banned):
    assert any(contains(words(identifier), phrase) for phrase in banned_phrases()) is is_banned


def test_identifiers_use_the_words_of_the_glossary():
    phrases = banned_phrases()
    is_banned = cache(lambda name: any(contains(words(name), phrase) for phrase in phrases))
    offenders = set()
    for path in CHECKED:
        for name, line in identifiers(path):
            if name.startswith("test_") and path in TESTS:
                continue  # a sentence, in which "look", "card" and "break" are ordinary words
            if (relative(path), name) not in ALLOWED and is_banned(name):
                offenders.add(f"{relative(path)}:{line} {name}")
    assert sorted(offenders) == []


def test_allowed_identifiers_exist():
    defined = {(relative(path), name) for path in CODE for name, _ in identifiers(path)}
    assert sorted(ALLOWED.keys() - defined) == []


def test_public_class_names_are_unique():
    modules = defaultdict(list)
    for path in CODE:
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(relative(path))
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def test_test_names_are_short():
    pattern = re.compile(rf"def (test_\w{{{LONGEST_TEST_NAME - 4},}})\(")
    long = [f"{relative(path)} {name}" for path in TESTS for name in pattern.findall(path.read_text(encoding="utf-8"))]
    assert long == []


def test_modules_are_named_after_a_concept():
    empty = {"common", "helper", "helpers", "misc", "util", "utils"}
    assert [relative(path) for path in CODE if empty & {path.stem, path.parent.name}] == []
