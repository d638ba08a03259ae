"""The full-text index over `search_documents`: FTS5 on SQLite, kept true by triggers.

This and `db/engine.py` are the only modules that know what SQLite alone understands. The table `search_documents` is
the same on every database; PostgreSQL will index it in its own way.
"""

import re
import unicodedata

from sqlalchemy import Connection

_STATEMENTS = (
    """CREATE VIRTUAL TABLE search_index USING fts5(
        text, tags, content='search_documents', content_rowid='frame_id',
        tokenize='porter unicode61 remove_diacritics 2'
    )""",
    """CREATE TRIGGER search_documents_inserted AFTER INSERT ON search_documents BEGIN
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END""",
    """CREATE TRIGGER search_documents_deleted AFTER DELETE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
    END""",
    """CREATE TRIGGER search_documents_updated AFTER UPDATE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END""",
)


def create_search_index(connection: Connection) -> None:
    """Create the index and its triggers, where the database is SQLite."""
    if connection.dialect.name == "sqlite":
        for statement in _STATEMENTS:
            connection.exec_driver_sql(statement)


def match_expression(words: str, *, any_word: bool = False, tag: str | None = None) -> str:
    """What a person typed, as an FTS5 expression that is never a syntax error; empty if there are no words in it.

    Quoted phrases stay together, a word that ends in `*` finds what begins with it, all else is plain words:
    all of them must occur, or one of them with `any_word`. `tag` must stand among the tags besides.
    """
    terms = []
    composed = unicodedata.normalize("NFC", words)  # macOS types é as e and an accent, at which a word would be cut
    for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', composed):
        star = "*" if word.endswith("*") else ""
        text = " ".join(re.findall(r"\w+", phrase or word))
        if text:
            terms.append(f'"{text}"{star}')
    expression = (" OR " if any_word else " ").join(terms)
    label = " ".join(re.findall(r"\w+", unicodedata.normalize("NFC", tag))) if tag is not None else ""
    if not label:
        return expression
    return f'tags : "{label}"' + (f" AND ({expression})" if expression else "")
