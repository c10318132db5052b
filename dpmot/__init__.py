"""DPM-OT (Li et al., ICCV 2023, arXiv:2307.11308): the method, and the instruments that judge it.

    import dpmot
    way = dpmot.expressway(images, sigma=1.0)              # the transport map from noise to noisy images, solved once
    samples = dpmot.sample(denoiser, way, "ddim", nfe=10)  # any D(x, sigma); evaluations are counted

docs/api.md is the page to read. A public name is imported when it is first used: ``import dpmot`` costs no torch.
"""

__version__ = "0.1.0"

_PUBLIC = {  # name -> its module, or itself one; the same names are in __init__.pyi, for type checkers
    "Evaluation": "dpmot.evaluation.report",
    "Expressway": "dpmot.expressways",
    "Mixture": "dpmot.mixing",
    "Prediction": "dpmot.theory.report",
    "Samples": "dpmot.sampling",
    "Diagnosis": "dpmot.diffusion.doctor",
    "audit": "dpmot.evaluation.evaluate",
    "denoiser": "dpmot.callables",
    "diffusers": "dpmot.diffusers",
    "doctor": "dpmot.diffusion.doctor",
    "evaluate": "dpmot.evaluation.evaluate",
    "expressway": "dpmot.solving",
    "mixture": "dpmot.mixing",
    "onnx_network": "dpmot.diffusion.onnx_network",
    "predict": "dpmot.theory.prediction",
    "sample": "dpmot.sampling",
    "transport": "dpmot.transport",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"dpmot has no {name}; public are {', '.join(_PUBLIC)}")
    from importlib import import_module

    module = import_module(_PUBLIC[name])
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
