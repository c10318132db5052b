"""Results files are read strictly: what is wrong is named by file, row and column."""

import json

import numpy as np
import pandas as pd
import pytest

from dpmot import plugins, results
from dpmot.results import AUDIT, FLOORS, METRICS, REPLICATES
from dpmot.runtime.packed import content

ROW = dict.fromkeys(METRICS.columns, "") | {
    "method": "ddim", "nfe_budget": "5.0", "nfe_counted": "5", "sigma_start": "80", "sample_seed": "pooled",
    "num_samples": "100", "reference": "test", "metric": "fd_classifier", "value": "1.5", "low": "1", "high": "2",
}  # fmt: skip
REFERENCE = plugins.ROOT / "results" / "reference"


@pytest.fixture
def file(tmp_path):
    """Write rows, each the usual one with changes, and return the path."""

    def write(*changes, columns=METRICS.columns):
        pd.DataFrame([ROW | change for change in changes]).reindex(columns=columns).to_csv(
            tmp_path / "metrics.csv", index=False
        )
        return tmp_path / "metrics.csv"

    return write


def test_numbers_are_floats_and_integers_written_beside_empty_entries_lose_their_point(file):
    table = results.read(file({}, {"method": "real_test", "sigma_start": ""}), METRICS, methods=["ddim"])
    assert table["value"].tolist() == [1.5, 1.5] and table["nfe_budget"].tolist() == ["5", "5"]
    assert np.isnan(table["sigma_start"].iloc[1])


@pytest.mark.parametrize("entry", ["nan", "inf", "-inf", "many"])
@pytest.mark.parametrize("column", ["value", "low", "sigma_start"])
def test_what_is_no_finite_number_is_named_by_file_row_and_column(file, column, entry):
    path = file({}, {"metric": "kd_classifier", column: entry})
    with pytest.raises(ValueError, match=rf'metrics\.csv, row 3, column {column}: found "{entry}"; finite numbers'):
        results.read(path, METRICS)


def test_an_unknown_method_is_named_with_those_that_there_are(file):
    path = file({}, {"method": "dddim"})
    with pytest.raises(ValueError, match=r'row 3, column method: found "dddim"; the methods are ddim, real_train'):
        results.read(path, METRICS, methods=["ddim"])


def test_a_second_row_for_one_key_is_named(file):
    path = file({}, {"metric": "kd_classifier"}, {"value": "3"})
    with pytest.raises(ValueError, match=r"row 4: a second row for method ddim, .*metric fd_classifier"):
        results.read(path, METRICS)


def test_a_missing_column_is_named(file):
    with pytest.raises(ValueError, match=r"metrics\.csv lacks the column reference; it needs experiment, "):
        results.read(file({}, columns=[name for name in METRICS.columns if name != "reference"]), METRICS)


def test_an_empty_replicate_is_refused_and_so_is_a_cell_without_all_its_samples(tmp_path):
    path = tmp_path / "replicates.csv"
    path.write_text(",".join(REPLICATES.columns) + "\na/5/80,fd_x,test,all,\n")
    with pytest.raises(ValueError, match=r'row 2, column value: found ""; finite numbers are allowed'):
        results.replicates(path)
    path.write_text(",".join(REPLICATES.columns) + "\na/5/80,fd_x,test,0,1\n")
    with pytest.raises(ValueError, match=r'fd_x of a/5/80 has no row of the group "all"'):
        results.replicates(path)


def test_a_flag_is_true_or_false(tmp_path):
    path = tmp_path / "audit.csv"
    path.write_text(",".join(AUDIT.columns) + "\nddim,5,80,copies,yes,\n")
    with pytest.raises(ValueError, match=r'row 2, column ranked: found "yes"; True and False are allowed'):
        results.read(path, AUDIT)


def test_keys_do_not_depend_on_last_digits_and_real_images_have_no_level():
    assert results.cell_key("ddim", 5, 80.0000001) == results.cell_key("ddim", "5", "80") == "ddim/5/80"
    assert results.cell_key("prior", 5, None) == "prior/5/0"
    assert [results.cell_key(name, 0, None) for name in FLOORS] == ["real_train/0", "real_test/0"]


def test_facts_are_those_of_the_longest_stem():
    assert results.stem("mmr_0.115") == "mmr" and results.stem("distinct_sources_pixels") == "distinct_sources"
    assert results.fact("fd_classifier").direction == "lower"
    assert results.fact("plain_fd_classifier").direction == "none"  # a biased value is ranked nowhere
    assert set(results.facts()) == {
        stem for name in plugins.names("metrics") for stem in plugins.find("metrics", name).FACTS
    }


def test_fid_and_is_are_names_of_inceptions_numbers_only():
    assert results.printed_name("fd_inception") == "FID" and results.printed_name("is_inception") == "IS"
    assert results.printed_name("fd_classifier") == "FD (classifier)"
    assert results.printed_name("kd_inception") == "KD (inception)"
    assert results.printed_name("fd_inception-1a2b3c4d") == "FD of inception weights 1a2b3c4d"
    assert results.printed_name("is_inception-unknown") == "IS of inception weights unknown"
    assert results.stem("fd_inception-1a2b3c4d") == "fd" and results.fact("fd_inception-1a2b3c4d").direction == "lower"


def test_a_name_of_the_field_needs_a_fingerprint_that_proves_the_weights(tmp_path):
    source = REFERENCE / "digits"
    for name in ("metrics.csv", "replicates.csv"):
        text = content(source / name).decode().replace("classifier", "inception")
        (tmp_path / name).write_text("\n".join(text.splitlines()[:400]) + "\n")

    def found():
        table = results.read(tmp_path / "metrics.csv", results.METRICS)
        told = {metric for metric in table["metric"] if results.stem(metric) == "fd"}
        assert {metric for _, metric, _ in results.replicates(tmp_path / "replicates.csv")} >= told
        return told, {one for one in table["features"] if "inception" in one}

    unknown = {"fd_inception-unknown"}, {"inception-unknown"}
    for weights in (None, {}, {"renamed-6726825d": "6726825d00000000"}, "no map"):
        if weights is not None:
            (tmp_path / "fingerprint.json").write_text(json.dumps({"weights": weights}))
        assert found() == unknown
    proof = {"weights": {"anywhere": "6726825d0af5f729"}}
    (tmp_path / "fingerprint.json").write_text(json.dumps(proof))
    assert found() == ({"fd_inception"}, {"inception"})


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in REFERENCE.glob("*/metrics.csv*")))
def test_every_committed_folder_can_be_read(folder):
    experiment = results.read_json(REFERENCE / folder / "experiment.json", needs=("methods",))
    trainings = experiment.get("training_seeds") or []
    methods = [*experiment["methods"], *(f"{one}_t{seed}" for one in experiment["methods"] for seed in trainings)]
    assert len(results.read(REFERENCE / folder / "metrics.csv", METRICS, methods=methods)) > 100
    assert results.replicates(REFERENCE / folder / "replicates.csv")
