# SPDX-License-Identifier: Apache-2.0
"""Stands in for launch and launch_ros: every class of theirs only keeps what it is made from."""

import sys
from types import ModuleType
from typing import Any

MODULES = (
    "launch", "launch.actions", "launch.event_handlers", "launch.events", "launch.launch_description_sources",
    "launch.substitutions", "launch_ros", "launch_ros.actions", "launch_ros.substitutions",
)  # fmt: skip


class Recorded:
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.arguments, self.keywords = arguments, keywords

    @property
    def kind(self) -> str:
        return type(self).__name__


class SubstitutionFailure(Exception):
    pass


class ExecutableInPackage(Recorded):
    def perform(self, context: Any) -> str:
        raise SubstitutionFailure(f"{self.keywords} is not installed")


class Module(ModuleType):
    __path__ = ()  # type: ignore[assignment]

    def __getattr__(self, name: str) -> type:
        return globals().get(name) or type(name, (Recorded,), {})


def stand_ins() -> dict[str, ModuleType]:
    """The modules by name, for sys.modules."""
    return {name: Module(name) for name in MODULES}


if __name__ == "__main__":  # python -I -S stand_ins.py FILE: in an interpreter that has nothing else
    sys.modules |= stand_ins()
    import runpy

    print(runpy.run_path(sys.argv[1])["generate_launch_description"]().kind)
