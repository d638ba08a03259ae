"""The command `everyframe`, and `python -m everyframe`."""

from everyframe import put_app_first


def main() -> None:
    """Run one command and exit with its code."""
    try:
        put_app_first()
        from enrich.cli import main as run_command
    except KeyboardInterrupt:  # while modules are imported; the command line handles it from then on
        raise SystemExit(130) from None
    run_command()


if __name__ == "__main__":
    main()
