"""What is doubtful about a model's answer, in plain words."""

from collections.abc import Iterable, Mapping

WORDS = {
    "empty": "The answer was empty.",
    "cut_off": "The answer was cut off before its end.",
    "not_json": "The answer did not have the form that was asked for; what could be read of it is kept.",
    "repeats": "The answer says the same over and over.",
    "leaks_prompt": "The answer repeats parts of the question.",
    "same_text": "The same words were said of another picture that looks different.",
    "context_name": "A name was taken from what you told about the film; it cannot be read in the picture",
}


def doubts(warnings: Iterable[Mapping[str, str]]) -> list[str]:
    """A sentence for each warning; each may end with words of the model, so it is to be shown as text."""
    return [_sentence(warning.get("problem", ""), warning.get("detail", "")) for warning in warnings]


def _sentence(problem: str, detail: str) -> str:
    words = WORDS.get(problem, problem)
    if not detail:
        return words if words.endswith(".") else f"{words}."
    return f"{words.rstrip('.')}: {detail}"
