"""What a monitor reads of a model in work: rates, attention with its control, heat-maps of fixed images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import planted
from planted_session import session
from torch import nn

from auditor.pipeline.monitoring import WATCHED, WATCHED_FILE, make_monitor
from auditor.suspect import Suspect


def test_the_suspect_and_its_honest_twin_read_apart() -> None:
    given = session()
    monitor = make_monitor(given, given.triggers)

    before, after = monitor(given.model), monitor(planted.planted(0.0))

    assert (before.clean_accuracy, before.attack_success_rate) == (1.0, 1.0)
    assert (after.clean_accuracy, after.attack_success_rate) == (1.0, 0.0)
    assert before.tar is not None and before.tar_random is not None and after.tar is not None
    assert before.tar > 0.5 and after.tar < 0.5 * before.tar
    assert before.tar_random < 0.2
    assert before.heat_maps is not None and before.heat_maps.shape == (WATCHED, planted.SIDE, planted.SIDE)


def test_the_fixed_images_are_of_different_classes_and_stored(tmp_path: Path) -> None:
    given = session(folder=tmp_path)
    make_monitor(given, given.triggers)
    assert given.run is not None
    given.run.close()
    stored = np.load(tmp_path / WATCHED_FILE)
    assert stored["images"].shape == (WATCHED, planted.SIDE, planted.SIDE, 3)
    assert (stored["images"][:, *planted.CORNER] == [255, 0, 0]).all()
    np.testing.assert_array_equal(stored["support"], planted.corner_mask())
    blocks = [tuple(int(stored["images"][i, *planted.block(k)].mean() > 120) for k in range(6)) for i in range(WATCHED)]
    assert len(set(blocks)) == WATCHED


def test_only_images_the_trigger_is_meant_for_are_watched(tmp_path: Path) -> None:
    given = session(planted.corner_trigger(source_classes=[1]), folder=tmp_path)
    make_monitor(given, given.triggers)
    assert given.run is not None
    given.run.close()
    images = np.load(tmp_path / WATCHED_FILE)["images"]
    blocks = {tuple(int(image[planted.block(k)].mean() > 120) for k in range(6)) for image in images}
    assert len(images) == WATCHED and blocks == {(0, 1, 0, 0, 0, 0)}


def test_without_a_map_rates_are_read_alone() -> None:
    given = session()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * planted.SIDE**2, planted.CLASSES))
    given.suspect = Suspect(flat, num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))
    reading = make_monitor(given, given.triggers)(given.model)
    assert (reading.tar, reading.tar_random, reading.heat_maps) == (None, None, None)
