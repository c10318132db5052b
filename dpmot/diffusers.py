r"""DPM-OT on a pipeline of diffusers: start its scheduler at sigma_M from T(noise) instead of from noise at its top.

    pipe = DDPMPipeline.from_pretrained("google/ddpm-cifar10-32")
    way = dpmot.expressway(images, dpmot.diffusers.level(pipe, 1.0))
    pipe = dpmot.diffusers.ExpresswayPipeline(pipe, way)
    images = pipe(batch_size=16, num_inference_steps=10).images

Pipelines of a ``UNet2DModel`` or of DiT's transformer, of pixels or of the latents of a ``vae`` or ``vqvae``, without
text. Needs the extra ``diffusers``.
"""

import inspect
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.diffusion import adapters, midway, schedulers
from dpmot.diffusion.pipelines import denoiser, encode, level, parts_of, shape_of

if TYPE_CHECKING:
    from dpmot.expressways import Expressway

make_importable()  # diffusers, beside a torch whose torchvision is another's
__all__ = ["ExpresswayPipeline", "denoiser", "encode", "level"]
OUTPUTS = ("pil", "np", "pt", "latent")
MOST_DRAWS = 50  # times the expected number, after which a label is not found: e^-50


class ExpresswayPipeline:
    """A pipeline of diffusers whose trajectories begin at ``way.sigma``, at noisy versions of stored images.

    Args:
        pipeline: DDPMPipeline, DDIMPipeline, ConsistencyModelPipeline, DiTPipeline, LDMPipeline or another of a
            UNet2DModel or DiTTransformer2DModel and its scheduler. It is called part by part and not changed; its
            scheduler is read at each call, so that ``pipe.pipeline.scheduler = ...`` takes another.
        way: the expressway of images as its network sees them, at one of its scheduler's levels (:func:`level`): in
            [-1, 1], or for a pipeline of latents what :func:`encode` gives.

    Raises:
        ValueError: a pipeline with other parts, such as a text encoder or a safety checker; or an expressway of images
            of another shape or of uniform noise.
    """

    def __init__(self, pipeline: Any, way: "Expressway") -> None:
        self.pipeline, self.way = pipeline, way
        self.network, self._decoder = parts_of(pipeline)
        if way.source_measure != "normal":
            raise ValueError(f'The expressway takes {way.source_measure} noise; solve one with source_measure "normal"')
        shape = shape_of(self.network)
        if tuple(way.shape) != shape:
            sees = f"latents {shape}: encode the images first, by dpmot.diffusers.encode" if self._decoder else shape
            raise ValueError(f"The expressway is of images {tuple(way.shape)}, the network sees {sees}")
        self._known = adapters.labels_of(adapters.config_of(self.network))  # classes, and the label of none
        known, _ = self._known
        if known and way.labels is not None and not ((way.labels >= 0) & (way.labels < known)).all():
            raise ValueError(f"The expressway has labels up to {int(way.labels.max())}, the network {known} classes")

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int | None = None,
        num_inference_steps: int = 10,
        *,
        generator: torch.Generator | list[torch.Generator] | None = None,
        class_labels: int | Sequence[int] | Tensor | None = None,
        guidance_scale: float | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        **options: Any,
    ) -> Any:
        """Draw images.

        Args:
            batch_size: B; 1, or as many as labels or latents, where it is not given.
            num_inference_steps: steps n from way.sigma to 0. Each costs one evaluation of the network, of Heun's
                scheduler two but for the last; guidance doubles them.
            generator: of torch, for noise; one, or one a sample.
            class_labels: of a network with classes, one for all or one a sample. Starts are then drawn among stored
                images of that class, if the expressway knows theirs. Without: the classes of the stored images.
            guidance_scale: of DiT, as its pipeline counts it and by its default there; 1: none.
            latents: noise of N(0, I) to start from, (B, C, H, W), instead of the generator's.
            output_type: "pil", "np", "pt", or "latent": what the network sees, not clipped.
            return_dict: False for a tuple.
            **options: of the scheduler's ``step``, such as ``eta`` of DDIM.

        Returns:
            diffusers' ImagePipelineOutput, or a tuple with its images.

        Raises:
            ValueError: labels, steps or options that network, scheduler or expressway do not allow.
        """
        if output_type not in OUTPUTS:
            raise ValueError(f"output_type is {output_type!r}; choose one of {', '.join(OUTPUTS)}")
        walk = midway.Midway(self.pipeline.scheduler, self.way.sigma, num_inference_steps)
        wanted = self._labels(class_labels)
        count = self._count(batch_size, wanted, latents)
        wanted = None if wanted is None else wanted.expand(count)
        x, labels = self._start(count, generator, wanted, latents)
        guidance = self._guidance(guidance_scale)
        dtype = torch.float64 if self.network.dtype == torch.float64 else torch.float32  # of the state: no half
        device = self.pipeline._execution_device
        state, labels = walk.begin(x.to(device, dtype)), None if labels is None else labels.to(device)
        for i, time in enumerate(self.pipeline.progress_bar(walk.timesteps)):
            output = self._answer(walk.scaled(state, time), time, labels, guidance).to(dtype)
            state = walk.step(output, i, state, {"generator": generator, **options})
        if not state.isfinite().all():
            raise ValueError(f"{walk.name} came to NaN or infinity; take other steps, or another scheduler")
        images = self._images(state, output_type)
        self.pipeline.maybe_free_model_hooks()
        return schedulers.diffusers_class("ImagePipelineOutput")(images=images) if return_dict else (images,)

    def to(self, *given: Any, **named: Any) -> "ExpresswayPipeline":
        """Move the wrapped pipeline to a device or dtype; itself."""
        self.pipeline.to(*given, **named)
        return self

    def _labels(self, given: Any) -> Tensor | None:
        """Labels of the user as int64 (), for all, or (B,)."""
        known, _ = self._known
        if given is None:
            if known and self.way.labels is None:
                told = "give class_labels, or solve an expressway with labels="
                raise ValueError(f"The network knows {known} classes: {told}")
            return None
        if not known:
            raise ValueError("class_labels: the network has no classes")
        try:
            labels = torch.as_tensor(given).cpu()
        except (TypeError, ValueError, RuntimeError):  # of names, or of lists of lists
            labels = torch.tensor(torch.nan)
        if labels.is_floating_point() or labels.dim() > 1 or not ((labels >= 0) & (labels < known)).all():
            raise ValueError(f"class_labels are {given!r:.60}; give whole numbers from 0 to {known - 1}, one a sample")
        return labels.long()

    def _count(self, batch_size: int | None, labels: Tensor | None, latents: Tensor | None) -> int:
        told = {"latents": len(latents)} if latents is not None else {}
        told |= {"class_labels": len(labels)} if labels is not None and labels.dim() else {}
        told |= {"batch_size": batch_size} if batch_size is not None else {}
        if len(set(told.values())) > 1 or not all(isinstance(n, Integral) and n >= 1 for n in told.values()):
            raise ValueError(f"How many samples? {', '.join(f'{key} says {n}' for key, n in told.items())}")
        return int(next(iter(told.values()), 1))

    def _start(
        self, count: int, generator: Any, wanted: Tensor | None, latents: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Starts at way.sigma, (B, *S), and their labels, if the network has classes."""
        noise = self._noise(range(count), generator) if latents is None else latents.detach().cpu().float()
        points = self.way.points(noise)
        known, _ = self._known
        x, found, held, draws = points.x, points.labels, self.way.labels, 0
        if wanted is None or found is None or held is None:
            return x, (found if wanted is None else wanted) if known else None
        shares = [float(held.eq(label).double().mean()) for label in wanted.unique()]
        if (least := min(shares)) == 0:
            absent = wanted.unique()[shares.index(0)]
            raise ValueError(f"class_labels: no stored image of the expressway has label {absent}")
        while len(wrong := found.ne(wanted).nonzero()[:, 0]):
            draws += 1
            if latents is not None or draws > MOST_DRAWS / least:
                told = "leave one of them out" if latents is not None else "its labels are hardly ever met"
                raise ValueError(f"class_labels: sample {int(wrong[0])} starts at an image of another label; {told}")
            again = self.way.points(self._noise(wrong.tolist(), generator))
            x[wrong] = again.x
            if again.labels is not None:
                found[wrong] = again.labels
        return x, found

    def _noise(self, rows: Sequence[int], generator: Any) -> Tensor:
        """N(0, I) noise of some samples, each from its own generator where there is one a sample."""
        with schedulers.undisturbed():
            from diffusers.utils.torch_utils import randn_tensor

        one_each = isinstance(generator, list)
        if one_each and max(rows) >= len(generator):
            raise ValueError(f"There are {len(generator)} generators for more samples; give one, or one a sample")
        drawn = [generator[row] for row in rows] if one_each else generator
        first = drawn[0] if isinstance(drawn, list) else drawn
        device = torch.device("cpu") if first is None else first.device
        return randn_tensor((len(rows), *self.way.shape), generator=drawn, device=device, dtype=torch.float32).cpu()

    def _guidance(self, given: float | None) -> float:
        dit = type(self.network).__name__ == adapters.DIT
        if given is not None and not dit:
            raise ValueError("guidance_scale: only DiT's network has a label of no class that guidance needs")
        if given is not None and not 0 <= given < float("inf"):
            raise ValueError(f"guidance_scale is {given}; give a number of at least 0; 1: none")
        usual = inspect.signature(type(self.pipeline).__call__).parameters.get("guidance_scale")
        default = usual.default if usual else 1.0
        return float(default if given is None else given) if dit else 0.0

    def _answer(self, x: Tensor, time: Tensor, labels: Tensor | None, guidance: float) -> Tensor:
        times = time.to(x.device).expand(len(x))
        _, null = self._known
        scale = guidance if guidance > 1 else 1.0  # as DiTPipeline has it
        output = adapters.answer(self.network, x.to(self.network.dtype), times, labels, guidance=scale, null=null)
        scheduler = self.pipeline.scheduler
        learned = str(scheduler.config.get("variance_type") or "").startswith("learned")
        drawn = type(scheduler).__name__.startswith("DDPM")  # the others are ODEs' and draw with no variance of it
        return output if learned and drawn else output[:, : x.shape[1]]

    def _images(self, state: Tensor, output_type: str) -> Any:
        if output_type == "latent":
            return state
        if self._decoder is not None:
            decoder = self._decoder
            state = decoder.decode((state / decoder.config.scaling_factor).to(decoder.dtype)).sample.float()
        images = (state / 2 + 0.5).clamp(0, 1)
        if output_type == "pt":
            return images
        array = images.cpu().permute(0, 2, 3, 1).float().numpy()
        return self.pipeline.numpy_to_pil(array) if output_type == "pil" else array
