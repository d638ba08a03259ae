"""The command `everyframe`, and `python -m everyframe`."""

from everyframe import put_app_first


def main() -> None:
    """Run one command and exit with its code."""
    put_app_first()
    from enrich.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
