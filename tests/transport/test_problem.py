"""What a transport problem accepts, what it says to the rest, and the two height conventions."""

import pytest
import torch

from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver

ATOMS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [4.0, 3.0]])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"atoms": torch.zeros(0, 2)}, "0 atoms"),
        ({"atoms": torch.zeros(3)}, r"shape \(3,\)"),
        ({"atoms": torch.zeros(3, 0)}, "d >= 1"),
        ({"atoms": [[0.0, 1.0]]}, "a list"),
        ({"atoms": torch.tensor([[0.0], [float("nan")]])}, "1 of the atoms 0..1 hold NaN"),
        ({"atoms": ATOMS, "source_measure": "gaussian"}, '"gaussian" is unknown; choose "normal"'),
        ({"atoms": ATOMS, "masses": torch.tensor([0.5, 0.5])}, r"shape \(2,\); give one per atom, \(3,\)"),
        ({"atoms": ATOMS, "masses": torch.tensor([0.5, 0.5, 0.0])}, "must be positive"),
        ({"atoms": ATOMS, "masses": torch.tensor([0.5, 0.5, float("nan")])}, "must be positive"),
        ({"atoms": ATOMS, "masses": torch.tensor([0.5, 0.5, 0.5])}, "sum to 1.5; divide"),
    ],
)
def test_a_bad_problem_says_what_was_given_and_what_is_allowed(arguments, words):
    with pytest.raises(ValueError, match=words):
        SemiDiscreteProblem(**arguments)


@pytest.mark.parametrize(("option", "value"), [("chi2", 0.0), ("chi2", float("nan")), ("max_noises", 0)])
def test_a_bad_solver_option_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        SemiDiscreteSolver(**{option: value})


def test_a_warm_start_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\); give one per atom, \(3,\)"):
        SemiDiscreteSolver()(SemiDiscreteProblem(ATOMS), seed=0, heights=torch.zeros(2))


def test_a_recipe_that_returns_the_wrong_shape_is_refused():
    class Wrong:
        dim = 2

        def __len__(self):
            return 3

        def block(self, i, j):
            return torch.zeros(j - i, 5)

    with pytest.raises(ValueError, match=r"came as \(3, 5\); expected \(3, 2\)"):
        SemiDiscreteProblem(Wrong())


def test_images_are_flattened():
    images = torch.arange(24.0).view(3, 1, 2, 4)
    assert torch.equal(SemiDiscreteProblem(images).atoms.block(0, 3), images.view(3, 8))


@pytest.mark.parametrize("measure", ["normal", "uniform"])
def test_the_two_height_conventions_are_inverse_up_to_the_gauge(measure):
    problem = SemiDiscreteProblem(ATOMS, source_measure=measure)
    heights = torch.tensor([3.0, -1.0, -2.0], dtype=torch.float64)
    back = problem.original_heights(problem.centred_heights(heights) + 7)
    torch.testing.assert_close(back, heights)  # float64 rounding
