"""EveryFrame: every frame of your own videos, described by a vision model on your own machine.

The installed package keeps EveryFrame's folders (`enrich`, `db`, `pages`) in its private folder `_app`, because other
packages have the same names. Only EveryFrame's own processes have `_app` on their import path. A checkout has no
`_app`: the editable install puts the repository itself on the path.

A program that imports `LocalVisionAnalyzer` keeps its import path, but has EveryFrame's `enrich` and `db` in
`sys.modules` from then on. If it has an `enrich` or `db` of its own, it must use the analyzer in a separate process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a checkout has no `_app`; for the installed package, `enrich` could be another project's
    from everyframe._app.enrich.analyzer import LocalVisionAnalyzer  # type: ignore[import-untyped]

__all__ = ["LocalVisionAnalyzer"]

_APP = Path(__file__).resolve().parent / "_app"
_USED_BY_ANALYZER = ("enrich", "db")


def __getattr__(name: str) -> Any:
    if name != "LocalVisionAnalyzer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _app_first():
        _refuse_foreign_packages()
        import db  # noqa: F401  # so that its modules are found after the path is restored
        from enrich.analyzer import LocalVisionAnalyzer
    return LocalVisionAnalyzer


def put_app_first() -> None:
    """Make `enrich`, `db` and `pages` EveryFrame's own for the rest of this process."""
    if _APP.is_dir():
        sys.path.insert(0, str(_APP))


@contextmanager
def _app_first() -> Iterator[None]:
    """Put EveryFrame's folders first on the import path during the block, then restore the path."""
    before = list(sys.path)
    put_app_first()
    try:
        yield
    finally:
        sys.path[:] = before


def _refuse_foreign_packages() -> None:
    """Raise ImportError if a package of another project with one of these names is already imported."""
    if not _APP.is_dir():
        return
    for name in _USED_BY_ANALYZER:
        if name not in sys.modules:
            continue
        file = sys.modules[name].__file__
        if file is None or not Path(file).resolve().is_relative_to(_APP):
            raise ImportError(
                f"another package named {name!r} is already imported ({file}), and EveryFrame has one too: "
                "use LocalVisionAnalyzer in a separate process"
            )
