"""EveryFrame: every frame of your own videos, described by a vision model on your own machine.

Nothing is imported until it is asked for, so that the command line and the dashboard start fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enrich.analyzer import LocalVisionAnalyzer

__all__ = ["LocalVisionAnalyzer"]


def __getattr__(name: str) -> Any:
    if name == "LocalVisionAnalyzer":
        from enrich.analyzer import LocalVisionAnalyzer

        return LocalVisionAnalyzer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
