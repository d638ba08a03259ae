"""The commands strip and describe: save and re-describe single frames."""

import json
import shutil

import pytest

from enrich.describe.prompt import PROMPT_VERSION
from enrich.library import source_frames as strips
from tests.cli.terminal import ask, change, settled
from tests.clips import numbered_clip, read_jpeg, read_number
from tests.standin import ShelfModel, Trick

FRAME = "SELECT {} FROM frames WHERE id = {}"
TASK = "SELECT {} FROM tasks WHERE frame_id = {} AND pass = 'deep'"


def indexes(said):
    return [frame["index"] for frame in said.json["frames"]]


def left(home):
    return sorted(int(path.stem) for path in (home / "strips" / "1").glob("*.jpg"))


def test_strip_has_every_source_frame_around_one(cli, library):
    said = cli("strip", "numbers", "--frame", "12", "--before", "3", "--after", "4", "--json")
    assert (said.code, said.err) == (0, "")
    assert indexes(said) == left(library) == [9, 10, 11, 12, 13, 14, 15, 16]
    for number in left(library):
        assert read_number(read_jpeg(library / "strips" / "1" / f"{number}.jpg")) == number
    for frame in said.json["frames"]:
        assert frame["timestamp"] == pytest.approx(frame["index"] / 25)
        kept = ask(library, FRAME.format('"index"', frame["kept_frame_id"]))
        assert kept == [(frame["index"] // 5 * 5,)]
        assert frame["likeness"] == 1.0 if frame["index"] % 5 == 0 else frame["likeness"] < 1.0


def test_strip_ends_with_the_video(cli, library):
    assert indexes(cli("strip", "1", "--frame", "1", "--json")) == list(range(14))
    assert indexes(cli("strip", "1", "--frame", "28", "--before", "2", "--json")) == [26, 27, 28, 29]
    cli("strip", "1", "--frame", "90", "--before", "2").refused("numbers.mp4 has no frame 88: it has 30 frames")


def test_strip_of_an_unextracted_video(cli, numbers, home):
    cli("add", numbers)
    said = cli("strip", "1", "--frame", "20", "--before", "1", "--after", "1", "--json")
    assert indexes(said) == [19, 20, 21]
    assert {(frame["kept_frame_id"], frame["likeness"]) for frame in said.json["frames"]} == {(None, None)}
    assert read_number(read_jpeg(home / "strips" / "1" / "20.jpg")) == 20


def test_oldest_strip_images_are_deleted(cli, library, monkeypatch):
    monkeypatch.setattr(strips, "MAX_FILES", 6)
    cli("strip", "1", "--frame", "3", "--before", "3", "--after", "0")
    cli("strip", "1", "--frame", "22", "--before", "2", "--after", "1")
    assert len(left(library)) == 6
    assert set(left(library)) >= {20, 21, 22, 23}
    cli("strip", "1", "--frame", "10", "--before", "5", "--after", "3")
    assert left(library) == list(range(5, 14))  # never one of the strip just requested


def test_removed_video_leaves_no_strip(cli, library):
    cli("strip", "party", "--frame", "3")
    assert (library / "strips" / "2").is_dir()
    cli("remove", "party", "--yes")
    assert not (library / "strips" / "2").exists()


def test_strip_of_a_replaced_file_is_refused(cli, library, tmp_path):
    other = numbered_clip(tmp_path / "other.mp4", frames=5)
    change(library, "UPDATE videos SET path = ? WHERE id = 1", str(other))
    cli("strip", "1", "--frame", "3").refused("is not the file that was added")
    assert not (library / "strips").exists()


def frame_id(home, index):
    sql = 'SELECT id FROM frames WHERE video_id = 1 AND "index" = {}'
    ((number,),) = ask(home, sql.format(index))
    return number


def test_redescribed_frame_has_a_call_record(cli, library, standin):
    change(library, "UPDATE frames SET local_description = 'something wrong', local_tags = '[]'")
    number = frame_id(library, 10)
    said = cli("describe", "numbers", "--id", number, "--json")
    assert (said.code, said.err) == (0, "")
    assert set(said.json) == {"frame_id", "text", "tags", "model", "seconds", "warnings"}
    assert said.json["frame_id"] == number
    assert said.json["text"].startswith("Frame number 10:")
    assert standin.described == [10]
    assert ask(library, FRAME.format("local_description", number)) == [(said.json["text"],)]
    assert ask(library, "SELECT count(*) FROM frames WHERE local_description = 'something wrong'") == [(17,)]
    last = "SELECT frame_id, pass, model, is_kept, run_id FROM analyses ORDER BY id DESC LIMIT 1"
    assert ask(library, last) == [(number, "deep", "llava:13b", 1, None)]
    assert settled(library)


def test_redescribe_with_another_model_and_instruction(cli, library, standin):
    standin.behave(models=(ShelfModel("llava:13b"), ShelfModel("moondream:latest")))
    said = cli("describe", "1", "--frame", "12", "--model", "moondream", "--ask", "Which colour is the band?")
    assert said.code == 0
    assert "Frame number 10:" in said.out  # the kept frame that represents it
    (chat,) = standin.chats
    assert chat.body["model"] == "moondream"
    assert "Which colour is the band?" in chat.prompt
    last = "SELECT model, prompt_version FROM analyses ORDER BY id DESC LIMIT 1"
    assert ask(library, last) == [("moondream", f"{PROMPT_VERSION}+request")]


def test_redescribe_keeps_the_users_text(cli, library, standin):
    number = frame_id(library, 10)
    change(library, "UPDATE frames SET edited_description = 'Erna laughs' WHERE id = ?", number)
    cli("describe", "1", "--id", number)
    assert ask(library, FRAME.format("edited_description", number)) == [("Erna laughs",)]


@pytest.mark.parametrize("status", ["todo", "doing", "done", "failed"])
def test_redescribe_works_in_every_task_status(cli, library, standin, status):
    number = frame_id(library, 10)
    token = "another" if status == "doing" else None
    change(
        library,
        "UPDATE tasks SET status = ?, lease_token = ?, lease_until = '2999-01-01', error = 'x' WHERE frame_id = ?",
        *(status, token, number),
    )
    assert cli("describe", "1", "--id", number).code == 0
    assert ask(library, TASK.format("status, lease_token, error", number)) == [("done", None, None)]


def test_failed_redescribe_changes_nothing(cli, library, standin):
    number = frame_id(library, 10)
    rows, tasks = FRAME.format("local_description, enriched_at", number), TASK.format("*", number)
    before = ask(library, rows), ask(library, tasks)
    standin.play(Trick.EMPTY, stubborn=True)
    cli("describe", "1", "--id", number).refused("`llava:13b` returned an empty reply")
    assert ask(library, "SELECT count(*) FROM analyses WHERE run_id IS NULL AND is_kept = 0")[0][0] >= 1
    standin.calm()
    standin.play(Trick.ERROR)
    cli("describe", "1", "--id", number).refused("runner process has terminated")
    standin.stop()
    cli("describe", "1", "--id", number).refused("is not responding", "ollama serve")
    assert (ask(library, rows), ask(library, tasks)) == before


def test_missing_image_is_restored_from_the_video(cli, library, standin):
    shutil.rmtree(library / "frames")
    assert cli("describe", "1", "--frame", "10").out.count("Frame number 10:") == 1


def test_duplicate_text_is_a_warning(cli, library, standin):
    number = frame_id(library, 10)
    ((other,),) = ask(library, FRAME.format("local_description", number))
    change(library, "UPDATE frames SET local_description = ?, dhash = 'ffffffffffffffff' WHERE id = 1", other)
    said = cli("describe", "1", "--id", number, "--json")
    problems = [warning["problem"] for warning in said.json["warnings"]]
    assert problems in ([], ["same_text"])  # a retry with another prompt may return another text
    ((recorded,),) = ask(library, "SELECT warnings FROM analyses WHERE run_id IS NULL ORDER BY id LIMIT 1")
    assert [warning["problem"] for warning in json.loads(recorded)] == ["same_text"]


def test_frame_of_another_video_is_an_error(cli, library, standin):
    number = frame_id(library, 10)
    cli("describe", "party", "--id", number).refused("no kept frame of party has the id", "everyframe show 2")
    cli("describe", "1", "--frame", "3000").refused("represents frame 3000")
    assert cli("describe", "1").code == 2
    assert cli("describe", "1", "--id", "1", "--frame", "1").code == 2
    assert standin.chats == []
