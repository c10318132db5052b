"""Write docs/nfe.png, the picture of README.md: ``python docs/picture.py``.

The panel of Figure 3 of Fashion-MNIST on the network ddpm, 8.5 cm wide, from results/reference/fashion_mnist/.
"""

from pathlib import Path

from matplotlib.figure import Figure

from paper_figures import _lines, _style, figure_3_nfe
from paper_figures._results import Results, load

ROOT = Path(__file__).resolve().parent.parent
FILE, FOLDER, NETWORK = ROOT / "docs" / "nfe.png", ROOT / "results" / "reference" / "fashion_mnist", "ddpm"


def picture(results: Results) -> Figure:
    """One panel: FD against test over the counted NFE."""
    rows = results.pooled()
    panels = figure_3_nfe.panels(results, _lines.main_cells(results, rows))[0]
    panel = next(panel for panel in panels if panel.chain == NETWORK)
    told = (
        "Fashion-MNIST, DDPM network. FD in features of a classifier: lower is better. NFE: evaluations a sample; "
        "atoms alone (0 NFE) stand at the budget of their level. Hollow: copies. Grey band: real images. Bars: 95 % "
        "intervals over samples."
    )
    named = [figure_3_nfe.names(results, panel, rows)]
    figure, ((axes,),) = _style.laid(1, 1, named, told, narrow=True, panel=1.7, top=0.12)
    figure_3_nfe.draw(axes, results, rows, panel)
    axes.set_xlabel("counted NFE")
    return figure


if __name__ == "__main__":
    FILE.write_bytes(_style.encode(picture(load(FOLDER)))[0])
    print(FILE.relative_to(ROOT), FILE.stat().st_size)
