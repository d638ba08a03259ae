"""`python -m enrich.cli`: the command `everyframe`, for callers that do not know where it is installed."""

from enrich.cli import main

if __name__ == "__main__":
    main()
