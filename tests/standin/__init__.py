"""A stand-in for Ollama: a real HTTP server that looks at the pictures it is sent and says what is in them.

It cannot show how good a model's words are, how long a real model takes, or what a real server does with memory.
"""

from tests.standin.models import Conduct, ShelfModel
from tests.standin.request import Request
from tests.standin.server import StandIn
from tests.standin.tricks import Play, Trick

__all__ = ["Conduct", "Play", "Request", "ShelfModel", "StandIn", "Trick"]
