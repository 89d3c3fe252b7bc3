"""TAR on a network whose backdoor is set by hand: its controls, intervals, pictures and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from planted import CORNER, SIDE, TARGET, corner_mask, corner_trigger, planted, planted_images
from torch import nn

from auditor.attention import Layer, attend, class_by_class, measure, monitor_tar, target_layer
from auditor.attention.measuring import bootstrap, equal_area_masks, normalize_heat
from auditor.domain import Interval, TarMeasurement
from auditor.suspect import Suspect
from auditor.triggers import Trigger

STRONG = 40.0
LAYER = Layer(name="relu", rule="", shape=(SIDE - 1, SIDE - 1))


def global_trigger() -> Trigger:
    delta = np.full((3, SIDE, SIDE), 0.1, dtype=np.float32)
    return Trigger(family="additive", target_class=TARGET, parameters={"delta": delta})


def measured(strength: float = STRONG, **options: bool) -> TarMeasurement:
    images, labels = planted_images()
    return measure(planted(strength), corner_trigger(), images, labels, LAYER, seed=0, **options)


def test_a_planted_trigger_draws_the_attention() -> None:
    found = measured()
    area = 4 / SIDE**2
    assert found.energy.mean is not None and found.energy.mean > 0.3
    assert found.lift.mean == pytest.approx(found.energy.mean / area)
    assert found.ratio.mean is not None and found.ratio.mean > 20
    assert found.normalized.mean is not None and 0.3 < found.normalized.mean < 1.2
    assert found.coverage == 1 and found.class_rule == "predicted"


def test_controls_stay_near_the_area() -> None:
    found = measured()
    area = 4 / SIDE**2
    assert found.clean_images.mean == pytest.approx(area, rel=0.5)
    assert found.random_mask.mean is not None and found.random_mask.mean < 4 * area
    assert found.random_mask.high is not None and found.energy.low is not None
    assert found.random_mask.high < found.energy.low


def test_the_honest_twin_does_not_look_at_the_patch() -> None:
    assert measured(0.0).energy.mean < 0.1 < measured().energy.mean  # type: ignore[operator]


def test_random_masks_on_even_heat_have_exactly_the_area() -> None:
    class Even(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Conv2d(3, 2, 1)
            nn.init.zeros_(self.maps.weight)
            self.maps.bias = nn.Parameter(torch.ones(2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.maps(images).mean((2, 3)) @ torch.ones(2, 6)
            return logits

    images, labels = planted_images()
    model = Suspect(Even(), num_classes=6, input_shape=(3, SIDE, SIDE))
    layer = Layer(name="maps", rule="", shape=(SIDE, SIDE))
    found = measure(model, corner_trigger(), images, labels, layer, seed=3)
    for interval in (found.energy, found.random_mask, found.clean_images):
        assert interval.mean == pytest.approx(4 / SIDE**2, rel=1e-5)
    assert found.lift.mean == pytest.approx(1, rel=1e-5) and found.normalized.mean == pytest.approx(0, abs=1e-6)


def test_only_images_the_trigger_should_change_are_measured() -> None:
    images, labels = planted_images(30)
    assert measure(planted(), corner_trigger(), images, labels, LAYER, seed=0).energy.count == 25
    assert measure(planted(), corner_trigger([1, 2]), images, labels, LAYER, seed=0).energy.count == 10
    none = measure(planted(), corner_trigger(), images, torch.full((30,), TARGET), LAYER, seed=0)
    assert none.energy == Interval(mean=None, low=None, high=None, count=0) and none.coverage == 0


def test_fixed_class_explains_the_target_even_where_it_is_not_predicted() -> None:
    # Given a backdoor too weak to flip, the predicted class does not depend on the patch, the target does.
    weak = 0.5
    assert measured(weak).energy.mean == pytest.approx(measured(0.0).energy.mean, rel=1e-4)
    fixed = measured(weak, fixed_class=True)
    assert fixed.class_rule == "target" and fixed.energy.mean > 1.2 * measured(weak).energy.mean  # type: ignore[operator]


def test_maps_without_heat_lower_the_coverage_and_leave_the_mean() -> None:
    # Given a last layer that is silent unless the corner is red.
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = planted(STRONG).module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            kept = images * (images[:, 0, -1, -1] > 0.9).view(-1, 1, 1, 1)
            logits: torch.Tensor = self.net(kept)
            return logits

    images, labels = planted_images(12)
    model = Suspect(Silent(), num_classes=6, input_shape=(3, SIDE, SIDE))
    layer = Layer(name="net.relu", rule="", shape=(SIDE - 1, SIDE - 1))
    found = measure(model, corner_trigger(), images, labels, layer, seed=0)
    assert found.coverage == 1 and found.clean_images.count == 0
    dim = corner_trigger(colour=(0.5, 0.5, 0.5))
    silent = measure(model, dim, images, labels, layer, seed=0)
    assert silent.coverage == 0 and silent.energy == Interval(mean=None, low=None, high=None, count=0)


def test_same_seed_same_figures_other_seed_other_masks() -> None:
    images, labels = planted_images()
    first, again, other = (
        measure(planted(STRONG), corner_trigger(), images, labels, LAYER, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again and first.energy.mean == other.energy.mean and first.random_mask != other.random_mask


def test_suspect_is_untouched_and_the_meter_counts_both_passes() -> None:
    model = planted()
    before = model.state()
    images, labels = planted_images(12)
    measure(model, corner_trigger(), images, labels, LAYER, seed=0)
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert (model.meter.forward_images, model.meter.backward_images) == (20, 20)
    assert not any(module._forward_hooks for module in model.module.modules())


def test_equal_area_masks_move_a_patch_and_scatter_a_spread_one() -> None:
    rng = np.random.default_rng(0)
    patch = np.zeros((8, 8), dtype=bool)
    patch[5:8, 6:8] = [[True, False], [True, True], [False, True]]
    moved = equal_area_masks(patch, 50, rng)
    assert (moved.sum((1, 2)) == 4).all() and len({mask.tobytes() for mask in moved}) > 20
    for mask in moved:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (mask[rows[0] : rows[0] + 3, columns[0] : columns[0] + 2] == patch[5:8, 6:8]).all()
    spread = np.eye(8, dtype=bool)
    scattered = equal_area_masks(spread, 50, rng)
    assert (scattered.sum((1, 2)) == 8).all() and not (scattered == spread).all((1, 2)).any()
    assert not equal_area_masks(np.zeros((8, 8), dtype=bool), 3, rng).any()


def test_bootstrap_by_hand_and_at_the_edges() -> None:
    rng = np.random.default_rng(0)
    assert bootstrap(np.array([0.5, 0.5, np.nan, np.inf]), rng) == Interval(mean=0.5, low=0.5, high=0.5, count=2)
    assert bootstrap(np.array([0.25]), rng) == Interval(mean=0.25, low=None, high=None, count=1)
    assert bootstrap(np.array([np.nan]), rng) == Interval(mean=None, low=None, high=None, count=0)
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = bootstrap(values, rng)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_normalized_heat_peaks_at_one_and_nothing_stays_nothing() -> None:
    heat = np.stack([np.zeros((2, 2)), np.array([[0, 1], [2, 4]])]).astype(np.float32)
    np.testing.assert_array_equal(normalize_heat(heat), [np.zeros((2, 2)), [[0, 0.25], [0.5, 1]]])
    assert normalize_heat(np.zeros((0, 2, 2), np.float32)).shape == (0, 2, 2)


def test_attend_compares_like_with_like() -> None:
    images, labels = planted_images()
    found, panels = attend(planted(STRONG), corner_trigger(), images, labels, seed=0, sanitized=planted(0.0))
    assert found is not None and found.meaningful and found.mask_area == 4 / SIDE**2
    assert (found.layer, found.layer_rule) == ("relu", target_layer(planted()).rule)  # type: ignore[union-attr]
    assert found.before is not None and found.after is not None
    assert found.before.class_rule == found.after.class_rule == "predicted"
    assert found.before.energy.mean > 5 * found.after.energy.mean  # type: ignore[operator]
    assert found.before_target is not None and found.after_target is not None
    assert found.before_target.class_rule == found.after_target.class_rule == "target"
    assert f"{found.before_target.energy.mean:.1%} before" in found.note
    assert f"{found.after_target.energy.mean:.1%} after" in found.note
    assert found.before.energy.count == found.after.energy.count == 50
    assert panels["predicted_before"].tolist() == [TARGET] * 6
    assert panels["predicted_after"].tolist() == [0, 1, 2, 3, 5, 0]


def test_attend_panels_are_what_the_report_reads() -> None:
    images, labels = planted_images()
    _, panels = attend(planted(STRONG), corner_trigger(), images, labels, seed=0, sanitized=planted(0.0))
    assert panels["images"].shape == (6, SIDE, SIDE, 3) and panels["images"].dtype == np.uint8
    assert (panels["images"][:, *CORNER] == [255, 0, 0]).all()
    np.testing.assert_array_equal(panels["support"], corner_mask())
    for key in ("before", "after"):
        heat = panels[key]
        assert heat.shape == (6, SIDE, SIDE) and heat.dtype == np.float32
        assert heat.min() >= 0 and (heat.max((1, 2)) == 1).all()
    assert set(panels) == {"images", "support", "true", "before", "after", "predicted_before", "predicted_after"}


def test_panels_show_one_image_a_class_before_a_second_of_any() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, TARGET])
    assert class_by_class(corner_trigger(), labels).tolist() == [0, 3, 5, 1, 4, 2]
    images, labels = planted_images()
    order = labels.argsort(stable=True)
    _, panels = attend(planted(STRONG), corner_trigger(), images[order], labels[order], seed=0)
    assert panels["true"].tolist() == [0, 1, 2, 3, 5, 0]


def test_attend_without_a_sanitized_model_has_no_after() -> None:
    images, labels = planted_images(12)
    found, panels = attend(planted(), corner_trigger(), images, labels, seed=0)
    assert found is not None and found.after is None and found.after_target is None and "after" not in found.note
    assert set(panels) == {"images", "support", "true", "before", "predicted_before"}


def test_attend_keeps_to_its_limit_and_to_its_seed() -> None:
    images, labels = planted_images()
    model = planted()
    first, again, other = (
        attend(model, corner_trigger(), images, labels, seed=seed, limit=8)[1]["images"] for seed in (1, 1, 2)
    )
    found, _ = attend(model, corner_trigger(), images, labels, seed=1, limit=8)
    assert found is not None and found.before is not None and found.before.energy.count == 8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_global_trigger_is_not_meaningful() -> None:
    images, labels = planted_images(12)
    found, panels = attend(planted(), global_trigger(), images, labels, seed=0)
    assert found is not None and not found.meaningful and found.mask_area > 0.4
    assert found.note.startswith("TAR not meaningful (global trigger).") and panels["support"].mean() > 0.4


def test_no_map_means_no_attention() -> None:
    images, labels = planted_images(12)
    flat = Suspect(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 6)), num_classes=6, input_shape=(3, SIDE, SIDE))
    assert attend(flat, corner_trigger(), images, labels, seed=0) == (None, {})


def test_no_eligible_image_says_that_tar_is_undefined() -> None:
    images, _ = planted_images(12)
    found, panels = attend(planted(), corner_trigger(), images, np.full(12, TARGET), seed=0)
    assert found is not None and "undefined" in found.note and panels["images"].shape == (0, SIDE, SIDE, 3)


def test_monitor_reads_the_mean_energy_and_the_heat() -> None:
    images, labels = planted_images()
    eligible = images[labels != TARGET]
    elsewhere = np.roll(corner_mask(), -8, axis=(0, 1))[None]
    energy, control, heat = monitor_tar(planted(STRONG), corner_trigger().stamp(eligible), corner_mask(), elsewhere, "relu")
    assert energy == pytest.approx(measured().energy.mean)
    assert control is not None and energy is not None and control < 0.5 * energy
    assert heat.shape == eligible[:, 0].shape and heat.max() == 1
    nothing, none, cold = monitor_tar(planted(), torch.zeros(2, 3, SIDE, SIDE), corner_mask(), elsewhere, "relu")
    assert nothing is None and none is None and cold.max() == 0
