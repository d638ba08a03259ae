"""`python -m everyframe.run_module MODULE ARGUMENTS…`: like `python -m MODULE ARGUMENTS…`, with EveryFrame's folders.

EveryFrame starts its processes this way (`enrich.process.python_command`).
"""

import runpy
import sys

from everyframe import put_app_first

if __name__ == "__main__":
    put_app_first()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
