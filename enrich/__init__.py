"""EveryFrame: describes every frame of your videos with a vision model on your own computer.

The public API is imported lazily, so that the command line and the dashboard start fast.
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
