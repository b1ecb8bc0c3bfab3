"""Turns as Gemini and Vertex AI write them: ``{"role", "parts"}`` in place of ``{"role", "content"}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.intake.json_rows import named_type

# Both spellings of their JSON: of the service and of its Python client.
_CALLS = ("functionCall", "function_call")
_RESULTS = ("functionResponse", "function_response")
_MEDIA = ("inlineData", "inline_data", "fileData", "file_data")
_DECLARATIONS = ("functionDeclarations", "function_declarations")


def in_parts(turn: Mapping[str, Any]) -> bool:
    """Whether a turn, or a system instruction, has its text in ``parts`` alone."""
    parts = turn.get("parts")
    return turn.get("content") is None and isinstance(parts, list) and all(isinstance(part, dict) for part in parts)


def result_of(turn: Mapping[str, Any]) -> tuple[str, str] | None:
    """A tool's name and the JSON text of its result, where the turn holds nothing else; several become one list."""
    results = [result for part in turn["parts"] if isinstance(result := _first(part, _RESULTS), dict)]
    if not results or len(results) < len(turn["parts"]):
        return None
    bodies = [result.get("response") for result in results]
    return str(results[0].get("name") or ""), json.dumps(bodies[0] if len(bodies) == 1 else bodies, ensure_ascii=False)


def typed(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part with its type named, as ``content`` in parts names it."""
    if "type" in part:
        return dict(part)
    if "text" in part:
        return {"type": "reasoning" if part.get("thought") is True else "text", "text": part["text"]}
    if isinstance(call := _first(part, _CALLS), dict):
        arguments = call.get("args", call.get("arguments")) or {}
        return {"type": "tool_call", "value": {"name": call.get("name"), "arguments": arguments}}
    media = _first(part, _MEDIA)
    if media is not None:
        kind = media.get("mimeType", media.get("mime_type")) if isinstance(media, dict) else named_type(media)
        return {"type": f"file, {kind}"}
    return {"type": ", ".join(part)}


def declared(tool: Any) -> list[Any]:
    """The definitions inside a tool of Gemini's, each wrapped as chat templates take them; other tools as they are."""
    declarations = _first(tool, _DECLARATIONS) if isinstance(tool, dict) else None
    if not isinstance(declarations, list):
        return [tool]
    return [{"type": "function", "function": declaration} for declaration in declarations]


def _first(value: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)
