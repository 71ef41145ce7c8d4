"""Every setting with its meaning, default and limits, as the configuration itself knows them."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid.config import MODELS, RunConfig

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
NO_BOUND = 2**31
"""What whole numbers must be smaller than to be stored: nobody's limit."""
INDENT = "      "


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting."""

    path: str
    """Dotted, as `--set` takes it."""
    values: str
    """What it may be: its type and limits."""
    default: str | None
    """None = it must be given, or what is taken depends on other things: the meaning says so."""
    meaning: str

    def __str__(self) -> str:
        default = "no fixed default" if self.default is None else f"default {self.default}"
        return f"{self.path}: {self.values}; {default}"


def listed_settings(phases: Sequence[str] = ("NAME",)) -> list[Setting]:
    """All settings of the tree, those of every phase and model included.

    Args:
        phases: names to list the settings of a phase under.
    """
    schema = RunConfig.model_json_schema()
    settings = []
    for setting in _settings("", schema, schema["$defs"]):
        if setting.path == "phases":
            phase = schema["$defs"]["PhaseConfig"]
            settings += [s for name in phases for s in _settings(f"phases.{name}.", phase, schema["$defs"])]
        elif setting.path == "models":
            for name, section in MODELS.items():
                model = section.model_json_schema()
                settings += _settings(f"models.{name}.", model, model.get("$defs", {}))
        else:
            settings.append(setting)
    return settings


def settings_text(width: int) -> str:
    """The list as the help prints it."""
    head = "Settings, for --set KEY=VALUE, or as a tree in the file of --config (`reid config` prints one):"
    lines = [textwrap.fill(head, width), ""]
    for setting in listed_settings():
        for text, indent in ((str(setting), "  "), (setting.meaning, INDENT)):
            lines += textwrap.wrap(
                text,
                width,
                initial_indent=indent,
                subsequent_indent=INDENT,
                break_on_hyphens=False,
                break_long_words=False,
            )
    return "\n".join(lines) + "\n"


def _settings(path: str, schema: Mapping[str, Any], sections: Mapping[str, Any]) -> Iterator[Setting]:
    for name, field in schema["properties"].items():
        section = _section(field, sections)
        if section is not None:
            yield from _settings(f"{path}{name}.", section, sections)
        else:
            yield Setting(
                path=path + name,
                values=_values(field, sections),
                default=_default(field),
                meaning=" ".join(field.get("description", "").split()),
            )


def _section(field: Mapping[str, Any], sections: Mapping[str, Any]) -> Mapping[str, Any] | None:
    section: Mapping[str, Any] | None = sections.get(field.get("$ref", "").rpartition("/")[2])
    return section


def _default(field: Mapping[str, Any]) -> str | None:
    if "default" not in field:
        return None
    default = field["default"]
    return "none" if default is None else default if isinstance(default, str) else json.dumps(default)


def _values(field: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """What a field may be, in words: `a whole number ≥ 1`, `halve or cosine`."""
    if (section := _section(field, sections)) is not None:
        return f"{{{', '.join(section['properties'])}}}"
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(_values(option, sections) for option in field[choice])
    if "prefixItems" in field:
        return f"[{', '.join(_values(item, sections) for item in field['prefixItems'])}]"
    kind = {
        "array": "a list",
        "boolean": "true or false",
        "integer": "a whole number",
        "null": "none",
        "number": "a number",
        "object": "a mapping",
        "string": "text",
    }[field["type"]]
    if field["type"] == "array" and "items" in field:
        kind += f" of {_values(field['items'], sections)}"
    bounds = [f"{sign} {field[name]}" for name, sign in BOUNDS.items() if name in field and field[name] != NO_BOUND]
    if "multipleOf" in field:
        bounds.append(f"a multiple of {field['multipleOf']}")
    if "pattern" in field:
        bounds.append(f"matching {field['pattern']}")
    return " ".join([kind, ", ".join(bounds)]).rstrip()
