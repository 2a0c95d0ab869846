"""The file that vectors travel in: Parquet, with the settings that made them and two checksums.

Columns: ``text_hash`` (32 bytes, SHA-256 of the UTF-8 text, ascending), ``embedded_at`` (microseconds, UTC) and
``embedding`` (D numbers, float32, or float16 for vectors stored as halfvec). The file holds no texts. Its key-value
metadata holds the settings that shape vectors, the version of this package, the SHA-256 of settings and rows, and
the SHA-256 of the file.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from omop_emb import __version__
from omop_emb.errors import OmopEmbError

PROVENANCE_KEY = "omop_emb.provenance"
VERSION_KEY = "omop_emb.version"
CONTENT_KEY = "omop_emb.content_sha256"
FILE_KEY = "omop_emb.file_sha256"
# The file's own digest counts as zeros in it.
NO_DIGEST = "0" * 64
MAGIC = b"PAR1"
HASH_LENGTH = 32
PROVENANCE = {
    "model": str,
    "dimensions": int,
    "document_prefix": str,
    "document_params": dict,
    "distance": str,
    "storage": str,
    "normalised": bool,
}
NUMBERS = {"vector": np.dtype(np.float32), "halfvec": np.dtype(np.float16)}


@dataclass(frozen=True)
class VectorBatch:
    """Some vectors: n hashes of 32 bytes, (n,) int64 microseconds since 1970 in UTC, (n, D) float32 or float16."""

    text_hashes: list[bytes]
    embedded_at: NDArray[np.int64]
    embeddings: NDArray[Any]


@dataclass
class ContentDigest:
    """SHA-256 over the settings and, row by row, hash, time and numbers; how the rows are batched has no part."""

    provenance: Mapping[str, Any]
    sha256: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.sha256.update(canonical(self.provenance))

    def add(self, batch: VectorBatch) -> None:
        """Continue with the rows of a batch."""
        numbers = batch.embeddings
        rows = np.empty(
            len(numbers),
            [
                ("hash", f"V{HASH_LENGTH}"),
                ("at", "<i8"),
                ("numbers", numbers.dtype.newbyteorder("<"), numbers.shape[1:]),
            ],
        )
        rows["hash"] = np.frombuffer(b"".join(batch.text_hashes), rows.dtype["hash"])
        rows["at"] = batch.embedded_at
        rows["numbers"] = numbers
        self.sha256.update(rows.tobytes())


def canonical(provenance: Mapping[str, Any]) -> bytes:
    """Return the settings as JSON that is the same for the same settings."""
    return json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def schema_for(provenance: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a file of vectors that were made under the settings."""
    number = pa.field("element", pa.from_numpy_dtype(NUMBERS[provenance["storage"]]), nullable=False)
    return pa.schema(
        [
            pa.field("text_hash", pa.binary(HASH_LENGTH), nullable=False),
            pa.field("embedded_at", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("embedding", pa.list_(number, provenance["dimensions"]), nullable=False),
        ]
    )


def write_vectors(file: BinaryIO, provenance: Mapping[str, Any], batches: Iterable[VectorBatch]) -> str:
    """Write a whole file, one row group per batch, to ``file``, open for reading and writing; returns CONTENT_KEY."""
    schema = schema_for(provenance)
    content = ContentDigest(provenance)
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False, write_statistics=False) as writer:
        for batch in batches:
            content.add(batch)
            numbers = pa.array(batch.embeddings.reshape(-1))
            columns = [
                pa.array(batch.text_hashes, schema.field("text_hash").type),
                pa.array(batch.embedded_at, pa.int64()).cast(schema.field("embedded_at").type),
                pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("embedding").type),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(batch.text_hashes))
        sha256 = str(content.sha256.hexdigest())
        writer.add_key_value_metadata(
            {
                PROVENANCE_KEY: canonical(provenance).decode("utf-8"),
                VERSION_KEY: __version__,
                CONTENT_KEY: sha256,
                FILE_KEY: NO_DIGEST,
            }
        )
    position, _ = find_file_digest(file)
    digest = file_digest(file, position)
    file.seek(position)
    file.write(digest.encode())
    return sha256


def find_file_digest(file: BinaryIO) -> tuple[int, str]:
    """Return where in the file its own digest is, and what it is; ValueError says why there is none."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise ValueError("is empty")
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("is not a Parquet file")
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != MAGIC or length + 12 > size:
        raise ValueError("is truncated or damaged: it does not end as a Parquet file does")
    file.seek(size - 8 - length)
    found = re.search(FILE_KEY.encode() + rb"..([0-9a-f]{64})", file.read(length), re.DOTALL)
    if found is None:
        raise ValueError("is a Parquet file, but not, or no longer, one that omop-emb-admin export wrote")
    return size - 8 - length + found.start(1), found[1].decode()


def file_digest(file: BinaryIO, position: int) -> str:
    """Return the SHA-256 of the file with zeros for the digest at ``position``."""
    sha256 = hashlib.sha256()
    file.seek(0)
    while position > file.tell():
        sha256.update(file.read(min(1 << 20, position - file.tell())) or end_of_file())
    sha256.update(NO_DIGEST.encode())
    file.seek(len(NO_DIGEST), os.SEEK_CUR)
    while chunk := file.read(1 << 20):
        sha256.update(chunk)
    return sha256.hexdigest()


def end_of_file() -> bytes:
    """Raise OSError: the file became shorter."""
    raise OSError("it became shorter while it was read")


class VectorFile:
    """An exported file, open for reading, whose bytes, columns and settings are those of an export.

    Making one raises OmopEmbError for every other file; what the rows hold is checked as ``batches`` yields them.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        try:
            position, digest = find_file_digest(file)
            if (actual := file_digest(file, position)) != digest:
                raise ValueError(f"was damaged or changed after its export: its SHA-256 is {actual}, not {digest}")
            self._parquet = pq.ParquetFile(file)
            metadata = self._parquet.metadata.metadata
            self.provenance = parse_provenance(metadata[PROVENANCE_KEY.encode()])
            self.content_sha256 = metadata[CONTENT_KEY.encode()].decode()
            if not self._parquet.schema_arrow.equals(schema_for(self.provenance)):
                raise ValueError(f"has other columns than an export has: {describe(self._parquet.schema_arrow)}")
        except KeyError as error:
            raise self._refusal(f"lacks the metadata {error}") from None
        except (pa.ArrowException, OSError) as error:
            raise self._refusal(f"cannot be read: {error}") from error
        except ValueError as error:
            raise self._refusal(str(error)) from error
        self.vectors: int = self._parquet.metadata.num_rows

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the file; OmopEmbError when that fails."""
        name = os.fspath(path)
        try:
            if os.path.exists(name) and not os.path.isfile(name):
                raise OmopEmbError(f"{name} is not a file")
            file = open(name, "rb")  # noqa: SIM115
        except OSError as error:
            raise OmopEmbError(f"cannot read {name}: {error.strerror}") from error
        try:
            return cls(file, name)
        except BaseException:
            file.close()
            raise

    def batches(self, rows: int) -> Iterator[VectorBatch]:
        """Yield all vectors, at most ``rows`` at a time; OmopEmbError, at the end at the latest, if they are wrong."""
        content = ContentDigest(self.provenance)
        last = b""
        try:
            for record in self._records(rows):
                batch = as_vectors(record, self.provenance)
                if not np.isfinite(batch.embeddings).all():
                    raise ValueError("holds vectors with NaN or infinity")
                if self.provenance["distance"] in ("cosine", "inner_product") and not batch.embeddings.any(1).all():
                    raise ValueError("holds a vector of zeros, which has no direction to compare")
                for text_hash in batch.text_hashes:
                    if text_hash <= last:
                        raise ValueError(f"holds the text hash {text_hash.hex()} twice or out of order")
                    last = text_hash
                content.add(batch)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._refusal(f"cannot be read: {error}") from error
        except ValueError as error:
            raise self._refusal(str(error)) from error
        if (actual := content.sha256.hexdigest()) != self.content_sha256:
            raise self._refusal(f"holds other vectors than were exported: their SHA-256 is {actual}")

    def _records(self, rows: int) -> Iterator[pa.RecordBatch]:
        # iter_batches would keep far more than a row group in memory.
        for group in range(self._parquet.metadata.num_row_groups):
            yield from self._parquet.read_row_group(group).to_batches(max_chunksize=rows)

    def _refusal(self, reason: str) -> OmopEmbError:
        return OmopEmbError(
            f"{self.name} {' '.join(reason.split())}",
            "Copy the file again, or export it again with omop-emb-admin export.",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def parse_provenance(text: bytes) -> dict[str, Any]:
    """Return the settings that a file names; ValueError unless they are those that shape vectors, with fit values."""
    provenance = json.loads(text)
    if not isinstance(provenance, dict) or {key: type(value) for key, value in provenance.items()} != PROVENANCE:
        raise ValueError(f"names other settings than those that shape vectors: {text.decode('utf-8', 'replace'):.200}")
    if provenance["storage"] not in NUMBERS or not 1 <= provenance["dimensions"] <= 4000:
        raise ValueError(f"has {provenance['dimensions']} dimensions stored as {provenance['storage']!r}")
    return provenance


def as_vectors(record: pa.RecordBatch, provenance: Mapping[str, Any]) -> VectorBatch:
    """Return the columns of a record batch; ValueError when it holds NULL."""
    hashes, times, embeddings = record.columns
    numbers = embeddings.flatten()
    if any(column.null_count for column in (hashes, times, embeddings, numbers)):
        raise ValueError("holds NULL")
    return VectorBatch(
        hashes.to_pylist(),
        times.cast(pa.int64()).to_numpy(),
        numbers.to_numpy().reshape(len(record), provenance["dimensions"]),
    )


def describe(schema: pa.Schema) -> str:
    """Return the columns in one short line."""
    return f"{', '.join(f'{column.name} {column.type}' for column in schema):.200}"
