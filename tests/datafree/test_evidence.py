"""Both evidences together: the planted target is found without an image, its honest twin has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted import CLASSES, TARGET, planted

from auditor import datafree
from auditor.datafree import HONEST_REACH, DataFreeEvidence, class_consensus, data_free_evidence, data_free_score
from auditor.datafree.margins import Margins
from auditor.datafree.rows import Rows


def _evidence(mean_z: list[float], margin_z: list[float] | None) -> DataFreeEvidence:
    zero = np.zeros(len(mean_z))
    rows = Rows(norm=zero, mean=zero, cosine=zero, norm_z=zero, mean_z=np.array(mean_z), cosine_z=zero)
    margins = None if margin_z is None else Margins(margin=zero, z=np.array(margin_z), p_value=1.0)
    return DataFreeEvidence(rows=rows, margins=margins)


def _rank(largest: float) -> float:
    return 1 / (1 + math.exp(HONEST_REACH - largest))


def test_the_score_ranks_the_largest_mean_z_of_one_class() -> None:
    agreeing = _evidence([0.0, 4.0, 1.0, 0.0], [1.0, 2.0, 0.0, 0.0])
    np.testing.assert_allclose(class_consensus(agreeing), [0.5, 3.0, 0.5, 0.0])
    assert data_free_score(agreeing) == pytest.approx(_rank(3.0))
    # The same outliers in different classes count half, and none counts beyond six.
    assert data_free_score(_evidence([0.0, 4.0, 1.0, 0.0], [2.0, -1.0, 0.0, 0.0])) == pytest.approx(_rank(1.5))
    assert data_free_score(_evidence([900.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0])) == pytest.approx(_rank(4.0))


def test_rows_stand_alone_where_margins_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_free_score(_evidence([0.0, 4.0, 1.0, 0.0], None)) == pytest.approx(_rank(4.0))
    monkeypatch.setattr(datafree, "MOST_PIXELS", 1)
    suspect = planted()
    assert data_free_evidence(suspect, seed=0).margins is None and suspect.meter.forward_images == 0


@pytest.mark.parametrize("z", [[np.nan] * 3, [np.inf, 0.0, 0.0, np.nan]])
def test_too_few_classes_and_broken_weights_have_no_score(z: list[float]) -> None:
    assert data_free_score(_evidence(z, z)) is None


def test_the_planted_target_stands_out_and_its_twin_does_not() -> None:
    backdoored, honest = (data_free_evidence(planted(strength), seed=0) for strength in (40.0, 0.0))
    assert int(class_consensus(backdoored).argmax()) == TARGET
    high, low = data_free_score(backdoored), data_free_score(honest)
    assert high is not None and low is not None and high > low


def test_it_costs_480_images_a_class() -> None:
    suspect = planted()
    data_free_evidence(suspect, seed=0)
    assert suspect.meter.backward_images == CLASSES * 8 * 60
