"""The process that opens a checkpoint, and nothing of the auditor but this folder.

It is started by file path with an isolated interpreter. Modules here import the standard
library, torch and safetensors only, and each other by relative import, so that they also
run under the name `child` inside that process.
"""
