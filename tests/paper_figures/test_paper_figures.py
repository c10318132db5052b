"""Figures: what they draw, that they repeat to the byte, and what an empty panel says."""

import json

import numpy as np
import pandas as pd
import pytest
from edits import read_csv, write_csv
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from paper_figures import (
    _labels,
    _samples,
    _style,
    figure_1_expressway,
    figure_2_samples,
    figure_3_nfe,
    figure_4_mode_mixture,
    figure_7_neighbours,
    figure_8_sigma_sweep,
    figure_11_published_path,
)
from paper_figures._agreement import OUTSIDE
from paper_figures._results import load

FIGURES = (
    figure_1_expressway,
    figure_2_samples,
    figure_3_nfe,
    figure_4_mode_mixture,
    figure_7_neighbours,
    figure_8_sigma_sweep,
    figure_11_published_path,
)


def texts(figure):
    """Every text of a figure."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_title(loc=loc) for loc in ("left", "center")]
    return [text for text in found if text]


def drawn(axes, colour):
    """Marker lines of one colour: [(x, y, filled), ...] in drawing order."""
    points = []
    for line in axes.lines:
        if line.get_linestyle() == "None" and to_hex(line.get_color()).upper() == colour.upper():
            filled = to_hex(line.get_markerfacecolor()) != "#ffffff"
            points += [(float(x), float(y), filled) for x, y in zip(*line.get_data(), strict=True)]
    return sorted(points)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda module: module.PAGE.name)
def test_a_figure_made_twice_is_the_same_to_the_byte(figure, results_folder):
    results = load(results_folder("smoke"))
    first, second = figure.PAGE.produce(results), figure.PAGE.produce(results)
    assert tuple(first) == figure.PAGE.outputs
    assert first == second
    png, pdf = first.values()
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf


@pytest.mark.parametrize("figure", FIGURES, ids=lambda module: module.PAGE.name)
@pytest.mark.parametrize("kind", ["smoke", "toy2d"])
def test_a_figure_is_made_when_every_optional_input_is_missing(figure, kind, results_folder):
    folder = results_folder(kind)
    for path in [folder / "audit.csv", folder / "data.safetensors", *(folder / "samples").iterdir()]:
        path.unlink()
    found = texts(figure.make(load(folder)))
    if figure is not figure_3_nfe and (figure, kind) != (figure_4_mode_mixture, "smoke"):
        assert any(text.startswith("not run") for text in found), found


def test_figure_1_draws_an_arrow_from_each_noise_to_its_atom_and_from_there_to_its_sample(results_folder):
    results = load(results_folder("toy2d"))
    cell = _samples.first(_samples.cells(results, "dpm_ot_ddim"), "5")
    axes = figure_1_expressway.make(results).axes[0]
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    tails = np.array([arrow.get_position() for arrow in arrows])
    heads = np.array([arrow.xy for arrow in arrows])
    start = cell["start"]
    np.testing.assert_array_equal(tails, np.concatenate([cell["prior"], start]))
    np.testing.assert_array_equal(heads, np.concatenate([start, cell["images"][:16]]))


def test_figure_1_shows_noise_atom_sample_and_source_of_images(digits_folder):
    figure = figure_1_expressway.make(load(digits_folder))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["prior noise", "atom, $T(\\mathrm{noise})$", "sample", "training image"]
    assert ["NFE 5" in axes.get_title(loc="left") for axes in figure.axes] == [True, False]


def test_figure_2_has_a_row_a_method_and_says_skipped_for_a_skipped_cell(digits_folder):
    results = load(digits_folder)
    figure = figure_2_samples.make(results)
    named = [text.get_text() for text in figure.texts]
    assert {"DDPM", "as coded: all four", "Atoms alone (DDPM levels)"} <= set(named)
    assert "Copy (DDIM), $\\sigma$ 1" not in named  # the identity test's method has a table of its own
    skipped = [index for index, axes in enumerate(figure.axes) if "skipped" in [t.get_text() for t in axes.texts]]
    order = [m for m in results.methods if results.group(m) not in OUTSIDE]
    assert skipped == [order.index("dpm_ot_heun_edm") * len(results.budgets)]


def test_figure_3_draws_each_cell_at_its_counted_nfe_hollow_where_unranked(results_folder):
    results = load(results_folder("smoke"))
    left, right = figure_3_nfe.make(results).axes[:2]
    rows = results.pooled()
    rows = rows[(rows["metric"] == "fd_classifier") & (rows["reference"] == "test")]
    value = {(row.method, row.nfe_budget): row.value for row in rows.itertuples()}
    assert drawn(left, _style.VERMILLION) == [
        (5, value["dpm_ot_ddim", "5"], False),
        (10, value["dpm_ot_ddim", "10"], True),
    ]
    # Heun's 10 are 9, and its 5 were skipped
    assert drawn(right, _style.VERMILLION) == [(9, value["dpm_ot_heun_edm", "10"], True)]


def test_a_distilled_network_is_drawn_with_its_teacher_and_atoms_stand_at_their_budget(digits_folder):
    figure = figure_3_nfe.make(load(digits_folder))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["network: ddpm", "network: edm"] and all(not one or "as coded" in one for one in titles[2:])
    left, right = figure.axes[:2]
    assert "Progressive distillation" in [text.get_text() for text in right.texts]
    atoms = _style.styles(load(digits_folder))["atoms"]
    places = [x for line in left.lines if line.get_marker() == atoms.marker for x in line.get_xdata()]
    assert sorted(places) == [5, 10, 20, 30, 50]
    assert any("Atoms alone (0 NFE) stand at the budget" in " ".join(text.split()) for text in texts(figure))


def test_a_label_leaves_out_the_network_its_panel_names_and_sets_sigma_as_a_symbol(digits_folder):
    results = load(digits_folder)
    assert _style.short(results, "dpm_ot_star") == r"DPM-OT (DDIM), $\sigma_M^*$"
    assert _style.short(results, "gaussian") == r"Gaussian start (DDIM), $\sigma$ 3"
    assert _style.short(results, "edm_ddim") == "DDIM, EDM network"


def test_a_method_has_one_style_in_every_figure_and_none_shares_it_on_its_network(digits_folder):
    results = load(digits_folder)
    looks = _style.styles(results)
    main = [m for m in results.methods if results.group(m) not in OUTSIDE]
    keys = [(results.chain(method), looks[method]) for method in main]
    assert len(set(keys)) == len(main)
    assert looks["dpm_ot_ddim"].colour == looks["dpm_ot_ddim_edm"].colour == _style.VERMILLION


def test_a_distance_below_zero_is_drawn_on_figure_3_and_does_not_stretch_it(results_folder):
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if row["metric"] == "fd_classifier" and row["method"] == "copy":
            row.update(value="-0.1", low="-0.3", high="0.1")
    write_csv(folder / "metrics.csv", rows)
    figure = figure_3_nfe.make(load(folder))
    low, high = figure.axes[0].get_ylim()
    assert low < -0.1 and low > -10 and high > 1
    assert 0.0 in figure.axes[0].get_yticks()


def test_figure_4_draws_both_floors_as_bands_and_every_threshold(results_folder):
    axes = figure_4_mode_mixture.make(load(results_folder("smoke"))).axes[0]
    assert {"real A", "real C"} <= {text.get_text() for text in axes.texts}
    bands = [set(np.round(band.get_paths()[0].vertices[:, 0], 6)) for band in axes.collections[:2]]
    assert bands[0] == bands[1] == {0.1, 0.11, 0.115, 0.13, 0.16, 0.2, 0.3, 0.4}


def test_figure_7_prints_the_distance_to_the_nearest_training_image_and_frames_the_source(results_folder):
    results = load(results_folder("smoke"))
    axes = figure_7_neighbours.make(results).axes[0]
    cell = _samples.first(_samples.cells(results, "dpm_ot_ddim"), "5")
    x = cell["images"][:12].reshape(12, -1) / 127.5 - 1
    y = _samples.split(results, "A").reshape(-1, 64) / 127.5 - 1
    distances = np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    assert [text.get_text() for text in axes.texts] == [f"{gap:.2f}" for gap in distances.min(1)]
    own = (distances.argmin(1) == cell.get("source")[:12]).sum()
    assert len(axes.patches) == own > 0


def flag(sample, nearest, **changes):
    """A row of copies.csv of the smoke folder's DPM-OT at NFE 5."""
    cell = {"method": "dpm_ot_ddim", "nfe_budget": 5, "sigma_start": 0.14, "sample_seed": 0}
    near = {"split": "A", "space": "images", "distance": 0.1, "ratio": 0.25, "chance": 0.001}
    undone = {"down": 0, "right": 0, "mirrored": False, "inverted": False}
    return cell | {"sample": sample, "nearest": nearest} | near | undone | changes


def test_figure_7_shows_flagged_samples_beside_their_registered_images(results_folder):
    folder = results_folder("smoke")
    source = _samples.first(_samples.cells(load(folder), "dpm_ot_ddim"), "5").get("source")
    rows = [
        flag(7, 3, split="C", chance=0.002, down=-1, right=2, mirrored=True),
        flag(40, int(source[40]), ratio=0.05),
        flag(44, int(source[40]), ratio=0.3, distance=0.9),  # the same image again
        flag(41, 5, sample_seed=1),  # of another seed, whose samples are not shown
        flag(1, 2, method="copy", inverted=True),
    ]
    write_csv(folder / "copies.csv", rows)
    results = load(folder)
    figure = figure_7_neighbours.make(results)
    axes, control, prior = figure.axes  # none at sigma_M*, which the experiment does not ask for
    assert [text.get_text() for text in axes.texts] == ["0.05", "0.25\n↑1→2m"]
    assert [text.get_text() for text in control.texts] == ["0.25\ni"] and len(prior.texts) == 12
    assert axes.get_title(loc="left").endswith(", flagged") and not prior.get_title(loc="left").endswith("flagged")
    (frame,) = axes.patches  # the first sample's source came back
    assert frame.get_x() < 1
    picture, images = axes.images[0].get_array(), _samples.split(results, "C")
    shown = picture[9:17, 9:17]  # the second image of the second line, a pixel apart
    np.testing.assert_array_equal(np.asarray(shown)[..., 0], images[3, 0])


def test_flags_of_another_run_are_refused(results_folder):
    folder = results_folder("smoke")
    write_csv(folder / "copies.csv", [flag(1000, 3)])
    with pytest.raises(ValueError, match=r"copies.csv is of another run: .* has no sample 1000 or image 3 of split A"):
        figure_7_neighbours.make(load(folder))


def test_figure_7_compares_methods_on_the_network_and_sampler_of_the_one_at_sigma_star(digits_folder):
    figure = figure_7_neighbours.make(load(digits_folder))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(", NFE")[0] for title in titles] == [
        "as in the paper: DPM-OT (EDM, DDIM)",
        r"DPM-OT at $\sigma_M^*$: DPM-OT (EDM, DDIM), $\sigma_M^*$",
        "copy control: Copy (EDM, DDIM)",
        "prior start: DDIM, EDM network",
    ]


def test_figure_7_says_why_there_is_no_sigma_star(results_folder):
    folder = results_folder("digits")
    (folder / "star.json").write_text(json.dumps({"sigma": None, "reason": "all levels copy", "rows": []}))
    assert "none found: all levels copy" in texts(figure_7_neighbours.make(load(folder)))
    figure = figure_8_sigma_sweep.make(load(folder))
    assert any("none found (all levels copy)" in " ".join(text.split()) for text in texts(figure))


def test_figure_8_draws_the_sweep_its_floor_and_sigma_star(digits_folder):
    results = load(digits_folder)
    figure = figure_8_sigma_sweep.make(results)
    recovery, copies, authenticity = figure.axes[1:4]
    rows = results.pooled()
    rows = rows[(rows["method"] == "sweep") & (rows["metric"] == "recovery_pixels") & (rows["nfe_budget"] == "5")]
    expected = sorted(zip(rows["sigma_start"], rows["value"], rows["ranked"], strict=True))
    assert drawn(recovery, _style.LEVELS[0]) == expected
    star = [line for line in recovery.lines if to_hex(line.get_color()).upper() == _style.PURPLE]
    assert [list(line.get_xdata()) for line in star] == [[2.0, 2.0]]
    assert "1/N" in texts(figure)
    dashed = [line for line in recovery.lines if line.get_linestyle() == "--"]
    assert [len(line.get_xdata()) for line in dashed] == [len(set(rows["sigma_start"]))]  # one candidate has no value
    assert copies.get_ylabel() == "share of copies of train ↓"
    assert [line.get_linestyle() for line in authenticity.lines].count("--") == 0  # star.json has none of it any more
    band = authenticity.patches[0].get_extents().transformed(authenticity.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((0.47, 0.53), abs=1e-9)  # the real_test interval, through a transform


def test_a_distance_axis_is_linear_below_the_smallest_certain_value_and_labelled_over_many_decades():
    cells = pd.DataFrame({"value": [-0.2, 0.3, 3.0], "low": [-1.0, -0.1, 2.0]})
    for limits, expected in (((-0.5, 30), [0, 1, 2, 5, 10, 20]), ((-1, 2e4), [0, 1, 10, 100, 1000, 10000])):
        axes = Figure().subplots()
        _style.distance_scale(axes, cells)
        axes.set_ylim(limits)
        _style.distance_ticks(axes)
        assert list(axes.get_yticks()) == pytest.approx(expected)


def test_labels_that_would_overlap_are_moved_apart_and_stay_inside():
    heights = _labels.apart([0.1, 0.5, 0.5, 0.5, 0.99], [0.1] * 5)
    assert heights == pytest.approx([0.1, 0.4, 0.5, 0.6, 0.99])
    assert _labels.apart([0.98, 0.99, 1.0], [0.1] * 3) == pytest.approx([0.8, 0.9, 1.0])
    assert _labels.apart([0.5, 0.5], [0.1, 0.3]) == pytest.approx([0.4, 0.6])  # the second has three lines
    assert _labels.apart([0.5, 0.5, 0.5], [1, 1, 1]) == pytest.approx([-0.5, 0.5, 1.5])  # more than there is room for


def test_noise_of_any_scale_fills_the_grey_range_and_uint8_passes_unchanged():
    noise = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    shown = _samples.to_display(np.concatenate([noise * 3, noise * 50]))
    np.testing.assert_array_equal(shown[0], shown[1])
    assert shown.min() == 0 and shown.max() == 255
    colours = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    np.testing.assert_array_equal(_samples.to_display(colours), colours.transpose(0, 2, 3, 1))


def test_a_mosaic_puts_image_k_in_row_k_over_columns():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 3), np.uint8)
    picture = _samples.mosaic(images, columns=3)
    assert picture.shape == (5, 11, 3)
    assert picture[0, ::4, 0].tolist() == [0, 1, 2]
    assert picture[3, [0, 4, 8], 0].tolist() == [3, 4, _samples.SPACE]
    assert (picture[2] == _samples.SPACE).all()


def test_figure_11_joins_the_path_and_the_sweep_on_the_level_of_their_latents(digits_folder):
    results = load(digits_folder)
    figure = figure_11_published_path.make(results)
    metrics = results.pooled()
    recovery, colours = figure.axes[5], {line.get_color() for line in figure.axes[5].lines}
    stored = metrics[(metrics["metric"] == "recovery_pixels") & metrics["method"].isin(["as_code", "sweep"])]
    heights = {round(y, 6) for colour in colours for _, y, _ in drawn(recovery, colour)}
    assert {round(value, 6) for value in stored["value"]} <= heights  # against either split
    assert any("Dotted: levels of the published path" in text for text in texts(figure))
