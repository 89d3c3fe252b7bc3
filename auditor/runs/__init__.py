"""The run folder: what an audit leaves behind, written so that a kill at any point can be resumed.

    state.json               what the run is of (its fingerprint); the folder is ours because of it
    events.jsonl             one line per event
    evidence/stages/*.json   the parts of finished stages; a stage is finished when its file is there
    evidence/frames/*.npz    arrays that events carried
    result.json, report.*, sanitized.*, SHA256SUMS (last)

Every file but the event log appears whole or not at all. SHA256SUMS is removed at the first
write after opening, so a folder that has one is complete. Nothing is pickled.
"""

from auditor.runs.folder import RunFolder
from auditor.runs.journal import read_events
from auditor.runs.pictures import load_picture
from auditor.runs.seal import verify_seal

__all__ = ["RunFolder", "load_picture", "read_events", "verify_seal"]
