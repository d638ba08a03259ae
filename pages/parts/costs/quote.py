"""What a quick look will take, as the command line says it before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enrich.jobs.command import Outcome, run_command
from enrich.settings import Settings
from enrich.wording import counted, dollars

QUOTE_SECONDS = 300.0  # a film that nobody has looked into yet is skimmed first


@dataclass(frozen=True, slots=True)
class Quote:
    """An offer. `recipient` is empty where no picture leaves the machine; `problem` says why it cannot be taken."""

    pictures: int
    known: int  # key frames that were asked about already, and are not again
    on_the_way: int  # in batches
    describer: str
    model: str
    recipient: str
    usd: float  # expected
    most_usd: float  # if every answer is as long as it may be
    spent_usd: float
    budget_usd: float
    problem: str | None

    @property
    def can_be_taken(self) -> bool:
        """Whether there is anything to look at, and nothing that forbids it."""
        return self.pictures > 0 and self.problem is None

    @property
    def what(self) -> str:
        """What is sent to whom, in a sentence."""
        if not self.pictures and self.on_the_way:
            return f"{counted(self.on_the_way, 'key frame')} on the way in a batch: nothing is asked twice."
        if not self.pictures:
            return f"All {counted(self.known, 'key frame')} were looked at already: nothing is asked again."
        pictures = counted(self.pictures, "picture")
        if not self.recipient:
            return f"{pictures}, looked at by {self.model} on this machine. Nothing leaves it, and it costs nothing."
        verb = "is" if self.pictures == 1 else "are"
        return f"{pictures} {verb} sent to {self.recipient}, to be looked at by {self.model}."

    @property
    def price(self) -> str:
        """What it costs, in a sentence; empty where it costs nothing."""
        if not self.pictures or not self.recipient:
            return ""
        return (
            f"It costs about {dollars(self.usd)}, and {dollars(self.most_usd)} at the most. This month "
            f"{dollars(self.spent_usd)} of {dollars(self.budget_usd)} is spent."
        )


def quote(found: Settings, video_ids: Sequence[int], *, batch: bool) -> Quote | str:
    """The offer for films, or why there is none. Nothing is sent for it."""
    words = [*map(str, video_ids), "--estimate", *(["--batch"] if batch else [])]
    return read(run_command(found, "quick", *words, seconds=QUOTE_SECONDS))


def read(outcome: Outcome) -> Quote | str:
    """The offer in what the command answered."""
    printed = outcome.data if isinstance(outcome.data, list) else [outcome.data]
    said: dict[str, Any] | None = next(
        (one for one in reversed(printed) if isinstance(one, dict) and "usd" in one), None
    )
    if said is None or "recipient" not in said:
        return outcome.error or "what it costs could not be found out"
    films: list[dict[str, Any]] = said["videos"]
    return Quote(
        pictures=int(said["pictures"]),
        known=sum(int(film["answered"]) + int(film["unanswered"]) for film in films),
        on_the_way=sum(int(film["on_the_way"]) for film in films),
        describer=str(said["describer"]),
        model=str(said["model"]),
        recipient=str(said["recipient"]),
        usd=float(said["usd"]),
        most_usd=float(said["most_usd"]),
        spent_usd=float(said["spent_usd"]),
        budget_usd=float(said["budget_usd"]),
        problem=said["problem"] or (None if outcome.is_good else outcome.error),
    )
