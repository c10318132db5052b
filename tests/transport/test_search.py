"""The search by lists of benchmarks/search.py: what it says is proven is exact, and its bounds hold."""

import pytest
import torch

from benchmarks.search import InvertedLists


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[3, 40])
def case(request):
    """Lists, noise, and the scores of all atoms."""
    y, h, z = draws(400, request.param), draws(400, seed=1), draws(200, request.param, seed=2)
    return InvertedLists(y, h, 20), z, z @ y.T + h


def test_no_atom_of_a_list_scores_more_than_its_bound(case):
    lists, z, scores = case
    upper = lists.bounds(z)[0]
    assert sorted(torch.cat(lists.members).tolist()) == list(range(400))
    for k, members in enumerate(lists.members):
        assert (scores[:, members].amax(1) <= upper[:, k]).all()


@pytest.mark.parametrize("visited", [1, 5, 20])
def test_what_is_proven_is_exact_and_all_lists_are_the_exact_search(case, visited):
    lists, z, scores = case
    found, truth = lists.search(z, min(visited, len(lists.members))), scores.argmax(1)
    assert (found.cell == truth)[found.proven].all()
    torch.testing.assert_close(found.score, scores.gather(1, found.cell[:, None])[:, 0])
    assert 0 < found.looked <= 1 and (visited < 20 or (found.proven.all() and found.looked == 1))
    assert visited != 5 or z.shape[1] != 3 or 0 < found.proven.float().mean() < 1
    assert lists.proof(z, scores.amax(1)) >= 1 / 400
