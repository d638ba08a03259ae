"""How commands of the quick pass say how it goes."""

from typing import Any

from enrich.cli.output import complain, print_line, say
from enrich.wording import counted, first_line

SHOWN_PROBLEMS = 5


class Teller:
    """Says how it goes: sentences for people, a line of JSON each for programs."""

    def __init__(self, *, as_json: bool, tells_steps: bool = True) -> None:
        self.as_json = as_json
        self._tells_steps = tells_steps
        self._last = ""

    def step(self, step: str, text: str = "", **facts: Any) -> None:
        """Tell one step; for people only what is new, and only if there is a text."""
        if not self._tells_steps:
            return
        if self.as_json:
            print_line({"step": step, **({"text": text} if text else {}), **facts})
        elif text and text != self._last:
            say(text)
        self._last = text

    def told(self, text: str) -> None:
        """Tell a wait."""
        self.step("waiting", f"{text[:1].upper()}{text[1:]}.")


def complain_of(problems: dict[str, str]) -> None:
    """Why there are no answers, the commonest reasons first."""
    reasons: dict[str, int] = {}
    for reason in problems.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:SHOWN_PROBLEMS]:
        complain(f"{counted(count, 'picture')} without an answer: {first_line(reason, 300)}")
