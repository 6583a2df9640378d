# SPDX-License-Identifier: Apache-2.0
"""The files of ROS 1 and ROS 2 bags: topics and raw messages, whatever other topics hold."""
