"""What a look at the chosen paths found, in words."""

from __future__ import annotations

from rich.text import Text

from auditor.report.text import byte_size
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


