"""The printed report, and what happens where it cannot be printed."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import pypdf
import pytest
import report_runs as runs

from auditor.domain import ErrorRecord
from auditor.report import render
from auditor.report.pdf import PdfError, to_pdf


def printed(html: str) -> bytes:
    try:
        return to_pdf(html)
    except PdfError as error:
        pytest.skip(f"no PDF on this machine: {error.what}")


@pytest.fixture(scope="module")
def document(full_html: str) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(printed(full_html)))


def test_pages_are_numbered_and_carry_the_hash(document: pypdf.PdfReader) -> None:
    pages = [page.extract_text() for page in document.pages]
    total = len(pages)
    assert 9 <= total <= 18
    for number, text in enumerate(pages, start=1):
        assert f"page {number} of {total}" in text
    assert "Backdoor found" in pages[0] and "Sanitized and verified" in pages[0]
    assert all(f"sha256 {runs.SHA[:16]}" in text for text in pages[1:])
    assert "What an attacker could do" in pages[1] and "What to do next" in pages[1]


def test_it_is_tagged_titled_and_outlined(document: pypdf.PdfReader) -> None:
    root: Any = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and "/StructTreeRoot" in root and root["/Lang"] == "en"
    assert document.metadata is not None and "suspect.pt" in (document.metadata.title or "")
    titles = [item.title for item in document.outline if not isinstance(item, list)]
    assert titles[0] == "Summary" and "Sign-off" in titles


def test_the_same_page_prints_to_the_same_bytes() -> None:
    html = '<html lang="en"><head><title>t</title></head><body><h1>Twice</h1><p>the same</p></body></html>'
    assert printed(html) == printed(html)


def test_nothing_is_fetched_while_printing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do-not-leak", encoding="utf-8")
    html = (
        f'<html lang="en"><head><title>t</title><link rel="stylesheet" href="{secret.as_uri()}"></head><body><h1>x</h1>'
        f'<img src="{secret.as_uri()}" alt="a"><object data="{secret.as_uri()}">gone</object>'
        f'<a rel="attachment" href="{secret.as_uri()}">f</a></body></html>'
    )
    reader = pypdf.PdfReader(io.BytesIO(printed(html)))
    assert not reader.attachments
    assert "do-not-leak" not in "".join(page.extract_text() for page in reader.pages)


def test_without_pango_the_html_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a stale PDF, and a machine on which WeasyPrint finds no Pango
    folder = runs.write_run(tmp_path, evidence=False)
    (folder / "report.pdf").write_bytes(b"stale")
    real = builtins.__import__

    def without_pango(name: str, *rest: Any) -> Any:
        if name.startswith("weasyprint"):
            raise OSError("cannot load library 'libpango-1.0-0'\nmore")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pango)
    # When the run is rendered
    rendered = render(folder)
    # Then there is HTML, no PDF, and the message names the package
    assert rendered.html.is_file() and rendered.pdf is None and not (folder / "report.pdf").exists()
    assert "libpango-1.0-0" in rendered.message and "auditor report" in rendered.message


def test_a_layout_that_fails_keeps_the_html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import weasyprint  # type: ignore[import-untyped]
    except OSError as error:
        pytest.skip(f"no PDF on this machine: {error}")

    def fail(*_: Any, **__: Any) -> bytes:
        raise RecursionError("too deep")

    monkeypatch.setattr(weasyprint.HTML, "write_pdf", fail)
    rendered = render(runs.write_run(tmp_path, evidence=False))
    assert rendered.html.is_file() and rendered.pdf is None
    assert "RecursionError: too deep" in rendered.message and "browser" in rendered.message


def test_a_stopped_audit_prints(tmp_path: Path) -> None:
    error = ErrorRecord(kind="unsafe_checkpoint", what="The pickle calls os.system.", next_step="Ask for safetensors.")
    folder = runs.write_run(tmp_path, runs.stopped(4, error), evidence=False)
    rendered = render(folder)
    if rendered.pdf is None:
        pytest.skip(rendered.message)
    text = " ".join(pypdf.PdfReader(rendered.pdf).pages[0].extract_text().split())  # where lines break depends on fonts
    assert "cannot be opened safely" in text and "os.system" in text
