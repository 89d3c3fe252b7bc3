"""The bank's scoring by hand, what its counts can carry, and the bank that ships."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from auditor.pipeline.without_images import BUDGET
from auditor.search import FAMILIES
from auditor.search.budgets import PROFILES
from auditor.search.synthesis import Candidate, SearchResult
from auditor.triggers import Trigger
from auditor.verdict import calibration
from auditor.verdict.calibration import (
    Bank,
    Scoring,
    Table,
    bank,
    calibration_record,
    class_features,
    nearest_table,
)
from auditor.verdict.decision import calibrated_sentence
from auditor.verdict.statistics import expected_maximum
from auditor.verdict.weighing import weigh

SCORING = Scoring(scale={"patch": 2.0, "warp": 0.5}, bias=-2.0, strongest=1.0, together=0.5)


def table(**changed: object) -> Table:
    values = {"profile": "standard", "images": 100, "scoring": SCORING, "threshold": 0.7, "honest": [0.1, 0.2, 0.3, 0.6],
              "backdoored": [0.5, 0.8, 0.9], "bases": 3, "classes": (10, 43), "pixels": (1024, 1024),
              "architectures": ["cifar:resnet20"]}  # fmt: skip
    return Table(**(values | changed))  # type: ignore[arg-type]


# Scoring -------------------------------------------------------------------------------------------


def test_features_are_logarithms_of_the_largest_and_of_the_sum_of_what_stands_out() -> None:
    features = class_features(np.array([[1.0, -3.0, 0.0], [2.0, 4.0, -1.0]]))
    np.testing.assert_allclose(features, np.log1p([[2.0, 4.0, 0.0], [3.0, 4.0, 0.0]]))


def test_a_class_is_scored_in_units_of_what_honest_models_reach() -> None:
    # Given ten classes, class 4 at twice the patch scale and at once the warp scale.
    unit = expected_maximum(10)
    z_FK = np.full((2, 10), -1.0)
    z_FK[:, 4] = 2 * 2.0 * unit, 0.5 * unit
    score_K = SCORING.class_scores(["patch", "warp"], z_FK)
    logit = -2.0 + math.log1p(2.0) + 0.5 * math.log1p(3.0)
    assert score_K[4] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert score_K[0] == pytest.approx(1 / (1 + math.exp(2.0)))


def test_a_row_of_larger_mean_adds_to_the_score_and_one_of_smaller_takes_nothing_off() -> None:
    scoring = replace(SCORING, rows=0.8, rows_scale=3.0)
    z_FK, rows_K = np.zeros((2, 10)), np.zeros(10)
    rows_K[[4, 5, 6]] = 2 * 3.0 * expected_maximum(10), -50.0, np.nan
    score_K = scoring.class_scores(["patch", "warp"], z_FK, rows_K)
    assert score_K[4] == pytest.approx(1 / (1 + math.exp(2.0 - 0.8 * math.log1p(2.0))))
    np.testing.assert_allclose(np.delete(score_K, 4), 1 / (1 + math.exp(2.0)))
    np.testing.assert_allclose(scoring.class_scores(["patch", "warp"], z_FK), 1 / (1 + math.exp(2.0)))  # rows not known


def test_rows_are_those_of_the_classes_searched() -> None:
    known = Bank(table=table(), rows_z=np.arange(10.0))
    np.testing.assert_array_equal(known.rows([7, 2]), [7.0, 2.0])  # type: ignore[arg-type]
    assert Bank(table=table()).rows([7, 2]) is None
    scoring = replace(SCORING, rows=0.8)
    told = weigh(search({3: 0.2}), Bank(table=table(scoring=scoring), rows_z=np.eye(10)[3] * 9))
    untold = weigh(search({3: 0.2}), Bank(table=table(scoring=scoring)))
    assert told.scores[3] > untold.scores[3] and told.scores[4] == untold.scores[4]


def test_a_family_that_found_nothing_says_nothing() -> None:
    z_FK = np.full((2, 10), np.nan)
    z_FK[0] = 0.0
    np.testing.assert_allclose(SCORING.class_scores(["patch", "warp"], z_FK), 1 / (1 + math.exp(2.0)))


def test_more_classes_need_a_larger_outlier_for_the_same_score() -> None:
    few, many = np.zeros((1, 10)), np.zeros((1, 40))
    few[0, 3] = many[0, 3] = 5.0
    assert SCORING.class_scores(["patch"], few)[3] > SCORING.class_scores(["patch"], many)[3]


@pytest.mark.parametrize(("count", "expected"), [(2, 0.5642), (10, 1.5388), (34, 2.0959)])
def test_the_expected_largest_of_normal_values(count: int, expected: float) -> None:
    assert expected_maximum(count) == pytest.approx(expected, abs=0.03) and expected_maximum(1) == 0


# What a score means --------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "p"), [(0.0, 1.0), (0.25, 3 / 5), (0.6, 2 / 5), (0.99, 1 / 5)])
def test_the_p_value_counts_honest_models_and_this_one(score: float, p: float) -> None:
    assert table().p_value(score) == pytest.approx(p)


def test_a_likelihood_ratio_goes_no_further_than_the_bank_can_tell() -> None:
    assert table().likelihood_ratio(0.5) == pytest.approx(1.0)
    assert table().likelihood_ratio(0.75) == pytest.approx(3.0)
    assert table().likelihood_ratio(1.0) == 5 and table().likelihood_ratio(0.0) == 1 / 4


def test_the_record_says_what_the_score_means_at_stated_base_rates() -> None:
    record = calibration_record(Bank(table=table(), beyond=["12 images (the bank: 100)"]), 0.75, "cifar10", 0.9)
    assert record["probability_at_base_rate"]["0.1"] == pytest.approx(0.1 * 3 / (0.1 * 3 + 0.9), abs=1e-4)
    assert (record["honest_models"], record["bank_false_alarms"], record["bank_detected"]) == (4, 0, 2)
    assert record["extrapolated"] == ["12 images (the bank: 100)"]
    json.dumps(record, allow_nan=False)


def test_the_sentence_names_counts_and_extrapolation() -> None:
    said = calibrated_sentence(Bank(table=table(), beyond=["7 classes (the bank: 10 to 43)"]), 0.6)
    assert "Of 4 honest models in the bank 1 scored 0.60 or more (p = 0.4)" in said and "7 classes" in said
    assert "extrapolation" not in calibrated_sentence(Bank(table=table()), 0.6)


@pytest.mark.parametrize(("beyond", "threshold"), [
    ([], 0.7), (["architecture cifar:vgg11"], 0.7), (["profile quick (the bank: standard)"], 0.7), (["12 images (the bank: 100)"], 0.8638),
    (["7 classes (the bank: 10 to 43)", "architecture x"], 0.8638),
])  # fmt: skip
def test_the_threshold_is_wider_beyond_the_bank(beyond: list[str], threshold: float) -> None:
    assert Bank(table=table(), beyond=beyond).threshold == pytest.approx(threshold, abs=1e-4)


def test_what_lies_beyond_the_bank_is_named() -> None:
    inside = {"images": 60, "profile": "standard", "num_classes": 10, "pixels": 1024, "architecture": "cifar:resnet20"}
    assert table().beyond(**inside) == table().beyond(**(inside | {"images": 500})) == []  # type: ignore[arg-type]
    for changed, word in ({"images": 49}, "49 images"), ({"num_classes": 1000}, "1000 classes"), (
        {"pixels": 224 * 224}, "50176 pixels"), ({"architecture": "torchvision:vit_b_16"}, "vit_b_16"), (
        {"profile": "deep"}, "profile deep"):  # fmt: skip
        [said] = table().beyond(**(inside | changed))  # type: ignore[arg-type]
        assert word in said


# Weighing with a bank ------------------------------------------------------------------------------


def search(cost: dict[int, float]) -> SearchResult:
    mask = {"mask": np.zeros((2, 2), np.float32), "pattern": np.zeros((1, 2, 2), np.float32)}
    return SearchResult(candidates=[
        Candidate(trigger=Trigger(family="patch", target_class=k, parameters=mask), cost=cost.get(k, 1.0), flip_share=0.9, bound=1.0)
        for k in range(10)])  # fmt: skip


def test_a_class_stands_out_at_the_threshold() -> None:
    weighed = weigh(search({3: 0.2}), Bank(table=table()))
    score = weighed.scores[3]
    assert max(weighed.scores.values()) == score and len(weighed.scores) == 10
    assert [s.target_class for s in weigh(search({3: 0.2}), Bank(table=table(threshold=score - 1e-9))).suspicions] == [3]
    assert weigh(search({3: 0.2}), Bank(table=table(threshold=score + 1e-9))).suspicions == []


# The bank that ships -------------------------------------------------------------------------------


def test_the_nearest_budget_of_the_profile_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = (table(images=10), table(images=100), table(profile="quick", images=50), table(images=0))
    monkeypatch.setattr(calibration, "bank", lambda: ("test", tables))
    assert nearest_table("standard", 20) is tables[0] and nearest_table("standard", 5000) is tables[1]
    assert nearest_table("quick", 5) is tables[2] and nearest_table("deep", 90) is tables[1]
    assert nearest_table("standard", 0) is tables[3] and nearest_table("quick", 0) is tables[3] and nearest_table("standard", 1) is tables[0]
    monkeypatch.setattr(calibration, "bank", lambda: ("test", tables[:3]))
    assert nearest_table("standard", 0) is tables[0]
    monkeypatch.setattr(calibration, "bank", lambda: ("test", ()))
    assert nearest_table("standard", 100) is None


def test_the_shipped_bank_knows_its_families_and_keeps_its_threshold_above_its_honest_models() -> None:
    version, tables = bank()
    assert version and tables
    for shipped in tables:
        searched = (PROFILES[shipped.profile] if shipped.images else BUDGET).over(shipped.classes[1])
        assert set(shipped.scoring.scale) == set(searched.families) <= set(FAMILIES)
        assert 0.5 <= shipped.threshold < 1 and min(shipped.scoring.scale.values()) > 0
        assert shipped.scoring.strongest >= 0 and shipped.scoring.together >= 0
        assert all(0 <= score <= 1 for score in [*shipped.honest, *shipped.backdoored])
