"""GPU hours of the paper's experiments, a table of docs/scaling.md: ``python -m benchmarks.gpu_hours --write``.

The table is written into the page's template; ``python docs/fill.py`` makes the page.

hours = operations / (rate * 3600), where the operations of all networks in training and sampling are those that ``dpmot
plan`` counts on the shapes of the networks, and the rate is what a GPU does of such work: stated, not measured. Fits,
features and metrics come on top; what students ask their teachers is left out, as in the plan.
"""

import argparse
from pathlib import Path

from dpmot.experiment.config import load
from dpmot.experiment.cost import operations
from dpmot.plugins import ROOT

PAGE = ROOT / "docs" / "templates" / "scaling.md"  # docs/fill.py makes docs/scaling.md of it
BEGIN, END = "<!-- gpu hours -->", "<!-- end of gpu hours -->"
CONFIGS = ("mnist", "cifar10", "celeba", "ffhq")


def row(name: str, rate: float) -> str:
    """One experiment's row of the table, at so many operations a second."""
    work, unknown = operations(load([str(ROOT / "config" / f"{name}.yaml")]))
    hours = {what: number / rate / 3600 for what, number in work.items()}
    total = f"{sum(hours.values()):,.1f}" + (f" (without {', '.join(unknown)})" if unknown else "")
    each = f"{hours['training']:,.1f} | {hours['sampling']:,.1f}"
    return f"| `config/{name}.yaml` | {sum(work.values()):.2g} | {each} | {total} |"


def table(rate: float) -> str:
    """The whole table, with the rate that it holds at."""
    head = "| experiment | operations | hours of training | hours of sampling | GPU hours |\n|---|---|---|---|---|\n"
    return f"At {rate:.0e} operations a second:\n\n{head}" + "\n".join(row(name, rate) for name in CONFIGS)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, default=3e13, help="operations a second of one GPU; default %(default)g")
    parser.add_argument("--write", action="store_true", help=f"write into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    made = table(options.rate)
    if not options.write:
        return print(made)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    Path(PAGE).write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
