"""A stand-in for Claude's API: a real HTTP server that checks requests and describes what their images show.

It serves messages, token counts and batches, and keeps a bill. It cannot show the quality of a model's texts, the
latency of real replies, or undocumented checks of the real service.
"""

from tests.standin_claude.bill import Bill
from tests.standin_claude.request import Request
from tests.standin_claude.server import KEY, ClaudeStandIn
from tests.standin_claude.tricks import Play, Trick

__all__ = ["KEY", "Bill", "ClaudeStandIn", "Play", "Request", "Trick"]
