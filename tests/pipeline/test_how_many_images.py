"""A search takes no more images than those of the bank's models did, however many there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import planted
import pytest
import torch
from planted_session import session

from auditor.events import Control, drain
from auditor.images import CleanImages
from auditor.pipeline.calibrating import MOST_FRESH, bank_for, fresh_search
from auditor.pipeline.opening import MOST_FIT, open_suspect
from auditor.pipeline.session import Session, as_indices


def opened(count: int) -> Session:
    images, labels = planted.planted_images(count)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    given = replace(session(control=Control()), clean=CleanImages.from_arrays(pixels, labels.numpy()), split=None)
    drain(open_suspect(given))
    return given


@pytest.mark.parametrize(("count", "fit", "hold"), [(40, 18, 10), (100, 52, 18), (500, MOST_FIT, 350 - MOST_FIT)])
def test_of_many_images_as_many_are_searched_as_of_a_hundred_and_the_rest_confirms(count: int, fit: int, hold: int) -> None:
    given = opened(count)
    assert (len(given.fit), len(given.hold)) == (fit, hold)
    assert not set(given.fit.tolist()) & set(given.hold.tolist())
    a_class = np.bincount(given.labels[given.fit])
    assert a_class.max() - a_class.min() <= 2


def test_verification_searches_images_that_no_stage_met_where_they_suffice() -> None:
    given = opened(500)
    found = fresh_search(given, [0, 1])
    assert len(found.images) == MOST_FRESH and given.split is not None
    held = given.images[as_indices(given.split.verify)]
    assert all(bool((held == image).flatten(1).all(1).any()) for image in found.images)
    assert np.bincount(found.labels).min() >= MOST_FRESH // planted.CLASSES - 1
    assert len(fresh_search(opened(60), [0]).images) == 60


def test_many_images_do_not_lie_beyond_the_bank_and_few_do() -> None:
    def words(count: int) -> list[str]:
        bank = bank_for(opened(count), "standard")
        assert bank is not None
        return [said for said in bank.beyond if "images" in said]

    assert words(500) == words(100) == [] and words(20)
