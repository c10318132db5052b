"""Figure 12 and what Table 8 says of mixtures, from a synthetic folder."""

import json

import pytest
from edits import write_csv

from dpmot.experiment.fits import fits
from dpmot.experiment.plan import Experiment
from dpmot.results import METRICS
from paper_figures import figure_12_frontier, table_8_break_even
from paper_figures._results import load

NUMBER, LEVELS = 50_000, (1, 2, 3)
K = (1, 3, 10, 30, 100, 300, 1000)


def frontier(**options):
    shared = {"group": "sweep", "network": "edm", "sampler": "ddim", "grid": "flow", "nfe_budgets": [5, 10]}
    return {"start": "mixture", "level": list(LEVELS), **shared, **options}


METHODS = {
    **{f"k{k}": frontier(label=f"K = {k}", start_options={"components": k}) for k in K},
    "k10_by_class": frontier(label="K = 10, one a class", start_options={"components": 1, "by": "labels"}),
    "fresh_noise": frontier(label="Fresh noise", start="fresh_noise"),
    "copy": frontier(label="Copy", start="copy", level=1),
    "dpm_ot": frontier(label="DPM-OT", start="transport", level=1),
    "gaussian": frontier(label="Gaussian start", start="gaussian", level=3),
    "shared": frontier(label="shared", start_options={"components": 100, "covariance": "shared"}, level=1),
    "mixture_100": frontier(label="Mixture, K = 100", group="mixture", start_options={"components": 100}, level=1),
    "ipndm": {"label": "iPNDM-4", "group": "rivals", "network": "edm", "sampler": "ipndm", "nfe_budgets": [5, 10, 20]},
    "ddim": {"label": "DDIM", "group": "rivals", "network": "edm", "sampler": "ddim", "nfe_budgets": [5, 10, 20]},
    "by_class": {  # better than any rival, at more evaluations than its budget
        **{"group": "controls", "network": "edm", "sampler": "ddim", "nfe_budgets": [5, 10, 20]},
        "start_options": {"balanced": True},
    },
}


def values(name, sigma, nfe):
    """FD and share of copies: realistic, and different for every cell."""
    method = METHODS[name]
    k = method.get("start_options", {}).get("components", NUMBER)
    distance = {
        "ipndm": 400,
        "by_class": 300,
        "ddim": 440,
        "gaussian": 190,
        "fresh_noise": 11 + 9 * sigma,
        "copy": 13,
        "dpm_ot": 12.5,
    }
    fd = distance.get(name, 20 + (190 + 60 * sigma) * k**-0.45 * (0.4 if "by" in str(method) else 1)) / nfe
    copies = 0.35 / sigma**2 if k == NUMBER and "start_options" not in method else 0.0004 * k**0.6 / sigma
    return fd, 0 if method["group"] == "rivals" else min(0.9, copies)


def rows(experiment):
    base = dict.fromkeys(METRICS.columns, "") | {"experiment": "x", "dataset": "digits", "training_seed": 0}
    base |= {"fingerprint": "3f9a1c0de5b2774a", "num_samples": 4000, "sample_seed": "pooled", "nfe_budget": 0}
    floor = {"method": "real_test", "start": "data", "sampler": "none", "num_samples": 10_000, "nfe_counted": "0.0"}
    train = base | floor | {"method": "real_train", "num_samples": NUMBER}
    yield _row(train, "fd_classifier", "test", 0.6, "classifier")
    yield _row(base | floor, "copies_pixels", "train", 0.001, "pixels")
    for name, method in experiment.methods.items():
        for sigma in method.levels if method.has_level else (80,):
            for nfe in method.nfe_budgets:
                own = {"method": name, "network": "edm", "start": method.start, "sampler": method.sampler}
                own |= {"nfe_budget": nfe, "nfe_counted": f"{nfe}.0", "sigma_start": f"{float(sigma):.8g}"}
                fd, copies = values(name, float(sigma), nfe)
                yield _row(base | own, "fd_classifier", "test", fd, "classifier")
                yield _row(base | own | {"sample_seed": 0}, "fd_classifier", "test", fd, "classifier")
                yield _row(base | own, "copies_pixels", "train", copies, "pixels")


def _row(cell, metric, reference, value, features):
    low, high = f"{0.9 * value:.6g}", f"{1.1 * value:.6g}"
    told = {"metric": metric, "reference": reference, "features": features}
    return cell | told | {"value": f"{value:.6g}", "low": low, "high": high}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results folder with a frontier of seven K and three levels."""
    folder = tmp_path_factory.mktemp("frontier") / "x"
    plan = {"experiment": "x", "dataset": "digits", "num_samples": 2000, "sample_seeds": [0, 1], "methods": METHODS}
    plan |= {"networks": {"edm": {"kind": "edm", "training": {"steps": 1}}}, "nfe_budgets": [5, 10, 20]}
    experiment = Experiment.model_validate(plan).completed()
    (folder / "fits").mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps(experiment.written()), encoding="utf-8")
    write_csv(folder / "metrics.csv", list(rows(experiment)))
    for name, fit in fits(experiment).items():
        components = 10 if fit.options.get("by") else fit.options["components"]
        facts = {"components": components, "ranks": [24, 249], "bytes": min(39_150_000, 1_200_000 * components)}
        facts |= {"images": NUMBER, "bytes_of_images": 784 * NUMBER, "seconds": 12.5, "part": "all"}
        (folder / "fits" / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def test_lines_are_the_mixtures_of_the_sweep_that_differ_in_k_and_level_alone(folder):
    found = figure_12_frontier.frontier(load(folder))
    own = found[(found["nfe_budget"] == "5") & (found["metric"] == "fd_classifier")]
    assert set(own["method"]) == {*(f"k{k}" for k in K), "k10_by_class", "fresh_noise"}
    line = own[(own["by"] != "labels") & (own["sigma_start"] == 2)]
    assert list(line["k"]) == [*K, NUMBER]
    assert list(own[own["by"] == "labels"]["k"]) == [10, 10, 10]
    assert line.set_index("k")["bytes"][3] == 3_600_000


def test_the_figure_has_both_budgets_and_its_marks_and_rivals(folder):
    figure = figure_12_frontier.make(load(folder))
    assert len(figure.axes) == 4
    told = [{text.get_text() for text in axes.texts} for axes in figure.axes]
    for nfe, texts in zip((5, 10), told[:2], strict=True):
        assert {"$\\sigma$ 1", "$\\sigma$ 3", f"iPNDM-4, NFE {nfe}", f"iPNDM-4, NFE {2 * nfe}", "real A"} <= texts
        assert any(text.startswith("DPM-OT") for text in texts) and any(text.startswith("copy") for text in texts)
    assert "tolerance" in told[2]


def test_a_folder_without_mixtures_or_their_facts_has_a_figure_that_says_so(folder, tmp_path):
    for name in ("experiment.json", "metrics.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    figure = figure_12_frontier.make(load(tmp_path))
    assert "not run" in figure.axes[0].texts[0].get_text()


def test_a_mixture_is_paid_for_by_its_own_fit_and_says_what_it_stores(folder, tmp_path):
    results = load(folder)
    table = table_8_break_even.make(results)
    mixtures = table[table["method"] == "mixture_100"]
    assert set(mixtures["rival"]) == {"ipndm", "ddim"} and set(mixtures["fit_s"]) == {12.5}
    panel = table_8_break_even.layout(table, results).panels[1]
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in panel.rows}
    assert cells["DPM-OT"] == ["50,000 images, as many heights", "39,400,000", "1"]
    assert cells["mixture_components_100"][1:] == ["39,150,000", "1"]
    assert cells["mixture_components_3"][1:] == ["3,600,000", "0.092"]
