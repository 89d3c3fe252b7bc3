"""What a look at the chosen paths found, in words."""

from __future__ import annotations

from rich.text import Text

from auditor.domain import AuditResult, ErrorRecord
from auditor.normalizations import normalization_words
from auditor.report.text import byte_size, number
from auditor.tui.opening import MOST_COUNTED, FileFacts, ImageFacts
from auditor.tui.text import DONE, FAILED, WARNING, lines, marked, shown

PLAN = """What happens
1  The file is opened in an isolated process. Nothing in it is run.
2  For each class, the smallest trigger that forces it is searched. A backdoor's target is far cheaper.
3  You see the finding, and choose how the backdoor is unlearned.
4  The sanitized model is measured afresh, exported, and reported."""


def model_words(path: str, facts: FileFacts | None) -> Text:
    """What the file is, or why it cannot be used; nothing while it is being looked at."""
    if not path or facts is None or facts.path != path:
        return Text("")
    if facts.problem:
        return lines(marked(FAILED, facts.problem), f"  {shown(facts.next_step, 300)}")
    return marked(DONE, f"{facts.format}, {byte_size(facts.bytes)}, sha256 {facts.sha256[:16]}…")


def image_words(path: str, facts: ImageFacts | None) -> Text:
    """How many images there are, or why they cannot be used."""
    if not path:
        return marked(WARNING, "Without clean images the answer is inconclusive.")
    if facts is None or facts.path != path:
        return Text("")
    if facts.problem:
        return lines(marked(FAILED, facts.problem), f"  {shown(facts.next_step, 300)}")
    if not facts.images:
        return marked(DONE, "an .npz archive")
    count = f"{facts.images}" if facts.images < MOST_COUNTED else f"at least {MOST_COUNTED}"
    return marked(DONE, f"{count} images in {facts.folders} folder{'s' if facts.folders != 1 else ''}")


def check_words(result: AuditResult | None, errors: list[ErrorRecord]) -> Text:
    """What opening the model and trying it on the images found; errors with their next step."""
    said: list[Text | str] = []
    if result is not None and result.architecture is not None:
        network, size = result.architecture, "x".join(map(str, result.architecture.input_shape))
        said.append(marked(DONE, f"{network.name} ({network.how}), {network.num_classes} classes, input {size}, "
                                 f"{number(network.parameters)} parameters, normalisation {normalization_words(network)}"))  # fmt: skip
    safety = result.file_safety if result is not None else None
    if safety is not None and not errors:
        noted = f"opened safely, {len(safety.findings)} finding{'s' if len(safety.findings) != 1 else ''}"
        said.append(marked(WARNING if safety.findings else DONE, noted + (f": {safety.findings[0].message}" if safety.findings else "")))
    rate = result.architecture.clean_accuracy if result is not None and result.architecture is not None else None
    verdict = result.verdict if result is not None else None
    if verdict is not None and not errors:
        said += [marked(WARNING, f"An audit would end inconclusive. {reason}") for reason in verdict.reasons[:2]]
    elif rate is not None and rate.rate is not None:
        said.append(marked(DONE, f"right on {rate.hits} of {rate.total} of your images"))
    for error in errors[:2]:
        said += [marked(FAILED, error.what), f"  {shown(error.next_step, 300)}"]
    return lines(*said)
