"""What a scheduler of diffusers beside weights says of them: every key is read, and a contradiction is refused.

A scheduler's configuration describes a training (its noise levels, what the network predicts) and a sampler. The first
must be what our options say. The second is ours to choose: its keys are known (``SAMPLERS``) and left alone. A key that
is neither, with another value than the library's default, is refused by name.
"""

import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {  # of our networks -> the classes of their schedulers
    "ddpm": (
        *("DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler", "PNDMScheduler"),
        *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "SASolverScheduler"),
        *("UniPCMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        *("HeunDiscreteScheduler", "LMSDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
    ),
    "edm": ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "CMStochasticIterativeScheduler"),
    "flow": ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
    "ve": ("ScoreSdeVeScheduler", "KarrasVeScheduler"),
}
SAMPLERS = (  # keys of what only samples
    "algorithm_type base_image_seq_len base_shift clip_denoised clip_sample clip_sample_range correct_steps "
    "corrector_order disable_corrector dynamic_thresholding_ratio euler_at_final final_sigmas_type flow_shift "
    "interpolation_type lambda_min_clipped lower_order_final max_image_seq_len max_shift predict_x0 predictor_order "
    "rho s_churn s_max s_min s_noise sample_max_value sampling_eps set_alpha_to_one shift shift_terminal sigma_max "
    "sigma_min sigma_schedule skip_prk_steps snr solver_order solver_p solver_type steps_offset stochastic_sampling "
    "thresholding time_shift_type timestep_spacing use_beta_sigmas use_dynamic_shifting use_exponential_sigmas "
    "use_karras_sigmas use_lu_lambdas variance_type"
)
EARLIER = {"predict_epsilon": True, "tensor_format": "pt"}  # keys of earlier versions, and what means nothing new
AS_OURS = {  # key -> our option, by kind
    "ddpm": {
        **{"num_train_timesteps": "num_levels", "beta_schedule": "schedule", "prediction_type": "prediction"},
        **{"beta_start": "beta_min", "beta_end": "beta_max"},
    },
    "edm": {key: key for key in ("sigma_min", "sigma_max", "sigma_data")} | {"prediction_type": "prediction"},
    "flow": {"num_train_timesteps": "num_levels"},
    "ve": {"num_train_timesteps": "num_levels", "sigma_min": "sigma_min", "sigma_max": "sigma_max"},
}
CLIPPING = ("clip_sample", "clip_denoised", "thresholding")


def check(folder: Path, kind: str, told: Any, *, learned_variance: bool) -> bool:
    """Compare the schedulers beside weights with our parametrisation; whether there is any.

    Args:
        folder: of the weights, or of a pipeline.
        kind: a key of ``KINDS``.
        told: the Parametrisation of that kind, with the network's options.
        learned_variance: whether the network has outputs for a variance.

    Raises:
        ValueError: a scheduler of another kind, or one that contradicts the options or has a key that changes the
            denoiser and is not implemented; the message names the key.
    """
    for file in (found := files(folder)):
        compare(file, read_json(file), kind, told, learned_variance)
    return bool(found)


def described(config: Mapping) -> tuple[str, dict[str, Any]]:
    """Kind and options of the network that a scheduler's configuration describes.

    Raises:
        ValueError: a scheduler of another kind.
    """
    name = config.get("_class_name")
    kind = next((kind for kind, names in KINDS.items() if name in names), None)
    if kind is None:
        known = ", ".join(one for names in KINDS.values() for one in names)
        raise ValueError(f"{name} does not say how its network was trained as one of {known} does")
    said = _said(str(name), config)
    endless = ("beta_start", "beta_end") if said.get("beta_schedule") == "squaredcos_cap_v2" else ()
    options = {option: said[key] for key, option in AS_OURS[kind].items() if key in said and key not in endless}
    if name == "CMStochasticIterativeScheduler":
        options |= {"boundary": said["sigma_min"], "num_levels": said["num_train_timesteps"]}
    return kind, options


def files(folder: Path) -> list[Path]:
    """The configurations of schedulers that belong to a folder of weights, or of a pipeline."""
    folder = folder.absolute()
    above = [folder.parent / "scheduler"] if (folder / "config.json").is_file() else []
    places = (place / "scheduler_config.json" for place in (folder, folder / "scheduler", *above))
    return [place for place in places if place.is_file()]


def defaults(name: str) -> dict[str, Any]:
    """The arguments of a class of diffusers with their defaults.

    Raises:
        ValueError: the installed diffusers has no such class, or there is no diffusers.
    """
    parameters = inspect.signature(diffusers_class(name).__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def diffusers_class(name: str) -> Any:
    """A class of diffusers by its name.

    Raises:
        ValueError: the installed diffusers has no such class, or there is no diffusers.
    """
    from dpmot._torchvision import make_importable

    make_importable()
    try:
        with undisturbed():
            import diffusers

            return getattr(diffusers, name)
    except ImportError:
        raise ValueError("A network of diffusers needs diffusers: pip install -e '.[diffusers]'") from None
    except AttributeError:
        raise ValueError(f"The installed diffusers {diffusers.__version__} has no {name}: take a newer one") from None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Code of diffusers runs as in a fresh process, and its warnings are not the user's affair."""
    from dpmot.device import ordinary

    with ordinary(), warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        yield


def read_json(path: Path) -> dict:
    """The JSON object of a file.

    Raises:
        ValueError: no such file, or it holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold one JSON object, found {type(content).__name__}")
    return content


def _said(name: str, config: Mapping) -> dict[str, Any]:
    """All that a configuration says, its class's defaults too, with levels as images in [-1, 1] have them."""
    said = {"prediction_type": "epsilon", **defaults(name), **config}
    if name == "ScoreSdeVeScheduler":  # of images in [0, 1]
        said |= {key: 2 * said[key] for key in ("sigma_min", "sigma_max")}
    return said


def compare(file: object, config: Mapping, kind: str, told: Any, learned_variance: bool) -> None:
    """Compare one scheduler's configuration, of ``file``, with our parametrisation; see :func:`check`."""
    name = config.get("_class_name", KINDS[kind][0])
    if name not in KINDS[kind]:
        other = next((one for one, names in KINDS.items() if name in names), None)
        fits = f"whose networks are of kind {other}" if other else f"but only {', '.join(KINDS[kind])} are read"
        raise ValueError(f"{file}: _class_name is {name}, {fits}; the network was called kind {kind}")
    usual, said = defaults(name), _said(name, config)
    boundary = said["sigma_min"] if name == "CMStochasticIterativeScheduler" else 0
    if kind == "edm" and told.boundary != boundary:
        model = f"{'a' if boundary else 'no'} consistency model"
        raise ValueError(f"{file}: _class_name is {name}, of {model}; give boundary {boundary}, not {told.boundary}")
    ours = AS_OURS[kind]
    for key, option in ours.items():
        endless = key in ("beta_start", "beta_end") and said["beta_schedule"] == "squaredcos_cap_v2"
        if not endless and key in said and said[key] != getattr(told, option):
            raise ValueError(
                f"{file}: {key} is {said[key]}, the network's options say {option} {getattr(told, option)}; give "
                f"options: {{{option}: {said[key]}}}, if that is among what kind {kind} takes"
            )
    for key, value in config.items():
        known = key.startswith("_") or key in ours or key in SAMPLERS.split()
        known = known or (kind == "edm" and key == "num_train_timesteps")  # which counts the levels of its grid
        if not known and value is not None and value != (EARLIER | usual).get(key):
            raise ValueError(f"{file}: {key} is {value!r:.60}, which changes the denoiser and is not read")
    variance = str(said.get("variance_type") or "")
    if name.startswith("DDPM") and variance.startswith("learned") != learned_variance:
        outputs = "outputs" if learned_variance else "no outputs"
        raise ValueError(f"{file}: variance_type is {variance}, the network has {outputs} for a learned variance")
    if clips := [key for key in CLIPPING if said.get(key)]:
        print(f"{file}: {', '.join(clips)} is of diffusers' sampler; the denoiser is not clipped", flush=True)
    if kind == "ddpm":
        _compare_levels(file, name, config, told)


def _compare_levels(file: object, name: str, config: Mapping, told: Any) -> None:
    """Their own table of levels, whatever key it came from, must be ours: theirs is float32, so to half a percent."""
    try:
        with undisturbed():
            abar = np.array(diffusers_class(name).from_config(dict(config)).alphas_cumprod.tolist())
    except Exception as error:  # of whatever kind: diffusers checks little, and late
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file}: diffusers makes no {name} of it: {reason}") from None
    ours = told.chain.levels
    if len(abar) != len(ours) or not np.allclose(np.sqrt((1 - abar) / abar), ours, rtol=5e-3):
        raise ValueError(f"{file}: the levels of {name} are not those of the network's options")
