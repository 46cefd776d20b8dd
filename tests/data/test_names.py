import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.names import find_card


@pytest.mark.parametrize(
    ("name", "source", "dataset_id"),
    [
        ("hopper-medium", "auto", "d4rl/hopper-medium-v2"),
        ("hopper-medium-v1", "auto", "d4rl/hopper-medium-v1"),
        ("hopper-medium", "minari", "minari/mujoco/hopper/medium-v0"),
        ("hopper-medium", "embedded", "embedded/hopper-medium-v0"),
        ("kitchen-mixed", "minari", "minari/D4RL/kitchen/mixed-v2"),
        ("pointmaze-umaze", "auto", "minari/D4RL/pointmaze/umaze-v2"),
        ("D4RL/antmaze/umaze-v1", "auto", "minari/D4RL/antmaze/umaze-v1"),
        ("antmaze-umaze", "auto", "d4rl/antmaze-umaze-v2"),
    ],
)
def test_names_mean_cards_wherever_the_data_are(name, source, dataset_id):
    assert find_card(name, source).id == dataset_id


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("pen-hunan", "auto", "no dataset 'pen-hunan'; did you mean .*'pen-human'"),
        (
            "pointmaze-umaze",
            "d4rl",
            "no dataset 'pointmaze-umaze' of the source 'd4rl'; did you mean 'antmaze-umaze'",
        ),
        ("xyzzy", "auto", "`cqlbench data list` prints all names"),
        ("pen-human", "hub", "no source 'hub'"),
        (" ", "auto", "No dataset was named"),
    ],
)
def test_other_names_are_one_sentence(name, source, sentence):
    with pytest.raises(DatasetError, match=sentence) as caught:
        find_card(name, source)
    assert "\n" not in str(caught.value)
