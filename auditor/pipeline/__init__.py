"""The only package that knows the order of an audit.

Each verb is a generator of events that ends with the result, whatever happened: errors are
recorded in it with their exit code, and with a run folder every event and part is written down.
"""

from auditor.pipeline.session import Session
from auditor.pipeline.verbs import audit, export_only, preflight, run, sanitize, scan, start

__all__ = ["Session", "audit", "export_only", "preflight", "run", "sanitize", "scan", "start"]
