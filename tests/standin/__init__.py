"""A stand-in for Ollama: a real HTTP server that decodes the images it receives and describes what they show.

It cannot show the quality of a model's texts, a real model's latency, or a real server's use of memory.
"""

from tests.standin.models import Conduct, ShelfModel
from tests.standin.request import Request
from tests.standin.server import StandIn
from tests.standin.tricks import Play, Trick

__all__ = ["Conduct", "Play", "Request", "ShelfModel", "StandIn", "Trick"]
