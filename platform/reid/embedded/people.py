"""Who is rendered: identities with their body, clothing and belongings, drawn in look-alike groups."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]

PALETTE: dict[str, Colour] = {
    "black": (32, 32, 36),
    "white": (232, 232, 230),
    "red": (190, 36, 40),
    "purple": (122, 60, 150),
    "yellow": (226, 196, 52),
    "gray": (128, 128, 130),
    "blue": (44, 78, 178),
    "green": (46, 134, 66),
    "pink": (232, 138, 170),
    "brown": (116, 76, 44),
    "orange": (226, 118, 34),
    "teal": (40, 150, 156),
}
# Drawn by weight: Market-1501's colours, and a few that its attribute lists do not name.
UPPER_WEIGHTS = {
    "black": 4, "white": 5, "red": 3, "purple": 2, "yellow": 2, "gray": 3, "blue": 3, "green": 2, "orange": 1,
    "teal": 1,
}  # fmt: skip
LOWER_WEIGHTS = {
    "black": 6, "white": 2, "pink": 1, "purple": 1, "yellow": 1, "gray": 3, "blue": 4, "green": 1, "brown": 2, "red": 1,
}  # fmt: skip
ACCENTS = ("black", "white", "red", "yellow", "blue", "green", "orange")
PATTERNS = ("plain", "hoops", "stripes", "checks", "logo", "band", "yoke", "halves")
HAIR_COLOURS: tuple[Colour, ...] = ((28, 24, 22), (58, 38, 26), (104, 68, 38), (178, 138, 74))
GREY_HAIR: Colour = (176, 174, 170)
SKIN_COLOURS: tuple[Colour, ...] = ((242, 206, 178), (224, 178, 142), (190, 138, 100), (132, 90, 62), (92, 62, 46))
HATS = ("cap", "beanie", "sunhat")
LONG_HAIR = frozenset({"long", "ponytail"})


@dataclass(frozen=True, kw_only=True)
class Person:
    """One identity: everything about it that stays the same from image to image.

    Belongings (`hat`, `backpack`, `bag`, `handbag`) are None when there is none. `jitter` is added to the RGB of both
    garments, so that no two groups wear the very same shade.
    """

    female: bool
    age: int  # 1 child, 2 teenager, 3 adult, 4 old
    height: float  # metres
    girth: float  # width relative to the average of that height
    skin: Colour
    hair_colour: Colour
    hair: str  # "short", "bald", "long", "ponytail"
    glasses: bool
    beard: bool
    upper_colour: str
    upper_accent: str
    pattern: str  # one of PATTERNS
    open_jacket: bool  # shows a shirt of the accent colour underneath
    long_sleeves: bool
    lower: str  # "trousers", "skirt", "dress" (a dress is worn in the upper colour)
    lower_colour: str
    long_lower: bool
    side_stripe: bool  # along the outer seam of trousers, in the accent colour
    jitter: Colour
    shoe_colour: str
    hat: str | None  # one of HATS
    hat_colour: str
    backpack: str | None  # a colour, as for the two below
    bag: str | None
    handbag: str | None


def _weighted(rng: np.random.Generator, weights: dict[str, int]) -> str:
    probabilities = np.array(list(weights.values()), dtype=np.float64)
    return str(rng.choice(list(weights), p=probabilities / probabilities.sum()))


def _other(rng: np.random.Generator, choices: tuple[str, ...], *taken: str | None) -> str:
    return str(rng.choice([choice for choice in choices if choice not in taken]))


def _maybe(rng: np.random.Generator, probability: float, choices: tuple[str, ...], *taken: str) -> str | None:
    return _other(rng, choices, *taken) if rng.random() < probability else None


def sample_person(rng: np.random.Generator) -> Person:
    """One person with attribute frequencies near Market-1501's, hats excepted: those are commoner here."""
    female = bool(rng.random() < 0.45)
    age = int(rng.choice([1, 2, 3, 4], p=[0.06, 0.6, 0.24, 0.1]))
    height = float(rng.normal(1.66 if female else 1.77, 0.05)) * {1: 0.72, 2: 0.97, 3: 1.0, 4: 0.96}[age]
    lower = str(rng.choice(["trousers", "skirt", "dress"], p=[0.6, 0.22, 0.18])) if female else "trousers"
    upper_colour = _weighted(rng, UPPER_WEIGHTS)
    lower_colour = upper_colour if lower == "dress" else _weighted(rng, LOWER_WEIGHTS)
    jacket = lower != "dress" and bool(rng.random() < 0.15)
    return Person(
        female=female,
        age=age,
        height=height,
        girth=float(rng.uniform(0.86, 1.22)) * (1.06 if age == 3 else 1.0),
        skin=SKIN_COLOURS[rng.choice(5, p=[0.3, 0.3, 0.2, 0.12, 0.08])],
        hair_colour=GREY_HAIR if age == 4 else HAIR_COLOURS[rng.choice(4, p=[0.5, 0.2, 0.15, 0.15])],
        hair=str(
            rng.choice(["short", "long", "ponytail"], p=[0.25, 0.45, 0.3])
            if female
            else rng.choice(["short", "bald", "long"], p=[0.86, 0.08, 0.06])
        ),
        glasses=bool(rng.random() < 0.2),
        beard=not female and age > 2 and bool(rng.random() < 0.4),
        upper_colour=upper_colour,
        upper_accent=_other(rng, ACCENTS, upper_colour),
        pattern="plain" if jacket else str(rng.choice(PATTERNS, p=[0.3, 0.12, 0.1, 0.05, 0.15, 0.13, 0.11, 0.04])),
        open_jacket=jacket,
        long_sleeves=jacket or bool(rng.random() < 0.4),
        lower=lower,
        lower_colour=lower_colour,
        long_lower=bool(rng.random() < (0.3 if lower in ("skirt", "dress") else 0.6)),
        side_stripe=lower == "trousers" and bool(rng.random() < 0.15),
        jitter=(int(rng.integers(-14, 15)), int(rng.integers(-14, 15)), int(rng.integers(-14, 15))),
        shoe_colour=_other(rng, ("black", "white", "red", "brown", "blue")),
        hat=_maybe(rng, 0.12, HATS),
        hat_colour=_other(rng, ACCENTS),
        backpack=_maybe(rng, 0.22, ACCENTS, upper_colour),
        bag=_maybe(rng, 0.2, ACCENTS, upper_colour),
        handbag=_maybe(rng, 0.12, ACCENTS, lower_colour),
    )


def _change_pattern(rng: np.random.Generator, person: Person) -> Person:
    return replace(person, pattern=_other(rng, PATTERNS, person.pattern), open_jacket=False)


def _change_hair(rng: np.random.Generator, person: Person) -> Person:
    return replace(person, hair="short" if person.hair in LONG_HAIR else "long")


def _change_shoes(rng: np.random.Generator, person: Person) -> Person:
    dark = person.shoe_colour in ("black", "brown", "blue")
    return replace(person, shoe_colour="white" if dark else "black")


# One visible change each; every function returns a person who differs from its argument.
DETAILS: dict[str, Callable[[np.random.Generator, Person], Person]] = {
    "hat": lambda rng, p: replace(p, hat=None if p.hat else _other(rng, HATS), hat_colour=_other(rng, ACCENTS)),
    "backpack": lambda rng, p: replace(p, backpack=None if p.backpack else _other(rng, ACCENTS, p.upper_colour)),
    "bag": lambda rng, p: replace(p, bag=None if p.bag else _other(rng, ACCENTS, p.upper_colour)),
    "handbag": lambda rng, p: replace(p, handbag=None if p.handbag else _other(rng, ACCENTS, p.lower_colour)),
    "sleeves": lambda rng, p: replace(p, long_sleeves=not p.long_sleeves),
    "lower_length": lambda rng, p: replace(p, long_lower=not p.long_lower),
    "pattern": _change_pattern,
    "hair": _change_hair,
    "shoes": _change_shoes,
}


def sample_population(rng: np.random.Generator, count: int) -> list[Person]:
    """`count` identities in groups of one to four look-alikes.

    The members of a group share body and colours. Each but the first differs from the first in one detail or in two,
    and no two of them in the same ones.
    """
    people: list[Person] = []
    while len(people) < count:
        original = sample_person(rng)
        people.append(original)
        details = rng.permutation(list(DETAILS))
        for member in range(int(rng.integers(4))):
            person = original
            for detail in details[2 * member : 2 * member + int(rng.choice([1, 2], p=[0.6, 0.4]))]:
                person = DETAILS[detail](rng, person)
            people.append(person)
    return people[:count]
