# SPDX-License-Identifier: Apache-2.0
"""Parameters: dataclass fields with default, meaning, unit and bounds, which are checked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_type_hints

from letvins_ros.errors import ConfigError
from letvins_ros.keys import brief, fits, kind_text

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One key of the configuration."""

    name: str  # dotted, such as tracker.max_features
    kind: type  # bool, int, float or str
    default: Scalar
    meaning: str
    unit: str = ""
    low: float | None = None  # minimum
    high: float | None = None  # maximum
    choices: tuple[str, ...] = ()  # allowed strings

    @property
    def rule(self) -> str:
        """The allowed values, in words."""
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
        """Return the value in the parameter's type; raise ConfigError where it is not allowed."""
        scalar = cast(Scalar, value)
        if not fits(value, self.kind) or not self._allows(scalar):
            raise ConfigError(f"{self.name} must be {self.rule}, got {'nothing' if value is None else brief(value)}")
        return float(scalar) if self.kind is float else scalar

    def _allows(self, value: Scalar) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        representable = abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)  # as ROS parameters are
        return representable and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


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
    """Base of the dataclasses of parameters, which check their values when they are made."""

    def __post_init__(self) -> None:
        """Raise ConfigError that names the parameter and the allowed values."""
        for name, parameter in own_parameters(type(self)).items():
            # set anew, since an int is turned into the float it stands for
            object.__setattr__(self, name, parameter.convert(getattr(self, name)))


def own_parameters(section: type[Section], prefix: str = "") -> dict[str, Parameter]:
    """The parameters of one section without its subsections, by name with the prefix."""
    kinds = get_type_hints(section)
    found: dict[str, Parameter] = {}
    for f in fields(cast(Any, section)):
        if "param" in f.metadata:
            name = prefix + f.name
            found[name] = Parameter(name, kinds[f.name], cast(Scalar, f.default), **f.metadata["param"])
    return found


def parameters(section: type[Section], prefix: str = "") -> dict[str, Parameter]:
    """The parameters of a section and its subsections, by dotted name."""
    found = own_parameters(section, prefix)
    for name, kind in subsections(section).items():
        found |= parameters(kind, f"{prefix}{name}.")
    return found


def subsections(section: type[Section]) -> dict[str, type[Section]]:
    """The subsections of a section, by name."""
    kinds = get_type_hints(section)
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
