"""From a preset, a file and overrides to one validated `RunConfig`."""

import difflib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reid.config.errors import ConfigError
from reid.config.extensions import load_extensions
from reid.config.files import read_yaml, require_plain_yaml
from reid.config.manifests import load_manifest
from reid.config.model import DATASET_LAYOUT, MODELS, UNION_TAGS
from reid.config.presets import PRESETS
from reid.config.run import RunConfig
from reid.config.secrets import without_passwords
from reid.config.section import Section
from reid.config.training import PhaseConfig

LONGEST_SHOWN = 200
EXPECTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of settings",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "missing": "is missing: give it a value",
    "model_type": "must be a mapping of settings",
    "string_type": "must be text, in quotes where YAML would read something else",
    "tuple_type": "must be a list",
}
"""What the user should write, by type of pydantic error, where pydantic's own words speak of its internals."""


def load_config(
    *,
    preset: str = "demo",
    base: Callable[[], Mapping[str, Any]] | None = None,
    file: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """Build the configuration of a run.

    Args:
        preset: name of a preset, which gives the full tree.
        base: gives a full tree to use in place of a preset, for instance a checkpoint's.
        file: YAML file laid over the preset: mappings are merged, everything else is replaced.
        overrides: `dotted.key=value` settings laid over both; values are YAML. `extensions` that file or overrides
            name are loaded first; those of `base` are not, since it may be somebody else's.

    Returns:
        The whole tree; `model.layout` = `dataset` is replaced by the layout that the dataset's manifest names.

    Raises:
        ConfigError: naming every unknown key and every bad value at once.
        DataError: there is no such dataset, or its manifest cannot be read.
    """
    malformed = [text for text in overrides if not _is_assignment(text)]
    if malformed:
        shown = without_passwords(str(malformed))
        raise ConfigError(f"invalid settings {shown}: write dotted.key=value, such as phases.final.epochs=3")
    given = _merged(_read(file), _parsed(overrides))
    extensions = given.get("extensions", ())
    if isinstance(extensions, list | tuple) and all(isinstance(name, str) for name in extensions):
        load_extensions(extensions)
    if base is None and preset not in PRESETS:
        raise ConfigError(f"invalid preset '{preset}'{_did_you_mean(preset, list(PRESETS))}")
    config = validate_config(_merged(PRESETS[preset]() if base is None else dict(base()), given))
    if base is None:
        load_manifest(config.data.name, _source(config))
    return config


def validate_config(tree: Any) -> RunConfig:
    """Validate a whole tree of plain values, for instance one read back from a run.

    Raises:
        ConfigError: naming every unknown key and every bad value at once.
        DataError: see `load_config`.
    """
    problems: list[str] = []
    if isinstance(tree, Mapping) and isinstance(tree.get("models", {}), Mapping):
        models, problems = _models(tree.get("models", {}))
        tree = {**tree, "models": models}
    try:
        config = RunConfig.model_validate(tree)
    except ValidationError as error:
        problems = [*(line for details in error.errors() for line in _describe(details, tree)), *problems]
    if problems:
        lines = (f"  {problem}" for problem in dict.fromkeys(problems))
        raise ConfigError("\n".join(["the configuration has errors:", *lines]))
    return _with_layout_of_dataset(config)


def _models(given: Mapping[str, Any]) -> tuple[dict[str, Section], list[str]]:
    """The settings of every family, and what is wrong with them."""
    unknown = [name for name in given if name not in MODELS]
    remedy = "load the extension that has it (extensions)"
    problems = [f"models.{name}: unknown model{_did_you_mean(name, list(MODELS))}; {remedy}" for name in unknown]
    models: dict[str, Section] = {}
    for name, section in MODELS.items():
        try:
            models[name] = section.model_validate(given.get(name, {}))
        except ValidationError as error:
            for details in error.errors():
                lines = _describe(details, given, section)
                problems += [f"models.{name}.{line}" if details["loc"] else f"models.{name}: {line}" for line in lines]
    return models, problems


def _with_layout_of_dataset(config: RunConfig) -> RunConfig:
    if config.model.layout != DATASET_LAYOUT:
        return config
    layout = load_manifest(config.data.name, _source(config)).layout
    if layout is None:
        raise ConfigError(f"model.layout: the manifest of {config.data.name} names none; choose one")
    return config.model_copy(update={"model": config.model.model_copy(update={"layout": layout})})


def _source(config: RunConfig) -> Path | None:
    return None if config.data.source is None else Path(config.data.source)


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """The configuration with settings by dotted path laid over it, as `--set` would lay them, but given as values.

    Raises:
        ConfigError: naming every unknown key and every bad value at once.
    """
    tree: Any = config.model_dump()
    for path, value in settings.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        tree = _merged(tree, value)
    return validate_config(tree)


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


def _parsed(overrides: Sequence[str]) -> Any:
    tree: Any = {}
    for text in overrides:
        try:
            require_plain_yaml(text.partition("=")[2])
            setting = OmegaConf.to_container(OmegaConf.from_dotlist([text]), resolve=True)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            reason = without_passwords(str(error).splitlines()[0], text)
            raise ConfigError(f"invalid setting '{_cut(text)}': {reason}; put the value in quotes") from error
        tree = _merged(tree, setting)
    return tree


def _read(file: str | Path | None) -> Any:
    if file is None:
        return {}
    try:
        text = read_yaml(file)
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {file}: check --config") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error}): check --config") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not valid YAML, correct it: {without_passwords(str(error))}") from error
    try:
        tree = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=True)
    except OSError:  # so OmegaConf has it where YAML is a number
        tree = None
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid YAML, correct it: {without_passwords(str(error), text)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold a mapping of settings, such as `seed: 1`")
    return tree


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _merged(below.get(key), value) for key, value in above.items()}
    return above


def _describe(details: ErrorDetails, tree: Any, root: type[Section] = RunConfig) -> list[str]:
    """One error as lines of `dotted.path: what is wrong and what to write`, the path from the root on."""
    location = [str(part) for part in details["loc"] if part not in UNION_TAGS and part != "[key]"]
    path = ".".join(location)
    given: Any = details["input"]
    if isinstance(given, str):
        given = without_passwords(given)
    if not path:
        return details["msg"].removeprefix("Value error, ").splitlines()
    if details["type"] == "extra_forbidden":
        return [f"{path}: unknown key{_did_you_mean(location[-1], _siblings(root, location[:-1]))}"]
    if details["type"] == "missing" and len(location) == 3 and location[0] == "phases":
        return [_incomplete_phase(location[1], given, [str(name) for name in tree["phases"]])]
    message = re.sub("^(Input|String) should", "must", details["msg"].removeprefix("Value error, "))
    message = EXPECTED.get(details["type"], message)
    shown = f" (given: {_cut(repr(given))})" if isinstance(given, str | int | float | list | tuple | None) else ""
    return [f"{path}: {message}{shown}"]


def _cut(text: str) -> str:
    text = without_passwords(text)  # before its end is cut off, by which a password is known
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _incomplete_phase(name: str, phase: dict[str, Any], names: list[str]) -> str:
    lacking = [key for key, field in PhaseConfig.model_fields.items() if field.is_required() and key not in phase]
    others = [other for other in names if other != name]
    return f"phases.{name}: is not in the preset{_did_you_mean(name, others)}; to add it, give it {', '.join(lacking)}"


def _siblings(root: type[Section], location: Sequence[str]) -> list[str]:
    """The keys that would have been right at a location."""
    fields = root.model_fields
    for part in location:
        if part in fields:  # else the name of a phase or the index of a part
            section = _section_in(fields[part].annotation)
            fields = section.model_fields if section else {}
    return list(fields)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section inside an annotation such as `dict[str, PhaseConfig]`, `str | Layout` or `tuple[Part, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f", expected one of {', '.join(known)}" if known else ""
