import sys

import numpy as np
import pytest

from cqlbench.core.errors import UserError
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.environments.rendering import picture

pytest.importorskip("pygame")

PENDULUM = EnvironmentSpec("Pendulum-v1")


def seen(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle), 0.0], np.float32)


def test_a_picture_is_of_the_state_that_was_observed() -> None:
    up, down = picture(PENDULUM, seen(0.0)), picture(PENDULUM, seen(np.pi))
    assert up.dtype == np.uint8
    assert up.shape[2] == 3
    red = [np.argwhere((each[..., 0] > 180) & (each[..., 1] < 120))[:, 0].mean() for each in (up, down)]
    assert red[0] < up.shape[0] / 2 < red[1]
    np.testing.assert_array_equal(up, picture(PENDULUM, seen(0.0)))


def test_a_picture_of_what_sets_no_state_is_of_a_beginning() -> None:
    np.testing.assert_array_equal(picture(PENDULUM, np.zeros(7)), picture(PENDULUM))


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be rendered"):
        picture(EnvironmentSpec("Pendulum-v1", kwargs={"g": "heavy"}), seen(0.0))


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(UserError, match=r"pygame.*cqlbench\[video\]"):
        picture(PENDULUM)
