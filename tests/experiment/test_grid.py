"""The grid of cells: levels and step counts of every start, checked against the chains' own tails."""

import pytest

from dpmot.experiment import grid
from dpmot.experiment.cells import Cell
from dpmot.experiment.plan import Experiment

NETWORKS = {
    "ddpm": {"kind": "ddpm", "training": {"steps": 1}},
    "edm": {"kind": "edm", "training": {"steps": 1}},
    "student": {"distillation": "progressive", "teacher": "edm", "step_counts": [8, 4], "training": {"steps": 1}},
}


def _experiment(method: dict, **changes) -> Experiment:
    base = {"experiment": "x", "dataset": "digits", "num_samples": 200, "nfe_budgets": [5, 10], "sample_seeds": [0]}
    base |= {"networks": NETWORKS, "methods": {"m": {"network": "ddpm", "sampler": "ddim", **method}}}
    selection = {"network": "edm", "sampler": "ddim", "nfe": 50, "sigmas": [1.0, 2.0]}
    return Experiment.model_validate({**base, "selection": selection, **changes}).completed()


def _cells(method: dict, **changes) -> list[Cell]:
    return list(grid.cells(_experiment(method, **changes), "m"))


def test_a_problem_of_several_noises_an_image_is_another_problem():
    names = [
        [
            (problem.name, problem.noises)
            for problem in grid.problems(_experiment({"start": "transport", "level": 1.0, **more}))
        ]
        for more in ({}, {"noises": 1}, {"noises": 4})
    ]
    assert names[0] == names[1] and ("A-normal-1", 1) in names[0]
    assert ("A-normal-1-4-noises", 4) in names[2]


def test_as_paper_starts_at_the_level_from_which_the_budget_finishes_the_chain():
    sigmas = [round(cell.sigma_start, 3) for cell in _cells({"start": "transport"}, nfe_budgets=[5, 10, 20, 30, 50])]
    assert sigmas == [0.026, 0.044, 0.076, 0.108, 0.173]  # linear-beta chain, T = 1000, by hand
    karras = _cells({"start": "copy", "network": "edm"})
    assert [round(cell.sigma_start, 2) for cell in karras] == [0.14, 3.26]  # Karras, 18 levels


def test_a_budget_longer_than_the_chain_is_skipped_with_its_reason():
    (cell,) = _cells({"start": "transport", "network": "edm"}, nfe_budgets=[20])
    assert cell.reason == "NFE 20: the full chain has 18 steps, fewer than 20"


def test_as_code_takes_latents_at_the_budget_and_starts_the_chain_at_a_fifth_of_it():
    paper = _cells({"start": "transport"})
    code = _cells({"start": "transport", "level": "as_code"})
    assert [cell.sigma_atoms for cell in code] == [cell.sigma_start for cell in paper]
    assert [(cell.steps, cell.nfe) for cell in code] == [(1, 1), (2, 2)]
    assert all(cell.sigma_start < cell.sigma_atoms for cell in code)


def test_as_code_with_their_langevin_sampler_is_their_arithmetic():
    # CIFAR-10 at 50 steps: latents at level L - 50, chain from level L - 10, five steps a level and a final denoising
    networks = {"ncsnv2": {"kind": "ncsnv2", "training": {"steps": 1}}}
    method = {"network": "ncsnv2", "sampler": "ncsnv2", "start": "transport", "level": "as_code", "nfe": "as_code"}
    (cell,) = _cells({**method, "options": {"denoise": False}}, networks=networks, nfe_budgets=[50])
    assert (cell.steps, cell.nfe) == (10, 51)
    levels = cell.sigma_atoms / 2, cell.sigma_start / 2  # in [0, 1] images are half as wide as ours
    assert [round(level, 4) for level in levels] == [0.0609, 0.0139]


def test_a_method_on_a_student_for_all_step_counts_may_take_any_number():
    student = {"distillation": "consistency", "teacher": "edm", "training": {"steps": 1}}
    cells = _cells({"network": "s", "sampler": "consistency"}, networks={**NETWORKS, "s": student}, nfe_budgets=[1, 3])
    assert [(cell.steps, cell.nfe) for cell in cells] == [(1, 1), (3, 3)]


def test_options_that_change_the_cost_are_bound_to_the_count():
    cells = _cells({"sampler": "dpm_solver", "network": "edm", "options": {"order": 3}}, nfe_budgets=[7, 9])
    assert [(cell.steps, cell.nfe) for cell in cells] == [(3, 7), (3, 7)]
    (cell,) = _cells({"sampler": "edm", "network": "edm", "options": {"correct": False}}, nfe_budgets=[6])
    assert (cell.steps, cell.nfe) == (6, 6)


def test_the_extra_denoise_of_the_code_costs_one_evaluation_more():
    assert [cell.nfe for cell in _cells({"start": "transport", "nfe": "as_code"})] == [6, 11]


def test_heun_spends_the_odd_number_below_an_even_budget():
    assert [cell.nfe for cell in _cells({"network": "edm", "sampler": "edm"})] == [5, 9]


def test_full_chain_rows_take_every_level_of_the_network():
    (ddpm,) = _cells({"sampler": "ddpm", "nfe_budgets": ["full"]})
    (edm,) = _cells({"network": "edm", "sampler": "edm", "nfe_budgets": ["full"]})
    assert (ddpm.nfe, edm.nfe) == (1000, 35)
    chain = grid.chain_of(_experiment({}), "ddpm")
    assert (grid.sigmas(chain, ddpm) == chain.sigmas).all()


def test_a_student_takes_the_most_steps_that_it_was_distilled_for():
    cells = _cells({"network": "student"}, nfe_budgets=[2, 5, 10, 20])
    assert [cell.steps if not cell.reason else None for cell in cells] == [None, 4, 8, None]
    assert "distilled for 4, 8 steps" in cells[0].reason
    assert cells[3].reason == "NFE 20: the student has no more than 8 steps, shown at NFE 10"


def test_sigma_star_is_left_open_until_it_is_found():
    for cell in _cells({"start": "transport", "level": "star"}):
        assert cell.sigma_start is None and cell.reason is None


@pytest.mark.parametrize("sampler", ["ddim", "edm"])
@pytest.mark.parametrize("network", ["ddpm", "edm"])
def test_every_grid_descends_from_its_start_to_zero_in_the_counted_steps(network, sampler):
    method = {"network": network, "sampler": sampler, "start": "transport", "level": [0.1, 1, 10]}
    chain = grid.chain_of(_experiment(method), network)
    for cell in _cells(method, nfe_budgets=[5, 10, 20, 50]):
        if cell.reason:
            assert "levels lie there" in cell.reason
            continue
        sigmas = grid.sigmas(chain, cell)
        assert len(sigmas) == cell.steps + 1 and sigmas[0] == cell.sigma_start and sigmas[-1] == 0
        assert (sigmas[:-1] > sigmas[1:]).all()


def test_problems_are_shared_by_networks_and_samplers_and_name_no_network():
    both = {name: {"network": name, "sampler": "ddim", "start": "transport", "level": 1} for name in ("ddpm", "edm")}
    problems = grid.problems(_experiment({}, methods=both, selection=None))
    assert [problem.name for problem in problems] == ["A-normal-1"]


def test_cell_keys_are_unique_within_a_method():
    cells = _cells({"start": "transport", "level": [1, 2]}, sample_seeds=[0, 1])
    assert len({cell.key for cell in cells}) == len(cells) == 8


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ({"sampler": "ipndm"}, ["methods.m: grid karras begins 3 of 5 steps above sigma 100"]),
        ({"sampler": "dpm_solver_pp"}, ["methods.m: grid log_snr begins 4 of 10 steps above sigma 100"]),
        ({"sampler": "ddim"}, []),
        ({"sampler": "ipndm", "grid": "flow"}, []),
        ({"sampler": "ipndm", "network": "edm"}, []),
        ({"sampler": "ipndm", "start": "transport", "level": 1.0}, []),
    ],
)
def test_a_grid_that_wastes_steps_at_a_flow_networks_far_end_is_said(method, told):
    networks = {**NETWORKS, "flow": {"kind": "flow", "training": {"steps": 1}}}
    found = list(grid.far(_experiment({"network": "flow", **method}, networks=networks)))
    assert [line[: len(start)] for line, start in zip(found, told, strict=True)] == told


def test_a_student_that_trains_on_karras_levels_of_a_flow_teacher_is_said():
    students = {"c": {"distillation": "consistency", "teacher": "flow", "training": {"steps": 1}}}
    for options, told in (({}, 1), ({"sigma_max": None}, 0)):
        networks = {**NETWORKS, **students, "flow": {"kind": "flow", "options": options, "training": {"steps": 1}}}
        found = list(grid.far(_experiment({"network": "c"}, networks=networks)))
        assert len([line for line in found if line.startswith("networks.c: consistency trains on the karras")]) == told
