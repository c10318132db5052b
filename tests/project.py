"""A copy of the project in a temporary folder, in which workflows run."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dpmot.plugins import ROOT

PLUGIN = "snakemake_logger_plugin_dpmot"
PARTS = ["dpmot", "baselines", "paper_figures", "config", "profiles", "rules", "report", "Snakefile", PLUGIN]
TIMEOUT = 600


@dataclass(frozen=True)
class Project:
    """A working copy whose own files are imported, not the installed ones."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def command(self, *arguments: str, cores: int | None = 2) -> list[str]:
        # Targets come first: --configfile and --config take all words that follow them.
        command = [sys.executable, "-m", "snakemake", *arguments, *([] if cores is None else ["--cores", str(cores)])]
        return [*command, "--configfile", "config/smoke.yaml"]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Run in the background, in a process group of its own, which can be interrupted."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # A run in the background of a shell ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def snakemake(self, *arguments: str, cores: int | None = 2, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(self.command(*arguments, cores=cores), check=check)

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def planned(self, *arguments: str) -> set[str]:
        """Log files of the jobs that a dry run would start, without folder and ending: one name per job."""
        shown = self.snakemake("--dry-run", "--workflow-profile", "none", *arguments)  # the profile hides the rules
        lines = (shown.stdout + shown.stderr).splitlines()
        return {Path(line.split()[1]).stem for line in lines if line.strip().startswith("log: results/")}

    def results(self, name: str) -> Path:
        return self.folder / "results" / "smoke" / name


def copy_project(folder: Path) -> Project:
    """Copy the workflow's files; results are not copied."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return Project(folder)
