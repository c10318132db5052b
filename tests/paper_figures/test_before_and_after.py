"""Table 10, Figure 15 and the verdict on rewired networks, from a made-up folder of three training seeds."""

import json

import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from dpmot.experiment.checks import parsed
from dpmot.experiment.members import members
from dpmot.experiment.stages import _trainings
from dpmot.results import METRICS, TRAININGS
from paper_figures import _style, figure_15_before_after, table_10_coupling
from paper_figures._results import load
from paper_figures._rewired import compared, networks
from paper_figures._rewired_verdict import verdict

SEEDS, BUDGETS = (0, 1, 2), (2, 4, 8, 20)
TRAINING = {"steps": 150, "lr": 0.002, "level": "uniform_t"}
WIRED = {"independent": "independent", "minibatch": "minibatch", "semidiscrete": "semidiscrete"}
FD = {  # at each budget
    "before": (90, 22, 9, 5), "independent": (88, 21, 9, 5), "minibatch": (24, 11, 7.5, 5.2),
    "semidiscrete": (17, 9, 6, 5.1), "tau_1": (20, 12, 7, 5.2),
    "before_ipndm": (95, 20, 6, 4), "semidiscrete_ipndm": (30, 9, 5.9, 4.2),
}  # fmt: skip
JITTER = {0: 0.98, 1: 1.0, 2: 1.02}
LABELS = {"before": "Before", "tau_1": "10 % more, tau 1"}


def config(**changes):
    method = {"sampler": "ddim", "grid": "flow"}
    loaded = {"kind": "edm", "options": {"sigma_data": 0.75}, "weights": "results/edm_t{training_seed}.safetensors"}
    wired = {name: {"rewires": "edm", "training": {**TRAINING, "coupling": law}} for name, law in WIRED.items()}
    wired["tau_1"] = {"rewires": "edm", "training": {**TRAINING, "coupling": "semidiscrete", "tau": 1}}
    methods = {
        name: {"label": LABELS.get(name, f"10 % more, {name}"), "network": name.replace("before", "edm"), **method}
        for name in ("before", *WIRED, "tau_1")
    }
    groups = {"independent": "controls", "semidiscrete": "dpm_ot", "tau_1": "sweep"}
    methods = {name: {**one, "group": groups.get(name, "rivals")} for name, one in methods.items()}
    for name in ("before", "semidiscrete"):
        methods[f"{name}_ipndm"] = {**methods[name], "label": f"{name}, iPNDM-4", "sampler": "ipndm", "grid": "karras"}
    return {
        **{"experiment": "wired", "dataset": "digits", "nfe_budgets": list(BUDGETS), "num_samples": 500},
        **{"sample_seeds": [0], "training_seeds": list(SEEDS), "networks": {"edm": loaded, **wired}},
        **{"methods": methods, "tables": ["table_10_coupling"], "figures": ["figure_15_before_after"], **changes},
    }


def rows(each, values):
    base = dict.fromkeys(METRICS.columns) | {"start": "prior", "sigma_start": 80.0, "sample_seed": "pooled"}
    for name, drawn in each.of.items():
        for one in drawn:
            seed, method = each.seeds[one], each.experiment.methods[one]
            for nfe, value in zip(BUDGETS, values[name], strict=True):
                cell = base | {"method": one, "network": method.network, "sampler": method.sampler}
                cell |= {"nfe_budget": str(nfe), "nfe_counted": nfe, "num_samples": 500}
                fd, copies = value * JITTER.get(seed, 1), 0.004 if name == "semidiscrete" else 0.002
                yield cell | measured("fd_classifier", "test", fd, 0.15 * fd, "classifier")
                yield cell | measured("copies_pixels", "train", copies, 0.002, "pixels")
    floor = base | {"method": "real_train", "network": "", "start": "data", "sampler": "none", "nfe_budget": "0"}
    floor |= {"nfe_counted": 0, "num_samples": 599, "sigma_start": None}
    yield floor | measured("fd_classifier", "test", 1.3, 0.2, "classifier")
    yield floor | {"method": "real_test"} | measured("copies_pixels", "train", 0.03, 0.03, "pixels")


def measured(metric, reference, value, half, features):
    told = {"metric": metric, "reference": reference, "features": features}
    return told | {"value": value, "low": value - half, "high": value + half}


def write(folder, *, values=FD, trainings=True, **changes):
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps(config(**changes)))
    each = members(parsed(config(**changes)).completed())
    metrics, replicates = _trainings.assembled(list(rows(each, values)), each, fingerprint="3f9a1c0de5b2774a")
    metrics.to_csv(folder / "metrics.csv", index=False)
    columns = ["cell", "metric", "reference", "group", "value"]
    pd.DataFrame(replicates, columns=columns).to_csv(folder / "replicates.csv", index=False)
    if trainings:
        table = pd.DataFrame([trained(each, one) for one in each.experiment.networks], columns=TRAININGS.columns)
        table.to_csv(folder / "trainings.csv", index=False)
    return folder


def trained(each, one):
    name, seed = each.origin[one], each.seeds[one]
    row = {"network": one, "of": name, "training_seed": seed, "images_seen": 19_200, "images_before": 192_000}
    if name == "edm":
        return row | {"how": "loaded", "images_seen": 192_000, "images_before": None}
    law = "semidiscrete" if name == "tau_1" else name
    row |= {"how": "trained", "rewires": f"edm_t{seed}", "coupling": None if law == "independent" else law}
    row |= {"train_s": 12.0 + seed}
    return row | ({"map": "m", "map_s": 3.5, "chi2": 0.009, "off": 0.142} if law == "semidiscrete" else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("wired") / "wired")


def test_what_a_network_saw_and_took_is_the_mean_over_its_training_seeds(folder):
    known = networks(load(folder))
    one = known["semidiscrete"]
    assert (one.origin, one.coupling, one.images, one.share) == ("edm", "semidiscrete", 19_200, 0.1)
    assert (one.train_s, one.map_s, one.seconds, one.off) == pytest.approx((13, 3.5, 16.5, 0.142))
    assert known["independent"].seconds == 13 and known["tau_1"].tau == 1
    assert known["edm"].origin == "" and known["edm"].images == 192_000


def test_a_map_that_nothing_solves_is_no_coupling_that_is_claimed(tmp_path):
    networks = config()["networks"]
    networks["semidiscrete"]["training"]["heights"] = "zero"
    assert {one.after for one in compared(load(write(tmp_path / "wired", networks=networks)))}.isdisjoint(
        {"semidiscrete", "semidiscrete_ipndm"}
    )


def test_rows_are_compared_of_one_sampler_and_grid_on_networks_from_one_origin(folder):
    first, second = compared(load(folder))
    assert (first.before, first.after, first.control, first.minibatch) == ("before", "semidiscrete", *list(WIRED)[:2])
    assert (second.before, second.after, second.control) == ("before_ipndm", "semidiscrete_ipndm", "")


def test_the_verdict_says_that_the_claim_holds_and_from_where_on_it_does_not_help(folder):
    told = " ".join(verdict(load(folder)))
    assert told.startswith("The claim holds. DDIM at NFE 4, 19,200 images more (10.0% of those before)")
    assert "before 22.0" in told and "95 % intervals over training seeds" in told
    assert "tolerance 0.01" in told and "as many images with independent noise: 21.0" in told
    assert "(DDIM): its interval lies below at NFE 2, 4, 8, from 20 on no longer." in told
    assert "best of these samplers on each network: its interval lies below at NFE 2, 4, from 8 on no longer." in told
    assert "At NFE 4 that is 9.00 [8.55, 9.45] beside 20.00 [19.01, 20.99], 0.45 of it." in told
    assert "13 s of training and 4 s of the map, beside minibatch OT in 13 s: NFE 4" in told
    assert "beside 11.0" in told and "NFE 2 " not in told.partition("By seconds")[2]
    assert "14% of the prior draws are no point of the coupling" in told


@pytest.mark.parametrize(
    ("name", "fd", "broken"),
    [
        ("semidiscrete", (17, 12, 6, 5.1), "the FD is 0.55 of what it was, not at most half"),
        ("independent", (20, 9.5, 6, 5), "the control gains as much, or cannot be told apart"),
    ],
)
def test_the_verdict_says_where_the_claim_breaks(tmp_path, name, fd, broken):
    told = verdict(load(write(tmp_path / "wired", values={**FD, name: fd})))
    assert told[0].startswith(f"The claim breaks: {broken}")


def test_copies_above_the_tolerance_break_the_claim(tmp_path):
    told = verdict(load(write(tmp_path / "wired", copying_tolerance=0.005)))
    assert told[0].startswith("The claim breaks: the audit cannot tell, a share of copies up to 0.006 is possible")
    assert any("before 0.0020" in one and "real images of split C 0.030" in one for one in told)
    told = verdict(load(write(tmp_path / "copying", copying_tolerance=0.001)))
    assert told[0].startswith("The claim breaks: it copies, at least 0.002 of its samples")


def test_the_table_has_both_intervals_images_seconds_and_the_verdict(folder):
    made = table_10_coupling.PAGE.produce(load(folder))
    text = made["tables/table_10_coupling.md"].decode()
    assert "of one network in the mean" in text and "intervals are over the 3 training seeds (Student's t)" in text
    assert "The claim holds" in text and "14.2%" in text and "19,200" in text
    table = pd.read_csv(folder / "metrics.csv")
    csv = made["tables/table_10_coupling.csv"].decode().splitlines()
    assert len(csv) == 1 + len(FD) * len(BUDGETS)
    own = table[(table.method == "semidiscrete") & (table.nfe_budget == 4) & (table.metric == "fd_classifier")]
    assert f"{own.value.iloc[0]:.6g}"[:4] in next(
        line for line in csv if line.startswith("semidiscrete,") and ",4," in line
    )


def test_pages_are_made_without_trainings_and_without_a_coupling(tmp_path, results_folder):
    bare = load(write(tmp_path / "wired", trainings=False))
    assert networks(bare)["semidiscrete"].images == 19_200
    text = table_10_coupling.PAGE.produce(bare)["tables/table_10_coupling.md"].decode()
    assert "The claim is not tested" in text and "–" in text  # how much of its training it went on for is not known
    other = load(results_folder("smoke"))
    assert b"not run" in table_10_coupling.PAGE.produce(other)["tables/table_10_coupling.md"]
    assert all(figure_15_before_after.PAGE.produce(other).values())


def test_the_figure_draws_before_after_control_and_assignment(folder):
    results = load(folder)
    names = figure_15_before_after.methods_of(compared(results)[:1])
    assert names == ["before", "semidiscrete", "independent", "minibatch"]
    looks = _style.styles(results)
    assert len({looks[name].colour for name in names}) == len(names)
    assert looks["semidiscrete_ipndm"].colour == looks["semidiscrete"].colour
    assert looks["semidiscrete_ipndm"].marker != looks["semidiscrete"].marker
    figure = figure_15_before_after.make(results)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["sampler: DDIM", "sampler: iPNDM-4"]
    drawn = [text.get_text() for text in figure.axes[0].texts]
    assert {"Before", "10 % more, semidiscrete", "real A"} <= {" ".join(text.split()) for text in drawn}
    bands = [one for one in figure.axes[0].collections if one.get_label() != "_nolegend_"]
    assert len(bands) >= len(names)


def test_one_training_seed_has_bars_over_samples_alone(tmp_path):
    one = config()
    one["networks"]["edm"] = {**one["networks"]["edm"], "weights": "results/edm.safetensors"}
    del one["training_seeds"]
    results = load(write(tmp_path / "wired", **{"training_seeds": None, "networks": one["networks"]}))
    table = table_10_coupling.make(results)
    assert table["over_samples_low"].isna().all()
    assert "intervals over samples of one network" in " ".join(verdict(results))
    drawn = figure_15_before_after.make(results).axes[0].collections
    assert drawn and not any(isinstance(one, PolyCollection) for one in drawn)
    assert all(figure_15_before_after.PAGE.produce(results).values())
