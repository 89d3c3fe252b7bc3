"""The report: `result.json` and evidence to one HTML page and a PDF. Loads no torch."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from auditor.errors import OutputError, printable
from auditor.report.log import read_curves
from auditor.report.page import render_html
from auditor.report.pdf import PdfError, to_pdf
from auditor.report.reading import read_result

__all__ = ["Rendered", "render"]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The files written. `pdf` is None when there is none, and `message` says why in one or two lines."""

    html: Path
    pdf: Path | None
    message: str


def render(run_folder: Path, *, pdf: bool = True) -> Rendered:
    """Write `report.html`, and `report.pdf` unless told not to, into the run folder.

    The same run gives the same bytes. A PDF that cannot be made leaves the HTML, and removes a
    stale `report.pdf`. Raises InputError for a missing or malformed `result.json`, OutputError when
    a file cannot be written.
    """
    source = read_result(run_folder / "result.json")
    html = render_html(source, read_curves(run_folder / "events.jsonl"), run_folder)
    html_path, pdf_path = run_folder / "report.html", run_folder / "report.pdf"
    _write(html_path, html.encode("utf-8"))
    if not pdf:
        return Rendered(html=html_path, pdf=None, message=f"Wrote {printable(html_path)}.")
    try:
        printed = to_pdf(html)
    except PdfError as error:
        pdf_path.unlink(missing_ok=True)
        return Rendered(html=html_path, pdf=None, message=str(error))
    _write(pdf_path, printed)
    return Rendered(html=html_path, pdf=pdf_path, message=f"Wrote {printable(html_path)} and {printable(pdf_path)}.")


def _write(path: Path, content: bytes) -> None:
    """Put the whole file in place at once, so that a reader never meets half of it."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{printable(path)} cannot be written: {error.strerror}", "Check the folder's permissions."
        ) from error
