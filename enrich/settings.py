"""The settings. This is the only module that reads the environment.

Each field can be set as `EVERYFRAME_<NAME>` in the environment, or as `<name>` in `settings.toml` in the data folder;
the environment wins. The data folder is `EVERYFRAME_HOME`, or the platform's default for application data.
"""

import json
import os
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from enrich.clock import parse_hours
from enrich.errors import SettingsError

LIBRARY_FILE = "library.db"  # in the data folder, unless another database is set
OLLAMA_PORT = 11434
DEFAULT_OLLAMA_HOST = f"http://127.0.0.1:{OLLAMA_PORT}"
DeepDescriberName: TypeAlias = Literal["ollama", "baseline"]
QuickDescriberName: TypeAlias = Literal["claude", "ollama", "baseline"]
DESCRIBERS: tuple[str, ...] = get_args(DeepDescriberName)
QUICK_DESCRIBERS: tuple[str, ...] = get_args(QuickDescriberName)
LIKENESSES = ("strict", "normal", "loose")
MIN_PASSWORD_CHARACTERS = 8
# Download sizes in GB of vision models, largest first, to suggest one that fits a GPU. From Ollama's library.
SUGGESTED_GB: tuple[tuple[str, float], ...] = (
    ("llava:34b", 20.0),
    ("llava:13b", 8.0),
    ("qwen2.5vl:7b", 6.0),
    ("llava:7b", 4.7),
    ("gemma3:4b", 3.3),
    ("moondream", 1.7),
)
_PREFIXES = ("EVERYFRAME_", "OLLAMA_", "XDG_")  # variables that hold settings, or locate the settings file


def data_folder() -> Path:
    """The folder that holds the library, its images, the logs and `settings.toml`."""
    home = os.environ.get("EVERYFRAME_HOME", "")
    return _folder(home) if home.strip() else Path(platformdirs.user_data_path("everyframe"))


def _folder(text: str) -> Path:
    """The absolute path of a folder that a user named. Raises SettingsError for the home of an unknown user."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(f"EVERYFRAME_HOME: {text} is no folder of a known user: enter the whole path") from error


def settings_file() -> Path:
    """The settings file. It may not exist."""
    return data_folder() / "settings.toml"


def environment_with(**values: str) -> dict[str, str]:
    """This process's environment with some variables replaced, for a process we start."""
    return os.environ | values


def external_variable(name: str) -> str:
    """A variable that is deliberately not a setting, such as another service's API key; empty if it is not set."""
    return os.environ.get(name, "").strip()


class Settings(BaseSettings):
    """Everything the user can set. `everyframe settings` shows the descriptions; `docs/settings.md` says the same."""

    model_config = SettingsConfigDict(env_prefix="EVERYFRAME_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=data_folder, description="data folder: database, images, logs")
    database_url: str = Field("", description="SQLAlchemy URL of the database; default: SQLite in the data folder")
    ollama_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEFAULT_OLLAMA_HOST,),
        validation_alias=AliasChoices("EVERYFRAME_OLLAMA_HOSTS", "ollama_hosts", "OLLAMA_HOST"),
        description="addresses of Ollama servers, separated by commas; OLLAMA_HOST works too",
    )
    describer: str = Field(
        "ollama",
        description="what describes frames: `ollama`, or `baseline` (measures only, needs no model)",
        json_schema_extra={"choices": [*DESCRIBERS]},
    )
    model: str = Field("llava:13b", description="vision model, by its name in Ollama")
    quick_describer: QuickDescriberName = Field(
        "claude", description="what describes key frames in the quick pass: `claude`, `ollama` or `baseline`"
    )
    quick_model: str = Field(
        "", description="model of the quick pass; default: the cheapest Claude model, or moondream with Ollama"
    )
    key_frames: int = Field(50, ge=1, le=500, description="key frames per video in the quick pass")
    events: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="your own event types, separated by commas, such as `bouquet toss, baptism`"
    )
    monthly_budget_usd: float = Field(
        5, ge=0, allow_inf_nan=False, description="spending limit of the quick pass per calendar month, in US dollars"
    )
    power_watts: float | None = Field(
        None, gt=0, description="power draw of the computer while describing, in watts, to estimate electricity costs"
    )
    kwh_price: float | None = Field(None, ge=0, description="electricity price per kilowatt-hour, in your currency")
    concurrency: int = Field(2, ge=1, le=64, description="parallel requests per host")
    language: str = Field("English", description="language of the descriptions")
    allow_cloud: bool = Field(
        default=False, description="allow Ollama models that send images to a cloud service (refused by default)"
    )
    call_seconds: float = Field(300, gt=0, description="timeout of one request, in seconds")
    load_seconds: float = Field(900, gt=0, description="timeout of the request that loads the model, in seconds")
    connect_seconds: float = Field(5, gt=0, description="timeout for connecting to a host, in seconds")
    keep_alive: str = Field("15m", description="how long Ollama keeps the model loaded after a request")
    num_ctx: int | None = Field(None, ge=512, description="context window in tokens; default: by model family")
    num_predict: int = Field(500, ge=32, description="maximum length of one reply, in tokens")
    picture_edges: dict[str, int] = Field(
        default_factory=dict,
        description='long edge in pixels of the images sent to a model family, such as {"llava": 672}',
    )
    ollama_options: dict[str, Any] = Field(
        default_factory=dict, description='additional Ollama options, such as {"num_thread": 4}'
    )
    stored_edge: int = Field(1344, ge=160, le=4096, description="long edge in pixels of the stored images")
    jpeg_quality: int = Field(85, ge=30, le=100, description="JPEG quality of the stored images")
    likeness: str = Field(
        "normal",
        description="how similar a frame must be to the previous one to be skipped: strict, normal or loose",
        json_schema_extra={"choices": [*LIKENESSES]},
    )
    disk_reserve_mb: int = Field(1000, ge=0, description="free disk space to keep, in MB; extraction pauses below it")
    hours: str = Field("", description="working hours in local time, such as 22:00-07:00; default: always")
    keep_awake: Literal["mains", "always", "never"] = Field(
        "mains",
        description="when to keep the computer awake while working: mains (not on battery), always, never",
    )
    dashboard_password: SecretStr = Field(
        SecretStr(""),
        description="password of the dashboard; without one, only this computer can open it",
    )

    @field_validator("ollama_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            return value
        hosts = tuple(dict.fromkeys(host_address(str(part)) for part in parts if str(part).strip()))
        if not hosts:
            raise ValueError("enter at least one host, such as http://127.0.0.1:11434")
        return hosts

    @field_validator("events", mode="before")
    @classmethod
    def _events(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            return value
        return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))

    @field_validator("home", mode="before")
    @classmethod
    def _absolute(cls, value: object) -> Path:
        text = str(value)
        return _folder(text) if text.strip() else data_folder()  # a variable without a value is not set

    @field_validator("describer")
    @classmethod
    def _known_describer(cls, value: str) -> str:
        if value not in DESCRIBERS:
            raise ValueError(f"use {' or '.join(f'`{name}`' for name in DESCRIBERS)}")
        return value

    @field_validator("likeness")
    @classmethod
    def _known_likeness(cls, value: str) -> str:
        if value not in LIKENESSES:
            raise ValueError("use `strict`, `normal` or `loose`")
        return value

    @field_validator("hours")
    @classmethod
    def _readable_hours(cls, value: str) -> str:
        return str(parse_hours(value))

    @field_validator("dashboard_password")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value) < MIN_PASSWORD_CHARACTERS:
            raise ValueError(f"too short: use at least {MIN_PASSWORD_CHARACTERS} characters")
        return value

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the library's database."""
        return self.database_url or f"sqlite:///{(self.home / LIBRARY_FILE).as_posix()}"

    @property
    def frames_folder(self) -> Path:
        """The folder of the kept frames' JPEG files."""
        return self.home / "frames"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls, toml_file=settings_file())
        return init_settings, env_settings, toml


def host_address(text: str) -> str:
    """A host as `http://name:port`, from what users type: `box`, `0.0.0.0:11434`, `https://box/`."""
    text = text.strip()
    if not re.match(r"^https?://", text):
        text = f"http://{text}"
    parts = urlsplit(text.rstrip("/") if text.count("/") > 2 else text)  # noqa: PLR2004  # two belong to the scheme
    name = parts.hostname or ""
    if not name:
        raise ValueError(f"{text!r} is not a valid address of an Ollama host")
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else name  # noqa: S104  # a server binds to these; a client cannot connect to them
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else OLLAMA_PORT)
    return f"{parts.scheme}://{name}:{port}{parts.path}"


def load_settings(**overrides: object) -> Settings:
    """Load the settings. `overrides` that are not None take precedence over environment and file.

    Raises SettingsError, which names the setting and the problem.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by Pydantic
    except ValidationError as error:
        raise _settings_error(error) from error
    except (json.JSONDecodeError, OSError, ValueError) as error:
        raise SettingsError(f"cannot read the settings file {settings_file()}: {error}") from error


def current_settings() -> Settings:
    """The settings, cached until the settings file or the environment changes."""
    try:
        status = settings_file().stat()
        file = (status.st_mtime_ns, status.st_size)
    except OSError:
        file = None
    given = frozenset((name, value) for name, value in os.environ.items() if name.upper().startswith(_PREFIXES))
    return _settings_of(data_folder(), file, given)


@lru_cache(maxsize=2)
def _settings_of(folder: Path, file: tuple[int, int] | None, given: frozenset[tuple[str, str]]) -> Settings:
    del folder, file, given  # the cache key
    return load_settings()


def validated_value(name: str, value: object) -> Any:
    """Validate one setting independently of the others; its converted value. Raises SettingsError."""
    try:
        return getattr(_DefaultsOnly(**{name: value}), name)  # type: ignore[arg-type]  # checked by Pydantic
    except ValidationError as error:
        raise _settings_error(error) from error


def dashboard_password() -> str:
    """The dashboard's password, even if another setting is invalid; empty if there is none.

    Raises SettingsError if the password cannot be read or is invalid.
    """
    variable = source_variable("dashboard_password")
    if variable is not None:
        value: object = os.environ[variable]
    else:
        try:
            value = tomllib.loads(settings_file().read_text(encoding="utf-8")).get("dashboard_password", "")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the settings file {settings_file()}: {error}") from error
    return str(validated_value("dashboard_password", value).get_secret_value())


def source_variable(name: str) -> str | None:
    """The environment variable that currently sets this setting; None if no variable does."""
    given = {variable.upper(): variable for variable in os.environ}
    return next((given[variable] for variable in variables_of(name) if variable in given), None)


def variables_of(name: str) -> tuple[str, ...]:
    """The environment variables for a setting, highest precedence first."""
    alias = Settings.model_fields[name].validation_alias
    if not isinstance(alias, AliasChoices):
        return (f"EVERYFRAME_{name.upper()}",)
    return tuple(str(choice) for choice in alias.choices if str(choice) != name)


class _DefaultsOnly(Settings):
    """The given values and the defaults, without environment and file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def _settings_error(error: ValidationError) -> SettingsError:
    """The first validation error, with the name of its variable."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    name = name if name.startswith(("EVERYFRAME_", "OLLAMA_")) else f"EVERYFRAME_{name.upper()}"
    return SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}")


def full_name(name: str) -> str:
    """A model's name with its tag, as servers list it."""
    return name if ":" in name.rsplit("/", maxsplit=1)[-1] else f"{name}:latest"


def is_same_model(name: str, other: str) -> bool:
    """Whether two names mean the same model: `moondream` is `moondream:latest`."""
    return full_name(name).lower() == full_name(other).lower()
