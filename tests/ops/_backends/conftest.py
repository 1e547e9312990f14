"""`make sanitize` names a folder with a build of the C++ kernels that is to be tested instead of the installed one."""

import importlib.util
import os
from pathlib import Path

from inverseflow.ops._backends import native

if folder := os.environ.get("INVERSEFLOW_SANITIZED"):
    [built] = Path(folder).resolve().glob("_native*.so")
    spec = importlib.util.spec_from_file_location("_native", built)
    native._native, native._reason = importlib.util.module_from_spec(spec), None
    spec.loader.exec_module(native._native)
