#!/usr/bin/env python3
"""Checks what a built wheel of the Python package contains: code, types, library, licence texts."""

import sys
import zipfile

LARGEST = 60_000_000


def problems(names, metadata, size):
    """The faults found, as sentences."""
    found = []

    def need(what, test):
        if not any(test(name) for name in names):
            found.append(f"no {what}")

    need("ditto/__init__.py", lambda name: name == "ditto/__init__.py")
    need("ditto/py.typed: the type hints would be ignored", lambda name: name == "ditto/py.typed")
    need("native library", lambda name: name.endswith((".so", ".dylib", ".pyd", ".dll")))
    need("licence text in the metadata folder", lambda name: ".dist-info/" in name and "LICENSE" in name)
    if "License-Expression: Apache-2.0 OR MIT" not in metadata:
        found.append("the metadata does not say 'License-Expression: Apache-2.0 OR MIT'")
    if "Requires-Python:" not in metadata:
        found.append("the metadata names no Python version")
    for name in names:
        if "__pycache__" in name or name.startswith(("tests/", "ditto/tests/")):
            found.append(f"{name} should not be shipped")
    if size > LARGEST:
        found.append(f"{size} bytes unpacked, more than {LARGEST}")
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_wheel.py FILE.whl")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        names = wheel.namelist()
        size = sum(entry.file_size for entry in wheel.infolist())
        metadata = "".join(
            wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")
        )
    found = problems(names, metadata, size)
    if found:
        sys.exit(f"{sys.argv[1]}:\n" + "\n".join(f"  {fault}" for fault in found))
    print(f"{sys.argv[1].rsplit('/', 1)[-1]}: {len(names)} entries, {size} bytes unpacked", file=sys.stderr)


if __name__ == "__main__":
    main()
