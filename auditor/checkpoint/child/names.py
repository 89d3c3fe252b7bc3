"""What a name inside a pickle means for opening the file.

Default deny: a name passes only when it is one of torch's own tensor builders. A name from
a module that acts means refusal; every other name is replaced by an inert stub, and the
module it names is never imported.
"""

from __future__ import annotations

import _compat_pickle
from typing import Literal

Meaning = Literal["allowed", "unsupported", "stub", "dangerous"]

BUILDERS = frozenset(
    {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
    }
)
CALLABLE = BUILDERS | {
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "collections.OrderedDict",
    "collections.Counter",
    "_codecs.encode",
    "builtins.set",
    "builtins.complex",
    "builtins.bytearray",
}
# Bytes per element; the same letters name the dtype in the manifest and in safetensors.
STORAGES: dict[str, tuple[str, int]] = {
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
    "torch.ComplexFloatStorage": ("complex64", 8),
    "torch.ComplexDoubleStorage": ("complex128", 16),
    "torch.storage.UntypedStorage": ("bytes", 1),
    "torch.UntypedStorage": ("bytes", 1),
}
DTYPES: dict[str, int] = {f"torch.{name}": size for name, size in STORAGES.values() if name != "bytes"} | {
    "torch.uint16": 2,
    "torch.uint32": 4,
    "torch.uint64": 8,
    "torch.float8_e4m3fn": 1,
    "torch.float8_e5m2": 1,
}
ALLOWED = CALLABLE | set(STORAGES) | set(DTYPES)

_HARMLESS_BUILTINS = (
    "set frozenset list dict tuple int float str bytes bytearray complex bool slice range object Ellipsis "
    "NotImplemented Exception ValueError TypeError KeyError"
)
HARMLESS_BUILTINS = frozenset(_HARMLESS_BUILTINS.split())
_ACTING_MODULES = (
    "os posix nt posixpath ntpath subprocess _posixsubprocess importlib _frozen_importlib "
    "_frozen_importlib_external imp runpy ctypes _ctypes socket _socket socketserver ssl shutil sys operator "
    "_operator functools _functools pty tty webbrowser antigravity code codeop codecs pickle _pickle pickletools "
    "cPickle marshal types inspect ast dis io _io tempfile fileinput linecache glob platform zipimport zipfile tarfile "
    "pkgutil site sysconfig gc atexit signal faulthandler mmap fcntl resource multiprocessing _multiprocessing "
    "concurrent threading _thread asyncio select selectors http urllib ftplib smtplib poplib imaplib nntplib "
    "telnetlib xmlrpc wsgiref sqlite3 dbm shelve timeit trace profile cProfile pstats pdb bdb cmd doctest unittest "
    "idlelib distutils setuptools pip ensurepip venv lib2to3 pydoc rlcompleter getpass cgi commands popen2 "
    "dill cloudpickle joblib jsonpickle requests httpx aiohttp urllib3 paramiko pexpect _aix_support "
    "_osx_support _pyrepl xml sched contextlib nturl2path optparse winreg _winapi msvcrt pwd spwd crypt"
)
ACTING_MODULES = frozenset(_ACTING_MODULES.split())
# Names under these prefixes run or load code, although the packages around them do not.
ACTING_PREFIXES = (
    "torch.hub", "torch.load", "torch.save", "torch.jit", "torch.package", "torch.ops", "torch.classes",
    "torch.library", "torch.compile", "torch.serialization", "torch.storage._load_from_bytes", "torch.export",
    "torch.utils.cpp_extension", "torch.utils.data.datapipes", "torch.utils.bottleneck", "torch.utils.model_zoo",
    "torch.utils.collect_env", "torch.utils._config_module", "torch.fx", "torch.multiprocessing",
    "torch.distributed.rpc", "torch.testing", "torch._inductor", "torch._dynamo", "torch._C._jit", "torch.onnx",
    "torch.cuda._memory_viz", "logging.config", "logging.FileHandler", "numpy.testing", "numpy.f2py",
    "numpy.distutils", "numpy.load", "numpy.save", "numpy.loadtxt", "numpy.fromfile", "numpy.memmap",
    "numpy.core.numeric.load", "numpy.ctypeslib", "numpy.lib.npyio", "pandas.io", "pandas.eval",
    "pandas.read_pickle", "sympy", "tensorflow.io", "tensorflow.python", "keras.utils", "transformers.utils",
    "copyreg.add_extension", "copyreg.pickle", "copyreg.constructor", "collections.namedtuple",
    "enum._make_class", "dataclasses.make_dataclass", "random._os", "random._urandom", "uuid._get_command_stdout",
    "torchvision.io", "torchvision.datasets.utils", "timm.models.hub",
)  # fmt: skip
# Reached as an attribute of something harmless (`torch.serialization.os.system`).
_COMPONENTS = (
    "os posix nt sys subprocess builtins __builtins__ importlib ctypes socket shutil runpy pty "
    "__globals__ __subclasses__ __import__ __getattribute__ __reduce__ __class__ __bases__ __mro__"
)
_ACTING_COMPONENTS = frozenset(_COMPONENTS.split())
_HARMLESS_EXCEPTIONS = frozenset({"types.SimpleNamespace", "codecs.encode"})
_BUILTINS = frozenset({"builtins", "__builtin__", "__builtins__"})
_UNSUPPORTED_PREFIXES = (
    "torch._utils.", "torch._tensor.", "torch.sparse.", "torch.per_", "torch.qu", "torch.qint", "torch.ao.nn.quantized",
    "torch.serialization._get_layout", "torch.nn.parameter.Parameter", "torch.nested", "torch.masked",
)  # fmt: skip


def canonical(module: str, name: str) -> tuple[str, str]:
    """The Python 3 spelling of a name written by Python 2 or by protocol 2, as torch maps it."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[(module, name)]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def meaning(module: str, name: str) -> Meaning:
    """How opening must treat `module.name`; its raw and its canonical spelling both count."""
    raw, mapped = _meaning(module, name), _meaning(*canonical(module, name))
    return "dangerous" if "dangerous" in (raw, mapped) else mapped


def _meaning(module: str, name: str) -> Meaning:
    full = f"{module}.{name}"
    if full in ALLOWED:
        return "allowed"
    if full.startswith(_UNSUPPORTED_PREFIXES) or _is_tensor_class(full):
        return "unsupported"
    if full in _HARMLESS_EXCEPTIONS:
        return "stub"
    if module in _BUILTINS:
        return "stub" if name in HARMLESS_BUILTINS else "dangerous"
    parts = full.split(".")
    if parts[0] in ACTING_MODULES or not _ACTING_COMPONENTS.isdisjoint(parts[:-1]):
        return "dangerous"
    if any(full == prefix or full.startswith(prefix + ".") for prefix in ACTING_PREFIXES):
        return "dangerous"
    return "stub" if all(part.isidentifier() or part == "<locals>" for part in parts) else "dangerous"


def _is_tensor_class(full: str) -> bool:
    return full.startswith("torch.") and full.endswith(("Tensor", "Storage"))
