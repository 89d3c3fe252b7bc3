"""From a file that nobody vouches for to a Suspect: sniff, gate, architecture, preflight."""
