"""One screen each: open, audit, finding, unlearn, result; all are views of a `RunState`."""
