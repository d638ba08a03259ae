"""List the settings with their sources, and change a setting in `settings.toml`.

A value is validated before it is written. The file is replaced atomically and keeps its comments and order, so it is
never half written. Of two concurrent changes one may be lost. Secrets are never returned, only whether they are set.
The dashboard's password is stored as its Argon2id hash.
"""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import unquote

import tomlkit
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY
from pydantic import SecretStr
from tomlkit.exceptions import TOMLKitError

from db.engine import MASK, masked_url
from db.errors import SchemaError
from enrich.errors import SettingsError
from enrich.private_files import write_durably
from enrich.settings import Settings, settings_file, source_variable, validated_value

PASSWORD = "dashboard_password"  # noqa: S105  # the setting's name
HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)  # 64 MiB and about 0.1 s per password
KINDS: dict[object, str] = {bool: "switch", int: "whole number", float: "number", tuple: "list", dict: "table"}


@dataclass(frozen=True, slots=True)
class Preference:
    """One setting and its current value. `kind`: text, choice, switch, whole number, number, list or table.

    `variable` is the environment variable that sets it; with source `environment`, the one that currently does. A
    secret's `value` is masked.
    """

    name: str
    value: Any
    default: Any
    source: Literal["environment", "file", "default"]
    description: str
    is_secret: bool
    kind: str
    choices: tuple[str, ...]
    variable: str


def preferences(settings: Settings) -> list[Preference]:
    """All settings. Raises SettingsError if the file cannot be read."""
    given = _in_file()
    return [_preference(settings, name, given) for name in Settings.model_fields]


def setting_name(name: str) -> str:
    """A setting's name from what users type: `model`, `MODEL`, `EVERYFRAME_MODEL`. Raises SettingsError."""
    found = name.strip().lower().replace("-", "_").removeprefix("everyframe_")
    if found not in Settings.model_fields:
        raise SettingsError(f"there is no setting named {name}. List them with `everyframe settings`")
    if found == "home":
        raise SettingsError("home cannot be set in the settings file: set EVERYFRAME_HOME in the environment")
    return found


def set_setting(name: str, text: str) -> None:
    """Set a setting in the file, from what users type. Raises SettingsError with the problem."""
    name = setting_name(name)
    if MASK in unquote(text) and name == "database_url":
        raise SettingsError("the password in this database URL is masked: enter the URL with the real password")
    value = _plain(validated_value(name, _read(name, text)))
    if value is None:
        unset_setting(name)
        return
    if name == PASSWORD and value:
        value = password_hash(value)
    document = _document()
    if isinstance(value, dict) and not isinstance(document.get(name), dict):
        table = tomlkit.inline_table()
        table.update(value)
        document[name] = table
    else:
        document[name] = value
    _write(document, name, value)


def unset_setting(name: str) -> bool:
    """Remove a setting from the file, which restores its default; whether it was there. Raises SettingsError."""
    name = setting_name(name)
    document = _document()
    if name not in document:
        return False
    del document[name]
    _write(document, name, None)
    return True


def password_hash(password: str) -> str:
    """The Argon2id hash of a password; a hash is returned as it is."""
    return password if _is_hash(password) else HASHER.hash(password)


def is_password(typed: str, stored_hash: str) -> bool:
    """Whether this is the password with this hash. Takes as long for a wrong one. Thread-safe."""
    try:
        return HASHER.verify(stored_hash, typed.encode("utf-8", errors="replace"))
    except (VerificationError, InvalidHashError):
        return False


def hash_stored_password() -> None:
    """Replace a password in the settings file that is not a hash yet by its hash. Raises SettingsError."""
    stored = _in_file().get(PASSWORD)
    if isinstance(stored, str) and stored and not _is_hash(stored):
        set_setting(PASSWORD, stored)


def _is_hash(password: str) -> bool:
    try:
        return extract_parameters(password).type is Type.ID
    except InvalidHashError:
        return False


def _preference(settings: Settings, name: str, given: dict[str, Any]) -> Preference:
    field = Settings.model_fields[name]
    variable = source_variable(name)
    value = getattr(settings, name)
    is_secret, shown = _shown(name, value)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else extra.get("choices", [])
    return Preference(
        name=name,
        value=shown,
        default=_plain(field.get_default(call_default_factory=True)),
        source="environment" if variable is not None else "file" if name in given else "default",
        description=str(field.description),
        is_secret=is_secret,
        kind="choice" if choices else _kind(field.annotation),
        choices=tuple(str(choice) for choice in choices),  # type: ignore[union-attr]  # our own lists
        variable=variable or f"EVERYFRAME_{name.upper()}",
    )


def _shown(name: str, value: Any) -> tuple[bool, Any]:
    """Whether the value is secret, and the value with secrets masked."""
    if isinstance(value, SecretStr):
        return True, MASK if value.get_secret_value() else ""
    if name != "database_url" or not value:
        return False, _plain(value)
    try:
        masked = masked_url(value)
    except SchemaError:
        return True, MASK
    return masked is not None, value if masked is None else masked


def _kind(annotation: Any) -> str:
    kinds = [get_origin(part) or part for part in (annotation, *get_args(annotation))]
    return next((KINDS[kind] for kind in kinds if kind in KINDS), "text")


def _plain(value: Any) -> Any:
    """The value as a JSON and TOML type."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _read(name: str, text: str) -> Any:
    """What the user typed, as validation expects it."""
    annotation = Settings.model_fields[name].annotation
    if type(None) in get_args(annotation) and not text.strip():
        return None
    if _kind(annotation) != "table":
        return text
    try:
        return json.loads(text or "{}")
    except ValueError as error:
        raise SettingsError(f'{name}: enter JSON, such as {{"llava": 672}}') from error


def _in_file() -> dict[str, Any]:
    try:
        return tomllib.loads(settings_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def _document() -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(settings_file().read_bytes().decode("utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, ValueError, TOMLKitError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> SettingsError:
    return SettingsError(f"cannot read the settings file {settings_file()}: {error}")


def _write(document: tomlkit.TOMLDocument, name: str, value: Any) -> None:
    """Replace the file, after checking that only this setting changes."""
    text = tomlkit.dumps(document)
    expected = {key: other for key, other in _in_file().items() if key != name}
    if value is not None:
        expected[name] = value
    path = Path(os.path.realpath(settings_file()))  # follow a symbolic link, do not replace it
    if tomllib.loads(text) != expected:
        raise SettingsError(f"cannot change {name} in {path} without affecting other settings: edit the file by hand")
    try:
        write_durably(path, text.encode("utf-8"), part_suffix=f".{os.getpid()}.part")
    except OSError as error:
        raise SettingsError(f"cannot write the settings file {path}: {error}") from error
