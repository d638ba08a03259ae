"""A stand-in for Claude's API: a real HTTP server that checks requests, looks at the pictures and says what is in them.

It answers for messages, token counts and batches, and writes a bill. It cannot show how good a model's words are, how
long a real reply takes, or what the real service checks that its documentation does not say.
"""

from tests.standin_claude.bill import Bill
from tests.standin_claude.request import Request
from tests.standin_claude.server import KEY, ClaudeStandIn
from tests.standin_claude.tricks import Play, Trick

__all__ = ["KEY", "Bill", "ClaudeStandIn", "Play", "Request", "Trick"]
