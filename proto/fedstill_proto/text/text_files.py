"""Files of text that people bring: read whole within a limit, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.text.vocabulary import TEXT_LIMIT

ErrorOf = Callable[[str], FedstillError]
"""Makes the reader's own error of what is wrong."""


def read_text(file: Path, *, most_bytes: int, error: ErrorOf, encoding: str = "utf-8-sig") -> str:
    """The whole of a UTF-8 file of at most so many bytes, without a byte order mark."""
    try:
        if file.stat().st_size > most_bytes:
            raise error(f"{file}: {file.stat().st_size} bytes; {most_bytes} at most")
        return file.read_text(encoding=encoding)
    except OSError as problem:
        raise error(f"{file}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise error(f"{file}: is not UTF-8 text: {problem}") from None


def read_lines(file: Path, *, most_bytes: int, error: ErrorOf) -> list[str]:
    """The lines that are not blank, each a text of at most TEXT_LIMIT characters."""
    lines = [line.strip() for line in read_text(file, most_bytes=most_bytes, error=error).splitlines()]
    longest = max(map(len, lines), default=0)
    if longest > TEXT_LIMIT:
        raise error(f"{file}: a line has {longest} characters; {TEXT_LIMIT} at most")
    return [line for line in lines if line]
