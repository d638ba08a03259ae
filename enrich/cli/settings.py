"""The commands `settings`, `settings set` and `settings unset`."""

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
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a setting, such as model.")]

settings_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)


@settings_app.callback()
def settings(context: typer.Context, as_json: AsJson = False) -> None:
    """List or change settings.

    Without a command, lists every setting with its value and source. Secrets are masked.

    Example: everyframe settings set model llava:7b
    """
    if context.invoked_subcommand is not None:
        return
    from enrich.settings_file import preferences

    found = preferences(settings_for())
    if as_json:
        print_json(found)
        return
    print_table(
        [("SETTING", "left"), ("VALUE", "left"), ("SOURCE", "left"), ("DESCRIPTION", "left")],
        [(one.name, _text(one.value), _source(one), one.description) for one in found],
    )
    say()
    say(f"Settings file: {settings_file()}")


@settings_app.command("set")
def set_(
    name: Name,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="New value. Use - to type it at a prompt, or read it from stdin.")
    ],
    as_json: AsJson = False,
) -> None:
    """Change a setting in the settings file.

    A running worker uses the new value after a restart.

    Example: everyframe settings set dashboard_password -
    """
    from enrich.settings_file import set_setting, setting_name

    name = setting_name(name)
    if value == FROM_STDIN:
        hidden = sys.stdin.isatty()
        value = typer.prompt(name, hide_input=True, err=True) if hidden else sys.stdin.readline().rstrip("\r\n")
    set_setting(name, value)
    _report(name, as_json=as_json)


@settings_app.command("unset")
def unset(name: Name, as_json: AsJson = False) -> None:
    """Restore the default of a setting."""
    from enrich.settings_file import setting_name, unset_setting

    name = setting_name(name)
    unset_setting(name)
    _report(name, as_json=as_json)


def _report(name: str, *, as_json: bool) -> None:
    """Print the value of a setting, and warn if the environment overrides the settings file."""
    from enrich.settings_file import preferences

    (one,) = [one for one in preferences(settings_for()) if one.name == name]
    if one.source == "environment":
        print_error(f"{one.variable} is set in the environment and overrides the settings file")
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
