"""What every kind of trial says of itself: its options, its name for people, how long it is."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from ray_ssl.errors import UserError
from ray_ssl.part import Part, explain


class TrialConfig(Part):
    """Base of what one trial computes: everything that changes its numbers."""

    STEP: ClassVar[str] = "epoch"
    """What the steps of its history are called."""

    @property
    def title(self) -> str:
        """A short name for people."""
        raise NotImplementedError

    @property
    def plain_method(self) -> str:
        """Name of the method, whatever varies it."""
        raise NotImplementedError

    @property
    def method_name(self) -> str:
        """What the table calls the method: of what differs in more than the table's other columns, a name each."""
        raise NotImplementedError

    @property
    def num_epochs(self) -> int:
        """The last step of its history."""
        raise NotImplementedError

    def paced(self) -> dict[str, Any]:
        """Returns the options that say how long an epoch takes."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, every option included."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Returns the canonical JSON: sorted keys, no spaces, every option included; round-trips exactly."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Returns the configuration that `to_json` wrote.

        Raises:
            UserError: Not JSON, an unknown option (with a suggestion), or a value out of its range.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(explain(error, cls)) from None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Like `from_json`, from plain nested values.

        Raises:
            UserError: As in `from_json`; also values that JSON cannot hold.
        """
        try:
            text = json.dumps(values)
        except (TypeError, ValueError) as error:
            raise UserError(f"the configuration cannot be written as JSON: {error}") from None
        return cls.from_json(text)
