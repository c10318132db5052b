"""Snakemake's logger plug-in ``dpmot``, which profiles/default asks for: see :mod:`dpmot.monitor.progress`.

Snakemake finds it by the name of this package. ``snakemake --workflow-profile none`` prints Snakemake's own messages.
"""

import contextlib
import sys
import threading
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

REDRAWN = 2.0  # seconds between two looks at what runs


class LogHandler(LogHandlerBase):
    """Prints one line a job on standard error; of a dry run, what Snakemake itself would print but for errors."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False  # Snakemake's own heeds --quiet and --verbose
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        from dpmot.monitor.progress import Progress

        self.stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.live = bool(getattr(self.stream, "isatty", lambda: False)())
        self.progress = Progress()
        self.ended, self.drawn = threading.Event(), False
        self.ticking: threading.Thread | None = None

    def emit(self, record: LogRecord) -> None:
        """Print what is new in a record."""
        try:
            text = self.format(record)
            event = record.__dict__
            plain = self.common_settings.dryrun and event.get("event") != "error"
            lines = [text] if plain else self.progress.told(event, text or "")
            self._print([line for line in lines if line])
            if self.ticking is None and self.progress.running:
                self.ticking = threading.Thread(target=self._tick, daemon=True)
                self.ticking.start()
        except BrokenPipeError:
            self.ended.set()
        except Exception:
            self.handleError(record)

    def _tick(self) -> None:
        while not self.ended.wait(REDRAWN):
            with self.lock or threading.RLock():
                if line := self.progress.beat(silence=REDRAWN if self.live else 60.0):
                    self._draw(line)

    def _draw(self, line: str) -> None:
        """On a terminal a line that is drawn again and again; elsewhere a line."""
        if not self.live:
            return self._print([line])
        import shutil

        self.stream.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}")
        self.stream.flush()
        self.drawn = True
        return None

    def _print(self, lines: list[str]) -> None:
        if not lines:
            return
        self.stream.write(("\r\033[K" if self.drawn else "") + "\n".join(lines) + "\n")
        self.stream.flush()
        self.drawn = False

    def close(self) -> None:
        """Stop drawing, and print what is left to say, once."""
        told = [] if self.ended.is_set() else self.progress.rest()
        self.ended.set()
        if self.drawn:
            self.stream.write("\r\033[K")
        with contextlib.suppress(BrokenPipeError):
            self._print(told)
        super().close()
