"""Pictures and documents that are drawn by code."""

from __future__ import annotations

import random
import struct
import zlib


def png(number: int, width: int = 64, height: int = 48, noise: int = 0) -> bytes:
    """Return a picture of a colour of its own; with `noise` so many of its rows are random."""
    shades = random.Random(number)
    colour = bytes(shades.randrange(256) for _ in range(3))
    rows = [b"\0" + colour * width for _ in range(height - noise)]
    rows += [b"\0" + shades.randbytes(3 * width) for _ in range(noise)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in pieces
    )


def gif(width: int = 20, height: int = 10) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0,\0\0\0\0" + b"\x01\0\x01\0\0\x02\x02D\x01\0;"


def pdf(number: int, pages: int = 1) -> bytes:
    """Return a document of `pages` pages, each with a line of text."""
    kids = " ".join(f"{3 + 2 * page} 0 R" for page in range(pages))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>"]
    for page in range(pages):
        text = f"BT /F1 24 Tf 72 720 Td (Letter {number}, page {page + 1}) Tj ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * page} 0 R >>")
        objects.append(f"<< /Length {len(text)} >>\nstream\n{text}\nendstream")
    body = "%PDF-1.4\n" + "".join(f"{place} 0 obj\n{each}\nendobj\n" for place, each in enumerate(objects, start=1))
    return f"{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n%%EOF\n".encode()
