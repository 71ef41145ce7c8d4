"""From a preset, a file and overrides to one validated `RunConfig`."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reid.config.presets import PRESETS
from reid.config.schema import PhaseConfig, RunConfig


class ConfigError(ValueError):
    """One or more settings are wrong; the message names each by its dotted path, with the remedy."""


def load_config(*, preset: str = "demo", file: str | Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Build the configuration of a run.

    Args:
        preset: name of a preset, which gives the full tree.
        file: YAML file laid over the preset.
        overrides: `dotted.key=value` settings laid over both; values are YAML.

    Raises:
        ConfigError: naming every unknown key and every bad value at once.
    """
    if preset not in PRESETS:
        raise ConfigError(f"invalid preset '{preset}', expected one of {', '.join(PRESETS)}")
    malformed = [text for text in overrides if not _is_assignment(text)]
    if malformed:
        raise ConfigError(f"invalid setting '{malformed[0]}': write dotted.key=value, such as phases.final.epochs=3")
    try:
        layers = [OmegaConf.create(PRESETS[preset]()), _read(file), OmegaConf.from_dotlist(list(overrides))]
        tree = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"the settings do not fit together: {str(error).splitlines()[0]}") from error
    return validate_config(tree)


def validate_config(tree: Any) -> RunConfig:
    """Validate a whole tree of plain values, for instance one read back from a run.

    Raises:
        ConfigError: naming every unknown key and every bad value at once.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        problems = list(dict.fromkeys(_describe(details, tree) for details in error.errors()))
        raise ConfigError(
            "\n".join(["the configuration has errors:", *(f"  {problem}" for problem in problems)])
        ) from None


def flatten(config: BaseModel) -> dict[str, str]:
    """Every setting by its dotted path, as text; a list of parts counts as one setting."""
    flat: dict[str, str] = {}

    def visit(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                visit(f"{path}.{key}" if path else key, inner)
        else:
            flat[path] = str(value)

    visit("", config.model_dump(mode="json"))
    return flat


def _is_assignment(text: str) -> bool:
    key, equals, _ = text.partition("=")
    return bool(equals) and all(part.isidentifier() for part in key.strip().split("."))


def _read(file: str | Path | None) -> Any:
    if file is None:
        return OmegaConf.create({})
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"there is no configuration file {path}: check --config")
    try:
        tree = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not OmegaConf.is_dict(tree):
        raise ConfigError(f"{path} must hold a mapping of settings")
    return tree


def _describe(details: ErrorDetails, tree: Any) -> str:
    location = [str(part) for part in details["loc"]]
    path = ".".join(_without_union_tags(location, tree)) or "configuration"
    if details["type"] == "extra_forbidden":
        return f"{path}: unknown key{_did_you_mean(location[-1], _siblings(location[:-1]))}"
    if details["type"] == "missing":
        if location[0] == "phases" and len(location) == 3:
            return (
                f"phases.{location[1]}: no phase of that name in the preset; give it stage, epochs, learning_rate and "
                f"halve_every to add one{_did_you_mean(location[1], get_args(PhaseConfig.model_fields['stage'].annotation))}"
            )
        return f"{path}: is missing"
    message = details["msg"].removeprefix("Value error, ")
    given = details["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{path}: {message}{shown}"


def _without_union_tags(location: list[str], tree: Any) -> Iterable[str]:
    """Drop the parts of an error's location that name a branch of a union rather than a key of the tree."""
    for part in location:
        if isinstance(tree, dict):
            if part not in tree and (part == "str" or "[" in part or part[:1].isupper()):
                continue
            tree = tree.get(part)
        elif isinstance(tree, list) and part.isdigit():
            tree = tree[int(part)] if int(part) < len(tree) else None
        elif not part.isidentifier() or part in ("int", "str", "Layout", "tuple"):
            continue
        yield part


def _siblings(location: list[str]) -> list[str]:
    """The keys that would have been right at a location."""
    section: Any = RunConfig
    for part in location:
        field = getattr(section, "model_fields", {}).get(part)
        if field is not None:
            section = field.annotation
        elif section == dict[str, PhaseConfig]:
            section = PhaseConfig
    return list(getattr(section, "model_fields", {}))


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f"; expected one of {', '.join(known)}" if known else ""
