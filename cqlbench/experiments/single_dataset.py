"""What a preset says of single datasets: `${setting:<key>,<else>}` in the settings of an algorithm."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def _setting(key: str, otherwise: Any, *, _root_: DictConfig) -> Any:
    own = _root_.protocol.settings.get(_root_.protocol.dataset) or {}
    return own.get(key, otherwise)


OmegaConf.register_new_resolver("setting", _setting, replace=True)
