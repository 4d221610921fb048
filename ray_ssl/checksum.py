"""Parquet files that carry the sha256 of their own bytes: any altered bit is noticed before they are parsed.

The digest stands in the file's metadata; it is that of the file with zeros in its place. The file stays plain Parquet.
"""

from __future__ import annotations

import hashlib
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

_KEY: Final = b"ray_ssl.checksum"
_MARK: Final = b"sha256:"
_ZEROS: Final = b"0" * 64


def to_parquet(table: pa.Table) -> bytes:
    """Returns a table as one Parquet file with its checksum, which `is_whole` verifies."""
    metadata = {**(table.schema.metadata or {}), _KEY: _MARK + _ZEROS}
    buffer = pa.BufferOutputStream()
    # store_schema would put an encoded copy of the metadata into the file, without the digest
    with pq.ParquetWriter(buffer, table.schema, write_statistics=False, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return with_digest(buffer.getvalue().to_pybytes())


def with_digest(content: bytes) -> bytes:
    """Returns a file that has a place for its digest with the right one there."""
    at = _digest_place(content)
    start, end = content[:at], content[at + len(_ZEROS) :]
    content = start + hashlib.sha256(start + _ZEROS + end).hexdigest().encode() + end
    assert is_whole(content)
    return content


def is_whole(content: bytes) -> bool:
    """Returns whether every byte is as `to_parquet` made it."""
    at = _digest_place(content)
    if at < 0:
        return False
    end = at + len(_ZEROS)
    return hashlib.sha256(content[:at] + _ZEROS + content[end:]).hexdigest().encode() == content[at:end]


def is_marked(content: bytes) -> bool:
    """Returns whether a checksum was put into a file, even where a byte of it is altered since."""
    return _KEY in content or _MARK in content


def _digest_place(content: bytes) -> int:
    at = content.rfind(_MARK)
    return -1 if at < 0 else at + len(_MARK)
