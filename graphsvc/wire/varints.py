"""Numbers as protobuf writes them: seven bits to a byte, the lowest first."""

__all__ = ["read_varint", "varint"]


def varint(number: int) -> bytes:
    """Return the bytes of a number from 0."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it.

    Raises:
        IndexError: The data end within it, or it is longer than the ten bytes that a parser takes.
    """
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7
        if shift == 70:
            raise IndexError
