"""How clean images are split into work and verify."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.images import CleanImages, split

SIDE = 8


def distinct(count: int) -> np.ndarray:
    """Images (N, 8, 8, 3) that all differ: each carries its number in its first pixels."""
    images = np.zeros((count, SIDE, SIDE, 3), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return images


def test_thirty_percent_of_every_class_is_held_out() -> None:
    labels = np.repeat(np.arange(10), 10)
    found = split(distinct(100), labels, seed=0)
    assert found.basis == "held_out"
    assert np.bincount(labels[found.verify]).tolist() == [3] * 10
    assert sorted([*found.work, *found.verify]) == list(range(100))
    assert [pair[1].tolist() for pair in found.folds] == [found.verify.tolist()]
    assert found.notices == []


def test_uneven_classes_keep_the_share_and_one_on_each_side() -> None:
    # Given 40, 7, 2 and 1 images: shares 12, 2.1, 0.6 and 0.3; a class of one stays in work.
    labels = np.repeat([0, 1, 2, 3], [40, 7, 2, 1])
    found = split(distinct(50), labels, seed=3)
    assert np.bincount(labels[found.verify], minlength=4).tolist() == [12, 2, 1, 0]
    assert np.bincount(labels[found.work], minlength=4).tolist() == [28, 5, 1, 1]
    assert found.notices == ["Fewer than 5 images in class 2 (2), 3 (1): what is said of these classes is uncertain."]


def test_many_small_classes_hold_out_one_each_rather_than_the_share() -> None:
    labels = np.repeat(np.arange(40), 2)
    found = split(distinct(80), labels, seed=0)
    assert np.bincount(labels[found.verify]).tolist() == [1] * 40


def test_one_image_a_class_still_holds_the_share_out() -> None:
    found = split(distinct(100), np.arange(100), seed=0)
    assert found.basis == "held_out" and len(found.verify) == 30


def test_largest_remainders_reach_the_share() -> None:
    # Given ten classes of five: 1.5 each, 15 of 50 in all.
    labels = np.repeat(np.arange(10), 5)
    counts = np.bincount(labels[split(distinct(50), labels, seed=1).verify])
    assert counts.sum() == 15 and set(counts.tolist()) == {1, 2}


def test_seed_decides_the_split() -> None:
    labels = np.repeat(np.arange(4), 25)
    first, again, other = (split(distinct(100), labels, seed=seed) for seed in (1, 1, 2))
    assert first.verify.tolist() == again.verify.tolist()
    assert first.verify.tolist() != other.verify.tolist()


def test_unlabelled_images_are_one_stratum() -> None:
    found = split(distinct(40), None, seed=0)
    assert (len(found.work), len(found.verify)) == (28, 12)


def test_below_thirty_images_folds_cover_everything_once() -> None:
    labels = np.arange(29) % 3
    found = split(distinct(29), labels, seed=0)
    assert found.basis == "cross_fitted" and len(found.folds) == 3
    assert sorted(i for _, verify in found.folds for i in verify) == list(range(29))
    for work, verify in found.folds:
        assert sorted([*work, *verify]) == list(range(29))
        assert np.bincount(labels[verify], minlength=3).min() >= 3
    assert found.work.tolist() == found.verify.tolist() == list(range(29))
    assert any("cross-fitted in 3 folds" in notice for notice in found.notices)


@pytest.mark.parametrize(("count", "folds"), [(0, 0), (1, 0), (2, 2), (3, 3)])
def test_a_handful_of_images_splits_as_far_as_it_can(count: int, folds: int) -> None:
    found = split(distinct(count), np.zeros(count, dtype=np.int64), seed=0)
    assert found.basis == "cross_fitted" and len(found.folds) == folds
    assert all(len(work) and len(verify) for work, verify in found.folds)
    if not folds:
        assert len(found.verify) == 0 and len(found.work) == count
        assert any("nothing can be held out" in notice for notice in found.notices)


def test_identical_images_never_straddle_the_split() -> None:
    images = np.concatenate([distinct(40), distinct(40), distinct(10)])
    found = split(images, np.concatenate([np.arange(40), np.arange(40), np.arange(10)]) % 4, seed=5)
    key = np.concatenate([np.arange(40), np.arange(40), np.arange(10)])
    assert found.basis == "held_out"
    assert not set(key[found.work]) & set(key[found.verify])
    assert len(found.work) + len(found.verify) == 90
    assert found.notices == ["50 image(s) are copies of others; copies stay on one side of the split."]


def test_copies_do_not_count_as_images_when_choosing_the_basis() -> None:
    images = np.concatenate([distinct(10)] * 10)
    found = split(images, np.tile(np.arange(10) % 2, 10), seed=0)
    assert found.basis == "cross_fitted"
    for work, verify in found.folds:
        assert not set(work % 10) & set(verify % 10)


def test_identical_images_with_different_labels_are_pointed_out() -> None:
    images = np.concatenate([distinct(40), distinct(1)])
    labels = np.append(np.zeros(40, dtype=np.int64), 1)
    assert any("different labels" in notice for notice in split(images, labels, seed=0).notices)


def test_split_takes_images_of_several_sizes_and_network_inputs() -> None:
    images = CleanImages.from_arrays(distinct(40), np.arange(40) % 4)
    batch, _ = images.to_input((3, SIDE, SIDE))
    assert split(tuple(images.images), images.labels, seed=0).verify.tolist() == (
        split(batch, images.labels, seed=0).verify.tolist()
    )
    summary = images.summary(split(images.images, images.labels, seed=0))
    assert (summary.work, summary.verify) == (28, 12)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="leaves one side empty"):
        split(distinct(40), None, seed=0, verify_share=share)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="39 labels for 40 images"):
        split(distinct(40), np.zeros(39, dtype=np.int64), seed=0)
