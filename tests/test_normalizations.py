"""The known normalisations, and what is said of one."""

from __future__ import annotations

import pytest

from auditor.domain import Architecture, Normalization
from auditor.normalizations import KNOWN, known_normalization, normalization_words


def network(normalization: Normalization, how: str) -> Architecture:
    return Architecture(name="n", how="given", num_classes=2, input_shape=[3, 8, 8], normalization=normalization,
                        normalization_how=how)  # fmt: skip


def test_grey_networks_get_one_channel_of_statistics() -> None:
    grey = known_normalization("imagenet", 1)
    assert grey.mean == [pytest.approx(0.449)] and len(grey.std) == 1


@pytest.mark.parametrize("name", list(KNOWN))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_known_one_is_called_by_its_name(name: str, channels: int) -> None:
    assert normalization_words(network(known_normalization(name, channels), "inferred")) == f"{name} (inferred)"


def test_another_is_said_in_numbers() -> None:
    other = Normalization(mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 0.5])
    assert normalization_words(network(other, "given")) == "mean 0.1, 0.2, 0.3, std 1, 1, 0.5 (given)"
