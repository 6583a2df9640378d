# SPDX-License-Identifier: Apache-2.0
"""A parameter: default, meaning, unit and bounds, kept on the field of a dataclass, and the rules it must keep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_type_hints

from letvins_ros.errors import ConfigError
from letvins_ros.keys import fits, kind_text

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """What is known of one key of the configuration."""

    name: str  # dotted, such as tracker.max_features
    kind: type  # bool, int, float or str
    default: Scalar
    meaning: str
    unit: str = ""
    low: float | None = None  # least value allowed
    high: float | None = None  # greatest value allowed
    choices: tuple[str, ...] = ()  # the only texts allowed

    @property
    def rule(self) -> str:
        """What values are allowed, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = {
            (True, True): f"from {self.low} to {self.high}",
            (True, False): f"at least {self.low}",
            (False, True): f"at most {self.high}",
            (False, False): "",
        }[self.low is not None, self.high is not None]
        return f"{kind_text(self.kind)} {bounds}".strip()

    def convert(self, value: object) -> Scalar:
        """Return the value in the parameter's own type; raise ConfigError where it breaks the rule."""
        scalar = cast(Scalar, value)
        if not fits(value, self.kind) or not self._allows(scalar):
            raise ConfigError(f"{self.name} must be {self.rule}, got {'nothing' if value is None else repr(value)}")
        return float(scalar) if self.kind is float else scalar

    def _allows(self, value: Scalar) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        finite = math.isfinite(value)
        return finite and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def param(  # noqa: PLR0913
    default: Scalar,
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> Any:  # the field takes its own type from the annotation
    """Make a dataclass field that is one key of the configuration."""
    about = {"meaning": meaning, "unit": unit, "low": low, "high": high, "choices": tuple(choices)}
    return field(default=default, metadata={"param": about})


class Section:
    """Base of the dataclasses that hold parameters: an instance with a value out of bounds cannot be made."""

    def __post_init__(self) -> None:
        """Raise ConfigError that names the parameter and its rule."""
        for name, parameter in own_parameters(type(self)).items():
            # set anew, since an int is turned into the float it stands for
            object.__setattr__(self, name, parameter.convert(getattr(self, name)))


def own_parameters(section: type[Section], prefix: str = "") -> dict[str, Parameter]:
    """Describe the parameters of one section, not of those in it, by name with the prefix."""
    kinds = get_type_hints(section)
    found: dict[str, Parameter] = {}
    for f in fields(cast(Any, section)):
        if "param" in f.metadata:
            name = prefix + f.name
            found[name] = Parameter(name, kinds[f.name], cast(Scalar, f.default), **f.metadata["param"])
    return found


def parameters(section: type[Section], prefix: str = "") -> dict[str, Parameter]:
    """Describe every parameter of a section and of those in it, by dotted name."""
    found = own_parameters(section, prefix)
    for name, kind in subsections(section).items():
        found |= parameters(kind, f"{prefix}{name}.")
    return found


def subsections(section: type[Section]) -> dict[str, type[Section]]:
    """Return the sections in a section, by name."""
    kinds = get_type_hints(section)
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
