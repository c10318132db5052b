"""What is predicted of copying from images alone, against closed forms, against simulation, and on the command line."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr

import dpmot
from benchmarks import predict as benchmark
from benchmarks.laws_numbers import LAWS
from benchmarks.laws_page import NAMES, TOLERANCE, verdict
from benchmarks.predict import of_stored
from dpmot import cli
from dpmot.diffusion.denoiser import IdealDenoiser
from dpmot.statistics.jackknife import Estimate, share_interval
from dpmot.theory import information
from dpmot.theory.recovery import Stored, enough, recovery, share
from dpmot.theory.report import Level, Prediction


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [0.01, 0.3, 3.0])
def test_posterior_weights_are_the_softmax_and_their_mean_is_the_denoiser(sigma):
    points, ends = drawn(200, 5), drawn(20, 5, seed=1)
    ideal, x = IdealDenoiser(points), drawn(200, 5)[:20] + sigma * ends
    exact = torch.softmax(-torch.cdist(x.double(), points.double()).square() / (2 * sigma**2), 1)
    weights = ideal.weights(x, sigma)
    assert torch.allclose(weights, exact, atol=1e-9)  # products of float64 numbers near 1, over sigma^2 = 1e-4
    assert torch.allclose(ideal.mean(weights).float(), ideal(x, torch.tensor(sigma)), atol=1e-6)  # float32


def test_half_the_squares_of_many_points_are_those_of_each():
    points = drawn(5000, 7)
    ideal = IdealDenoiser(points)
    assert torch.equal(ideal._exact_half, ideal._exact.square().sum(1) / 2)  # in blocks, in the same bits


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_two_points_come_back_as_often_as_the_closed_form_says(sigma):
    """At -1 and 1 the flow keeps the sign of x: recovery is P(1 + sigma eps > 0); the posterior is a logistic."""
    (found,) = recovery(Stored(torch.tensor([[-1.0], [1.0]])), [sigma], num_latents=2000, seed=0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    p = 1 / (1 + np.exp(-2 * (1 + sigma * nodes) / sigma**2))
    drawn_back = ((p**2 + (1 - p) ** 2) * weights).sum() / weights.sum()
    for one, exact in ((found.ode, ndtr(1 / sigma)), (found.posterior, drawn_back)):
        assert abs(one.value - exact) < 2 * (one.high - one.low) + 1e-6  # four standard errors on either side


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
def test_prediction_and_simulation_agree_on_latents_that_it_has_not_seen(sigma):
    stored, number = Stored(drawn(60, 3)), 1500
    (found,) = recovery(stored, [sigma], num_latents=number, seed=0)
    source, noise = stored.latents(number, 1, "others")
    x = stored.images[source] + sigma * noise
    picked = torch.multinomial(stored.ideal.weights(x, sigma), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    samples = dpmot.sample(stored.ideal, x, "ddim", 40, sigma=sigma)
    ended = torch.cdist(samples.x0, stored.images).argmin(1)
    for one, back in ((found.posterior, picked == source), (found.ode, ended == source)):
        assert abs(float(back.double().mean()) - one.value) < 4 * 0.5 / math.sqrt(number)  # standard error of a share


@pytest.mark.parametrize("rare", [0.001, 0.004, 0.01])
@pytest.mark.parametrize("usual", [0.0, 1.0])
def test_the_interval_knows_of_images_so_rare_that_no_latent_met_one(rare, usual):
    """Images with a near twin, say, of which 300 latents meet none or few: their mean is inside all the same."""
    number, draw = 300, np.random.default_rng(0)
    found = [share(np.where(draw.random(number) < rare, 1 - usual, usual)) for _ in range(500)]
    exact = usual + rare * (1 - 2 * usual)
    assert np.mean([one.low <= exact <= one.high for one in found]) >= 0.94
    assert share(np.ones(number)) == Estimate(1.0, number / (number + 3), 1.0)


def test_images_that_coincide_count_as_one():
    points = drawn(30, 3)
    once, twice = (recovery(Stored(some), [0.5], num_latents=600, seed=0)[0] for some in (points, points.repeat(2, 1)))
    assert Stored(points.repeat(2, 1)).chance == pytest.approx(1 / 30)
    for law in ("posterior", "ode", "information"):
        a, b = getattr(once, law), getattr(twice, law)
        assert abs(a.value - b.value) < 2 * (a.high - a.low)  # other latents: the draws of sources differ


def test_what_is_told_about_the_source_is_at_most_log_n_and_all_of_it_without_noise():
    levels = recovery(Stored(drawn(50, 4)), [0.001, 0.3, 2.0, 100.0], num_latents=200, seed=0)
    told = [one.information.value for one in levels]
    assert told[0] == pytest.approx(math.log(50)) and told == sorted(told, reverse=True)
    assert told[-1] < 0.05 and levels[0].ode.value == levels[0].posterior.value == 1


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_the_bound_on_the_populations_information_is_tight_for_a_gaussian(sigma):
    """I(x0; x_sigma) of N(0, I) in d dimensions is d/2 log(1 + 1 / sigma^2)."""
    (bound,) = information.population(drawn(4000, 6), [sigma], seed=0)
    exact = 3 * math.log(1 + sigma**-2)
    assert bound.low < exact + 0.05 and bound.high > exact  # .05: what 2000 images leave open of a covariance


def level(sigma, ode, told, width=0.001):
    around = [Estimate(one, one - width, one + width) for one in (ode, ode, told)]
    return Level(sigma, *around[:2], Estimate(1.0, 0.9, 1.1), around[2])


def test_sigma_star_is_the_level_from_which_on_nothing_is_copied():
    levels = (level(0.1, 1.0, 9.0), level(1.0, 0.012, 3.0), level(2.0, 0.013, 2.0), level(5.0, 0.005, 1.0))
    found = Prediction("some", (3,), 100, 100, 0.002, 4.6, 50, 0, 200, levels)
    assert found.sigma_star() == 5.0  # .013 + .001 - .002 is above .01 at 2, so 1 does not count
    assert found.sigma_star(tolerance=0.02) == 1.0 and found.sigma_star(tolerance=0.0) is None
    assert found.sigma_star(tolerance=0.999) is None  # nothing is .999 beyond a chance of .002
    assert "exact DDIM: 5;" in found.table() and f"{levels[-1].sigma:g} copies too" in found.table(tolerance=0)


def test_too_few_latents_are_no_copies():
    found = Prediction("some", (3,), 100, 100, 0.002, 4.6, 50, 0, 200, (level(5.0, 0.004, 1.0, width=0.06),))
    assert found.sigma_star() is None
    assert (
        "exact DDIM: of 5, 50 latents are too few to tell and about 2,900 could; " in found.table()
    )  # 50 (.06 / .008)^2
    assert "5.0" not in found.table() and "5 " in found.table()


@pytest.mark.parametrize("most", [0.01, 0.05])
def test_as_many_latents_as_the_report_asks_for_decide(most):
    number = round(enough(share(np.zeros(50)), 50, most))
    assert share(np.zeros(number + 1)).high <= most < share(np.zeros(number - 1)).high
    assert enough(share(np.zeros(50)), 50, 0.0) == math.inf


def test_where_the_interval_is_wider_than_what_can_be_missed_it_nears_by_the_root():
    def of(number):
        return share(np.random.default_rng(0).permutation(np.arange(number) < number // 10))

    number = round(enough(of(400), 400, 0.11) / 10) * 10
    assert number > 3000 and of(2 * number).high < 0.11 < of(number // 2).high  # 20 groups know a width to a sixth


def told_of(*bounds, num_images=100):
    levels = tuple(level(float(i + 1), 0.5, bound) for i, bound in enumerate(bounds))
    return Prediction("some", (3,), num_images, num_images, 1 / num_images, math.log(num_images), 50, 0, 200, levels)


@pytest.mark.parametrize(
    ("bounds", "least", "words"),
    [
        ((9.0, 3.0, 1.0), 2.0, "From sigma 2 on the population's information is below log N: copying is not forced "),
        ((3.0, 1.0), 1.0, "below log N: copying is not forced there."),
        ((9.0, 8.0), None, "above log N at all levels: it decides at none of them."),
        ((math.log(100) - 0.0005, 1.0), 2.0, "below 2 the bound does not decide."),  # its upper end is above
    ],
)
def test_a_bound_from_above_decides_only_where_it_is_below_log_n(bounds, least, words):
    found = told_of(*bounds)
    assert found.sigma_information == least and words in found.table()
    assert found.table().count("  bound above log N") == sum(one + 0.001 > math.log(100) for one in bounds)
    assert "> log N" not in found.table()


def test_where_chance_leaves_nothing_beyond_it_no_level_is_named():
    found = told_of(1.0, num_images=2)
    assert found.sigma_star(tolerance=0.5) is None and "Chance is 0.5: no recovery" in found.table(tolerance=0.5)


def test_images_that_coincide_are_not_fitted_and_asked_too():
    points = drawn(60, 3)
    once, twice = (information.population(some, [0.5], seed=0) for some in (points, points.repeat(2, 1)))
    assert once == twice and len(information.distinct(points.repeat(3, 1))) == 60
    with pytest.raises(ValueError, match="30 different images are too few"):
        information.population(points[:30].repeat(2, 1), [0.5], seed=0)


def test_images_that_are_all_the_same_predict_nothing():
    with pytest.raises(ValueError, match="all 50 images are the same, so every sample would be a copy of it"):
        dpmot.predict(torch.ones(50, 4), [1.0])


@pytest.mark.parametrize("sigma", [1e-12, 1e12])
def test_the_outermost_levels_are_predicted(sigma):
    (found,) = dpmot.predict(drawn(50, 4), [sigma], num_latents=40).levels
    assert found.ode.value == pytest.approx(1 if sigma < 1 else 1 / 50, abs=0.01)


@pytest.mark.parametrize(
    ("images", "more", "told"),
    [
        (torch.randn(50, 4), None, "a range is of images, these are points"),
        (torch.rand(50, 1, 8, 8), torch.randn(50, 4), "held_out"),
        (torch.zeros(50, 1, 8, 8, dtype=torch.uint8), None, "leave it out"),
        ("digits", None, "the data set digits needs none"),
    ],
)
def test_a_range_that_nothing_has_is_refused(images, more, told):
    with pytest.raises(ValueError, match=told):
        dpmot.predict(images, [1.0], value_range=(0, 1), held_out=more)


def test_samples_of_stored_starts_count_as_fewer():
    found = of_stored(0.2, 1500, 500)  # 375 independent ones
    assert found == share_interval(75, 375)
    assert of_stored(1.0, 1500, 599).high == 1.0 and of_stored(0.0, 1500, 599).low == 0.0


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0])
def test_pairs_of_latents_tell_more_than_two_draws_of_them(sigma):
    """The prediction asks no latent for its image, so that what gave it back, less the prediction, has mean 0."""
    stored = Stored(drawn(60, 3))
    told, found = benchmark.simulated(stored, sigma, 600, 40)
    for one, predicted in zip(found, (told.posterior, told.ode), strict=True):
        assert one.apart.value == pytest.approx(one.share.value - predicted.value)
        assert one.apart.low - 0.01 < 0 < one.apart.high + 0.01  # .01: the steps of DDIM
        assert one.apart.high - one.apart.low < 0.1


def test_a_level_that_the_file_has_is_not_predicted_again(tmp_path, monkeypatch, capsys):
    path, asked = tmp_path / "recovery.csv", []
    options = ["gaussians:60", "--samples", "40", "--nfe", "4", "--csv", str(path)]
    simulated = benchmark.simulated
    monkeypatch.setattr(
        benchmark, "simulated", lambda one, level, *more: asked.append(level) or simulated(one, level, *more)
    )
    monkeypatch.setattr(benchmark, "population", lambda _, levels: [Estimate(1.0, 0.5, 1.5)] * len(levels))

    def run(*more):
        asked.clear()
        monkeypatch.setattr("sys.argv", ["predict", *options, *more])
        benchmark.main()
        return list(asked)

    assert run("--sigmas", "0.05") == [0.05]
    before = path.read_text()
    monkeypatch.setattr(benchmark, "population", lambda _, levels: [Estimate(2.0, 1.5, 2.5)] * len(levels))
    assert run("--sigmas", "0.05") == [] and path.read_text() == before
    assert run("--sigmas", "0.05", "0.2") == [0.2]
    assert path.read_text().startswith(before) and set(pd.read_csv(path)["population"]) == {1.0, 2.0}
    assert run("--sigmas", "0.05", "--samples", "50") == [0.05]  # made otherwise
    monkeypatch.setattr(benchmark, "population", lambda *_: pytest.fail("the bound is one for all N"))
    options[0] = "gaussians:50"
    assert run("--sigmas", "0.2") == [0.2] and len(pd.read_csv(path)) == 6


def test_every_committed_measurement_is_within_the_tolerance_or_named_by_the_verdict():
    rows = pd.read_csv(LAWS / "recovery.csv")
    laws = {law: verdict(rows, law) for law in ("posterior", "ode")}
    rows = rows[rows["law"].isin(laws)]
    assert len(rows) >= 40
    for row in rows.to_dict("records"):
        zero = "holds" if row["difference_low"] <= 0 <= row["difference_high"] else "excludes"
        case = (
            f"{NAMES[row['dataset']]}, N = {row['num_images']:,} at sigma {row['sigma']:.4g} by {row['difference']:.3f}"
        )
        named = f"{case} (the interval of the difference {zero} 0)" in laws[row["law"]]
        assert named == (abs(row["difference"]) > TOLERANCE), case


def test_a_verdict_counts_what_lies_within_the_tolerance_and_names_the_rest():
    row = {"dataset": "digits", "num_images": 599, "law": "ode", "sigma": 1.0}
    ends = ("difference", "difference_low", "difference_high")
    three = [(0.01, -0.01, 0.02), (-0.03, -0.05, -0.01), (0.05, -0.01, 0.11)]
    rows = pd.DataFrame([row | dict(zip(ends, one, strict=True)) for one in three])
    assert (
        verdict(rows[:2], "ode") == "all 2 differences within 0.03, 1 with their whole intervals; the largest is 0.030"
    )
    told = (
        "2 of 3 differences within 0.03, 1 with their whole intervals; the largest is 0.050; outside: digits, N = 599"
    )
    assert verdict(rows, "ode") == f"{told} at sigma 1 by 0.050 (the interval of the difference holds 0)"
    assert verdict(rows.assign(difference_low=0.01), "ode").endswith(
        "at sigma 1 by 0.050 (the interval of the difference excludes 0)"
    )


@pytest.fixture
def files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", arr_0=images.transpose(0, 2, 3, 1))
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32))
    return tmp_path


@pytest.mark.parametrize(("name", "size"), [("images.npz", "3 x 32 x 32"), ("points.npy", "5")])
def test_images_and_points_of_files_are_predicted(files, name, size, capsys):
    arguments = [
        "predict",
        str(files / name),
        "--sigmas",
        "0.1",
        "50",
        "--latents",
        "40",
        "--csv",
        str(files / "a.csv"),
    ]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert f"{name}: 64 images of {size}, all different; log N = 4.16 nats" in told
    assert len((files / "a.csv").read_text().splitlines()) == 3


def test_json_is_one_object_with_the_numbers_of_python(files, capsys):
    assert cli.main(["predict", str(files / "points.npy"), "--sigmas", "1", "--latents", "40", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    again = dpmot.predict(files / "points.npy", [1.0], num_latents=40)
    assert told["levels"][0]["ode"]["value"] == again.levels[0].ode.value
    assert told["num_images"] == 64 and told["sigma_star"] == {"ode": None, "posterior": None}
    assert dpmot.predict(files / "points.npy", [1.0], num_latents=40, seed=1).levels != again.levels


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sigmas", "0"], "sigmas: 0; give noise levels above 0"),
        (["--sigmas", "nan"], "give noise levels above 0"),
        (["--sigmas", "1", "1e200"], "sigmas: 1e+200; give noise levels above 0, in 1e-12..1e+12"),
        (["--sigmas", "1e-200"], "sigmas: 1e-200; give"),
        (["--range", "0", "1"], "a range is of images, these are points"),
        (["--num-atoms", "65"], "65 are more than the 64 images"),
        (["--num-atoms", "1"], "give a whole number of at least 2"),
        (["--latents", "5"], "num_latents: 5; give a whole number of at least 20"),
        (["--tolerance", "2"], "--tolerance is a share in 0..1"),
        (["--held-out", "digits:D"], "digits:D names no split of digits"),
        (["--held-out", "digits"], "holds images (1, 8, 8), the others are (5,)"),
        (["--csv", "nowhere/a.csv"], "--csv: no folder nowhere"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_line(files, arguments, told, capsys):
    assert cli.main(["predict", str(files / "points.npy"), *arguments]) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def test_a_name_that_is_neither_file_nor_data_set_lists_the_data_sets(capsys):
    assert cli.main(["predict", "digitz"]) == 1
    assert "no file digitz, and the data sets are celeba, " in capsys.readouterr().err
