"""The models and the migrations describe the same schema."""

import re

from sqlalchemy import create_engine, inspect

from db.models import Base
from tests.db.library import disposing


def reflected(engine) -> dict[str, object]:
    """A schema as reflected from the database, regardless of the order of clauses."""
    inspector = inspect(engine)
    schema: dict[str, object] = {}
    for table in inspector.get_table_names():
        if table.startswith(("search_index", "alembic_version")):
            continue
        schema[f"{table} columns"] = {
            column["name"]: (str(column["type"]), column["nullable"], column["default"], column["primary_key"])
            for column in inspector.get_columns(table)
        }
        schema[f"{table} primary key"] = inspector.get_pk_constraint(table)
        for kind in ("foreign_keys", "unique_constraints", "check_constraints"):
            found = getattr(inspector, f"get_{kind}")(table)
            schema[f"{table} {kind}"] = sorted(found, key=lambda constraint: constraint["name"])
    with engine.connect() as connection:
        indexes = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
        schema["indexes"] = {name: re.sub(r'["\s]+', " ", sql) for name, sql in indexes}
    return schema


def test_migrations_make_the_schema_of_the_models(engine):
    with disposing(create_engine("sqlite://")) as modelled:
        Base.metadata.create_all(modelled)

        assert reflected(engine) == reflected(modelled)


def test_schema_comparison_covers_tables_constraints_and_indexes(engine):
    schema = reflected(engine)

    assert "timestamp" in schema["frames columns"]
    assert schema["frames foreign_keys"][0]["options"] == {"ondelete": "CASCADE"}
    assert schema["frames unique_constraints"][0]["column_names"] == ["video_id", "timestamp"]
    assert schema["indexes"]["ix_tasks_claim"].endswith("(status, kind, pass, priority DESC, id)")


def test_every_constraint_and_index_has_a_name(engine):
    schema = reflected(engine)

    for table in Base.metadata.tables:
        assert schema[f"{table} primary key"]["name"] == f"pk_{table}"
        for kind in ("foreign_keys", "unique_constraints"):
            assert all(constraint["name"] for constraint in schema[f"{table} {kind}"])
