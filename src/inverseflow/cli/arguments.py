"""Kinds of arguments that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from inverseflow.training.run import Run


def _path(kind: Any, tokens: Sequence[Token]) -> Path:
    return Path(os.path.expanduser(tokens[0].value))  # unlike Path.expanduser, leaves the name of an unknown user


def _run(kind: Any, tokens: Sequence[Token]) -> Run:
    return Run(_path(kind, tokens))


RunFolder = Annotated[Run, Parameter(converter=_run, n_tokens=1, accepts_keys=False)]
Folder = Annotated[Path, Parameter(converter=_path)]
Output = Annotated[Path, Parameter(converter=_path, alias="-o")]
Number = Annotated[int, Parameter(alias="-n")]
