"""The reply guard: notices the same text for frames that look different, and when asking again does not pay.

It remembers only what this run has seen. One guard serves one worker, from one thread.
"""

from collections import Counter, OrderedDict

from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.health_check import normal

REMEMBERED_TEXTS = 500
DIFFERENT_BITS = 12  # of a 64-bit difference hash: frames further apart than this look different
FRUITLESS_RETRIES = 5  # in a row, for one problem: then the model is simply like that, and asking twice is waste


class Guard:
    def __init__(self) -> None:
        self._texts: OrderedDict[str, int] = OrderedDict()
        self._fruitless: Counter[Problem] = Counter()

    def is_same_text(self, description: Description, dhash: int) -> bool:
        """Whether a frame that looks different was given this very text before."""
        before = self._texts.get(normal(description.text))
        return before is not None and (before ^ dhash).bit_count() > DIFFERENT_BITS

    def is_worth_retrying(self, problem: Problem) -> bool:
        """Whether asking once more has helped against this problem lately. An empty reply is always asked again."""
        return problem is Problem.EMPTY or self._fruitless[problem] < FRUITLESS_RETRIES

    def learn(self, answer: Answer, dhash: int) -> None:
        """Remember an answer that is kept, and whether its second call helped."""
        if answer.description is None:
            return
        key = normal(answer.description.text)
        self._texts.setdefault(key, dhash)  # the first picture's: small changes add up
        self._texts.move_to_end(key)
        if len(self._texts) > REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        self._learn_from_calls(answer)

    def _learn_from_calls(self, answer: Answer) -> None:
        first = {warning.problem for warning in answer.calls[0].warnings}
        left = {warning.problem for warning in answer.warnings}
        if Problem.NOT_JSON not in first:
            self._fruitless[Problem.NOT_JSON] = 0
        if len(answer.calls) == 1:
            return
        for problem in first:
            # A model that cannot do JSON says the same again in plain words: nothing is gained by that either.
            in_vain = problem in left or problem is Problem.NOT_JSON
            self._fruitless[problem] = self._fruitless[problem] + 1 if in_vain else 0
