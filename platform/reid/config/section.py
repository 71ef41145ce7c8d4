"""The base of every configuration section."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from reid.config.secrets import without_passwords

Positive = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A frozen group of settings that knows no keys but its own, and takes no truth value for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if _holds_truth_value(value) and {int, float} & set(_leaves(annotation)) and bool not in _leaves(annotation):
            raise ValueError("must be a number, and neither true nor false")
        return value

    @field_serializer("*", mode="wrap", when_used="json")
    def _without_passwords(self, value: Any, serialize: SerializerFunctionWrapHandler) -> Any:
        """What is dumped as JSON is recorded and printed; a job and its workers hold addresses as they are."""
        plain = serialize(value)
        return without_passwords(plain) if isinstance(plain, str) else plain


def _leaves(annotation: Any) -> list[Any]:
    """The types within an annotation such as `dict[str, int | None]`."""
    inner = get_args(annotation)
    return [leaf for part in inner for leaf in _leaves(part)] if inner else [annotation]


def _holds_truth_value(value: Any) -> bool:
    inner: Iterable[Any] = value.values() if isinstance(value, Mapping) else value if _is_list(value) else ()
    return isinstance(value, bool) or any(isinstance(part, bool) for part in inner)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
