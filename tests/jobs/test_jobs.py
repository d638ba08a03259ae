"""Background jobs: start, list, stop and delete."""

import subprocess
import sys

import psutil
import pytest

from enrich.errors import ControlError
from enrich.jobs import jobs as module
from enrich.jobs.jobs import delete_job, jobs, start_job, stop_job, stop_job_in_background
from enrich.settings import load_settings
from tests.waiting import wait_until

FOREVER = "import time\nprint('{\"n\": 1}', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def settings():
    made = load_settings()
    made.home.mkdir()
    yield made
    for job in jobs(made):
        stop_job(made, job.id)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """`script(text)` replaces the command line with a Python script."""

    def replace(text):
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"  # the last one may not have been read yet
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(module, "command_line", lambda words: [sys.executable, str(path), *words])

    return replace


def until(settings, condition, job_id=None):
    """The job, once it satisfies the condition."""

    def found():
        [job] = [one for one in jobs(settings) if job_id in (None, one.id)]
        return job

    wait_until(lambda: condition(found()), "the job satisfies the condition", details=lambda: str(found()))
    return found()


def process_of(settings, job):
    """The identity of a job's process."""
    return module._process(module._read_description(settings.home / "jobs" / job.id))


def test_job_lines_are_readable_while_it_runs(settings, script, tmp_path):
    go = tmp_path / "go"
    script(
        "import pathlib, time\nprint('{\"n\": 1}', flush=True)\nprint('noise', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\nprint('{{\"n\": 2}}')\n"
    )
    started = start_job(settings, "pull", "models", "pull", "llava")
    assert (started.kind, started.words, started.is_running) == ("pull", ("models", "pull", "llava"), True)
    running = until(settings, lambda job: job.lines)
    assert (running.lines, running.exit_code, running.error) == ([{"n": 1}], None, "")
    go.touch()
    ended = until(settings, lambda job: not job.is_running)
    assert (ended.lines, ended.exit_code, ended.error) == ([{"n": 1}, {"n": 2}], 0, "")
    assert ended.started_at == started.started_at


def test_pull_reports_progress_and_end(settings, standin):
    start_job(settings, "pull", "models", "pull", "moondream")
    job = until(settings, lambda job: not job.is_running)
    assert (job.exit_code, job.error) == (0, "")
    assert [line["completed"] for line in job.lines if line["total"]] == [0, 1000]
    assert "moondream:latest" in [model.name for model in standin.conduct.models]


def test_failed_job_has_its_reason(settings, standin):
    start_job(settings, "pull", "models", "pull", "nothere")
    job = until(settings, lambda job: not job.is_running)
    assert (job.exit_code, job.error) == (1, f"{standin.address}: pull model manifest: file does not exist")


@pytest.mark.parametrize("url", ["nonsense", "postgresql://host:abc/x"])
def test_invalid_database_url_leaves_no_job(settings, url):
    with pytest.raises(ControlError, match="cannot start pull: EVERYFRAME_DATABASE_URL cannot be used"):
        start_job(load_settings(database_url=url), "pull", "models", "pull", "llava")
    assert list((settings.home / "jobs").iterdir()) == []


def test_same_job_is_not_started_twice(settings, script):
    script(FOREVER)
    first = start_job(settings, "pull", "a")
    assert start_job(settings, "pull", "a").id == first.id
    other = start_job(settings, "pull", "b")
    audition = start_job(settings, "audition", "a")
    assert [job.id for job in jobs(settings)] == [audition.id, other.id, first.id]
    assert [job.id for job in jobs(settings, "pull")] == [other.id, first.id]


def test_listing_reads_no_more_than_needed(settings, script, monkeypatch):
    script("print('{}')")
    for kind in ("pull", "quick"):
        ended = start_job(settings, kind, "a")
        until(settings, lambda job: not job.is_running, ended.id)
    read, description_of = [], module._read_description
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read_description", lambda folder: read.append(folder) or description_of(folder))
        patch.setattr(module, "is_process_alive", lambda _: pytest.fail("the process of a job that has ended"))
        [job] = jobs(settings, "quick")
        assert (job.kind, len(read)) == ("quick", 2)
        patch.setattr(module, "_lines", lambda _: pytest.fail("the output of a job of another kind"))
        assert jobs(settings, "audition") == []


def test_job_outlives_its_parent(settings, script):
    script(FOREVER)
    program = (
        "import sys\nfrom enrich.jobs import jobs\nfrom enrich.settings import load_settings\n"
        f"jobs.command_line = lambda words: {module.command_line(['x'])!r}\n"
        "print(jobs.start_job(load_settings(), 'x', 'x').id)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    job = until(settings, lambda job: job.lines)
    assert (job.id, job.is_running) == (done.stdout.strip(), True)
    assert stop_job(settings, job.id)


def test_stopping_a_job_ends_its_command(settings, script):
    script(FOREVER)
    job = start_job(settings, "pull", "a")
    until(settings, lambda job: job.lines)
    process = psutil.Process(process_of(settings, job).pid)
    everyone = [process, *process.children(recursive=True)]
    assert len(everyone) == 2
    assert stop_job(settings, job.id)
    assert not [one for one in everyone if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    ended = until(settings, lambda job: not job.is_running)
    assert ended.error == "the job was stopped before it finished"
    assert not stop_job(settings, job.id)


def test_job_ignoring_sigterm_is_killed(settings, script, monkeypatch):
    monkeypatch.setattr(module, "TERMINATE_SECONDS", 0.5)
    script("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER)
    job = start_job(settings, "pull", "a")
    until(settings, lambda job: job.lines)
    assert stop_job(settings, job.id)
    assert until(settings, lambda job: not job.is_running).exit_code == -9


def test_background_stop_keeps_its_error_until_it_succeeds(settings, script, monkeypatch):
    def fail(*_):
        raise ControlError("cannot stop the job")

    script(FOREVER)
    job = start_job(settings, "pull", "a")
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_job", fail)
        stop_job_in_background(settings, job.id)
        assert until(settings, lambda job: job.stop_error).stop_error == "cannot stop the job"
    stop_job_in_background(settings, job.id)
    assert until(settings, lambda job: not job.is_running).stop_error == ""


@pytest.mark.expected_errors("job was not stopped")
def test_background_stop_keeps_an_unforeseen_error(settings, script, monkeypatch):
    def fail(*_):
        raise IndexError("unforeseen")

    script(FOREVER)
    job = start_job(settings, "pull", "a")
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_job", fail)
        stop_job_in_background(settings, job.id)
        assert "IndexError: unforeseen" in until(settings, lambda job: job.stop_error).stop_error
    assert stop_job(settings, job.id)


def test_reused_process_id_is_not_the_job(settings, script):
    script(FOREVER)
    job = start_job(settings, "pull", "a")
    description = settings.home / "jobs" / job.id / "job.json"
    said = description.read_text(encoding="utf-8")
    process = process_of(settings, job)
    description.write_text(said.replace(repr(process.created_at), repr(process.created_at - 500)), encoding="utf-8")
    assert not until(settings, lambda _: True).is_running
    assert not stop_job(settings, job.id)
    description.write_text(said, encoding="utf-8")


def test_only_finished_jobs_can_be_deleted(settings, script):
    script(FOREVER)
    job = start_job(settings, "pull", "a")
    assert not delete_job(settings, job.id)
    stop_job(settings, job.id)
    assert delete_job(settings, job.id)
    assert jobs(settings) == []
    assert not delete_job(settings, job.id)


@pytest.mark.parametrize("job_id", ["", "..", "../..", "x", "20261125T192332610446-90e157/../..", "nothing"])
def test_job_id_cannot_leave_the_folder(settings, job_id):
    assert not delete_job(settings, job_id)
    assert not stop_job(settings, job_id)
    assert settings.home.exists()


def test_old_jobs_are_deleted_but_running_ones_kept(settings, script, monkeypatch):
    monkeypatch.setattr(module, "MAX_FINISHED_JOBS", 2)
    script(FOREVER)
    running = start_job(settings, "pull", "forever")
    script("print('{}')")
    ended = []
    for number in range(4):
        ended.append(start_job(settings, "quick", str(number)).id)
        until(settings, lambda job: not job.is_running, ended[-1])
    kept = {job.id for job in jobs(settings)}
    assert running.id in kept
    assert ended[0] not in kept
    assert ended[-1] in kept


def test_other_files_in_the_folder_are_not_jobs(settings, script):
    script("print('{}')")
    job = start_job(settings, "quick", "a")
    until(settings, lambda job: not job.is_running)
    (settings.home / "jobs" / "notes").mkdir()
    (settings.home / "jobs" / "20261125T192332610446-90e157").mkdir()
    broken = settings.home / "jobs" / "20261125T192332610447-90e157"
    broken.mkdir()
    (broken / "job.json").write_text("{", encoding="utf-8")
    assert [one.id for one in jobs(settings)] == [job.id]


def test_unstartable_job_is_an_error(settings):
    with pytest.raises(ControlError, match="cannot start pull"):
        start_job(settings, "pull", "a\0b")
    assert jobs(settings) == []
