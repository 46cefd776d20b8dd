"""How a file's arrays are to be read, beyond what it says itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cqlbench.data.cards import Card


@dataclass(frozen=True)
class Layout:
    """What whoever imported a file said of its arrays.

    Attributes:
        columns: our name of a column -> the file's; empty: the file's is not read.
        observation_keys: of observations in parts, those that are joined, in this order; `None`: all.
        actions: `discrete` or `continuous`; empty: what they look like.
        action_count: how many discrete actions there are; `None`: up to the highest in the file.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    observation_keys: tuple[str, ...] | None = None
    actions: Literal["", "discrete", "continuous"] = ""
    action_count: int | None = None

    @classmethod
    def of(cls, card: Card) -> "Layout":
        """What `card` says."""
        return cls(card.columns, card.observation_keys, card.actions, card.action_count)
