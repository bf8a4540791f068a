#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write a "newc" cpio archive, the format of a Linux initramfs.

The manifest is read from standard input, one entry per line, fields separated
by tabs (so that names may hold blanks):

    dir   PATH  MODE
    file  PATH  MODE  SOURCE
    link  PATH  TARGET
    char  PATH  MODE  MAJOR  MINOR

Modes are octal.  Missing parents are added (0755); an entry given twice counts
once, the last wins.  The archive goes to the file named on the command line, by
way of a temporary file beside it.

The archive depends on the manifest and the sources' contents alone: entries
are sorted, owner is root, time stamps are zero, inode numbers count up.  No
privilege is needed, device nodes included, because nothing is made on disk.
"""
import os
import stat
import sys
import tempfile

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
BLOCK = 512


class Archive:
    """Entries by path; write() emits them in order."""

    def __init__(self):
        self.entries = {}

    def add(self, path, mode, data=b"", device=(0, 0)):
        path = path.strip("/")
        if not path or ".." in path.split("/"):
            raise ValueError(f"bad path in archive: {path!r}")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.entries[path] = (mode, data, device)

    def add_line(self, line):
        kind, path, *rest = line.split("\t")
        if kind == "dir" and len(rest) == 1:
            self.add(path, stat.S_IFDIR | int(rest[0], 8))
        elif kind == "file" and len(rest) == 2:
            with open(rest[1], "rb") as source:
                self.add(path, stat.S_IFREG | int(rest[0], 8), source.read())
        elif kind == "link" and len(rest) == 1:
            self.add(path, stat.S_IFLNK | 0o777, rest[0].encode())
        elif kind == "char" and len(rest) == 3:
            self.add(path, stat.S_IFCHR | int(rest[0], 8), device=(int(rest[1]), int(rest[2])))
        else:
            raise ValueError(f"bad manifest line: {line!r}")

    def write(self, out):
        size = 0
        for number, path in enumerate(sorted(self.entries), start=1):
            mode, data, device = self.entries[path]
            size += write_entry(out, number, path, mode, data, device)
        size += write_entry(out, 0, TRAILER, 0, b"", (0, 0))
        # a whole number of blocks, so that archives can be concatenated
        out.write(b"\0" * (-size % BLOCK))


def write_entry(out, number, path, mode, data, device):
    """One header, name and body, each padded to four bytes; returns the size."""
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, device[0], device[1], len(name), 0)
    head = MAGIC + b"".join(b"%08X" % field for field in fields) + name
    head += b"\0" * (-len(head) % 4)
    body = data + b"\0" * (-len(data) % 4)
    out.write(head + body)
    return len(head) + len(body)


def write_file(archive, target):
    """Write to TARGET by way of a temporary file beside it."""
    folder = os.path.dirname(os.path.abspath(target))
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as out:
        try:
            archive.write(out)
            out.close()
            os.chmod(out.name, 0o644)
            os.replace(out.name, target)
        except BaseException:
            os.unlink(out.name)
            raise


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: mkcpio.py OUTPUT <MANIFEST")
    archive = Archive()
    try:
        for line in sys.stdin:
            if line.strip():
                archive.add_line(line.rstrip("\n"))
        write_file(archive, sys.argv[1])
    except (OSError, ValueError) as error:
        sys.exit(f"mkcpio.py: {error}")


if __name__ == "__main__":
    main()
