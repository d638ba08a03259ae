"""Commands about the settings: what each is and where it comes from, and changing one in the settings file."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enrich.cli.options import AsJson, settings_for
from enrich.cli.output import print_error, print_json, print_table, say
from enrich.settings import settings_file

if TYPE_CHECKING:
    from enrich.settings_file import Preference

FROM_STDIN = "-"
Name = Annotated[str, typer.Argument(metavar="NAME", help="A setting, such as model.")]

settings_app = typer.Typer(
    help="Show the settings, or change one in the settings file.",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)


@settings_app.callback()
def settings(context: typer.Context, as_json: AsJson = False) -> None:
    """List every setting: its value, where it comes from, what it does. Secrets are not shown."""
    if context.invoked_subcommand is not None:
        return
    from enrich.settings_file import preferences

    found = preferences(settings_for())
    if as_json:
        print_json(found)
        return
    print_table(
        [("SETTING", "left"), ("VALUE", "left"), ("FROM", "left"), ("MEANING", "left")],
        [(one.name, _text(one.value), _source(one), one.description) for one in found],
    )
    say(f"\nThe settings file: {settings_file()}")


@settings_app.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What it shall be; - reads it from stdin.")],
    as_json: AsJson = False,
) -> None:
    """Change a setting in the settings file; comments in it stay.

    A worker that runs takes it up when it is started the next time.
    """
    from enrich.settings_file import change, known_name

    name = known_name(name)
    if value == FROM_STDIN:
        hidden = sys.stdin.isatty()
        value = typer.prompt(name, hide_input=True, err=True) if hidden else sys.stdin.readline().rstrip("\r\n")
    change(name, value)
    _tell(name, as_json=as_json)


@settings_app.command("unset")
def unset(name: Name, as_json: AsJson = False) -> None:
    """Take a setting out of the settings file, so that its default holds again."""
    from enrich.settings_file import forget, known_name

    name = known_name(name)
    forget(name)
    _tell(name, as_json=as_json)


def _tell(name: str, *, as_json: bool) -> None:
    """Say what a setting is now, and whether the environment has the last word on it."""
    from enrich.settings_file import preferences

    (one,) = [one for one in preferences(settings_for()) if one.name == name]
    if one.source == "environment":
        print_error(f"{one.variable} is set in the environment and wins over the settings file")
    if as_json:
        print_json(asdict(one))
    else:
        say(f"{one.name} is {_text(one.value) or 'empty'} ({_source(one)}).")


def _source(one: "Preference") -> str:
    return one.variable if one.source == "environment" else one.source


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
