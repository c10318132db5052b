"""Fixed tiles: every product has one shape, so that every row has one value."""

import pytest
import torch

from dpmot.tiles import LARGEST, TILE, in_tiles, product, rows_of


def test_every_call_sees_a_full_tile_and_the_padding_repeats_the_last_row():
    seen = []

    def double(x, y):
        seen.append(y.tolist())
        return x * 2 + y[:, None]

    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10.0)
    assert torch.equal(in_tiles(double, x, y, tile=4), x * 2 + y[:, None])
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128])
def test_any_number_of_rows_comes_back_whole(size):
    x = torch.randn(size, 3)
    assert torch.equal(in_tiles(lambda rows: rows + 1, x), x + 1)


def test_products_have_the_same_bits_in_every_batch_and_order():
    torch.manual_seed(0)
    x, matrix = torch.randn(500, 77), torch.randn(77, 33)

    def multiply(rows):
        assert len(rows) == TILE
        return rows @ matrix

    whole, order = in_tiles(multiply, x), torch.randperm(500)
    assert torch.equal(in_tiles(multiply, x[order]), whole[order])
    for size in (1, 7, 64, 100):
        assert torch.equal(in_tiles(multiply, x[:size]), whole[:size])


@pytest.mark.parametrize("columns", [2, 9, 33, 64, 250])
@pytest.mark.parametrize("depth", [2, 9, 30, 64, 599])
def test_a_row_of_a_product_has_the_same_bits_in_every_place_of_a_tile(depth, columns):
    torch.manual_seed(0)
    x, order = torch.randn(TILE, depth), torch.randperm(TILE)
    for matrix in (torch.randn(depth, columns), torch.randn(columns, depth).T):
        whole = product(x, matrix)
        torch.testing.assert_close(whole, x @ matrix, rtol=0, atol=1e-6 * depth)  # float32 sums of `depth` terms
        assert torch.equal(product(x[order], matrix), whole[order])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        in_tiles(lambda rows: rows, torch.empty(0, 3))


def test_every_call_sees_a_full_tile_and_padding_is_cut_off():
    sizes = []

    def network(x):
        sizes.append(len(x))
        return x * 2, x.sum(1)

    x = torch.arange(30.0).reshape(10, 3)
    doubled, total = in_tiles(network, x, tile=4)
    assert sizes == [4, 4, 4]
    assert torch.equal(doubled, x * 2) and torch.equal(total, x.sum(1))


def test_no_gradient_is_recorded():
    weight = torch.ones(3, requires_grad=True)
    (out,) = in_tiles(lambda x: (x * weight,), torch.ones(2, 3))
    assert not out.requires_grad


@pytest.mark.parametrize(("numbers", "rows"), [
    (64, 128), (3072, 128), (12_288, 128), (2**15, 128), (2**15 + 1, 64), (196_608, 16), (2**23, 1),
])  # fmt: skip
def test_a_tile_of_large_images_has_fewer_rows(numbers, rows):
    assert rows_of(numbers) == rows and (rows * numbers <= LARGEST or rows == 1)


def test_samples_of_large_images_are_the_same_in_every_batch():
    x = torch.randn(20, 2**17, generator=torch.Generator().manual_seed(0))
    seen = []

    def halved(rows):
        seen.append(len(rows))
        return rows / 2

    assert torch.equal(in_tiles(halved, x), x / 2) and torch.equal(in_tiles(halved, x[7:9]), x[7:9] / 2)
    assert set(seen) == {32}
