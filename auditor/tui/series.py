"""Values over time in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator


class Series:
    """Appends for ever; keeps at most `most` values, thinned evenly, and always the latest."""

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._every = 1
        self._count = 0
        self._kept: list[float] = []
        self._latest: float | None = None

    def append(self, value: float) -> None:
        self._latest = value
        if self._count % self._every == 0:
            self._kept.append(value)
        self._count += 1
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._every *= 2

    def __iter__(self) -> Iterator[float]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def values(self) -> list[float]:
        """The values kept, the latest at the end."""
        if self._latest is None or (self._count - 1) % self._every == 0:
            return list(self._kept)
        return [*self._kept, self._latest]

    @property
    def latest(self) -> float | None:
        return self._latest
