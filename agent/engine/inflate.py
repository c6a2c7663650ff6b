"""Compressed data of somebody else's, taken apart within bounds (pure)."""

import zlib

_GZIP, _ZLIB = 31, 15


def inflate(data: bytes, limit: int, *, gzip: bool = True) -> bytes:
    """What gzip (any number of members) or zlib data holds. Raises ValueError when it is damaged or above `limit`."""
    out: list[bytes] = []
    left = limit
    while data:
        stream = zlib.decompressobj(_GZIP if gzip else _ZLIB)
        try:
            out.append(stream.decompress(data, left + 1))
        except zlib.error as error:
            raise ValueError(f"damaged compressed data: {error}") from None
        left -= len(out[-1])
        if left < 0:
            raise ValueError(f"more than {limit} bytes when decompressed")
        if not stream.eof:
            raise ValueError("compressed data is cut off")
        data = stream.unused_data
    return b"".join(out)
