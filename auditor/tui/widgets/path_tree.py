"""Files to choose from; names are shown as text, with nothing in them that steers a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DirectoryTree

from auditor.errors import printable


class PathTree(DirectoryTree):
    """Enter takes a file, `u` takes the folder under the cursor as the clean images."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("u", "use_folder", "Use folder as images", id="files.images")]
    BORDER_TITLE = "Files"
    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    ICON_FILE = "  "

    class Taken(Message):
        """A path was chosen: `what` is "model" or "clean"; relative where it lies below the working directory."""

        def __init__(self, what: str, path: Path) -> None:
            super().__init__()
            self.what = what
            self.path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    def process_label(self, label: object) -> Text:
        return Text(printable(label, 120))

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [path for path in paths if not path.name.startswith(".")]

    def action_use_folder(self) -> None:
        node = self.cursor_node
        if node is not None and node.data is not None:
            path = node.data.path
            self.post_message(self.Taken("clean", path if path.is_dir() else path.parent))

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        self.post_message(self.Taken("clean" if event.path.suffix.lower() == ".npz" else "model", event.path))
