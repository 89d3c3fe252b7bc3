"""What a file is, told by its content; its name and extension are never looked at."""

from __future__ import annotations

import os
import stat
import struct
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from auditor.errors import BrokenCheckpointError, InputError, printable

HEAD_BYTES = 4096
MAX_DIRECTORY_BYTES = 64 << 20
OPENED = frozenset({"pytorch_zip", "pytorch_legacy", "safetensors"})

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "keras_h5"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x93NUMPY", "numpy"),
    (b"GGUF", "gguf"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"#!", "program"),
    (b"%PDF", "document"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"version https://git-lfs.", "git_lfs_pointer"),
)
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_SAVE_AGAIN = "Save the model's state_dict() with torch.save or safetensors and give that file."
_UNPACK = "Unpack it yourself if you trust where it came from, and give the checkpoint inside."
_REFUSED: dict[str, tuple[str, str]] = {
    "torchscript": ("a TorchScript archive, which ships code", _SAVE_AGAIN),
    "torch_export": ("a torch.export (.pt2) archive, which cannot be opened safely", _SAVE_AGAIN),
    "pickle": ("a bare pickle, not a file written by torch.save", _SAVE_AGAIN),
    "tar": ("a tar archive (torch wrote such files before 0.1.10)", _SAVE_AGAIN),
    "onnx": ("an ONNX model", "Give the PyTorch checkpoint that it was exported from."),
    "keras_h5": ("an HDF5 (Keras) file", "Give a PyTorch checkpoint or a safetensors file."),
    "keras_zip": ("a Keras archive", "Give a PyTorch checkpoint or a safetensors file."),
    "tflite": ("a TensorFlow Lite model", "Give a PyTorch checkpoint or a safetensors file."),
    "gguf": ("a GGUF language model", "Give the checkpoint of an image classifier."),
    "numpy": ("a NumPy array file", _SAVE_AGAIN),
    "npz": ("a NumPy archive", _SAVE_AGAIN + " Clean images go to --clean."),
    "zip": ("a zip archive without a torch checkpoint", _UNPACK),
    "git_lfs_pointer": ("a Git LFS pointer, not the file itself", "Run `git lfs pull` where you cloned it."),
    "html": ("a web page, not the file itself", "The download failed or needs a login: download it again."),
    "program": ("a program", "Give the checkpoint of an image classifier."),
    "image": ("an image", "Clean images go to --clean; give a checkpoint as the model."),
    "document": ("a document", "Give the checkpoint of an image classifier."),
}


def sniff(path: Path) -> str:
    """The format of the file by its content, or "unknown".

    Formats that are opened: pytorch_zip, pytorch_legacy, safetensors. Raises InputError when
    the path is not a readable file, BrokenCheckpointError when the file is empty.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size == 0:
            raise BrokenCheckpointError(f"{printable(path)} is empty.", "Get the file again from its source.")
        head = stream.read(HEAD_BYTES)
        if head.startswith(b"PK\x03\x04"):
            return _zip_kind(_directory(stream, size))
    return _kind(head, size)


def check_opened(file_format: str, path: Path) -> None:
    """Raises BrokenCheckpointError, saying what the file is and what to do, unless it is opened."""
    if file_format in OPENED:
        return
    compressed = (f"compressed ({file_format})", _UNPACK)
    unknown = ("of a format that is not known", "Give a checkpoint written by torch.save, or a safetensors file.")
    what, next_step = _REFUSED.get(file_format, unknown if file_format == "unknown" else compressed)
    raise BrokenCheckpointError(f"{printable(path)} is {what}. It was not opened.", next_step)


def open_regular(path: Path) -> BufferedReader:
    """The file, open for reading. Never blocks on a pipe or device.

    Raises InputError when the path is missing, a folder, not a regular file, or unreadable.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {printable(path)}.", "Check the path.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a proper path"
        raise InputError(
            f"{printable(path)} cannot be read: {reason}.", "Check the path and its permissions."
        ) from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{printable(path)} is {what}.", "Give the path of the checkpoint file itself.")
    return os.fdopen(handle, "rb")


def _kind(head: bytes, size: int) -> str:
    if head[257:262] == b"ustar":
        return "tar"
    named = next((kind for magic, kind in _MAGICS if head.startswith(magic)), None)
    if named:
        return named
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:1] == b"\x80" and head[2:].startswith(_LEGACY_MAGIC):
        return "pytorch_legacy"
    if head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05":
        return "pickle"
    if len(head) > 9 and int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{":
        return "safetensors"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "html"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b":", b"B"):
        return "onnx"
    return "unknown"


def _directory(stream: BinaryIO, size: int) -> bytes:
    """The raw central directory of a zip, found leniently: only names are looked for in it."""
    tail_bytes = min(size, 66_000)
    stream.seek(size - tail_bytes)
    tail = stream.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return b""
    length, start = struct.unpack_from("<LL", tail, at + 12)
    stream.seek(start if start < size else max(0, size - tail_bytes))
    return stream.read(min(length, MAX_DIRECTORY_BYTES))


def _zip_kind(directory: bytes) -> str:
    """Which archive a zip is. Without a directory (truncated) it counts as a checkpoint, and
    the child then says what is broken."""
    names = directory.lower()
    if b"/constants.pkl" in names or b"/code/" in names or b"/bytecode.pkl" in names:
        return "torchscript"
    if b"archive_format" in names or b"serialized_exported_program" in names or b"/models/" in names:
        return "torch_export"
    if b"data.pkl" in names or not directory:
        return "pytorch_zip"
    if b"model.weights.h5" in names:
        return "keras_zip"
    return "npz" if b".npy" in names else "zip"
