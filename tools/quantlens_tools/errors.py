"""The error a tool reports in one line instead of a traceback."""

import sys
from typing import Callable


class ToolError(Exception):
    """Something the caller can put right; the message says what and how."""


def run(main: Callable[[], None]) -> None:
    """Runs a script's `main`; a `ToolError` or a failed file operation ends it with one line and exit code 1."""
    try:
        main()
    except (ToolError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
