"""The stand-in's bill. Its prices repeat the documentation's on purpose, independently of the code."""

from dataclasses import dataclass

# Dollars per million tokens (input, output); LONG_PRICES for prompts of more than 100,000 tokens.
PRICES = {
    "claude-haiku-5-5": (0.10, 0.50),
    "claude-haiku-4-5": (1.00, 5.00),
    "claude-sonnet-5-5": (2.00, 10.00),
    "claude-opus-5-5": (4.00, 20.00),
}
LONG_PRICES = {"claude-haiku-5-5": (0.50, 2.50)}
LONG = 100_000


@dataclass(frozen=True)
class Bill:
    """One reply that was charged."""

    model: str
    input_tokens: int
    output_tokens: int
    batch: bool
    labels: tuple[str, ...]

    @property
    def usd(self) -> float:
        prices = LONG_PRICES.get(self.model) if self.input_tokens > LONG else None
        price_in, price_out = prices or PRICES[self.model]
        return (self.input_tokens * price_in + self.output_tokens * price_out) / 1e6 * (0.5 if self.batch else 1)
