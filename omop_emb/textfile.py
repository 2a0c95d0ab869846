"""Text files that users give us."""

from pathlib import Path

from omop_emb.errors import OmopEmbError


def read_utf8(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises OmopEmbError for a file that cannot be read, and names the line where it is not UTF-8 or holds a NUL.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OmopEmbError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OmopEmbError(
            f"{path}, line {line}: not UTF-8: byte 0x{data[error.start]:02x}", "Save the file as UTF-8 CSV."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise OmopEmbError(f"{path}, line {line}: a NUL character, which no text has", "Save the file as UTF-8 CSV.")
    return text
