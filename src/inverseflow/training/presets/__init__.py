"""Named settings for a training run: the YAML files of this folder."""

from importlib.resources import files
from typing import Any

import yaml

from inverseflow.errors import OptionError


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets.

    Example:
        >>> "digits" in preset_names()
        True
    """
    folder = files(__package__)
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset, nested as in config.yaml.

    Args:
        name: one of `preset_names`.

    Raises:
        OptionError: if there is no such preset.

    Example:
        >>> load_preset("digits")["data"]
        'digits'
    """
    if name not in preset_names():
        raise OptionError(f"there is no preset {name!r}; there are {', '.join(preset_names())}")
    settings: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(f"{name}.yaml").read_text("utf-8"))
    return settings
