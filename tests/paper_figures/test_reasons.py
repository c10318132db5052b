"""Why cells are unranked: the audit's sentences in few words, from which none of its numbers is lost."""

from dpmot.plugins import ROOT
from paper_figures import _reasons

COPIES = "copies: share of copies of training images {} [{}, 1] above 0.01; source recovery 1 [0.998, 1] {}"
CHANCE = "more than 0.01 above 0.00167, that of chance"


def test_a_method_that_copies_at_every_budget_is_one_line():
    shares = {"5": (1, 0.985), "10": (1, 0.985), "20": (0.978, 0.948)}
    reasons = {nfe: COPIES.format(*share, CHANCE) for nfe, share in shares.items()}
    assert _reasons.lines(reasons, ["5", "10", "20", "50"]) == [
        "NFE 5 to 20: copies: share 0.978 to 1 [0.948, 1]; recovery 1 [0.998, 1]"
    ]
    told = _reasons.rules(reasons.values())
    assert told.count("above 0.01") == 1 and told.count("1/N = 0.00167") == 1


def test_what_may_be_so_is_told_apart_from_what_is():
    reasons = {
        "5": f"copies: source recovery 0.03 [0.022, 0.04] {CHANCE}",
        "10": f"not audited: source recovery 0.007 [0.003, 0.013] may be {CHANCE}",
        "50": f"not audited: source recovery 0.009 [0.005, 0.016] may be {CHANCE}",
    }
    assert _reasons.lines(reasons, ["5", "10", "20", "50"]) == [
        "NFE 5: copies: recovery 0.03 [0.022, 0.04]",
        "NFE 10, 50: not audited: recovery 0.007 to 0.009 [0.003, 0.016] (may be)",
    ]
    assert "recovery that may be more than 0.01" in _reasons.rules(reasons.values())


def test_other_reasons_stay_as_they_are():
    reason = "noise: precision (classifier) 0.003, under 0.1 of real images'; transport not converged: chi2 0.1 n/a"
    assert _reasons.lines({"5": reason}, ["5"]) == [f"NFE 5: {reason}"] and _reasons.rules([reason]) == ""
    test = "copies: share of copies of test images 0.5 [0.4, 0.6] above 0.01"
    assert _reasons.brief(test) == "copies: share of test images 0.5 [0.4, 0.6]"


def test_no_committed_page_repeats_a_rule():
    for page in (ROOT / "results/reference").glob("*/tables/*.md"):
        text = page.read_text(encoding="utf-8")
        assert text.count("that of chance") <= 2, page
