"""A process of `test_queue_race`: claims and finishes tasks until none is left or it is killed.

`python -m tests.db.racer URL RUN_ID`. It prints a line when it is ready and starts at a line on stdin. Each
claim and each finish is recorded in the transaction it belongs to.
"""

import os
import random
import sys
import time

from sqlalchemy import Engine, func, select, text

from db import queue
from db.engine import make_engine, reading, writing
from db.models import Task, TaskStatus
from tests.db.library import claim

PAUSE_SECONDS = 0.02
NOTE_CLAIM = text("INSERT INTO claimed (task_id, pid) VALUES (:task_id, :pid)")
NOTE_FINISH = text("INSERT INTO finished (task_id, pid) VALUES (:task_id, :pid)")
NOTE_LATE = text("INSERT INTO late (task_id, pid) VALUES (:task_id, :pid)")


def finish(engine: Engine, tasks: list[queue.ClaimedTask]) -> bool:
    """Finish all tasks, or none if the lease of one was lost."""
    try:
        with writing(engine) as connection:
            for task in tasks:
                connection.execute(NOTE_FINISH, {"task_id": task.id, "pid": os.getpid()})
                queue.finish(connection, task)
    except queue.LeaseLostError:
        return False
    return True


def note_late(engine: Engine, task: queue.ClaimedTask) -> None:
    with writing(engine) as connection:
        connection.execute(NOTE_LATE, {"task_id": task.id, "pid": os.getpid()})


def race(url: str, run_id: int) -> None:
    engine = make_engine(url)
    while True:
        with writing(engine) as connection:
            tasks = claim(connection, random.randint(1, 40), run_id=run_id)
            claimed = len(tasks)
            if tasks:
                connection.execute(NOTE_CLAIM, [{"task_id": task.id, "pid": os.getpid()} for task in tasks])
        while tasks:
            together = [tasks.pop() for _ in range(min(len(tasks), random.randint(1, 8)))]
            time.sleep(random.uniform(0, 2 * PAUSE_SECONDS))  # a model call
            if not finish(engine, together):  # one lease was lost, so that all were rolled back
                for task in together:
                    if not finish(engine, [task]):
                        note_late(engine, task)
        if not claimed:
            with reading(engine) as connection:
                is_open = Task.status.in_((TaskStatus.TODO, TaskStatus.DOING))
                if not connection.scalar(select(func.count()).where(is_open, Task.pass_ != "")):
                    return
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    race(sys.argv[1], int(sys.argv[2]))
