"""What is written of an answer: the words the search may find, and its calls as they are booked."""

from collections.abc import Collection
from dataclasses import dataclass

from db.store import NewAnalysis
from enrich.describe.describer import Answer, Description
from enrich.describe.names import without_names


@dataclass(frozen=True, slots=True)
class SearchableText:
    """What the search may find of a description."""

    text: str
    tags: list[str]


def searchable_text(said: Description, unsure_names: Collection[str]) -> SearchableText:
    """All that was said, each thing once, without the names a model cannot know."""
    further = (said.people, said.activity, said.setting, said.mood, said.visible_text)
    parts = [said.text, *(part for part in further if part.casefold() not in said.text.casefold())]
    terms = (without_names(term, unsure_names).strip() for term in dict.fromkeys((*said.tags, *said.objects)))
    return SearchableText(
        text="\n".join(without_names(part, unsure_names) for part in parts if part),
        tags=[term for term in terms if term],
    )


def call_records(answer: Answer, *, is_description: bool = True) -> list[NewAnalysis]:
    """Every call of an answer; the one whose reply became the description is marked, if any did."""
    return [
        NewAnalysis(
            describer=call.describer,
            model=call.model,
            model_digest=call.model_digest,
            host=call.host,
            prompt_version=call.prompt_version,
            latency_seconds=call.latency_seconds,
            load_seconds=call.load_seconds,
            prompt_tokens=call.prompt_tokens,
            output_tokens=call.output_tokens,
            cost_usd=call.cost_usd,
            raw_reply=call.raw_reply,
            warnings=[{"problem": doubt.problem.value, "detail": doubt.detail} for doubt in call.warnings],
            is_kept=is_description and answer.description is not None and number == answer.kept,
        )
        for number, call in enumerate(answer.calls)
    ]
