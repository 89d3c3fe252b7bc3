"""The command line: verbs, their flags, progress on stderr, results on stdout, exit codes."""
