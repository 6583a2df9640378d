# SPDX-License-Identifier: Apache-2.0
"""What is known about the variables: one cost a file. A new one is a new file here."""
