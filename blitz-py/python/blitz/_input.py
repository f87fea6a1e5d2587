"""What an agent is given beside text: images and files."""

from __future__ import annotations

from typing import Any

from ._value import Value


class _Media(Value):
    """Bytes, base64 text or an address, with their type: the part of a message."""

    _type = ""

    def __init__(
        self, data: bytes | bytearray | memoryview | str | None, url: str | None, media_type: str | None, name: str | None
    ) -> None:
        if data is not None and not isinstance(data, str):
            from base64 import b64encode  # Not needed to begin with: `import blitz` stays small.

            data = b64encode(data).decode()
        fields = {"media_type": media_type, "data": data, "url": url, "name": name}
        super().__init__({"type": self._type, **{key: value for key, value in fields.items() if value is not None}})

    def __reduce__(self) -> Any:
        return _again, (type(self), self._data)


class Image(_Media):
    """An image that an agent is given, alone or in a list with texts: ``engine.run("a", ["What is it?", Image(data, media_type="image/png")])``.

    ``data`` are its bytes (or their base64), with their ``media_type``; or ``url`` is its ``http(s)`` address.
    """

    _type = "image"
    media_type: str | None
    data: str | None
    url: str | None
    _shown = ("media_type", "url")

    def __init__(
        self,
        data: bytes | bytearray | memoryview | str | None = None,
        *,
        url: str | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(data, url, media_type, None)


class File(_Media):
    """A document, sound or film that an agent is given; as :class:`Image`, with a ``name`` for the model."""

    _type = "file"
    media_type: str | None
    data: str | None
    url: str | None
    name: str | None
    _shown = ("media_type", "name", "url")

    def __init__(
        self,
        data: bytes | bytearray | memoryview | str | None = None,
        *,
        url: str | None = None,
        media_type: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(data, url, media_type, name)


def _again(kind: type[_Media], data: dict[str, Any]) -> _Media:
    media = kind.__new__(kind)
    Value.__init__(media, data)
    return media


def given(value: Any) -> Any:
    """An input as the engine takes it: an image or a file, or a list with one, is an object of parts."""
    if isinstance(value, _Media):
        return {"parts": [value]}
    if isinstance(value, (list, tuple)) and any(isinstance(item, _Media) for item in value):
        return {"parts": list(value)}
    return value
