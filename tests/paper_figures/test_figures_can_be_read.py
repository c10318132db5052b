"""Figures at their printed size: 8.5 or 17.5 cm, nothing overlaps, at least 6 points, a contrast of 4.5, six lines."""

import dataclasses
import importlib.util
import io
from functools import cache

import numpy as np
import pandas as pd
import pytest
from boxes import crowded, drawn, faults
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from benchmarks import transport_page
from dpmot import plugins
from dpmot.experiment.checks import parsed
from dpmot.results import FLOORS, read_json
from paper_figures import _labels, _lines, _looks, _rebuild, _style, figure_3_nfe
from paper_figures._agreement import OUTSIDE
from paper_figures._results import Results, load

REFERENCE = plugins.ROOT / "results" / "reference"
COMMITTED = sorted(path.parent for path in REFERENCE.glob("*/metrics.csv*"))
COMMITTED = [folder for folder in COMMITTED if (folder / "experiment.json").is_file()]
FIGURES = [name for name in plugins.names("pages") if name.startswith("figure_")]
committed = cache(load)


def same_picture(committed_bytes, content):
    """Whether two files of a picture show the same: NumPy's logarithms differ in the last bit between processors.

    A curve's edge in a PNG then has another shade (27 of 255 was the most seen); a point that moved, another colour.
    """
    if committed_bytes == content or not content.startswith(b"\x89PNG"):
        return committed_bytes == content
    ours, theirs = (np.asarray(Image.open(io.BytesIO(one)).convert("RGBA"), int) for one in (committed_bytes, content))
    return ours.shape == theirs.shape and abs(ours - theirs).max() <= 40


def readable(figure):
    return [*faults(figure), *(f"{count} lines in a panel" for count in crowded(figure))]


# --- committed experiments: each is read once, for seconds ---------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_every_figure_of_a_committed_experiment_can_be_read(folder):
    results = committed(folder)
    told = {name: readable(plugins.find("pages", name).make(results)) for name in _rebuild.drawn(results)}
    assert not any(told.values()), told


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_pictures_equal_their_rebuild(folder):
    results = committed(folder)
    for name in _rebuild.drawn(results):
        for path, content in plugins.find("pages", name).PAGE.produce(results).items():
            if (folder / path).is_file():
                assert same_picture((folder / path).read_bytes(), content), path


NAMES = {"network": "", "label": None, "group": None, "nfe_budgets": (), "sample_seeds": ()}


def method_itself(results, method):
    """Whatever makes a method what it is, without its names and where it was measured."""
    own = results.experiment.drawn[method]
    network = results.experiment.networks[own.network]
    training = network.training
    coupled = training and (training.coupling, training.heights, bool(network.rewires) and training.steps)
    taught = network.distillation, network.step_counts
    return own.model_copy(update=NAMES).model_dump_json(), bool(network.rewires), taught, coupled


def planned(folder):
    """A folder without its numbers."""
    experiment = parsed(read_json(folder / "experiment.json")).completed()
    return Results(folder, pd.DataFrame(), experiment, pd.DataFrame())


def test_a_method_looks_alike_in_all_committed_experiments_and_like_no_other_on_its_network():
    looks = {}
    for results in map(planned, COMMITTED):
        styles = _looks.styles(results)
        main = [method for method in results.methods if results.group(method) not in OUTSIDE]
        assert len({(_looks.network_of(results, method), styles[method]) for method in main}) == len(main), (
            results.folder.name
        )
        for method in main:
            look = styles[method]
            looks.setdefault(method_itself(results, method), set()).add((look.colour, look.marker, look.line))
    assert not {of: some for of, some in looks.items() if len(some) > 1}


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_colour_and_marker_tell_the_lines_of_figure_3_apart(folder):
    results = committed(folder)
    styles = _looks.styles(results)
    if "figure_3_nfe" not in results.experiment.figures:
        return
    for line in figure_3_nfe.panels(results, _lines.main_cells(results, results.pooled())):
        for panel in line:
            looks = {(styles[method].colour, styles[method].marker) for method in panel.methods}
            assert len(looks) == len(panel.methods), panel


def test_every_marker_can_be_hollow():
    markers = {marker for _, some in (*_looks.PRIOR.values(), *_looks.KINDS.values(), *_looks.SPARE) for marker in some}
    assert markers <= set(Line2D.filled_markers)


@pytest.mark.slow
def test_the_picture_of_the_readme_can_be_read_and_is_a_panel_of_figure_3():
    spec = importlib.util.spec_from_file_location("picture", plugins.ROOT / "docs" / "picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figure = module.picture(committed(module.FOLDER))
    assert not readable(figure) and figure.get_figwidth() == 8.5 / 2.54
    assert same_picture(module.FILE.read_bytes(), _style.encode(figure)[0])


def test_the_transport_figure_shows_a_small_and_a_large_case_and_can_be_read():
    folder = REFERENCE / "transport"
    trail, rows = (pd.read_csv(folder / name) for name in ("trail.csv", "transport.csv"))
    assert transport_page.small_and_large(rows) == ("digits-0.9", "cifar10-0.9")
    figure = transport_page.figure(trail, rows)
    assert not readable(figure)
    assert same_picture((folder / "figure_6_solver.png").read_bytes(), _style.encode(figure)[0])


# --- every figure, of a made-up folder -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["smoke", "toy2d"])
def test_every_figure_of_images_and_of_points_can_be_read(kind, results_folder):
    results = load(results_folder(kind))
    names = [name for name in FIGURES if kind == "smoke" or name != "figure_5_mixed"]  # refused: it shows images
    told = {name: faults(plugins.find("pages", name).make(results)) for name in names}
    assert not any(told.values()), told


def test_the_checks_see_overlaps_small_pale_and_outer_text_and_a_wrong_width():
    figure = Figure(figsize=(5, 2))
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.52, "two", fontsize=5, color="#E69F00")
    figure.text(0.98, 0.1, "outside")
    figure.subplots(subplot_kw={"position": (0.1, 0.2, 0.2, 0.6)}).imshow([[0, 1], [2, 3]])
    figure.text(0.2, 0.6, "hidden")
    told = "\n".join(faults(figure))
    for words in (
        *("width", "overlap: one | two", "5.0 points: two", "contrast 2.25: two", "out of the figure: outside"),
        "over a picture: hidden",
    ):
        assert words in told


# --- the rules themselves ------------------------------------------------------------------------------------


def test_text_of_every_colour_has_enough_contrast_and_dark_colours_stay():
    colours = [colour for colour, _ in (*_looks.PRIOR.values(), *_looks.KINDS.values(), *_looks.SPARE)]
    assert all(_looks.contrast(_looks.ink(colour)) >= 4.5 for colour in colours)
    assert _looks.ink("#000000") == "#000000" and _looks.contrast("#767676") == pytest.approx(4.54, abs=0.01)  # WCAG


def test_a_panel_shows_at_most_six_methods_one_of_each_role(results_folder):
    results = load(results_folder("digits"))
    cells = _lines.main_cells(results, results.pooled())
    for panel in figure_3_nfe.panels(results, cells)[0]:
        shown = [method for method in panel.methods if method not in FLOORS]
        assert 0 < len(shown) <= 6
        roles = {_lines.role(results, method) for method in shown}
        assert "dpm_ot" in roles and "ddim" in roles
        assert not set(shown) & set(_lines.as_coded(results))


def test_headline_of_the_configuration_chooses_the_lines(results_folder):
    results = load(results_folder("smoke"))
    results = dataclasses.replace(results, experiment=results.experiment.but(headline=("copy", "ddim")))
    cells = _lines.main_cells(results, results.pooled())
    assert _lines.of_chain(results, cells, "ddpm", _style.distances(results)[0]) == ["copy", "ddim"]
    assert _lines.how_chosen(results) == _lines.CHOSEN


def test_of_a_kind_the_best_over_all_budgets_is_shown_not_the_best_at_most():
    values = {("a", "5"): 1000, ("a", "10"): 10, ("a", "20"): 10, ("b", "5"): 20, ("b", "10"): 11, ("b", "20"): 11}
    rows = pd.DataFrame(list(values), columns=["method", "nfe_budget"]).assign(value=list(values.values()), ranked=True)
    rows = rows.assign(high=rows["value"] + 1.0)
    assert _lines._best(["a", "b"], rows, "lower") == "b" and _lines._best(["a", "b"], rows, "higher") == "a"


def test_ticks_that_would_touch_lose_their_text_but_never_the_last_one():
    figure, grid = _style.panels(1, 1, 2.0, width=_style.NARROW, left=0.2, right=0.8)
    axes = grid[0, 0]
    axes.set_xlim(0, 100)
    _style.ticks(axes.xaxis, [0, 1, 50, 99, 100], ["0", "1000", "50", "99", "100"])
    figure.canvas.draw()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "", "50", "", "100"]
    assert not [told for told in faults(figure) if "overlap" in told]


def test_names_are_wrapped_between_words_never_after_a_symbol_and_a_long_word_is_broken():
    assert _labels.wrapped(r"Gaussian start (DDIM), $\sigma$ 3", 80, 6.5).splitlines()[-1] == r"$\sigma$ 3"
    lines = _labels.wrapped("x" * 60, 60, 6.5).splitlines()
    assert len(lines) > 1 and all(_labels.width_of(line, 6.5) <= 66 for line in lines)


def test_a_picture_has_few_colours_and_its_width_in_centimetres():
    figure, _ = _style.panels(1, 1, 2.0, width=_style.NARROW)
    picture = Image.open(io.BytesIO(_style.encode(figure)[0]))
    assert picture.mode == "P" and picture.size[0] == 510 and picture.info["dpi"][0] == pytest.approx(152.4, abs=0.1)
    assert all(to_hex(text.get_color()) for text, _ in drawn(figure))
