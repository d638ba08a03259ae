"""Many processes share a queue and some are killed: every task is done once, and no claim is given twice.

Real processes, a real file, a real SIGKILL. It cannot show a power failure, because the page cache survives a kill.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from db import queue
from db.engine import reading, writing
from db.models import Task, TaskStatus
from tests.db.library import LATER, NOW, add, add_run, add_tasks

RACERS = 8
TASKS = 4000
KILLS = 9
DEADLINE_SECONDS = 100  # 10 s on two idle cores
ROOT = Path(__file__).parents[2]


def start(engine: Engine, pid: int) -> tuple[int, "subprocess.Popen[bytes]"]:
    with writing(engine) as connection:
        run_id = add_run(connection, pid)
    command = [sys.executable, "-m", "tests.db.racer", str(engine.url), str(run_id)]
    return run_id, subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def go(racer: "subprocess.Popen[bytes]") -> None:
    racer.stdin.write(b"go\n")
    racer.stdin.close()


def end(racer: "subprocess.Popen[bytes]") -> None:
    racer.kill()
    racer.wait()
    racer.stdout.close()


def working_runs(engine: Engine) -> set[int | None]:
    """The runs that have claimed tasks now; others may still be starting."""
    with reading(engine) as connection:
        return set(connection.scalars(select(Task.run_id).where(Task.status == TaskStatus.DOING).distinct()))


def done(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).where(Task.status == TaskStatus.DONE)).scalar_one()


def test_tasks_are_done_exactly_once_despite_kills_and_lost_leases(engine):
    chance = random.Random(7)
    with writing(engine) as connection:
        add_tasks(connection, add(connection), TASKS)
        connection.execute(text("CREATE TABLE claimed (task_id INTEGER, pid INTEGER)"))
        connection.execute(text("CREATE TABLE finished (task_id INTEGER, pid INTEGER)"))
        connection.execute(text("CREATE TABLE late (task_id INTEGER, pid INTEGER)"))
    racers = [start(engine, number) for number in range(RACERS)]
    deadline = time.monotonic() + DEADLINE_SECONDS
    swept = []
    try:
        for _, racer in racers:
            assert racer.stdout.readline() == b"ready\n"
        for _, racer in racers:
            go(racer)
        for kill in range(KILLS):
            aim = (TASKS * kill + chance.randrange(TASKS)) // (KILLS + 1)  # a random point of this part of the run
            while (ready := done(engine)) < TASKS and (ready < aim or not (busy := working_runs(engine))):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            if ready == TASKS:
                break  # all tasks are done before the remaining kills
            run_id, victim = chance.choice([racer for racer in racers if racer[0] in busy])
            racers.remove((run_id, victim))
            end(victim)
            with writing(engine) as connection:
                if kill % 4:
                    swept.append(queue.sweep(connection, now=NOW, dead_runs=[run_id], counts_crash=True))
                else:  # every lease expires, also those of live workers, whose results are now late
                    queue.sweep(connection, now=LATER, counts_crash=True)
            racers.append(start(engine, RACERS + kill))
            go(racers[-1][1])
        for _, racer in racers:
            assert racer.wait(max(0.1, deadline - time.monotonic())) == 0
    finally:
        for _, racer in racers:
            end(racer)

    with reading(engine) as connection:
        finished = Counter(connection.scalars(text("SELECT task_id FROM finished")))
        claimed = Counter(connection.scalars(text("SELECT task_id FROM claimed")))
        tasks = connection.execute(select(Task.id, Task.status, Task.crashes).where(Task.pass_ != "")).all()
        late = connection.execute(text("SELECT count(*) FROM late")).scalar_one()
    assert {task.status for task in tasks} == {TaskStatus.DONE}
    assert finished == {task.id: 1 for task in tasks}
    assert claimed == {task.id: 1 + task.crashes for task in tasks}, "a task is claimed again only after a lost lease"
    assert sum(map(bool, swept)) > 1, "a kill must hit claimed tasks, or this test shows nothing"
    assert late > 0, "live workers must be late, or this test shows nothing"
