"""Files appear whole or not at all; resume points belong to one identity."""

import os
import re
import subprocess
import sys
import time

import pytest

from dpmot.runtime.files import atomic, read_json, write_json
from dpmot.runtime.fingerprint import digest
from dpmot.runtime.resume import ResumePoint
from dpmot.runtime.stopwatch import Stopwatch


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    code = (
        "import os, pathlib, sys\nfrom dpmot.runtime.files import atomic\n"
        "with atomic(pathlib.Path(sys.argv[1])) as temporary:\n    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert read_json(path) == {"x": 1}


def test_resume_state_is_kept_for_its_identity_and_set_aside_for_another(tmp_path, capsys):
    one, other = {"config": {"n": 1}, "code": "a"}, {"config": {"n": 1}, "code": "b"}
    ResumePoint(tmp_path / "r", one).path("piece").write_text("done")
    assert ResumePoint(tmp_path / "r", one).path("piece").exists()
    assert not ResumePoint(tmp_path / "r", other).path("piece").exists()
    assert re.search(r"was made with another code; set aside as r\.\w{16}, starting afresh", capsys.readouterr().out)
    assert ResumePoint(tmp_path / "r", one).path("piece").read_text() == "done"
    assert "which was set aside" in capsys.readouterr().out


def test_a_stage_that_is_done_leaves_what_is_aside_and_of_such_the_last_three_are_kept(tmp_path):
    for code in "abcdef":
        point = ResumePoint(tmp_path / "r", {"code": code})
        point.path("piece").write_text(code)
    point.finish()
    assert not (tmp_path / "r").exists()
    assert sorted(path.read_text() for path in tmp_path.glob("r.*/piece")) == ["c", "d", "e"]
    ResumePoint(tmp_path / "r", {"code": "g"})
    # the oldest of the three, while a fourth is set aside
    assert ResumePoint(tmp_path / "r", {"code": "c"}).path("piece").read_text() == "c"


def test_a_damaged_identity_is_refused(tmp_path):
    first = ResumePoint(tmp_path / "r", {"code": "a"})
    first.path("piece").write_text("done")
    first.path("identity.json").write_text('{"code": ')
    assert not ResumePoint(tmp_path / "r", {"code": "a"}).path("piece").exists()


def test_a_finished_stage_removes_its_folder(tmp_path):
    point = ResumePoint(tmp_path / "r", {})
    point.path("piece").write_text("x")
    point.finish()
    assert not (tmp_path / "r").exists()


def test_digest_ignores_the_order_of_keys_and_sees_values():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_a_stopwatch_accounts_for_startup_arithmetic_and_io(tmp_path):
    watch = Stopwatch("job")
    with watch.arithmetic():
        sum(range(200_000))
    with watch.io():
        os.urandom(1)
    watch.write(tmp_path)
    row = read_json(tmp_path / "job.json")
    assert row["job"] == "job" and row["startup_s"] > 0 and row["peak_mb"] > 1
    assert row["startup_s"] + row["arithmetic_s"] + row["io_s"] <= row["wall_s"] + 0.005  # rounding, 1 ms each


def test_a_stopwatch_counts_the_inner_work_once_and_goes_on_where_it_was(tmp_path):
    first = Stopwatch("job")
    with first.arithmetic():
        time.sleep(0.02)
        with first.io():
            time.sleep(0.05)
        first.images += 7
        spent = first.spent()  # as a checkpoint asks, in the middle of the work
    assert 0.02 <= spent["arithmetic"] < 0.05 <= spent["io"]
    second = Stopwatch("job")
    second.go_on(spent)
    with second.arithmetic():
        time.sleep(0.02)
    second.images += 3
    second.write(tmp_path)
    row = read_json(tmp_path / "job.json")
    assert row["arithmetic_s"] >= spent["arithmetic"] + 0.019 and row["wall_s"] > spent["wall"]
    assert row["images_per_s"] == pytest.approx(10 / row["arithmetic_s"], rel=0.05)
