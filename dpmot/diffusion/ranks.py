r"""Data parallelism: each process differentiates its rows of one global batch, and the gradients are summed.

With B losses in rows R_1, ..., R_N of N processes, (1 / B) sum_b l_b is the sum of (1 / B) sum_{b in R_k} l_b, whatever
the sizes of the parts. Every process draws the whole batch, its noise, pairs and dropout masks, from the streams that
one process draws it from, and evaluates the network on its own rows. So N processes differ from one by rounding alone:
in the order of sums, and in products of fewer rows.

What a loss asks of the network for other rows than the whole batch (as MeanFlow's derivative), each process asks for
itself: that is right, too, and not shared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from dpmot.diffusion.training import Losses
from dpmot.runtime.together import Collective, Place, speaking

ALONE = "give processes=1"
ROUNDING = 0.02  # of the largest answer; products in bfloat16 differ by less


class Ranks:
    """The part of one process in a training by several; see :class:`dpmot.diffusion.training.Together`.

    Attributes:
        rows: those of the global batch that are its own.
        first: whether it is the one that shows its progress and keeps its state.
        size: how many processes there are.
        sizes: how many trained this network, in order: a run may go on with another number of them.
    """

    def __init__(self, place: Place, batch: int) -> None:
        self.first, self.size, self.sizes = place.first, place.size, [place.size]
        self.all = Collective()
        self.batch, self.rows = batch, slice(place.rank * batch // place.size, (place.rank + 1) * batch // place.size)

    def part(self, values: Tensor) -> Tensor:
        """Losses (B,) of which its own rows count -> their part of the mean of all, ()."""
        return values[self.rows].sum() / self.batch

    def total(self, part: Tensor) -> Tensor:
        """The sum of all parts, (), without gradient."""
        return self._sum(part.detach().clone())

    def whole(self, losses: Losses) -> Losses:
        """The losses of all rows, each from the process that has it."""
        own = torch.zeros_like(losses.values, requires_grad=False)
        own[self.rows] = losses.values.detach()[self.rows]
        return losses._replace(values=self._sum(own))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """The gradients of the parts become those of the whole; a parameter that no process used has none."""
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        used = grads[0].new_tensor([one.grad is not None for one in parameters])
        summed = self._sum(torch.cat([*(grad.reshape(-1) for grad in grads), used]))
        *parts, used = summed.split([*(grad.numel() for grad in grads), len(grads)])
        for one, grad, part, of_any in zip(parameters, grads, parts, used.tolist(), strict=True):
            one.grad = grad.copy_(part.view_as(grad)) if of_any else None

    def agreed(self, facts: dict[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The facts of the first process, whose state all take in place."""
        given = [facts]
        with speaking():
            distributed.broadcast_object_list(given, src=0)
            for tensor in state.values():
                distributed.broadcast(tensor, src=0)
        return given[0]

    def check(self, values: Sequence[Tensor], where: str) -> None:
        """Refuse, as ValueError, to train where the processes have drawn different batches."""
        with speaking():
            same = self.all.agree(values)
        if not same:
            told = "the processes have drawn different batches"
            raise ValueError(
                f"{where}: {told}; give all the same data, on one kind of processor or GPU, or processes=1"
            )

    def _sum(self, tensor: Tensor) -> Tensor:
        with speaking():
            return self.all.sum(tensor)


class Shared(nn.Module):
    """A network of which each process evaluates its own rows of the batch; its answer has zeros in the others.

    Args:
        model: the network, as it is trained.
        ranks: of this process.
        where: what a message calls it.

    Raises:
        ValueError: it has batch normalisation, whose statistics would be those of a part.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, where: str) -> None:
        super().__init__()
        if any(isinstance(layer, _BatchNorm) for layer in model.modules()):
            raise ValueError(f"{where}: batch normalisation would see a part of each batch; {ALONE}")
        self.model, self.rows, self.batch, self.where, self.others = model, ranks.rows, ranks.batch, where, 0.0
        self.drops = any(isinstance(layer, _DropoutNd) and layer.p for layer in model.modules())
        self.compares = False

    def forward(self, x: Tensor, condition: Tensor, **labels: Tensor) -> Tensor:
        if len(x) != self.batch:
            return self.model(x, condition, **labels)
        rows, masks = self.rows, _Masks(self.rows, self.batch, x.device, self.where)
        mine = {name: values[rows] for name, values in labels.items()}
        if self.drops:
            with masks:
                own = self.model(x[rows], condition[rows], **mine)
        else:
            own = self.model(x[rows], condition[rows], **mine)
        masks.check()
        if self.compares:
            self._compare(own, self.model(x, condition, **labels))
        sides = (own.new_full((n, *own.shape[1:]), self.others) for n in (rows.start, self.batch - rows.stop))
        return torch.cat([next(sides), own, next(sides)])

    def check(self, losses: Any) -> None:
        """Ask for the losses (B,) of a batch, by ``losses()``, twice with other answers in the rows of others.

        Then once more in eval mode, where the network answers all rows, too.

        Raises:
            ValueError: they are no B losses, its own change, or so do the network's answers to them.
        """
        found = []
        for self.others in (1.0, 0.0):
            torch.manual_seed(0)
            with torch.no_grad():
                found.append(losses())
        if found[0].shape != (self.batch,):
            shape = tuple(found[0].shape)
            told = f"the loss has shape {shape}, and processes share one of shape ({self.batch},)"
            raise ValueError(f"{self.where}: {told}; {ALONE}")
        if not torch.equal(*(values[self.rows].nan_to_num() for values in found)):
            raise ValueError(f"{self.where}: the loss of an image depends on the images beside it; {ALONE}")
        modes = {layer: layer.training for layer in self.modules()}
        self.eval()
        self.compares = True
        with torch.no_grad():
            losses()
        self.compares = False
        for layer, mode in modes.items():
            layer.training = mode

    def _compare(self, own: Tensor, whole: Tensor) -> None:
        if (whole[self.rows] - own).abs().max() > ROUNDING * whole.abs().max():
            told = "the network's answer to an image depends on the images beside it"
            raise ValueError(f"{self.where}: {told}; {ALONE}")


class _Masks(TorchFunctionMode):
    """Inside, dropout draws the masks of the whole batch, as one process does, and takes those of its own rows."""

    def __init__(self, rows: slice, batch: int, device: torch.device, where: str) -> None:
        super().__init__()
        self.rows, self.batch, self.device, self.where = rows, batch, device, where
        self.stream = self._stream()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        return self._drop(*args, **given) if func is functional.dropout else func(*args, **given)

    def _drop(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return x
        self.check()
        if len(x) != self.rows.stop - self.rows.start:
            raise ValueError(f"{self.where}: dropout of {len(x)} rows, which are not those of the batch; {ALONE}")
        strides = x.stride()
        axes = sorted(range(x.dim()), key=lambda axis: -strides[axis])  # numbers are drawn in the order of memory
        whole = [self.batch, *x.shape[1:]]
        ones = x.new_ones([whole[axis] for axis in axes]).permute([axes.index(axis) for axis in range(x.dim())])
        mask = functional.dropout(ones, p, True, inplace)[self.rows]  # in place, CUDA draws in another order
        self.stream = self._stream()
        return x.mul_(mask) if inplace else x * mask

    def check(self) -> None:
        """Refuse, as ValueError, a network that has drawn numbers in another way: they would be those of a part."""
        if not all(map(torch.equal, self.stream, self._stream())):
            told = "the network draws random numbers otherwise than by nn.Dropout"
            raise ValueError(f"{self.where}: {told}, and processes cannot share them; {ALONE}")

    def _stream(self) -> list[Tensor]:
        own = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *own]
