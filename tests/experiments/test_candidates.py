import itertools

import numpy as np
import torch

from cqlbench.experiments.candidates import stacked
from cqlbench.experiments.policy_module import Policy
from cqlbench.records.policy import SavedPolicy


def made(generator: np.random.Generator, sizes: list[int], head: str, members: int = 0) -> SavedPolicy:
    shape = (members,) if members else ()
    arrays = {"observation_mean": generator.normal(size=3), "observation_scale": generator.uniform(1, 2, 3)}
    for place, (size_in, size_out) in enumerate(itertools.pairwise(sizes)):
        arrays[f"{place}.weight"] = generator.normal(size=(*shape, size_in, size_out))
        arrays[f"{place}.bias"] = generator.normal(size=(*shape, size_out))
    if not members:
        arrays |= {"action_low": np.array([-2.0, 0.0]), "action_high": np.array([1.0, 5.0])}
    notes = {"head": head} if head else {}
    return SavedPolicy({name: each.astype(np.float32) for name, each in arrays.items()}, notes)


def test_policies_of_all_sizes_act_as_each_does_alone() -> None:
    generator = np.random.default_rng(0)
    boxes = [
        made(generator, [3, 4, 2], "tanh"),
        made(generator, [3, 8, 6, 5, 2], "clip"),
        made(generator, [3, 5, 5, 4], ""),  # an old one, with twice the outputs
    ]
    discrete = [
        made(generator, [3, 4, 6, 3], "argmax", members=2),
        made(generator, [3, 7, 3], "argmax", members=1),
    ]
    observations = torch.from_numpy(generator.normal(size=(9, 3))).float()
    for policies in (boxes, discrete):
        act = stacked(policies, torch.device("cpu"))
        alone = torch.stack([Policy(each)(observations) for each in policies])
        torch.testing.assert_close(act(observations), alone)
        own = torch.stack([observations + number for number in range(len(policies))])
        alone = torch.stack([Policy(each)(rows) for each, rows in zip(policies, own, strict=True)])
        torch.testing.assert_close(act(own), alone)
