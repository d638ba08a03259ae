"""`python -m enrich.jobs FOLDER COMMAND…`: runs one command, writes what it prints and how it ended to files.

Its whole task is the exit code, which nobody else could read once the dashboard that started the job has ended. A
job whose file `exit` is missing and whose process is gone was killed. SIGTERM is passed on to the command.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

OUT, ERR, EXIT = "out.jsonl", "err.txt", "exit"  # in a job's folder
HERE = "enrich.jobs"


def run_job(folder: Path, command: Sequence[str]) -> int:
    """Run the command to its end; its exit code, which is in the file `exit` then, whole or not at all."""
    wishes: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: wishes.append(number))  # until there is whom to tell
    with (folder / OUT).open("wb") as out, (folder / ERR).open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if wishes:
        process.terminate()
    code = process.wait()
    part = folder / f"{EXIT}.part"
    part.write_text(str(code), encoding="ascii")
    os.replace(part, folder / EXIT)  # noqa: PTH105  # one step, over whatever is there
    return code


if __name__ == "__main__":
    sys.exit(max(0, run_job(Path(sys.argv[1]), sys.argv[2:])))
