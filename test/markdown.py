# SPDX-License-Identifier: Apache-2.0
import re


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Language, which may be empty, and content of each block of code."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S)
    return [(language, re.sub(f"^{indent}", "", content, flags=re.M)) for indent, language, content in found]
