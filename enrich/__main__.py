"""`python -m enrich` runs the worker process, like `everyframe worker`."""

import sys

from enrich.cli import main

if __name__ == "__main__":
    main(["worker", *sys.argv[1:]])
