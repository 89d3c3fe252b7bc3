"""All evidences together: the planted target is found on noise carriers, its honest twin has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import CLASSES, TARGET, planted

from auditor.datafree import DataFreeEvidence, class_consensus, data_free_evidence, data_free_score, surrogate_costs
from auditor.datafree.margins import Margins
from auditor.datafree.rows import Rows
from auditor.datafree.surrogates import Surrogates, surrogate_images
from auditor.events import Control, drain
from auditor.search.synthesis import Budget

PATCHES = Budget(restarts=1, first_steps=0, steps=60, refine_steps=0, batch_size=6, families=("patch",))


def _evidence(mean_z: list[float], margin_z: list[float]) -> DataFreeEvidence:
    zero = np.zeros(len(mean_z))
    rows = Rows(norm=zero, mean=zero, cosine=zero, norm_z=zero, mean_z=np.array(mean_z), cosine_z=zero)
    margins = Margins(margin=zero, z=np.array(margin_z), p_value=1.0)
    return DataFreeEvidence(rows=rows, margins=margins, cost={}, cost_z={}, basis="not made")


def test_the_score_is_the_largest_mean_z_of_one_class() -> None:
    agreeing = _evidence([0.0, 4.0, 1.0, 0.0], [1.0, 2.0, 0.0, 0.0])
    np.testing.assert_allclose(class_consensus(agreeing), [0.5, 3.0, 0.5, 0.0])
    assert data_free_score(agreeing) == 3.0
    # The same outliers in different classes count half, and none counts beyond six.
    assert data_free_score(_evidence([0.0, 4.0, 1.0, 0.0], [2.0, -1.0, 0.0, 0.0])) == 1.5
    assert data_free_score(_evidence([900.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0])) == 4.0


def test_too_few_classes_have_no_score() -> None:
    assert np.isnan(data_free_score(_evidence([np.nan] * 3, [np.nan] * 3)))


def test_the_planted_targets_patch_is_the_cheapest_on_noise_and_the_twins_is_not() -> None:
    backdoored, honest = (
        drain(data_free_evidence(planted(strength), seed=0, control=Control(), budget=PATCHES))
        for strength in (40.0, 0.0)
    )
    assert backdoored.basis == "smooth noise"
    assert int(np.nanargmax(backdoored.cost_z["patch"])) == TARGET
    assert int(class_consensus(backdoored).argmax()) == TARGET
    assert data_free_score(backdoored) > data_free_score(honest) + 1


def test_without_a_budget_nothing_is_searched() -> None:
    suspect = planted()
    found = drain(data_free_evidence(suspect, seed=0, control=Control(), budget=None))
    assert found.cost == {} and found.basis == "not made"
    assert suspect.meter.backward_images == CLASSES * 8 * 60


def test_the_same_seed_gives_the_same_costs() -> None:
    few = replace(PATCHES, steps=5)
    first, again = (
        drain(surrogate_costs(s, surrogate_images(s, seed=2), budget=few, seed=2, control=Control()))
        for s in (planted(), planted())
    )
    np.testing.assert_array_equal(first["patch"], again["patch"])


def test_a_stopped_search_reports_no_family() -> None:
    control = Control()
    control.stop()
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    surrogates = Surrogates(images=images, labels=torch.arange(6), basis="smooth noise", mismatch=float("nan"))
    assert drain(surrogate_costs(planted(), surrogates, budget=PATCHES, seed=0, control=control)) == {}


@pytest.mark.parametrize("strength", [0.0, 40.0])
def test_every_score_is_finite(strength: float) -> None:
    found = drain(data_free_evidence(planted(strength), seed=1, control=Control(), budget=None))
    assert np.isfinite(data_free_score(found))
