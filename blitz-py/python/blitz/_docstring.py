"""What a docstring says of a function and of its parameters: Google's, NumPy's and Sphinx's ways."""

from __future__ import annotations

import inspect
import re
from typing import Any

_GOOGLE = re.compile(r"^(args|arguments|parameters|params):\s*$", re.IGNORECASE)
_SECTION = re.compile(
    r"^(returns?|yields?|raises|examples?|notes?|see also|attributes|warnings?)\s*:?\s*$", re.IGNORECASE
)
_ENTRY = re.compile(r"^\s*\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


def read(function: Any) -> tuple[str, dict[str, str]]:
    """The description of a function, and one for each parameter that has any."""
    lines = (inspect.getdoc(function) or "").splitlines()
    said: list[str] = []
    parameters: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        if match := _SPHINX.match(line.strip()):
            at = _paragraph(lines, at + 1, match[2], match[1], parameters)
        elif line.strip().startswith(":") and re.match(r"^:\w+[^:]*:", line.strip()):
            at += 1
        elif _GOOGLE.match(line.strip()):
            at = _google(lines, at + 1, parameters)
        elif _is_numpy(lines, at):
            at = _numpy(lines, at + 2, parameters)
        elif _SECTION.match(line.strip()):
            break
        else:
            said.append(line)
            at += 1
    return "\n".join(said).strip(), parameters


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _paragraph(lines: list[str], at: int, first: str, name: str, found: dict[str, str]) -> int:
    """Takes the indented lines behind an entry."""
    words = [first]
    while at < len(lines) and lines[at].strip() and _indent(lines[at]) > 0:
        words.append(lines[at].strip())
        at += 1
    found[name] = " ".join(words).strip()
    return at


def _google(lines: list[str], at: int, found: dict[str, str]) -> int:
    margin: int | None = None
    name = ""
    while at < len(lines):
        line = lines[at]
        if line.strip():
            indent = _indent(line)
            margin = indent if margin is None else margin
            if indent == 0 or indent < margin:
                break
            match = _ENTRY.match(line)
            if match and indent == margin:
                name = match[1]
                found[name] = match[2].strip()
            elif name:
                found[name] = f"{found[name]} {line.strip()}".strip()
        at += 1
    return at


def _is_numpy(lines: list[str], at: int) -> bool:
    return (
        lines[at].strip().lower() in ("parameters", "arguments")
        and at + 1 < len(lines)
        and set(lines[at + 1].strip()) == {"-"}
    )


def _numpy(lines: list[str], at: int, found: dict[str, str]) -> int:
    while at < len(lines):
        line = lines[at]
        if at + 1 < len(lines) and lines[at + 1].strip() and set(lines[at + 1].strip()) == {"-"}:
            break
        if line.strip() and _indent(line) == 0:
            name = line.split(":")[0].strip().lstrip("*")
            at = _paragraph(lines, at + 1, "", name, found)
        else:
            at += 1
    return at
