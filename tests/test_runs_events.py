"""The event log and its pictures: numbered, torn, hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from run_folders import PRINT, step, tree

from auditor.errors import InputError, OutputError
from auditor.events import Notice, SearchStep, StageStarted, UnlearnStep
from auditor.runs import RunFolder, folder, load_picture, read_events

# --- events ---------------------------------------------------------------------------------


def test_events_are_numbered_timed_and_read_back(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        first = run.record(StageStarted(stage="detect", title="Searching"))
        second = run.record(Notice(message="caf\u00e9 \u2028 \udc80", number=99))
        assert [first.number, second.number] == [1, 2]
        assert 0 <= first.at_s <= second.at_s < 60
    assert list(read_events(tmp_path / "events.jsonl")) == [first, second]


def test_resuming_continues_numbers_and_time(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(Notice(message="1"))
    line = json.loads((tmp_path / "events.jsonl").read_text())
    (tmp_path / "events.jsonl").write_text(json.dumps({**line, "at_s": 500.5}) + "\n")
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        event = run.record(Notice(message="2"))
    assert event.number == 2
    assert 500.5 <= event.at_s < 560
    assert [e.number for e in read_events(tmp_path / "events.jsonl")] == [1, 2]


@pytest.mark.parametrize("torn", [b'{"event": "Notice", "mess', b"\x00" * 50, b"\xff\n\x00\n", b"x" * 10_000_000])
def test_a_torn_end_is_left_out_and_cut_on_resume(tmp_path: Path, torn: bytes) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(Notice(message="whole"))
    with (tmp_path / "events.jsonl").open("ab") as stream:
        stream.write(torn)
    if not torn.endswith(b"\n"):
        assert [e.number for e in read_events(tmp_path / "events.jsonl")] == [1]
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(Notice(message="next"))
    assert [e.number for e in read_events(tmp_path / "events.jsonl")] == [1, 2]


def test_bad_lines_are_counted_after_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = '{"event": "Notice", "number": 1, "at_s": 0.5, "message": "m", "level": "info"}\n'
    hostile = ["{}\n", '{"event": "Notice", "number": "1", "at_s": 0, "message": "m"}\n', "[" * 50_000 + "\n",
               '{"event": "Notice", "number": 1, "at_s": Infinity, "message": "m"}\n', "y" * 9_000_000 + "\n",
               '{"event": "Notice", "number": ' + "9" * 5000 + "}\n"]  # fmt: skip
    path.write_text(good + "".join(hostile) + good)
    seen: list[int] = []
    with pytest.raises(ValueError, match="6 of 8 lines are not events, the first is line 2"):
        seen.extend(event.number for event in read_events(path))
    assert seen == [1, 1]


def test_reading_events_does_not_follow_links_or_wait_on_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link", "absent", "."):
        with pytest.raises(InputError):
            list(read_events(tmp_path / name))


def test_pictures_are_stored_as_files_and_kept_for_live_viewers(tmp_path: Path) -> None:
    picture = np.linspace(0, 1, 2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3)
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        live = run.record(step(picture))
        again = run.record(step("evidence/frames/1.npz"))
        assert isinstance(live, SearchStep) and live.picture is picture
    recorded = next(read_events(tmp_path / "events.jsonl"))
    assert isinstance(recorded, SearchStep) and isinstance(again, SearchStep)
    assert isinstance(recorded.picture, str)
    assert recorded.picture == again.picture == "evidence/frames/1.npz"
    loaded = load_picture(tmp_path, recorded.picture)
    assert loaded.dtype == np.float32
    assert np.abs(loaded - picture).max() <= 0.5 / 255 + 1e-6
    with np.load(tmp_path / recorded.picture, allow_pickle=False) as stored:
        assert stored["picture"].dtype == np.uint8


def test_arrays_that_are_no_pixels_keep_their_values(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        for i, array in enumerate([np.array([[-1.5, 2.0]]), np.array([[0, 255]], dtype=np.uint8)], start=1):
            run.record(step(array))
            loaded = load_picture(tmp_path, f"evidence/frames/{i}.npz")
            assert np.array_equal(loaded, array / 255 if array.dtype == np.uint8 else array)
        run.record(step(np.array([[np.nan, 1.0]], dtype=np.float64)))
        assert load_picture(tmp_path, "evidence/frames/3.npz").tolist() == [[0.0, 1.0]]


def test_a_frame_whose_event_was_lost_is_removed_on_resume(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(step(np.zeros((2, 2, 3), dtype=np.float32)))
        run.save_arrays("evidence/frames/2.npz", picture=np.ones((2, 2)))
    RunFolder.open(tmp_path, fingerprint=PRINT).close()
    assert tree(tmp_path / "evidence" / "frames") == ["1.npz"]


def test_an_event_that_cannot_be_stored_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write

    def half_a_write(descriptor: int, content: bytes) -> int:
        if len(content) < 20:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, content[:-10])

    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(Notice(message="whole"))
        monkeypatch.setattr(os, "write", half_a_write)
        with pytest.raises(OutputError, match="No space left"):
            run.record(Notice(message="lost"))
        monkeypatch.undo()
        assert run.record(Notice(message="next")).number == 2
    assert [e.number for e in read_events(tmp_path / "events.jsonl")] == [1, 2]


# --- load_picture on hostile folders ----------------------------------------------------------


def test_pictures_are_read_only_from_inside_the_folder(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    np.savez(outside / "p.npz", picture=np.zeros((2, 2)))
    (run / "link.npz").symlink_to(outside / "p.npz")
    (run / "folder").symlink_to(outside)
    (run / "loop").symlink_to(run / "loop")
    os.mkfifo(run / "pipe.npz")
    for relative in ("", ".", "..", "../outside/p.npz", str(outside / "p.npz"), "link.npz", "folder/p.npz",
                     "loop/p.npz", "pipe.npz", "a\x00b", "absent.npz", "x" * 5000):  # fmt: skip
        with pytest.raises(InputError):
            load_picture(run, relative)


def test_pictures_are_plain_arrays_of_a_size_to_show(tmp_path: Path) -> None:
    np.savez(tmp_path / "object.npz", picture=np.array([[{}]], dtype=object))
    np.savez(tmp_path / "text.npz", picture=np.array([["a"]]))
    np.savez(tmp_path / "flat.npz", picture=np.zeros(4))
    np.savez(tmp_path / "wide.npz", picture=np.zeros((1, 5000), dtype=np.uint8))
    np.savez_compressed(tmp_path / "bomb.npz", picture=np.zeros((4096, 4096, 8), dtype=np.uint8))
    np.savez(tmp_path / "other.npz", pixels=np.zeros((2, 2)))
    np.savez(tmp_path / "empty.npz", picture=np.zeros((0, 2)))
    (tmp_path / "text.txt").write_text("no zip")
    for entry in tmp_path.iterdir():
        with pytest.raises(InputError):
            load_picture(tmp_path, entry.name)


def heat(side: int) -> UnlearnStep:
    maps = np.zeros((2, side, side), np.float32)
    maps[:, : side // 2] = 1
    return UnlearnStep(method="sau", step=1, steps=2, clean_accuracy=1, proxy_attack_success_rate=0, heat_maps=maps)


def test_large_pictures_are_stored_small(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.record(heat(224))
        run.record(SearchStep(family="patch", step=1, steps=1, classes=[0], loss=[0], attack_success_rate=[0], cost=[None],
                              picture=np.ones((300, 200, 3), np.float32), picture_class=0))  # fmt: skip
    maps, picture = (load_picture(tmp_path, f"evidence/frames/{i}.npz") for i in (1, 2))
    assert maps.shape == (2, 74, 74)
    np.testing.assert_allclose(maps[:, :37], 1)
    np.testing.assert_allclose(maps[:, 38:], 0)
    assert picture.shape == (75, 50, 3) and picture.min() == 1


def test_the_number_of_stored_pictures_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MANY_FRAMES", 3)
    monkeypatch.setattr(folder, "MOST_FRAMES", 4)
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        for _ in range(25):
            run.record(heat(8))
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:  # what is there already counts
        run.record(heat(8))
    named = [e.number for e in read_events(tmp_path / "events.jsonl") if getattr(e, "heat_maps", None)]
    assert named == [1, 2, 3, 10]
    assert len(list((tmp_path / "evidence" / "frames").iterdir())) == 4
