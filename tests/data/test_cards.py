import collections
import itertools
import math
import re
import tomllib
from pathlib import Path

import pytest

from cqlbench.core.errors import DatasetError, UserError
from cqlbench.core.paths import benchmarks_dir, cards_dir
from cqlbench.data import cards
from cqlbench.data.cards import all_cards
from cqlbench.data.local import why_unplayed
from cqlbench.data.resolve import find_card
from cqlbench.environments.make import EnvironmentSpec, make_environments

CARDS = all_cards()
HUB = "https://huggingface.co/datasets/farama-minari"


def test_schema():
    for card in CARDS.values():
        assert card.id == f"{card.source}/{card.name}"
        assert card.version >= 0
        assert card.short_name
        assert card.family
        assert card.licence
        assert (card.environment is None) == bool(card.environment_missing_because)
        assert (card.score_min is None) == bool(card.endpoints_missing_because)
        if card.score_min is not None:
            assert card.score_min < card.score_max
            assert math.isfinite(card.score_max - card.score_min)
            assert card.endpoints_source
            assert card.max_episode_steps > 0  # endpoints hold for a limit
        for reason in (card.environment_missing_because, card.endpoints_missing_because):
            assert "\n" not in reason
            assert not reason.endswith(".")
            assert reason == reason.strip()
        if card.environment is not None:
            if not card.environment.module.startswith("cqlbench."):  # whose tasks do not all need a package
                assert bool(card.environment.module) == bool(card.environment.extra)
            assert card.environment.observation_keys == card.observation_keys
        assert all(url.startswith(("http://", "https://")) for url in card.urls)
        assert (card.source == "embedded") == bool(re.fullmatch("[0-9a-f]{64}", card.content_hash))
        assert (card.bytes is None) == (card.sha256 is None)
        if card.sha256 is not None:
            assert card.bytes > 0
            assert len(bytes.fromhex(card.sha256)) == 32
        if card.source != "embedded":
            assert card.urls
            assert all(url.endswith(f"/{card.file}") for url in card.urls)
        if card.source == "minari":
            assert card.urls == (f"{HUB}/{card.name.replace('/', '/tree/main/', 1)}",)
        if card.source == "embedded":
            assert card.policies or card.maze_play
            assert card.rows > 0
            assert card.collection_seed >= 0


def test_no_two_published_files_are_the_same():
    checksums = [card.sha256 for card in CARDS.values() if card.sha256]
    assert len(set(checksums)) == len(checksums)


def test_short_names_are_unique_per_source_and_version():
    names = [(card.source, card.short_name, card.version) for card in CARDS.values()]
    assert len(set(names)) == len(names)


def test_every_card_is_found_by_its_id_and_by_its_short_name():
    for card in CARDS.values():
        assert find_card(card.id) == find_card(card.name, card.source) == card
        namesakes = [one for one in CARDS.values() if one.short_name == card.short_name]
        newest = max(one.version for one in namesakes if one.source == card.source)
        found = find_card(card.short_name, card.source)
        assert (found.source, found.short_name, found.version) == (card.source, card.short_name, newest)
        assert find_card(f"{card.short_name}-v{card.version}", card.source) == card


def test_every_published_checksum_is_on_a_card():
    """Counts of the reference: 24 gym v2, 15 gym v0, 5 antmaze v2, 9 adroit v1."""
    with_checksum = [card for card in CARDS.values() if card.sha256]
    counts = collections.Counter((card.family, card.version) for card in with_checksum)
    assert counts == {("gym-mujoco", 2): 24, ("gym-mujoco", 0): 15, ("antmaze", 2): 5, ("adroit", 1): 9}


def test_every_minari_dataset_has_a_card():
    """Ten mujoco tasks, five of them with a simple policy too; 85 BabyAI tasks, seen two ways."""
    counts = collections.Counter(card.family for card in CARDS.values() if card.source == "minari")
    assert counts == {
        "adroit": 12, "antmaze": 6, "babyai": 170, "gym-mujoco": 25, "kitchen": 3, "minigrid": 2,
        "pointmaze": 8,
    }  # fmt: skip


def test_extras_are_those_of_the_package():
    extras = {card.environment.extra for card in CARDS.values() if card.environment} - {""}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert extras <= set(project["project"]["optional-dependencies"])


def test_a_new_card_needs_no_code(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "cards_dir", lambda: tmp_path)
    (tmp_path / "robots.toml").write_text(
        '[defaults]\nsource = "d4rl"\nfamily = "robots"\nfolders = ["https://one/", "https://two/"]\n'
        '[task.arm]\nenvironment = { id = "Arm-v0", max_episode_steps = 9, module = "arms", extra = "arm" }\n'
        'observation_keys = ["joints", "goal"]\n'
        '[card]\n"d4rl/arm-lift-v7" = { task = "arm", file = "v7/lift.hdf5", quirks = ["action_clip"] }\n'
    )
    card = find_card("arm-lift")
    assert card == find_card("d4rl/arm-lift-v7") == find_card("arm-lift-v7")
    assert card.urls == ("https://one/v7/lift.hdf5", "https://two/v7/lift.hdf5")
    assert card.environment == EnvironmentSpec(
        "Arm-v0", 9, module="arms", extra="arm", observation_keys=("joints", "goal")
    )
    assert (card.max_episode_steps, card.quirks) == (9, ("action_clip",))


def test_hopper_medium_value_by_value():
    card = find_card("d4rl/hopper-medium-v2")
    assert card.short_name == "hopper-medium"
    assert card.environment == EnvironmentSpec("Hopper-v4", 1000)
    assert (card.score_min, card.score_max) == (-20.272305, 3234.3)
    assert card.bytes == 152756557
    assert card.sha256 == "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0"
    assert card.urls == (
        "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/hopper_medium-v2.hdf5",
    )


def test_returns_of_data_have_scores_where_an_evaluation_would_return_them():
    ends = {card.id: card.endpoints_of_data for card in CARDS.values()}
    assert ends["d4rl/hopper-medium-v2"] == (-20.272305, 3234.3)
    assert ends["d4rl/antmaze-umaze-v2"] == (0.0, 1.0)
    assert ends["minari/D4RL/kitchen/mixed-v2"] is ends["d4rl/kitchen-mixed-v0"] is None
    assert not any(
        ends[card.id] for card in CARDS.values() if card.source == "d4rl" and card.family == "maze2d"
    )


def test_the_data_s_own_time_limit():
    limits = {name: CARDS[f"d4rl/antmaze-{name}"].recorded_limit for name in ("umaze-v2", "medium-play-v2")}
    assert limits == {"umaze-v2": None, "medium-play-v2": 1000}
    assert CARDS["d4rl/antmaze-umaze-v2"].max_episode_steps == 700


def test_presets_are_those_of_d4rl_s_gym_tasks_and_exist():
    presets = {card.id: card.preset for card in CARDS.values()}
    assert presets["d4rl/walker2d-expert-v2"] == presets["d4rl/hopper-medium-v2"] == "d4rl-gym"
    assert presets["d4rl/hopper-medium-v1"] == presets["d4rl/ant-medium-v2"] == ""  # nothing was published
    assert presets["embedded/hopper-medium-v0"] == presets["minari/mujoco/hopper/medium-v0"] == ""
    for preset in set(presets.values()) - {""}:
        assert (benchmarks_dir() / "preset" / f"{preset}.yaml").is_file(), preset


def test_embedded_and_minari_say_whose_endpoints_they_use():
    embedded = find_card("embedded/hopper-medium-v0")
    assert (embedded.rows, embedded.collection_seed, embedded.policies) == (200_000, 0, ("hopper-medium-v0",))
    assert "never comparable with D4RL" in embedded.notes[0]
    minari = find_card("minari/mujoco/walker2d/expert-v0")
    assert minari.environment == EnvironmentSpec("Walker2d-v5", 1000)
    assert minari.short_name == "walker2d-expert"
    assert "D4RL" in minari.endpoints_source


def test_families_are_complete():
    kinds = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
    for task in ("hopper", "halfcheetah", "walker2d", "ant"):
        assert {f"d4rl/{task}-{kind}-v{version}" for kind in kinds for version in (1, 2)} <= set(CARDS)
        assert {f"d4rl/{task}-{kind}-v0" for kind in kinds[:-1]} <= set(CARDS)  # v0 has no full-replay
        assert {f"minari/mujoco/{task}/{kind}-v0" for kind in ("simple", "medium", "expert")} <= set(CARDS)
    for hand in ("pen", "door", "hammer", "relocate"):
        for kind in ("human", "cloned", "expert"):
            assert {
                f"d4rl/{hand}-{kind}-v0",
                f"d4rl/{hand}-{kind}-v1",
                f"minari/D4RL/{hand}/{kind}-v2",
            } <= set(CARDS)
    for maze in ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse"):
        assert {
            f"d4rl/antmaze-{maze}-v0",
            f"d4rl/antmaze-{maze}-v2",
            f"minari/D4RL/antmaze/{maze}-v1",
        } <= set(CARDS)
    for kind in ("complete", "partial", "mixed"):
        assert {f"d4rl/kitchen-{kind}-v0", f"minari/D4RL/kitchen/{kind}-v2"} <= set(CARDS)
    for maze in ("open", "umaze", "medium", "large"):
        for reward in ("", "-dense"):
            assert {f"d4rl/maze2d-{maze}{reward}-v0", f"minari/D4RL/pointmaze/{maze}{reward}-v2"} <= set(
                CARDS
            )


ENVIRONMENTS = {card.environment.id: card for card in CARDS.values() if card.environment}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_can_be_made_or_it_is_known_why_not(name):
    card = ENVIRONMENTS[name]
    if card.environment.extra:
        pytest.importorskip(
            {"robotics": "gymnasium_robotics", "minigrid": "minigrid"}[card.environment.extra]
        )
    if why_unplayed(card):
        with pytest.raises(UserError, match=name):
            make_environments(card.environment, [0])
        return
    environments = make_environments(card.environment, [0], discrete=card.preset == "discrete")
    assert environments.reset().shape == (1, environments.observation_size)
    environments.close()


def braced(names):
    """`a-x-b` and `a-y-b` as `a-{x,y}-b`, more than four as `a-*-b`."""
    names = sorted(set(names))
    if len(names) == 1:
        return names[0]
    alike = [
        "".join(letters[0] for letters in itertools.takewhile(lambda each: len(set(each)) == 1, columns))
        for columns in (zip(*names, strict=False), zip(*(name[::-1] for name in names), strict=False))
    ]
    start, end = re.match(r"(.*[/_-])?", alike[0])[0], re.search(r"([/-].*)?$", alike[1][::-1])[0]
    middles = [name[len(start) : len(name) - len(end)] for name in names]
    return f"{start}{'{' + ','.join(middles) + '}' if len(names) < 5 else '*'}{end}"


def summary(card):
    """A card's part of the README's table but for what differs among its siblings."""
    names = card.name.rpartition("-v")[0]
    first = names.rpartition("/")[0] + "/*" if card.source == "minari" else names.partition("-")[0] + "-*"
    environment, source = card.environment.id if card.environment else "", card.source
    why = why_unplayed(card)
    ends = "none" if card.score_min is None else "D4RL's" if "D4RL" in card.endpoints_source else "our own"
    because = card.incomparable
    shared = (ends, f"no: {why}" if why else "yes", f"no: {because}" if because else "yes")
    return (source, card.family, card.version, shared), f"{source}/{first}-v{card.version}", environment


def table():
    """The README's, line by line."""
    groups = collections.defaultdict(list)
    for card in CARDS.values():
        key, name, environment = summary(card)
        groups[key].append((name, environment))
    for (_, _, _, shared), members in groups.items():
        names, environments = (braced(each) for each in zip(*members, strict=True))
        yield f"| `{names}` | {len(members)} | `{environments}` | {' | '.join(shared)} |"


def test_the_readme_tabulates_every_card():
    pytest.importorskip("gymnasium_robotics")
    text = (cards_dir().parent / "README.md").read_text(encoding="utf-8")
    head = "| datasets | ids | environment | endpoints | playable | comparable with published scores |\n"
    printed = text.partition(head)[2].partition("\n\n")[0].splitlines()[1:]
    assert printed == list(table())
    assert sum(int(line.split(" | ")[1]) for line in printed) == len(CARDS)


GOOD = '[card."d4rl/a-v0"]\nsource = "d4rl"\n'
BAD = {
    "unknown key": (GOOD + "colour = 3", "colour"),
    "unknown section": (GOOD + "[cards]", "cards"),
    "unknown environment key": (GOOD + 'environment = { id = "A-v0", steps = 3 }', "steps"),
    "environment without id": (GOOD + "environment = { max_episode_steps = 3 }", "`id`"),
    "environment's limit": (GOOD + 'environment = { id = "A-v0", max_episode_steps = 0 }', "max_episode"),
    "type": (GOOD + 'bytes = "many"', "bytes"),
    "bool": (GOOD + "bytes = true", "bytes"),
    "folders": (GOOD + 'file = "a"\nfolders = [3]', "`str`"),
    "quirk": (GOOD + 'quirks = ["odd"]', "unknown quirk 'odd' .*action_clip, another"),
    "keys in the environment": (
        GOOD + 'environment = { id = "A-v0", observation_keys = [] }',
        "observation_keys",
    ),
    "list": (GOOD + "urls = [3]", "urls"),
    "task": (GOOD + 'task = "b"', "names the task 'b'"),
    "no source": ('[card."d4rl/a-v0"]', "source"),
    "source of a path": ('[card."path/a-v0"]\nsource = "path"', "id of the form"),
    "other source": ('[card."d4rl/a-v0"]\nsource = "minari"', "id of the form minari/<name>-v<number>"),
    "no version": ('[card."d4rl/a"]\nsource = "d4rl"', "id of the form d4rl/<name>-v<number>"),
    "not TOML": ("[", "cannot be read"),
    "not a table": ("card = 3", "card"),
}


@pytest.mark.parametrize(("text", "sentence"), BAD.values(), ids=BAD)
def test_bad_card_file(tmp_path, monkeypatch, text, sentence):
    monkeypatch.setattr(cards, "cards_dir", lambda: tmp_path)
    (tmp_path / "family.toml").write_text(text)
    with pytest.raises(DatasetError, match=sentence) as caught:
        all_cards()
    assert "family.toml" in str(caught.value)


def test_one_id_in_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "cards_dir", lambda: tmp_path)
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD)
    with pytest.raises(DatasetError, match="another card file has as well"):
        all_cards()


def test_a_card_overrides_its_task_which_overrides_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "cards_dir", lambda: tmp_path)
    (tmp_path / "a.toml").write_text(
        '[defaults]\nsource = "d4rl"\nscore_min = 1\nscore_max = 2\nlicence = "x"\n'
        "[task.t]\nscore_min = 3\nscore_max = 4\n"
        '[card."d4rl/b-c-v3"]\ntask = "t"\nscore_max = 5\n'
    )
    card = find_card("d4rl/b-c-v3")
    assert (card.score_min, card.score_max, card.licence) == (3, 5, "x")
    assert (card.name, card.short_name, card.version) == ("b-c-v3", "b-c", 3)
