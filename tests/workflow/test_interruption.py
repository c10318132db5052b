"""An interrupted run goes on where it was, and ends in the numbers of one left alone; see also tests/faults."""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def _wait_for(path, process, *, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def _same_numbers(first, second) -> bool:
    names = ["metrics.csv", "replicates.csv", "audit.csv", "identity.csv"]
    return all(first.results(name).read_bytes() == second.results(name).read_bytes() for name in names)


def test_state_of_other_code_is_refused_and_said(finished_copy):
    finished_copy.results("networks/edm.safetensors").unlink()
    process = finished_copy.start("results/smoke/networks/edm.safetensors")
    _wait_for(finished_copy.results(".resume/train_edm/training.safetensors"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    unet = finished_copy.folder / "dpmot" / "diffusion" / "unet.py"
    unet.write_text(unet.read_text() + "\n# edited\n")
    finished_copy.snakemake("--unlock", cores=None)  # as the message has it
    finished_copy.snakemake("results/smoke/networks/edm.safetensors")
    log = finished_copy.results("logs/train_edm.log").read_text()
    assert "was made with another code; set aside as" in log and "resume: continuing" not in log


def test_after_ctrl_c_the_same_command_goes_on_and_the_numbers_are_the_same(fresh, finished):
    process = fresh.start()
    _wait_for(fresh.results(".resume/train_edm/training.safetensors"), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=200) != 0
    data = fresh.results("data.safetensors").stat().st_mtime
    fresh.snakemake()
    assert fresh.results("data.safetensors").stat().st_mtime == data  # finished work is kept
    assert "resume: continuing training" in fresh.results("logs/train_edm.log").read_text()
    assert _same_numbers(fresh, finished)


def test_a_failed_job_leaves_its_log_and_no_output(finished_copy):
    sampler = finished_copy.folder / "baselines" / "edm.py"
    sampler.write_text(sampler.read_text().replace("return x\n", "return x * float('nan')\n"))
    finished_copy.results("samples/ddpm.safetensors").unlink()
    done = finished_copy.snakemake("--until", "sample", "--keep-going", check=False)
    assert done.returncode == 1
    assert "images hold NaN or infinite values" in done.stdout + done.stderr  # failed logs are shown
    assert "images hold NaN or infinite values" in finished_copy.results("logs/sample_edm.log").read_text()
    assert not finished_copy.results("samples/edm.safetensors").exists()
    assert finished_copy.results("samples/ddpm.safetensors").exists()


def test_a_sampler_that_overspends_its_budget_fails_the_run(finished_copy):
    sampler = finished_copy.folder / "baselines" / "edm.py"
    sampler.write_text(sampler.read_text().replace("return (nfe + 1) // 2", "return nfe"))
    done = finished_copy.snakemake("results/smoke/samples/edm.safetensors", check=False)
    assert done.returncode == 1
    log = finished_copy.results("logs/sample_edm.log").read_text()
    assert "9 evaluations were spent, 5 are allowed at NFE 5; correct num_steps in baselines/edm.py" in log


def test_results_are_the_same_bits_on_one_core(fresh, finished):
    fresh.snakemake("results/smoke/samples/edm.safetensors", "results/smoke/transport.safetensors", cores=1)
    for name in ("samples/edm.safetensors", "transport.safetensors"):
        assert fresh.results(name).read_bytes() == finished.results(name).read_bytes()
