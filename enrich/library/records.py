"""What is stored of an answer: the text for the search index, and its call records."""

from collections.abc import Collection
from dataclasses import dataclass

from db.store import NewAnalysis
from enrich.describe.describer import Answer, Description
from enrich.describe.names import without_names


@dataclass(frozen=True, slots=True)
class SearchableText:
    """The text and tags of a description for the search index."""

    text: str
    tags: list[str]


def searchable_text(description: Description, unverified_names: Collection[str]) -> SearchableText:
    """All of a description, without repetitions and without names that no image shows."""
    text = description.text
    details = (
        description.people,
        description.activity,
        description.setting,
        description.mood,
        description.visible_text,
    )
    parts = [text, *(part for part in details if part.casefold() not in text.casefold())]
    tags = dict.fromkeys((*description.tags, *description.objects))
    terms = (without_names(term, unverified_names).strip() for term in tags)
    return SearchableText(
        text="\n".join(without_names(part, unverified_names) for part in parts if part),
        tags=[term for term in terms if term],
    )


def call_records(answer: Answer, *, is_description: bool = True) -> list[NewAnalysis]:
    """The records of all calls of an answer. The call with the chosen reply, if any, is marked as kept."""
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
            warnings=[{"problem": warning.problem.value, "detail": warning.detail} for warning in call.warnings],
            is_kept=is_description and answer.description is not None and number == answer.kept,
        )
        for number, call in enumerate(answer.calls)
    ]
