"""A drive whose reads fail: a real file system (FUSE) that shows the files of a folder, and errors where a test asks.

It runs in a process of its own, because a thread could not answer while this process holds the GIL. Reads are not
cached. It needs Linux and the right to mount; `FaultyDrive.start` skips the test without them.
"""

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = 1
OPCODES = {1: "lookup", 3: "attributes", 14: "open", 15: "read", 18: "close", 25: "close", 26: "init", 27: "open"}
UNANSWERED = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET
REQUEST_BYTES = 1 << 18
WRITE_BYTES = 1 << 16
DIRECT_IO = 1  # FOPEN_DIRECT_IO: no page cache
MNT_DETACH = 2
LAST_BYTE = 1 << 62
FAULTS = "faults.json"


class FaultyDrive:
    """Files put into `files` appear in `folder`."""

    def __init__(self, base: Path) -> None:
        self.files, self.folder = base / "files", base / "drive"
        for folder in (self.files, self.folder):
            folder.mkdir(parents=True)
        self._faults = base / FAULTS
        self._server: subprocess.Popen[str] | None = None
        self.works()

    def start(self) -> None:
        if not sys.platform.startswith("linux"):
            pytest.skip("only Linux has FUSE")
        command = [sys.executable, "-m", "tests.faulty_drive", str(self.files.parent)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        reply = self._server.stdout.readline().strip()
        if reply != "mounted":
            self.stop()
            pytest.skip(f"cannot mount a file system: {reply}")

    def stop(self) -> None:
        assert self._server is not None
        ctypes.CDLL(None).umount2(os.fsencode(self.folder), MNT_DETACH)
        self._server.terminate()
        self._server.communicate()

    def works(self) -> None:
        self._set({})

    def fails(self, code: int, *, begin: int = 0, end: int = LAST_BYTE, times: int = LAST_BYTE) -> None:
        """From now on, reads that touch these bytes of any file fail, at most so many of them."""
        self._set({"read": [code, begin, end, times]})

    def is_unplugged(self) -> None:
        """From now on the folder is empty, and reads of open files fail, as after the drive was pulled out."""
        self._set({"lookup": errno.ENOENT, "read": [errno.ENODEV, 0, LAST_BYTE, LAST_BYTE]})

    def _set(self, faults: dict[str, Any]) -> None:
        part = self._faults.with_suffix(".part")
        part.write_text(json.dumps(faults))
        part.replace(self._faults)


class _Server:
    """The other end of `/dev/fuse`. The protocol: `include/uapi/linux/fuse.h`, version 7.31."""

    def __init__(self, base: Path) -> None:
        self._files = base / "files"
        self._faults = base / FAULTS
        self._names: dict[int, str] = {}  # by node
        self._version, self._failed = 0, 0
        self._device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"faulty", os.fsencode(base / "drive"), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, REQUEST_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno == errno.ENOENT:  # the request was withdrawn
                    continue
                raise
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in UNANSWERED:
                continue
            code, data = 0, b""
            try:
                data = self._answer(OPCODES.get(opcode, ""), node, request[40:])
            except OSError as error:
                code = -(error.errno or errno.EIO)
            os.write(self._device, struct.pack("<IiQ", 16 + len(data), code, unique) + data)

    def _answer(self, operation: str, node: int, body: bytes) -> bytes:
        match operation:
            case "init":
                return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, WRITE_BYTES, 1, 32, 0, 0)
            case "lookup":
                self._raise("lookup")
                name = body.rstrip(b"\0").decode()
                status = (self._files / name).stat()
                self._names[status.st_ino] = name
                return struct.pack("<QQQQII", status.st_ino, 0, 0, 0, 0, 0) + _attributes(status)
            case "attributes":
                if node != ROOT:
                    self._raise("lookup")
                return struct.pack("<QII", 0, 0, 0) + _attributes((self._files / self._names.get(node, "")).stat())
            case "open":
                return struct.pack("<QII", 0, DIRECT_IO, 0)
            case "read":
                _, offset, size = struct.unpack_from("<QQI", body)
                self._raise("read", offset, offset + size)
                with (self._files / self._names[node]).open("rb") as file:
                    file.seek(offset)
                    return file.read(size)
            case "close":
                return b""
        raise OSError(errno.ENOSYS, "not implemented")

    def _raise(self, operation: str, begin: int = 0, end: int = LAST_BYTE) -> None:
        faults = json.loads(self._faults.read_text())
        version = self._faults.stat().st_mtime_ns
        if version != self._version:
            self._version, self._failed = version, 0
        if operation == "lookup" and "lookup" in faults:
            raise OSError(faults["lookup"], "lookup")
        if operation == "read" and "read" in faults:
            code, first, last, times = faults["read"]
            if begin < last and end > first and self._failed < times:
                self._failed += 1
                raise OSError(code, "read")


def _attributes(status: os.stat_result) -> bytes:
    return struct.pack(
        "<6Q10I",
        *(status.st_ino, status.st_size, status.st_blocks),
        *(nanoseconds // 10**9 for nanoseconds in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)),
        *(nanoseconds % 10**9 for nanoseconds in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)),
        *(status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0),
    )


if __name__ == "__main__":
    try:
        server = _Server(Path(sys.argv[1]))
    except OSError as error:
        sys.stdout.write(f"{error.strerror}\n")
    else:
        sys.stdout.write("mounted\n")
        sys.stdout.flush()
        server.serve()
