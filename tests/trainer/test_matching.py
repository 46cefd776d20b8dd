"""A collector that does not give what the data have is refused before anything is collected."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import Bounded, Composite, LazyTensorStorage, ReplayBuffer, Unbounded

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.matching import refuse_mismatch


def collector(
    size: int = 3, dtype: torch.dtype = torch.float32, high: float = 2.0, name: str = "observation"
) -> Any:
    specs = {
        "observation_spec_unbatched": Composite({name: Unbounded((size,), dtype=dtype)}),
        "full_action_spec_unbatched": Composite(action=Bounded(-high, high, (1,))),
    }
    return SimpleNamespace(getattr_env=specs.__getitem__)


def buffer(high: float = 2.0) -> ReplayBuffer:
    found = ReplayBuffer(storage=LazyTensorStorage(8), batch_size=2)
    actions = torch.linspace(-high, high, 8).unsqueeze(-1)
    found.extend(TensorDict({"observation": torch.zeros(8, 3), "action": actions}, batch_size=8))
    return found


def test_what_fits_passes_and_nothing_is_compared_with_nothing() -> None:
    refuse_mismatch(collector(), None, buffer())
    refuse_mismatch(collector(size=9), None, ReplayBuffer(storage=LazyTensorStorage(8)))
    refuse_mismatch(collector(size=9), None, None)
    refuse_mismatch(None, None, buffer())
    refuse_mismatch(collector(high=5.0), None, buffer())  # data of weaker actions fit


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 4}, r"'observation' is .*\[4\].* data's is .*\[3\]"),
        ({"dtype": torch.float64}, "'observation' is .*float64.* data's is .*float32"),
        ({"name": "pixels"}, "'observation', .* has pixels"),
        ({"high": 1.0}, r"between \[-1.0\] and \[1.0\], .* between \[-2.0\] and \[2.0\]"),
    ],
)
def test_what_differs_is_named(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        refuse_mismatch(collector(**given), None, buffer())
