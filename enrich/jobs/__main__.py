"""`python -m enrich.jobs FOLDER COMMAND…`: runs one command and writes its output and exit code to files.

This wrapper records the exit code, which no process could read after the dashboard that started the job has ended. A
job without the file `exit` whose process is gone was killed. SIGTERM is forwarded to the command.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from enrich.private_files import OTHERS

OUT, ERR, EXIT = "out.jsonl", "err.txt", "exit"  # file names in the job's folder
MODULE = "enrich.jobs"


def run_job(folder: Path, command: Sequence[str]) -> int:
    """Run the command to its end; its exit code, which is written atomically to the file `exit`."""
    os.umask(OTHERS)
    early_signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: early_signals.append(number))  # until the command runs
    with (folder / OUT).open("wb") as out, (folder / ERR).open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if early_signals:
        process.terminate()
    code = process.wait()
    part = folder / f"{EXIT}.part"
    part.write_text(str(code), encoding="ascii")
    os.replace(part, folder / EXIT)  # noqa: PTH105  # atomic, and overwrites on Windows too
    return code


if __name__ == "__main__":
    sys.exit(max(0, run_job(Path(sys.argv[1]), sys.argv[2:])))
