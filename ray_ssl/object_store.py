"""What pyarrow's S3 filesystem does not do by itself: patience with a busy server, writing only where nothing is."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

from pyarrow import fs

MAX_ATTEMPTS: Final = 10
"""Times a request is made that is answered with "slow down" or a server error; the pauses between grow to seconds."""

_Value = TypeVar("_Value")

_EXISTS, _CONFLICT = 412, 409
_UNREAD_ERROR: Final = "Failed to flush response stream"


def patient(filesystem: fs.FileSystem) -> fs.FileSystem:
    """Returns a filesystem that makes requests `MAX_ATTEMPTS` times, where it is S3; others have their own ways."""
    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem
    # Not the "standard" strategy: its quota of retries runs out where a tenth of all requests fail for long.
    strategy = fs.AwsDefaultS3RetryStrategy(max_attempts=MAX_ATTEMPTS)
    return fs.S3FileSystem(**_options(filesystem) | {"retry_strategy": strategy})


def read(filesystem: fs.FileSystem, path: str) -> bytes:
    """Returns a file's bytes. Raises FileNotFoundError where there is none, OSError where the server fails for good."""

    def whole() -> bytes:
        with filesystem.open_input_stream(path) as stream:
            return stream.read()

    return patiently(whole)


def patiently(work: Callable[[], _Value]) -> _Value:
    """Returns what reading gives, `MAX_ATTEMPTS` times tried where a busy server's answer cannot be read.

    An error's text that is longer than what was asked for fails in the client, which then does not try again.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return work()
        except OSError as error:
            if _UNREAD_ERROR not in str(error) or attempt + 1 == MAX_ATTEMPTS:
                raise
            time.sleep(min(5.0, 0.05 * 2**attempt))
    raise AssertionError


def creates(filesystem: fs.FileSystem) -> bool:
    """Returns whether `create` works: on S3, where boto3 is installed."""
    return isinstance(filesystem, fs.S3FileSystem) and importlib.util.find_spec("boto3") is not None


def create(filesystem: fs.S3FileSystem, path: str, content: bytes) -> bool:
    """Writes an object only where none is: of several writers at once, one does (If-None-Match).

    Args:
        path: BUCKET/KEY.
        content: One that no other writer has.

    Returns:
        Whether it was written.

    Raises:
        OSError: The server failed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = path.partition("/")
    client = _client(tuple(sorted((k, v) for k, v in _options(filesystem).items() if k in _CLIENT_OPTIONS)))
    for _ in range(MAX_ATTEMPTS):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == _CONFLICT:  # somebody writes it at this moment
                continue
            if status != _EXISTS:
                raise OSError(f"cannot write s3://{path}: {error}") from error
            return read(filesystem, path) == content  # ours, where the answer to the first attempt was lost
        except BotoCoreError as error:
            raise OSError(f"cannot write s3://{path}: {error}") from error
        else:
            return True
    return False


_CLIENT_OPTIONS: Final = (
    "access_key",
    "secret_key",
    "session_token",
    "anonymous",
    "region",
    "scheme",
    "endpoint_override",
)


def _options(filesystem: fs.S3FileSystem) -> dict[str, Any]:
    """What it was made with, as it would be for another process."""
    return filesystem.__reduce__()[1][0]  # type: ignore[index]


@lru_cache
def _client(options: tuple[tuple[str, Any], ...]) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    given = dict(options)
    config = Config(retries={"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"})
    return boto3.client(
        "s3",
        region_name=given["region"] or None,
        endpoint_url=f"{given['scheme']}://{given['endpoint_override']}" if given["endpoint_override"] else None,
        aws_access_key_id=given["access_key"],
        aws_secret_access_key=given["secret_key"],
        aws_session_token=given["session_token"] or None,
        config=config.merge(Config(signature_version=UNSIGNED)) if given["anonymous"] else config,
    )
