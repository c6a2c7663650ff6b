"""Snappy's block format, written without looking for repetitions (pure): valid for every reader, and not smaller.

Where a protocol demands snappy, this saves a dependency; a compressor could take its place any time.
"""

_PIECE = 65536


def framed(data: bytes) -> bytes:
    """The data as a block: its length, then literals of at most 64 KiB."""
    out = bytearray(_varint(len(data)))
    for at in range(0, len(data), _PIECE):
        piece = data[at : at + _PIECE]
        last = len(piece) - 1
        if last < 60:
            out.append(last << 2)
        elif last < 256:
            out += bytes((60 << 2, last))
        else:
            out += bytes((61 << 2, last & 0xFF, last >> 8))
        out += piece
    return bytes(out)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
