"""One screen each: open, audit, finding, unlearn, verify, history; all but open are views of a `RunState`."""
