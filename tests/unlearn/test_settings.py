"""Hyper-parameters by name, from text and from Python."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import pytest

from auditor.errors import UsageError
from auditor.unlearn import METHODS, configured
from auditor.unlearn.method import Method
from auditor.unlearn.settings import parameters_of, to_text, with_settings


@dataclass(frozen=True, kw_only=True)
class Odd:
    """Every type that a field may have."""

    shift: float = -1.0
    often: bool = True
    mode: Literal["a", "b"] = "a"
    most: int | None = None
    pair: tuple[float, int] = (0.5, 2)
    name: str = "odd"
    is_reconstruction: bool = False


ODD = cast(Method, Odd())


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_parameter_reads_back_what_it_shows(method: Method) -> None:
    texts = {parameter.name: to_text(parameter.default) for parameter in parameters_of(method)}
    assert texts and with_settings(method, texts) == method


@pytest.mark.parametrize(("settings", "expected"), [
    ({"shift": "-2", "often": "no", "mode": "b", "most": "3", "pair": "1, 4"}, (-2.0, False, "b", 3, (1.0, 4))),
    ({"shift": 1, "often": False, "mode": "b", "most": None, "pair": (2, 5)}, (1.0, False, "b", None, (2.0, 5))),
])  # fmt: skip
def test_text_and_values_are_both_taken(settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = asdict(cast(Any, with_settings(ODD, settings)))
    assert tuple(found[name] for name in ("shift", "often", "mode", "most", "pair")) == expected


@pytest.mark.parametrize(("method", "settings"), [
    ("auto", {"patience": "1"}), ("nosuch", {}), ("prune", {"nosuch": 1}), ("prune", {"name": "x"}),
    ("prune", {"patience": "1.5"}), ("prune", {"patience": "-1"}), ("prune", {"learning_rate": "nan"}),
    ("refit", {"strength": "1,2,3"}), ("refit", {"strength": ""}),
])  # fmt: skip
def test_what_does_not_fit_is_refused(method: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        configured(method, settings)


@pytest.mark.parametrize("settings", [{"mode": "c"}, {"often": "perhaps"}, {"most": "many"}, {"pair": "1"}])
def test_the_words_say_what_a_parameter_takes(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        with_settings(ODD, settings)


def test_settings_change_one_method_only() -> None:
    chosen = configured("prune", {"patience": "3"})
    assert cast(Any, chosen["prune"]).patience == 3 and chosen["refit"] is METHODS["refit"]
    assert configured("auto", {}) == METHODS
