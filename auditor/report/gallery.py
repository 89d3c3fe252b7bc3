"""The picture groups of the report: triggers, stamped images, heat-maps, each with alt texts.

A group whose evidence is missing or malformed becomes a note; the report is written anyway.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from auditor.domain import AuditResult, TriggerFinding, family_words
from auditor.report import pictures
from auditor.report.evidence import (
    EvidenceError,
    HeatMaps,
    StampedImages,
    TriggerArrays,
    inside,
    read_heat_maps,
    read_stamped,
    read_trigger,
)
from auditor.report.text import ClassNames, number, shorten
from auditor.report.triggers import as_one, moves_classes, rate_together

MOST_TRIGGERS = 8
MOST_STAMPED = 6
MOST_HEAT_MAPS = 4


@dataclass(frozen=True, kw_only=True)
class Picture:
    uri: str
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image's pictures side by side, and what the models say to them."""

    pictures: list[Picture]
    lines: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TriggerPanel:
    """One trigger; `members` of the result's are this one, and `finding` has the rate and the sources of all of them."""

    finding: TriggerFinding
    number: int
    members: int
    moves: bool
    synthesized: list[Picture]
    stamped: list[Card]
    conclusion: str
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class AttentionPanel:
    cards: list[Card]
    scale: str
    has_after: bool
    notes: list[str]


def trigger_panels(result: AuditResult, run_folder: Path, names: ClassNames) -> list[TriggerPanel]:
    """A panel for each trigger, confirmed ones first, at most eight; triggers that are one share theirs."""
    groups = sorted(as_one(result.triggers), key=lambda alike: not alike[0].confirmed)
    return [_trigger_panel(place, alike, result, run_folder, names) for place, alike in enumerate(groups[:MOST_TRIGGERS], start=1)]


def _trigger_panel(
    place: int, alike: Sequence[TriggerFinding], result: AuditResult, run_folder: Path, names: ClassNames
) -> TriggerPanel:  # fmt: skip
    synthesized: list[Picture] = []
    cards: list[Card] = []
    notes: list[str] = []
    conclusion, finding = "", alike[0]
    try:
        shown = [read_stamped(inside(run_folder, _stamped_name(one, result.triggers.index(one)))) for one in alike[:MOST_STAMPED]]
        every = [(stamped, i) for stamped in shown for i in range(1 if moves_classes(alike) else len(stamped.clean))]
        cards = [_stamped_card(stamped, i, names) for stamped, i in every[:MOST_STAMPED]]
        conclusion = "One image each of some classes." if moves_classes(alike) else _stamped_conclusion(shown[0], finding, names)
        synthesized = [_difference(shown[0])]
    except EvidenceError as error:
        notes.append(f"No pictures of stamped images: {error.what}")
    try:
        own = _synthesized(read_trigger(inside(run_folder, finding.evidence)))
        synthesized = own or synthesized
    except EvidenceError as error:
        notes.append(f"No picture of the trigger: {error.what}")
    together = replace(finding, attack_success_rate=rate_together(alike),
                       source_classes=list(dict.fromkeys(k for one in alike for k in one.source_classes)))  # fmt: skip
    return TriggerPanel(
        finding=together, number=place, members=len(alike), moves=moves_classes(alike), synthesized=synthesized, stamped=cards, conclusion=conclusion, notes=notes
    )


def _stamped_name(finding: TriggerFinding, index: int) -> str:
    """The stamped images that belong to `evidence/trigger_<i>.npz`."""
    found = re.fullmatch(r"(.*)trigger_(\d{1,6})\.npz", finding.evidence)
    return f"{found[1]}stamped_{found[2]}.npz" if found else f"evidence/stamped_{index}.npz"


def _synthesized(trigger: TriggerArrays) -> list[Picture]:
    if trigger.mask is not None and trigger.pattern is not None:
        pixels = int((trigger.mask > 0.5).sum())
        size = f"{trigger.mask.shape[0]} by {trigger.mask.shape[1]}"
        return [
            Picture(
                uri=pictures.trigger_over_checks(trigger.mask, trigger.pattern),
                alt=f"The synthesized trigger over a checkerboard, {size} pixels",
                caption="Trigger: pattern where the mask lets it show",
            ),
            Picture(
                uri=pictures.grey(trigger.mask),
                alt=f"The mask of the trigger; {pixels} pixels are more than half covered",
                caption=f"Mask: white replaces the image ({pixels} px over half)",
            ),
            Picture(
                uri=pictures.photo(np.rint(255 * np.clip(trigger.pattern, 0, 1)).astype(np.uint8)),
                alt="The full pattern before it is masked", caption="Pattern, unmasked",
            ),
        ]  # fmt: skip
    if trigger.delta is not None:
        uri, factor = pictures.signed(trigger.delta)
        return [
            Picture(
                uri=uri, alt=f"The perturbation that is added to every image, amplified {number(factor)} times",
                caption=f"Perturbation, {number(factor)}\N{MULTIPLICATION SIGN} amplified; grey is no change",
            )
        ]  # fmt: skip
    return []


def _difference(stamped: StampedImages) -> Picture:
    uri, factor = pictures.signed(pictures.difference(stamped.clean[0], stamped.triggered[0]))
    return Picture(
        uri=uri, alt=f"What the trigger changes in the first image, amplified {number(factor)} times",
        caption=f"Change to the first image, {number(factor)}\N{MULTIPLICATION SIGN} amplified",
    )  # fmt: skip


def _stamped_card(stamped: StampedImages, i: int, names: ClassNames) -> Card:
    true = names.bare(int(stamped.true[i]))
    before, after = names.bare(int(stamped.predicted_clean[i])), names.bare(int(stamped.predicted_triggered[i]))
    lines = [("true class", true)]
    if stamped.predicted_sanitized is not None:
        lines.append(("sanitized, with the trigger", names.bare(int(stamped.predicted_sanitized[i]))))
    return Card(
        pictures=[
            Picture(uri=pictures.photo(stamped.clean[i]), alt=f"Clean image of {true}", caption=f"suspect: {before}"),
            Picture(
                uri=pictures.photo(stamped.triggered[i]),
                alt=f"The same image with the trigger; the suspect says {after}", caption=f"suspect: {after}",
            ),
        ],
        lines=lines,
    )  # fmt: skip


def _stamped_conclusion(stamped: StampedImages, finding: TriggerFinding, names: ClassNames) -> str:
    n = len(stamped.clean)
    hits = int((stamped.predicted_triggered == finding.target_class).sum())
    said = (
        f"With the trigger, the suspect answers {names.bare(finding.target_class)} on {hits} of the {n} stored images"
    )
    if stamped.predicted_sanitized is not None:
        left = int((stamped.predicted_sanitized == finding.target_class).sum())
        right = int((stamped.predicted_sanitized == stamped.true).sum())
        said += f"; the sanitized model on {left}, and it names the true class on {right}"
    return said + "."


def attention_panel(result: AuditResult, run_folder: Path, names: ClassNames) -> AttentionPanel | None:
    """Grad-CAM before and after, or None when the result has no attention evidence."""
    if result.attention is None:
        return None
    if not result.attention.panels:
        return AttentionPanel(cards=[], scale="", has_after=False, notes=["No heat-maps were stored."])
    try:
        maps = read_heat_maps(inside(run_folder, result.attention.panels))
    except EvidenceError as error:
        return AttentionPanel(cards=[], scale="", has_after=False, notes=[f"No heat-maps: {error.what}"])
    cards = [_heat_card(maps, i, names) for i in range(min(MOST_HEAT_MAPS, len(maps.images)))]
    return AttentionPanel(cards=cards, scale=pictures.heat_scale(), has_after=maps.after is not None, notes=[])


def _heat_card(maps: HeatMaps, i: int, names: ClassNames) -> Card:
    image, support = maps.images[i], maps.support
    said = "" if maps.predicted_before is None else names.bare(int(maps.predicted_before[i]))
    of = "" if maps.true is None else f" of {names.bare(int(maps.true[i]))}"
    shown = [
        Picture(uri=pictures.photo(image), alt=f"Image{of} with the trigger", caption=f"input{of}, with trigger"),
        Picture(
            uri=pictures.heat(image, maps.before[i], support),
            alt=f"Grad-CAM of the suspect{', which says ' + said if said else ''}; the trigger is outlined",
            caption=f"suspect: {said}" if said else "suspect",
        ),
    ]
    if maps.after is not None:
        said = "" if maps.predicted_after is None else names.bare(int(maps.predicted_after[i]))
        shown.append(
            Picture(
                uri=pictures.heat(image, maps.after[i], support),
                alt=f"Grad-CAM of the sanitized model{', which says ' + said if said else ''}",
                caption=f"sanitized: {said}" if said else "sanitized",
            )
        )
    return Card(pictures=shown)


def family_title(panel: TriggerPanel, names: ClassNames) -> str:
    """A trigger's heading: its family and where it leads."""
    kind = f"{shorten(family_words(panel.finding.family).capitalize(), 40)} trigger"
    return f"{kind} that sends every class to another" if panel.moves else f"{kind} toward {names(panel.finding.target_class)}"
