# SPDX-License-Identifier: Apache-2.0
"""Damaged copies of good files, drawn by a random generator: the same seed gives the same damage."""

import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]
NUMBER = re.compile(rb"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
STRANGE = [
    b"nan", b".nan", b"inf", b"-.inf", b"1e308", b"-1e308", b"1e-320", b"0", b"-1", b"-0.0", b"1e400", b"", b"x",
    b"null", b"true", b"9223372036854775807", b"-9223372036854775808", b"18446744073709551616", b"1" * 400, b"0x10",
    b"[]", b"{}", b"[1, 2]", b"'1'", b"65536", b"2147483648", b"4294967295", b"0.5",
]  # fmt: skip
TEXTS = [b"", b"\0", b"\xff\xfe", "ü€".encode(), b"../../x", b"a" * 5000, b"\n", b"#", b"%", b"~", b"*a", b"&a"]
WORDS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f"]  # float32: NaN, inf, -inf, greatest
DOUBLES = [b"\0" * 6 + b"\xf8\x7f", b"\0" * 6 + b"\xf0\x7f", b"\xff" * 6 + b"\xef\x7f"]


def flip(data: bytes, rng: Random) -> bytes:
    """Change some bits."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: Random) -> bytes:
    """Leave out the end, the beginning or something between."""
    a, b = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return rng.choice((data[:a], data[a:], data[:a] + data[b:]))


def duplicate(data: bytes, rng: Random) -> bytes:
    """Have a part twice, or many times."""
    a = rng.randrange(len(data) + 1)
    b = min(a + rng.choice((1, 8, 100, 5000)), len(data))
    return data[:b] + data[a:b] * rng.choice((1, 2, 200)) + data[b:]


def overwrite(data: bytes, rng: Random) -> bytes:
    """Put an extreme integer or float, of either byte order, in place of some bytes."""
    word = rng.choice(WORDS).to_bytes(8, rng.choice(("little", "big")))
    put = rng.choice((word, word[:4], word[-4:], word[:2], *FLOATS, *DOUBLES))
    at = rng.choice((rng.randrange(len(data) + 1), rng.randrange(min(len(data), 64) + 1)))
    return data[:at] + put + data[at + len(put) :]


def renumber(data: bytes, rng: Random) -> bytes:
    """Put something else in place of one to three numbers of a text."""
    for _ in range(rng.choice((1, 1, 3))):
        numbers = list(NUMBER.finditer(data[:200_000]))
        if numbers:
            chosen = rng.choice(numbers)
            data = data[: chosen.start()] + rng.choice(STRANGE) + data[chosen.end() :]
    return data


def swap_lines(data: bytes, rng: Random) -> bytes:
    """Delete, repeat, exchange, indent or empty lines."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    way = rng.randrange(5)
    if way == 0:
        del lines[i]
    elif way == 1:
        lines.insert(j, lines[i])
    elif way == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif way == 3:
        lines[i] = b" " * rng.randrange(9) + lines[i].lstrip()
    else:
        lines[i] = lines[i].partition(rng.choice((b":", b",", b" ")))[0]
    return b"\n".join(lines)


def retext(data: bytes, rng: Random) -> bytes:
    """Put a strange text somewhere, often in place of a word."""
    words = list(re.finditer(rb"[A-Za-z_]\w*", data[:200_000]))
    if words and rng.random() < 0.7:
        chosen = rng.choice(words)
        return data[: chosen.start()] + rng.choice(TEXTS) + data[chosen.end() :]
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TEXTS) + data[at:]


def nest(data: bytes, rng: Random) -> bytes:
    """Put deeply nested brackets in place of a value."""
    deep = rng.choice((50, 1000, 30_000))
    opening, closing = rng.choice(((b"[", b"]"), (b"{a: ", b"}"), (b'{"a":', b"}"), (b"- ", b"")))
    values = list(re.finditer(rb"(?<=: )\S+", data[:200_000]))
    first, last = rng.choice(values).span() if values else (0, len(data))
    return data[:first] + opening * deep + b"1" + closing * deep + data[last:]


def alias_bomb(data: bytes, rng: Random) -> bytes:
    """Put YAML aliases of aliases in place of a value: few bytes that mean very many."""
    many, levels = rng.choice(((10, 9), (2, 40), (30, 5)))
    kind = rng.choice(("list", "mapping"))
    lines = ["a0: &a0 [1, 2]" if kind == "list" else "a0: &a0 {k: 1}"]
    for level in range(1, levels):
        inner = (f"*a{level - 1}" if kind == "list" else f"k{i}: *a{level - 1}" for i in range(many))
        lines.append(f"a{level}: &a{level} " + ("[%s]" if kind == "list" else "{%s}") % ", ".join(inner))
    values = list(re.finditer(rb"(?<=: )\S[^\n]*", data[:200_000]))
    head = "\n".join(lines).encode() + b"\n"
    if not values or rng.random() < 0.3:
        return head + data
    first, last = rng.choice(values).span()
    return head + data[:first] + f"*a{levels - 1}".encode() + data[last:]


BINARY: tuple[Mutation, ...] = (flip, flip, cut, duplicate, overwrite, overwrite)
TEXT: tuple[Mutation, ...] = (flip, cut, duplicate, renumber, renumber, renumber, swap_lines, swap_lines, retext)
YAML: tuple[Mutation, ...] = (*TEXT, renumber, nest, alias_bomb)


def mutate(data: bytes, rng: Random, ways: tuple[Mutation, ...]) -> bytes:
    """One damage in most cases, sometimes up to four."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(ways)(data, rng)
    return data
