"""DPM-OT on a pipeline of diffusers: ten steps from noisy versions of your images instead of fifty from noise."""

import diffusers
import torch

import dpmot.diffusers

images = torch.rand(64, 1, 8, 8) * 2 - 1  # yours, those that the network was trained on: floats in [-1, 1], or uint8
blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [32]}
network = diffusers.UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **blocks)  # yours: .from_pretrained(...)
pipeline = diffusers.DDIMPipeline(network, diffusers.DDIMScheduler())
sigma = dpmot.diffusers.level(pipeline, 1.0)  # the level of its scheduler nearest to a noise of deviation 1
way = dpmot.expressway(images, sigma, chi2=0.05)
pipeline = dpmot.diffusers.ExpresswayPipeline(pipeline, way)
print(pipeline(batch_size=4, num_inference_steps=10, generator=torch.manual_seed(0)).images)
