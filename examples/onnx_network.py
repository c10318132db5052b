"""A network that somebody exported to ONNX, with DPM-OT and from the prior."""
import onnx.parser
import torch
from sklearn.datasets import load_digits

import dpmot

TEXT = """<ir_version: 9, opset_import: ["": 18]> net (float[n, 1, 8, 8] x, float[n, 1, 1, 1] sigma) =>
(float[n, 1, 8, 8] denoised) <float one = {1.0}> { s = Mul(sigma, sigma) r = Add(s, one) denoised = Div(x, r) }"""
onnx.save(onnx.parser.parse_model(TEXT), "net.onnx")  # stands for the file that you were given

network = dpmot.onnx_network("net.onnx", parametrisation="denoiser")  # or "epsilon", "velocity", "consistency", ...
way = dpmot.expressway(torch.tensor(load_digits().images * 15.9).byte()[:, None], sigma=1.0, chi2=0.05)
for start in (way, "prior"):
    print(dpmot.sample(network, start, "ddim", nfe=5))
