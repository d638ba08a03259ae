"""A library: its settings and its database, opened and checked."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from db.migrate import SchemaError, check_pages
from enrich.errors import LibraryError
from enrich.manage.library import open_engine
from enrich.settings import Settings


@dataclass(frozen=True, slots=True)
class Library:
    """What every piece of work needs: where the rows and the pictures are."""

    settings: Settings
    engine: Engine

    @classmethod
    def open(cls, settings: Settings) -> "Library":
        """Open the library the settings name; it is made if there is none yet. Raises LibraryError."""
        return cls(settings, open_engine(settings))

    def require_whole(self) -> None:
        """Read all of the database and check that none of it is damaged. Raises LibraryError."""
        try:
            check_pages(self.engine)
        except SchemaError as error:
            raise LibraryError(str(error)) from error

    @property
    def frames_folder(self) -> Path:
        return self.settings.frames_folder
