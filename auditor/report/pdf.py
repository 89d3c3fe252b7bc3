"""Prints the HTML report to a tagged PDF with WeasyPrint, which needs Pango from the system."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from auditor.errors import AuditorError

VARIANT = "pdf/ua-1"
_MISSING = (
    "WeasyPrint needs the Pango library: install it with the system's package manager "
    "(Debian and Ubuntu: libpango-1.0-0 and libpangoft2-1.0-0; macOS with Homebrew: pango), then run `auditor report`."
)
_environment = threading.Lock()


class PdfError(AuditorError):
    """The PDF could not be made; the HTML report stands without it."""

    kind = "pdf"


def to_pdf(html: str) -> bytes:
    """The report as PDF bytes. The same HTML, fonts and versions give the same bytes.

    Loads nothing but `data:` URIs. Raises PdfError, with the next step, when WeasyPrint or
    Pango is missing or the layout fails.
    """
    try:
        from weasyprint import HTML  # type: ignore[import-untyped]
        from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        raise PdfError(f"report.pdf was not written: {_first_line(error)}.", _MISSING) from error
    identifier = hashlib.sha256(html.encode("utf-8")).hexdigest()[:32].encode("ascii")
    try:
        with _fixed_clock():
            fetcher = URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
            document = HTML(string=html, url_fetcher=fetcher)
            printed: bytes | None = document.write_pdf(pdf_variant=VARIANT, pdf_identifier=identifier)
    except Exception as error:
        # WeasyPrint and the font stack below it raise many types; none may cost the reader the HTML.
        raise PdfError(
            f"report.pdf was not written: {type(error).__name__}: {_first_line(error)}.",
            "report.html holds the same content; print it from a browser.",
        ) from error
    if not printed:
        raise PdfError("report.pdf was not written: WeasyPrint returned nothing.", "Print report.html from a browser.")
    return printed


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__


@contextmanager
def _fixed_clock() -> Iterator[None]:
    """Fix the time that font subsets carry, which would otherwise differ from print to print."""
    with _environment:
        before = os.environ.get("SOURCE_DATE_EPOCH")
        os.environ["SOURCE_DATE_EPOCH"] = before or "0"
        try:
            yield
        finally:
            if before is None:
                os.environ.pop("SOURCE_DATE_EPOCH", None)
