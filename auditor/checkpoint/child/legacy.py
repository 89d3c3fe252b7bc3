"""The layout of a checkpoint from before torch 1.6: five pickles in a row, then raw storages."""

from __future__ import annotations

import os
from typing import IO

from .claims import Storage, storages
from .nodes import Pickle, Seq
from .pickles import read_pickle
from .refusal import broken

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def read_legacy(stream: IO[bytes], file_bytes: int) -> Pickle:
    """The object's pickle, every byte of the file accounted for.

    Raises Refusal when a part is missing, is not what torch wrote, or bytes are left over.
    """
    if read_pickle(stream).value != MAGIC_NUMBER or read_pickle(stream).value != PROTOCOL_VERSION:
        raise broken("The file does not begin as a torch checkpoint of this kind does.")
    if read_pickle(stream).names:
        raise broken("The checkpoint's system information is not plain data.")
    pickle = read_pickle(stream)
    keys = read_pickle(stream)
    if not isinstance(keys.value, Seq) or keys.names:
        raise broken("The checkpoint lacks the list of its storages.")
    known = storages(pickle)
    if len(keys.value.items) != len(known):
        raise broken("The checkpoint lists other storages than its tensors use.")
    for key in keys.value.items:
        text = key.decode("latin1") if isinstance(key, bytes) else key
        if not isinstance(text, str) or text not in known:
            raise broken("The checkpoint lists other storages than its tensors use.")
        _skip_storage(stream, known.pop(text), file_bytes)
    if stream.tell() != file_bytes:
        raise broken(f"The checkpoint has {file_bytes - stream.tell():,} bytes after its last storage.")
    return pickle


def _skip_storage(stream: IO[bytes], storage: Storage, file_bytes: int) -> None:
    """Step over a storage: its length as 8 bytes, which must be the claimed one, and its elements."""
    if int.from_bytes(stream.read(8), "little") != storage.size:
        raise broken("The checkpoint claims another size for a storage than the file holds.")
    if stream.seek(storage.size * storage.itemsize, os.SEEK_CUR) > file_bytes:
        raise broken("The checkpoint breaks off inside a storage: the file is truncated.")
