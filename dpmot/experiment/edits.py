"""Which source files were edited since the last run of a results folder, said before what uses them runs again.

Snakemake compares one digest for each job, which tells that something was edited and not what.
"""

from collections.abc import Mapping

from dpmot.experiment.layout import Layout
from dpmot.runtime.files import read_json, write_json

SHOWN = 5  # files that are named
OLDER = (
    "has no record of its code: an older version made it, or a verb by hand. What Snakemake made runs again; to keep "
    "its numbers as they are, run once with --touch, which takes every other change as done, too"
)
ALONE = (
    "Snakemake has no record of how files here were made (no .snakemake/metadata), so it runs nothing again for an "
    "edit: --forceall makes all anew"
)


def edits(layout: Layout, files: Mapping[str, str], *, noted: bool = True) -> str:
    """What to say before a run; "" where nothing was edited, or nothing was run before.

    Args:
        layout: of the results folder.
        files: name -> digest of each source file of the experiment, as it is now.
        noted: Snakemake has its record of how files were made, which a copied folder lacks.
    """
    if not layout.config.exists():
        return ""
    before = _recorded(layout)
    if before is None:
        return f"{layout.root} {OLDER if noted else f'has no record of its code. {ALONE}'}"
    edited = sorted(name for name in before.keys() & files.keys() if before[name] != files[name])
    if not edited:
        return ""
    more = f" and {len(edited) - SHOWN} more" if len(edited) > SHOWN else ""
    then = "what uses it runs again" if noted else ALONE
    return f"edited since the last run of {layout.root}: {', '.join(edited[:SHOWN])}{more}; {then}"


def _recorded(layout: Layout) -> Mapping[str, str] | None:
    """What the last run recorded; None where that is missing or damaged, which only costs a note."""
    try:
        return read_json(layout.code)
    except (OSError, ValueError):
        return None


def record(layout: Layout, files: Mapping[str, str]) -> None:
    """Write beside the results the digests that :func:`edits` compares with."""
    write_json(layout.code, dict(files))
