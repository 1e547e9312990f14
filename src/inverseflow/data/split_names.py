"""Tell from the names of folders which images are for training, validation and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_NAMES = {
    "train": ("training", "train"),
    "validation": ("validation", "validate", "valid", "val", "dev", "evaluation", "eval"),
    "test": ("testing", "test", "holdout"),
}
# A split's name as a word: in "Train", "train_images", "trainA", "train2017" and "trainset", but not in "trainer" or
# "contest".
_GROUPS = "|".join(f"(?P<{split}>(?i:{'|'.join(names)}))" for split, names in _NAMES.items())
_WORD = re.compile(rf"(?<![A-Za-z])(?:{_GROUPS})(?=(?i:set|data|images?|imgs?)?(?![a-z]))")


def split_word(path: Path) -> str | None:
    """Return the split whose name is a word in the first folder on `path` that has one.

    Example:
        >>> split_word(Path("photos/Val_images/trainer")), split_word(Path("contest"))
        ('validation', None)
    """
    matches = (_WORD.search(name) for name in path.parts)
    return next((match.lastgroup for match in matches if match), None)


class SplitNames:
    """The splits that the names of folders give.

    A folder gives a split if it is named after it, or if the split's name is a word in its own and a folder next to it
    has the same name with another split: ``train_images`` and ``test_images``, but not ``test tube`` alone. The first
    such folder on a path counts.

    Args:
        folders: all folders, as relative paths.

    Example:
        >>> splits = SplitNames([Path("Train"), Path("Train/test"), Path("TEST"), Path("plane")])
        >>> [splits.of(folder) for folder in (Path("Train/test"), Path("TEST"), Path("plane"))]
        ['train', 'test', None]
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._siblings = defaultdict[tuple[Path, str], set[str | None]](set)
        for folder in self._folders:
            if match := _WORD.search(folder.name):
                self._siblings[folder.parent, _around(match)].add(match.lastgroup)
        self._known: dict[Path, str | None] = {Path(): None}

    def of(self, folder: Path) -> str | None:
        """Return the split of the images in a folder, or None if its path gives none."""
        if folder not in self._known:
            self._known[folder] = self.of(folder.parent) or self._own(folder)
        return self._known[folder]

    def deciding(self) -> dict[Path, str]:
        """Return the folders that give a split, and which."""
        return {
            folder: split
            for folder in self._folders
            if self.of(folder.parent) is None and (split := self._own(folder)) is not None
        }

    def _own(self, folder: Path) -> str | None:
        match = _WORD.search(folder.name)
        if match is None:
            return None
        is_name = match[0] == folder.name
        return match.lastgroup if is_name or len(self._siblings[folder.parent, _around(match)]) > 1 else None


def _around(match: re.Match[str]) -> str:
    """Return the letters around the split's name in the name of a folder."""
    return re.sub(r"[\W\d_]", "", match.string[: match.start()] + match.string[match.end() :]).lower()
