# SPDX-License-Identifier: Apache-2.0
"""The loop closer's process. Heavy imports come once it is certain that it ends with its parent."""

from letvins_ros.helper_process import helper_pipe


def main() -> None:
    """Serve the parent's pipe."""
    pipe = helper_pipe()
    from letvins_ros.loop.serving import serve

    serve(pipe)


if __name__ == "__main__":
    main()
