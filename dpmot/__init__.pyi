from dpmot import diffusers as diffusers
from dpmot import transport as transport
from dpmot.callables import denoiser as denoiser
from dpmot.diffusion.doctor import Diagnosis as Diagnosis
from dpmot.diffusion.doctor import doctor as doctor
from dpmot.diffusion.onnx_network import onnx_network as onnx_network
from dpmot.evaluation.evaluate import audit as audit
from dpmot.evaluation.evaluate import evaluate as evaluate
from dpmot.evaluation.report import Evaluation as Evaluation
from dpmot.expressways import Expressway as Expressway
from dpmot.mixing import Mixture as Mixture
from dpmot.mixing import mixture as mixture
from dpmot.sampling import Samples as Samples
from dpmot.sampling import sample as sample
from dpmot.solving import expressway as expressway
from dpmot.theory.prediction import predict as predict
from dpmot.theory.report import Prediction as Prediction

__version__: str
