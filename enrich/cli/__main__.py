"""`python -m enrich.cli`: the command `everyframe`, for programs that must not depend on where it is installed."""

from enrich.cli import main

if __name__ == "__main__":
    main()
