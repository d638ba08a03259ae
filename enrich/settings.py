"""The settings: the only module that reads the environment.

Every field can be set as `EVERYFRAME_<NAME>` in the environment or as `<name>` in `settings.toml` in the
data folder; the environment wins. The data folder is the platform's own, or `EVERYFRAME_HOME`.
"""

import json
import os
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
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

OLLAMA_PORT = 11434
DEFAULT_OLLAMA_HOST = f"http://127.0.0.1:{OLLAMA_PORT}"


DESCRIBERS = ("ollama", "baseline")
LIKENESSES = ("strict", "normal", "loose")
SHORTEST_PASSWORD = 8  # characters
_OURS = ("EVERYFRAME_", "OLLAMA_", "XDG_")  # variables that say what is set, or where that is


def data_folder() -> Path:
    """The folder that holds the library, its pictures, logs and `settings.toml`."""
    home = os.environ.get("EVERYFRAME_HOME")
    return Path(home).expanduser().absolute() if home else Path(platformdirs.user_data_path("everyframe"))


def settings_file() -> Path:
    """The file that holds what is set; it need not be there."""
    return data_folder() / "settings.toml"


def environment_with(**values: str) -> dict[str, str]:
    """The environment for a process we start: ours, with these variables set anew."""
    return os.environ | values


def foreign_variable(name: str) -> str:
    """A variable that is no setting and must be none, such as a key of somebody else's; empty if it is not set."""
    return os.environ.get(name, "").strip()


# Download sizes in GB of vision models, largest first: what to offer for a GPU of a given size. Not measured by us.
SUGGESTED_GB: tuple[tuple[str, float], ...] = (
    ("llava:34b", 20.0),
    ("llava:13b", 8.0),
    ("qwen2.5vl:7b", 6.0),
    ("llava:7b", 4.7),
    ("gemma3:4b", 3.3),
    ("moondream", 1.7),
)


class Settings(BaseSettings):
    """What the user can set; each field's description is what `docs/settings.md` says of it."""

    model_config = SettingsConfigDict(env_prefix="EVERYFRAME_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=data_folder, description="data folder: database, pictures, logs")
    database_url: str = Field("", description="SQLAlchemy URL; default SQLite in the data folder")
    ollama_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEFAULT_OLLAMA_HOST,),
        validation_alias=AliasChoices("EVERYFRAME_OLLAMA_HOSTS", "ollama_hosts", "OLLAMA_HOST"),
        description="addresses of Ollama servers, comma separated; OLLAMA_HOST is understood too",
    )
    describer: str = Field(
        "ollama",
        description="what describes pictures: `ollama` or `baseline`",
        json_schema_extra={"choices": [*DESCRIBERS]},
    )
    model: str = Field("llava:13b", description="the vision model's name in Ollama")
    quick_describer: Literal["claude", "ollama", "baseline"] = Field(
        "claude", description="what looks at the key frames in the quick pass: `claude`, `ollama` or `baseline`"
    )
    quick_model: str = Field(
        "", description="the quick pass's model; default the cheapest Claude, or moondream with Ollama"
    )
    key_frames: int = Field(50, ge=1, le=500, description="how many key frames of a video the quick pass looks at")
    events: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="kinds of events of your own, comma separated, such as `bouquet toss, baptism`"
    )
    monthly_budget_usd: float = Field(
        5, ge=0, description="most US dollars the quick pass may cost in a calendar month"
    )
    power_watts: float | None = Field(
        None, gt=0, description="what the computer draws while it describes, for the cost of electricity"
    )
    kwh_price: float | None = Field(None, ge=0, description="price of a kilowatt hour, in your currency")
    concurrency: int = Field(2, ge=1, le=64, description="calls at once for each host")
    language: str = Field("English", description="the language descriptions are written in")
    allow_cloud: bool = Field(
        default=False, description="allow Ollama models that send pictures to a cloud (refused by default)"
    )
    call_seconds: float = Field(300, gt=0, description="time limit of one call to the model")
    load_seconds: float = Field(900, gt=0, description="time limit of the first call, which loads the model")
    connect_seconds: float = Field(5, gt=0, description="time limit for reaching a host")
    keep_alive: str = Field("15m", description="how long Ollama keeps the model loaded after a call")
    num_ctx: int | None = Field(None, ge=512, description="context tokens; default by model family")
    num_predict: int = Field(500, ge=32, description="most tokens of one reply")
    picture_edges: dict[str, int] = Field(
        default_factory=dict,
        description='long edge in pixels of the picture a model family is sent, such as {"llava": 672}',
    )
    ollama_options: dict[str, Any] = Field(
        default_factory=dict, description='further Ollama options, such as {"num_thread": 4}'
    )
    stored_edge: int = Field(1344, ge=160, le=4096, description="long edge in pixels of the stored pictures")
    jpeg_quality: int = Field(85, ge=30, le=100, description="JPEG quality of the stored pictures")
    likeness: str = Field(
        "normal",
        description="how alike frames must be to be left out: strict, normal, loose",
        json_schema_extra={"choices": [*LIKENESSES]},
    )
    disk_reserve_mb: int = Field(1000, ge=0, description="the worker pauses before less than this is free")
    hours: str = Field("", description="working hours in local time, such as 22:00-07:00; default always")
    keep_awake: Literal["mains", "always", "never"] = Field(
        "mains", description="when the computer is kept awake while there is work"
    )
    dashboard_password: SecretStr = Field(
        SecretStr(""),
        description="what must be typed to open the dashboard; without it only this machine can reach the dashboard",
    )

    @field_validator("ollama_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            return value
        hosts = tuple(dict.fromkeys(host_address(str(part)) for part in parts if str(part).strip()))
        if not hosts:
            raise ValueError("name at least one host, such as http://127.0.0.1:11434")
        return hosts

    @field_validator("events", mode="before")
    @classmethod
    def _events(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            return value
        return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("describer")
    @classmethod
    def _known_describer(cls, value: str) -> str:
        if value not in DESCRIBERS:
            raise ValueError("use `ollama` or `baseline`")
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
        if 0 < len(value) < SHORTEST_PASSWORD:
            raise ValueError(f"take at least {SHORTEST_PASSWORD} characters")
        return value

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the library's database."""
        return self.database_url or f"sqlite:///{(self.home / 'library.db').as_posix()}"

    @property
    def frames_folder(self) -> Path:
        """Where the kept frames' JPEGs lie."""
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
    """A host as `http://name:port`: what people type (`box`, `0.0.0.0:11434`, `https://box/`), made whole."""
    text = text.strip()
    if not re.match(r"^https?://", text):
        text = f"http://{text}"
    parts = urlsplit(text.rstrip("/") if text.count("/") > 2 else text)  # noqa: PLR2004  # two belong to http://
    name = parts.hostname or ""
    if not name:
        raise ValueError(f"{text!r} is no address of an Ollama host")
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else name  # noqa: S104  # what a server binds is not where a client goes
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else OLLAMA_PORT)
    return f"{parts.scheme}://{name}:{port}{parts.path}"


def load_settings(**overrides: object) -> Settings:
    """The settings as they are now; `overrides` (None means unset) win over all else.

    Raises SettingsError, which names the setting and what is wrong with it.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by Pydantic
    except ValidationError as error:
        raise _named(error) from error
    except (json.JSONDecodeError, OSError, ValueError) as error:
        raise SettingsError(f"settings cannot be read ({settings_file()}): {error}") from error


def current_settings() -> Settings:
    """The same, for who asks again and again: read anew only when the file or the environment has changed."""
    try:
        status = settings_file().stat()
        file = (status.st_mtime_ns, status.st_size)
    except OSError:
        file = None
    given = frozenset((name, value) for name, value in os.environ.items() if name.upper().startswith(_OURS))
    return _settings_of(data_folder(), file, given)


@lru_cache(maxsize=2)
def _settings_of(folder: Path, file: tuple[int, int] | None, given: frozenset[tuple[str, str]]) -> Settings:
    del folder, file, given  # what the settings come from
    return load_settings()


def checked(name: str, value: object) -> Any:
    """One setting's value as it would be used, whatever the others are. Raises SettingsError."""
    try:
        return getattr(_DefaultsOnly(**{name: value}), name)  # type: ignore[arg-type]  # checked by Pydantic
    except ValidationError as error:
        raise _named(error) from error


def dashboard_password() -> str:
    """The dashboard's password by itself, whatever the other settings are; empty if there is none.

    Raises SettingsError if it cannot be known.
    """
    variable = variable_that_sets("dashboard_password")
    if variable is not None:
        value: object = os.environ[variable]
    else:
        try:
            value = tomllib.loads(settings_file().read_text(encoding="utf-8")).get("dashboard_password", "")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise SettingsError(f"settings cannot be read ({settings_file()}): {error}") from error
    return str(checked("dashboard_password", value).get_secret_value())


def variable_that_sets(name: str) -> str | None:
    """The environment's variable that a setting has its value from; None if it has it from elsewhere."""
    given = {variable.upper(): variable for variable in os.environ}
    return next((given[variable] for variable in variables_of(name) if variable in given), None)


def variables_of(name: str) -> tuple[str, ...]:
    """The environment's variables for a setting, the one that wins first."""
    alias = Settings.model_fields[name].validation_alias
    if not isinstance(alias, AliasChoices):
        return (f"EVERYFRAME_{name.upper()}",)
    return tuple(str(choice) for choice in alias.choices if str(choice) != name)


class _DefaultsOnly(Settings):
    """One value among defaults: neither the environment nor the file has a say."""

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


def _named(error: ValidationError) -> SettingsError:
    """The first thing that is wrong, by the name of the variable."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    name = name if name.startswith(("EVERYFRAME_", "OLLAMA_")) else f"EVERYFRAME_{name.upper()}"
    return SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}")
