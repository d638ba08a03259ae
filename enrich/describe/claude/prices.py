"""Prices of Claude's models: a packaged, dated file, replaced by a `prices.toml` in the data folder."""

import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from enrich.errors import SettingsError

FILE_NAME = "prices.toml"
TOKENS_PER_PRICE = 1_000_000


class LongPrompt(BaseModel):
    """Prices for prompts of more tokens than `above`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: int = Field(gt=0)
    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class ModelPrice(BaseModel):
    """One model: dollars per million tokens, and the limits of its requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    title: str
    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    max_images: int = Field(100, ge=1, validation_alias="most_pictures")  # in one request
    thinking: Literal["disabled", "between_tools", "always", "none"] = "none"
    long: LongPrompt | None = None

    def usd(
        self, input_tokens: int, output_tokens: int, *, factor: float = 1.0, prompt_tokens: int | None = None
    ) -> float:
        """The price of these tokens. `prompt_tokens` is the length of the whole prompt if they are a share of it."""
        prompt = input_tokens if prompt_tokens is None else prompt_tokens
        price = self.long if self.long is not None and prompt > self.long.above else self
        return (input_tokens * price.input + output_tokens * price.output) * factor / TOKENS_PER_PRICE

    def most_usd(self, most_input_tokens: int, most_output_tokens: int, *, factor: float = 1.0) -> float:
        """The highest price of a request with at most these tokens, whichever price its prompt's length calls for."""
        usd = self.usd(most_input_tokens, most_output_tokens, factor=factor)
        if self.long is None or most_input_tokens <= self.long.above:
            return usd
        return max(usd, self.usd(self.long.above, most_output_tokens, factor=factor))


class PriceList(BaseModel):
    """All prices, their date and their source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    source: str
    batch_factor: float = Field(0.5, gt=0, le=1)
    models: tuple[ModelPrice, ...] = Field(min_length=1)

    def of(self, name: str) -> ModelPrice:
        """A model's price by name, with or without a date suffix. Raises SettingsError if it has none."""
        for model in self.models:
            if name == model.name or (name.startswith(f"{model.name}-") and name[len(model.name) + 1 :].isdigit()):
                return model
        known = ", ".join(model.name for model in self.models)
        raise SettingsError(
            f"no price is known for {name}: choose one of {known}, or add it to {FILE_NAME} in the data folder"
        )

    @property
    def cheapest(self) -> ModelPrice:
        """The model with the lowest input price, since most of a request is images."""
        return min(self.models, key=lambda model: (model.input, model.output))


def load_prices(home: Path) -> PriceList:
    """The prices of the data folder, or else the packaged ones. Raises SettingsError if they cannot be read."""
    file = home / FILE_NAME
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return packaged_prices()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    try:
        return PriceList.model_validate(tomllib.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{file} is not a valid price list: {place}: {first['msg']}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} cannot be read as TOML: {error}") from error


@cache
def packaged_prices() -> PriceList:
    """The prices packaged with EveryFrame."""
    text = files("enrich.describe.claude").joinpath(FILE_NAME).read_text(encoding="utf-8")
    return PriceList.model_validate(tomllib.loads(text))
