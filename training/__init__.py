# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and export of the networks of letvins_ros, which this imports and which never imports it."""
