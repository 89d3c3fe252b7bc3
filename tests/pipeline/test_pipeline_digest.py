"""The digest of the files that a person names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auditor.errors import InputError
from auditor.pipeline.verbs import digest


def test_a_checkpoint_may_be_a_link_as_in_a_cache_of_downloads(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "model.pt").symlink_to("blob")
    assert digest(tmp_path / "model.pt") == hashlib.sha256(b"weights").hexdigest()


def test_a_link_that_leads_nowhere_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "model.pt").symlink_to("gone")
    with pytest.raises(InputError):
        digest(tmp_path / "model.pt")
