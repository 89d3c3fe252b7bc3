"""The command line that does what was asked for here, so that a run can be repeated without the interface."""

from __future__ import annotations

from auditor.request import Request
from auditor.unlearn.settings import to_text


def command(request: Request, verb: str) -> list[str]:
    """The arguments of `auditor` for this request, only those that are not at their defaults.

    A scan from the command line writes no run folder: its verdict is the same without.
    """
    said = [verb, request.model]
    output = request.output if verb == "audit" else None
    for flag, value in (("--clean", request.clean), ("--arch", request.arch), ("-o", output)):
        said += [flag, value] if value else []
    if request.profile != "standard":
        said += ["--profile", request.profile]
    if verb == "audit" and request.method != "auto":
        said += ["--method", request.method]
        said += [part for name, value in request.settings.items() for part in ("--set", f"{name}={to_text(value)}")]
    return said + (["--force"] if request.force and output else [])
