"""The event codec, and the Control that steers an audit."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator

import numpy as np
import pytest

from auditor import events
from auditor.domain import AuditResult, ClassEvidence, Run, Tool, Verdict
from auditor.errors import Cancelled
from auditor.events import KINDS, Control, Event, Notice, SearchStep, VerdictReached, decode, drain, encode

EVENTS: list[Event] = [
    events.StageStarted(number=1, at_s=0.5, stage="detect", title="Détection", steps=4),
    events.StageFinished(number=2, at_s=1.5, stage="detect", seconds=1.25, summary="done\nin two lines"),
    Notice(number=3, message="normalisation was inferred", level="warning"),
    events.ModelOpened(sha256="ab", format="pt", architecture="cifar:resnet20", num_classes=2, input_shape=[3, 32, 32]),
    SearchStep(
        family="patch", step=1, steps=9, classes=[0, 1], loss=[0.5, 0.25], attack_success_rate=[1.0, 0.0],
        cost=[3.5, None], picture="evidence/p.npy", picture_class=0,
    ),
    events.SharedSearchStep(step=1, steps=2, shared_images=3, histogram=[1, 2]),
    events.SourceSearchStep(kind="source_specific", step=5, steps=55, triggers=90),
    events.CandidateFound(target_class=1, family="patch", cost=2.5, attack_success_rate=0.9, confirmed=True),
    VerdictReached(verdict=Verdict(
        label="backdoored", score=0.9, kind="all_to_one", target_classes=[3], mapping={"0": 3}, reasons=["one"],
        per_class=[ClassEvidence(target_class=3, family="patch", cost=None, attack_success_rate=1.0, p_value=0.01)],
    )),
    events.UnlearnStep(
        method="prune", step=1, steps=2, clean_accuracy=0.9, proxy_attack_success_rate=0.1, tar=0.2,
        losses={"clean": 0.5}, parameters_changed=7, heat_maps="evidence/h.npy",
    ),
    events.AttemptFinished(method="prune", accepted=False, reason="accuracy fell"),
    events.ResultReached(result=AuditResult(
        schema_version="1.0", tool=Tool(name="auditor", version="1", python="3", torch="2", platform="x"),
        run=Run(argv=[], seed=0, device="cpu", dtype="float32", threads=1, profile="quick", started="now"),
    )),
    events.FileWritten(path="report.html", what="the report"),
    events.AuditFinished(exit_code=1, label="backdoored", passed=False),
]  # fmt: skip


def test_every_event_class_is_registered() -> None:
    assert set(KINDS.values()) == set(Event.__subclasses__()) == {type(event) for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_event_survives_its_line(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line and json.loads(line)["event"] == type(event).__name__
    assert decode(line) == event


def test_number_json_cannot_hold_becomes_none() -> None:
    event = SearchStep(
        family="patch", step=1, steps=2, classes=[0], loss=[float("nan")], attack_success_rate=[0.0], cost=[None]
    )
    again = decode(encode(event))
    assert isinstance(again, SearchStep) and again.loss == [None]


def test_array_must_be_stored_before_encoding() -> None:
    event = SearchStep(
        family="patch", step=1, steps=2, classes=[0], loss=[0.5], attack_success_rate=[1.0], cost=[1.0],
        picture=np.zeros((2, 2, 3), dtype=np.float32),
    )  # fmt: skip
    with pytest.raises(TypeError):
        encode(event)


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "5", "null", "{}", '{"event": "Unheard"}', '{"event": ["Notice"]}', '{"event": "Notice"}',
        '{"event": "VerdictReached", "verdict": 5}', '{"event": "SearchStep", "classes": 3}', "[" * 100_000,
    ],
    ids=range(12),
)  # fmt: skip
def test_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an event line"):
        decode(line)


def test_control_stops_resumes_and_cancels() -> None:
    control = Control()
    assert not control.stop_requested
    control.stop()
    assert control.stop_requested
    control.resume()
    assert not control.stop_requested
    worker = threading.Thread(target=control.cancel)
    worker.start()
    worker.join()
    with pytest.raises(Cancelled) as caught:
        _ = control.stop_requested
    assert caught.value.exit_code == 130


def test_deadline_acts_like_stop_and_outlasts_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    control = Control(time_budget_s=5)
    now[0] = 104.9
    assert not control.stop_requested and not control.out_of_time
    now[0] = 105.0
    assert control.stop_requested and control.out_of_time
    control.resume()
    assert control.stop_requested


def test_without_budget_there_is_no_deadline() -> None:
    assert Control().deadline is None and not Control().out_of_time


def test_drain_returns_what_the_verb_returns() -> None:
    seen = []

    def verb() -> Generator[Event, None, int]:
        for number in range(3):
            seen.append(number)
            yield Notice(message=str(number))
        return 7

    assert drain(verb()) == 7
    assert seen == [0, 1, 2]
