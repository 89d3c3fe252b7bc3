"""The JSON Schema of `result.json`, derived from the dataclasses that it is written from."""

from __future__ import annotations

import json
from typing import Any

from auditor.domain import SCHEMA_VERSION, AuditResult

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def result_schema() -> dict[str, Any]:
    """The schema of this version's results: every key is written always, and no other key."""
    from pydantic import TypeAdapter

    derived = TypeAdapter(AuditResult).json_schema(mode="serialization")
    for part in (derived, *derived.get("$defs", {}).values()):
        _close(part)
    derived["properties"]["schema_version"]["const"] = SCHEMA_VERSION
    return {"$schema": DIALECT, "title": "auditor result", **{k: v for k, v in derived.items() if k != "title"}}


def result_schema_text() -> str:
    """The schema as JSON text that ends in a newline."""
    return json.dumps(result_schema(), indent=2, ensure_ascii=False) + "\n"


def _close(part: dict[str, Any]) -> None:
    """Say that an object has exactly its properties; free-form objects stay open."""
    properties = part.get("properties")
    if properties is not None:
        part["required"] = list(properties)
        part["additionalProperties"] = False
        for described in properties.values():
            described.pop("default", None)
