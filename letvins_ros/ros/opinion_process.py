# SPDX-License-Identifier: Apache-2.0
"""The process of a second opinion, with less priority than the nodes."""

import os

from letvins_ros.helper_process import helper_pipe

NICE = 10


def main() -> None:
    """Answer the one question that comes through the parent's pipe."""
    pipe = helper_pipe()
    os.nice(NICE)
    from letvins_ros.second_opinion import second_opinion

    pipe.send(second_opinion(*pipe.recv()))


if __name__ == "__main__":
    main()
