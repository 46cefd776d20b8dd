import numpy as np
import pytest
import torch

from cqlbench.core.errors import DatasetError
from cqlbench.data.buffer import buffer_for
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.data.readers.d4rl import read_d4rl


@pytest.fixture
def transitions(tmp_path, make_episodes, write_d4rl):
    return read_d4rl(
        write_d4rl(tmp_path / "a.hdf5", make_episodes(("terminated", "truncated", "terminated")))
    )


@pytest.fixture
def dataset(transitions):
    return buffer_for("d4rl/a-v0", "k", lambda: transitions)


def test_normalisation_by_the_dataset(transitions, dataset):
    exact = transitions.observations.astype(np.float64)
    normalizer = ObservationNormalizer.from_statistics(dataset.observation_mean, dataset.observation_std)
    np.testing.assert_allclose(normalizer.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(normalizer.std, exact.std(0) + 1e-3, rtol=1e-6)
    assert normalizer.mean.dtype == normalizer.std.dtype == np.float32


def test_rewards_stay_as_they_are_by_default(transitions, dataset):
    transform = RewardTransform.from_dataset(dataset, normalize=False)
    np.testing.assert_array_equal(transform(transitions.rewards), transitions.rewards)


def test_rewards_span_a_thousand(transitions, dataset):
    transform = RewardTransform.from_dataset(dataset, normalize=True)
    returns = np.add.reduceat(transform(transitions.rewards), transitions.episode_starts)
    assert np.ptp(returns) == pytest.approx(1000, rel=1e-5)
    tensor = transform(torch.from_numpy(transitions.rewards))
    np.testing.assert_allclose(tensor.numpy(), transform(transitions.rewards), rtol=1e-6)


def test_scale_and_bias():
    assert RewardTransform(10, -5)(np.float32([0, 1])).tolist() == [-5.0, 5.0]
    assert RewardTransform(10, -5)(torch.tensor([0.0, 1.0])).tolist() == [-5.0, 5.0]


def test_rewards_without_a_range(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "b.hdf5", make_episodes(("terminated",)))
    dataset = buffer_for("d4rl/b-v0", "k", lambda: read_d4rl(path))
    with pytest.raises(DatasetError, match="set normalize_rewards=false"):
        RewardTransform.from_dataset(dataset, normalize=True)
