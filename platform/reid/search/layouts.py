"""The space of branch layouts: which parts the body is divided into, and what each branch carries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from reid.config import LAYOUTS, ConfigError, Layout, Part, Region, RunConfig, load_manifest

SIDES = ("right", "left")


def branch_layout(trial: optuna.trial.BaseTrial, config: RunConfig) -> dict[str, Any]:
    """A named layout whose parts are kept, dropped, split into right and left, or merged into the part before.

    Every branch has a dimension; a part may go without attributes, and without triplet loss if attributes train it. The
    named layouts are `search.layouts`, which a sweep under way takes from its study: a layout that is added meanwhile
    is not searched, since the choices of a parameter must not change.

    Raises:
        ConfigError: `config` does not start from a named layout.
    """
    configured = config.model.resolved_layout()
    if _name_of(configured) is None:
        raise ConfigError(
            f"model.layout: divides the body as none of {', '.join(LAYOUTS)} does, and the space branch_layout starts "
            "from one of them: choose one, or write a space of your own"
        )
    base = trial.suggest_categorical("layout", config.search.layouts or tuple(LAYOUTS))
    dims = _dims(config)
    source = Path(config.data.source) if config.data.source is not None else None
    unassigned = {attribute.region for attribute in load_manifest(config.data.name, source).attributes}
    parts: list[Part] = []
    is_whole = False  # whether the last branch is one that another part can be merged into
    for part in LAYOUTS[base].parts:
        path = f"layout.{base}.{part.name}"
        fate = trial.suggest_categorical(path, _fates(part, is_first=part is LAYOUTS[base].parts[0]))
        if fate == "drop":
            continue
        if fate == "merge" and is_whole:
            parts[-1] = _merged(parts[-1], part)
            unassigned -= set(part.regions)
            continue
        attached = trial.suggest_categorical(f"{path}.attributes", (True, False))
        own: set[Region | None] = unassigned & set(part.regions) if attached else set()
        unassigned -= own
        changed = part.model_copy(
            update={
                "dim": trial.suggest_categorical(f"{path}.dim", dims),
                "attributes": None if attached else (),
                # a branch with neither triplet loss nor attributes would learn nothing
                "triplet": not own or fate == "split" or trial.suggest_categorical(f"{path}.triplet", (True, False)),
            }
        )
        is_whole = fate != "split"
        parts += [changed] if is_whole else [_half(changed, side) for side in SIDES]
    layout = Layout(
        parts=tuple(parts),
        plenary_dim=trial.suggest_categorical("layout.plenary.dim", _around(configured.plenary_dim)),
        plenary_triplet=trial.suggest_categorical("layout.plenary.triplet", (True, False)),
    )
    return {"model.layout": layout.model_dump()}


def layout_start(config: RunConfig) -> dict[str, Any]:
    """The parameters by which `branch_layout` draws the configured layout; none if it divides the body another way."""
    layout = config.model.resolved_layout()
    base = _name_of(layout)
    if base is None:
        return {}
    values: dict[str, Any] = {
        "layout": base,
        "layout.plenary.dim": layout.plenary_dim,
        "layout.plenary.triplet": layout.plenary_triplet,
    }
    for part in layout.parts:
        path = f"layout.{base}.{part.name}"
        values |= {
            path: "keep",
            f"{path}.dim": part.dim,
            f"{path}.attributes": part.attributes is None,
            f"{path}.triplet": part.triplet,
        }
    return values


def _name_of(layout: Layout) -> str | None:
    """The named layout that divides the body in the same way."""

    def division(layout: Layout) -> list[tuple[object, ...]]:
        return [(part.name, part.joints, part.limbs, part.regions, part.attributes or None) for part in layout.parts]

    return next((name for name, named in LAYOUTS.items() if division(named) == division(layout)), None)


def _dims(config: RunConfig) -> tuple[int, ...]:
    layout = config.model.resolved_layout()
    return _around(*({part.dim for part in layout.parts} or {max(1, layout.plenary_dim // 2)}))


def _around(*dims: int) -> tuple[int, ...]:
    """Half, the same and double."""
    return tuple(sorted({scaled for dim in dims for scaled in (max(1, dim // 2), dim, min(8192, 2 * dim))}))


def _fates(part: Part, *, is_first: bool) -> tuple[str, ...]:
    both_sides = all(any(side in name for name in part.joints + part.limbs) for side in SIDES)
    return ("keep", "drop", *(() if is_first else ("merge",)), *(("split",) if both_sides else ()))


def _merged(before: Part, part: Part) -> Part:
    return before.model_copy(
        update={
            "joints": before.joints + part.joints,
            "limbs": before.limbs + part.limbs,
            "regions": tuple(dict.fromkeys(before.regions + part.regions)),
        }
    )


def _half(part: Part, side: str) -> Part:
    """The channels of one side, and those in the middle; attributes go to the first half alone."""
    other = SIDES[1 - SIDES.index(side)]

    def here(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if other not in name)

    return part.model_copy(
        update={"name": f"{side}_{part.name}", "joints": here(part.joints), "limbs": here(part.limbs)}
    )
