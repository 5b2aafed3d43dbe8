"""Structured logs: one JSON object a line, in a rotating file; in the foreground also readable lines on standard error.

Texts, prompts and file names of users are not logged above debug: requests are named by id and length.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

import structlog

FILE = "voiceboxd.log"
_SIZE = 2_000_000
_KEPT = 3


def set_up(directory: Path, *, foreground: bool) -> None:
    """Send everything that is logged from here on to `directory`/voiceboxd.log."""
    directory.mkdir(parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        directory / FILE, maxBytes=_SIZE, backupCount=_KEPT, encoding="utf-8", delay=True
    )
    file.setFormatter(_formatter(structlog.processors.JSONRenderer()))
    handlers: list[logging.Handler] = [file]
    if foreground:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=False)))
        handlers.append(terminal)
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


_SHARED: list[structlog.typing.Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def last_words(what: str) -> None:
    """Log the exception that is being handled, which nobody else will."""
    structlog.get_logger().exception(what)


def _formatter(renderer: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
