"""The command lines as a user types them, each in a process of its own."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from flowzoo.training.workdir import CHECKPOINTS
from flowzoo_tests.quick import QUICK

ROOT = pathlib.Path(__file__).parents[1]
DIGITS = f"--config={ROOT / 'configs' / 'digits.py'}:smoke"
# Compiles in a quarter of the default's time, and is optimized as that is.
WHITENED = DIGITS.replace(":smoke", ":whitened,smoke")
AS_DEFAULT = ["--config.optimizer.name=relative_muon", "--config.parameter_average=0.99"]
WORKDIR = "runs/digits/whitened-smoke"
# Seconds after which a program hangs, however busy the machine is.
HANGS = 600
ENVIRONMENT = os.environ | QUICK
# How often the run that is killed at random moments is killed, on how many devices it runs, and
# which moments those are.
KILLS = int(os.environ.get("FLOWZOO_KILLS", "2"))
KILL_DEVICES = int(os.environ.get("FLOWZOO_KILL_DEVICES", "1"))
KILL_SEED = int(os.environ.get("FLOWZOO_KILL_SEED", "0"))


SMALL_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
os.execv(sys.argv[1], sys.argv[1:])
"""


def command(program, *arguments):
    return [sys.executable, "-m", f"flowzoo.{program}", *arguments]


def run(program, *arguments, cwd):
    return subprocess.run(
        command(program, *arguments),
        cwd=cwd,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which a smoke run of the digits was started, and what it printed."""
    folder = tmp_path_factory.mktemp("cwd")
    done = run("train", WHITENED, *AS_DEFAULT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_train_writes_results_into_the_default_workdir(trained):
    folder, printed = trained
    results = json.loads((folder / WORKDIR / "results.json").read_text())
    assert f"{results['log_likelihood_nats']:.3f} ± " in printed
    assert "Gaussian fitted to the same split" in printed


def test_the_default_is_trained(call):
    assert "test log-likelihood" in call("train", DIGITS).stdout
    assert pathlib.Path("runs/digits/learned-smoke/results.json").exists()


def test_evaluate_repeats_the_result(trained, call):
    folder, printed = trained
    again = call("evaluate", f"--workdir={folder / WORKDIR}")
    assert again.stdout.splitlines()[0] == printed.splitlines()[0]


def test_sample_draws(trained, call):
    folder, _ = trained
    drawn = call("sample", f"--workdir={folder / WORKDIR}", "--num_samples=7", "--out=a/b")
    assert "7 samples of shape (64,)" in drawn.stdout
    assert pathlib.Path("a/b.png").stat().st_size > 0


def test_label_of_an_unconditional_model_is_refused(trained, call):
    folder, _ = trained
    failed = call("sample", f"--workdir={folder / WORKDIR}", "--label=3")
    assert failed.code == 1 and "unconditional" in failed.stderr


def test_an_error_is_one_sentence_and_exit_code_1_or_a_traceback(tmp_path):
    """As `test_bad_input`, once in a process of its own."""
    failed = run("train", DIGITS, "--config.batch_size=0", cwd=tmp_path)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.splitlines() == [
        "Error: config.batch_size is 0, expected a whole number, at least 1."
    ]
    failed = run("train", DIGITS, "--config.batch_size=0", "--traceback", cwd=tmp_path)
    assert failed.returncode == 1 and "Traceback" in failed.stderr


@pytest.mark.parametrize(
    ("program", "shared"),
    [("train", {"config", "[no]traceback"}), ("studies.optimizers", {"[no]smoke", "out"})],
)
def test_help_lists_shared_flags(program, shared, call):
    text = call(program, "--help").stdout
    assert shared <= {
        line.split("--")[1].split(":")[0] for line in text.splitlines() if "  --" in line
    }


def test_a_missing_image_set_says_both_ways_out(tmp_path):
    config = f"--config={ROOT / 'configs' / 'mnist.py'}:smoke"
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    environment.pop("TFDS_DATA_DIR", None)
    failed = subprocess.run(
        command("train", config), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    if failed.returncode == 0:
        pytest.skip("MNIST could be downloaded here")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "data_dir" in failed.stderr


def test_killed_runs_end_where_an_uninterrupted_one_does(tmp_path):
    """Signals at random moments, also while a checkpoint is being written; the first is a KILL."""
    options = [
        WHITENED.removesuffix(",smoke"),
        "--config.parameter_average=0.9",
        "--config.dataset.limit=600",
        f"--config.num_epochs={8 * KILLS}",
        "--config.checkpoint_seconds=0",
    ]
    # All of them run the same programs: compiled once.
    environment = ENVIRONMENT | {
        "PYTHONPATH": str(ROOT),
        "FLOWZOO_COMPILATION_CACHE": str(tmp_path / "cache"),
        "XLA_FLAGS": f"{QUICK['XLA_FLAGS']} --xla_force_host_platform_device_count={KILL_DEVICES}",
    }

    def start(workdir):
        return subprocess.Popen(
            command("train", *options, f"--workdir={workdir}"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    whole = start("whole")
    _, error = whole.communicate(timeout=60 * KILLS + HANGS)
    assert whole.returncode == 0, error
    moments = random.Random(KILL_SEED)
    checkpoints = tmp_path / "killed" / CHECKPOINTS
    for kill in range(KILLS):
        steps = {path.name for path in checkpoints.glob("[0-9]*")}
        started = start("killed")
        # Wait for progress, then for a random moment of it.
        deadline = time.monotonic() + HANGS
        while time.monotonic() < deadline and started.poll() is None:
            if {path.name for path in checkpoints.glob("[0-9]*")} - steps:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        assert started.poll() is None, "the run ended before it could be killed"
        signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
        number = moments.choice(signals) if kill else signal.SIGKILL
        started.send_signal(number)
        _, error = started.communicate(timeout=HANGS)
        killed = number == signal.SIGKILL
        assert started.returncode == (-number if killed else 128 + number), error
        assert "Traceback" not in error and (f"Stopped by {number.name}" in error) != killed
        print(f"kill {kill + 1} of {KILLS}: {number.name}")
    resumed = start("killed")
    _, error = resumed.communicate(timeout=60 * KILLS + HANGS)
    assert resumed.returncode == 0, error
    assert read_best(tmp_path / "killed") == read_best(tmp_path / "whole")
    results = [json.loads((tmp_path / d / "results.json").read_text()) for d in ("whole", "killed")]
    for each in results:
        each.pop("wall_seconds")
        each.pop("processor_seconds")
    assert results[0] == results[1]


def test_a_disk_without_space_is_one_sentence(tmp_path):
    """Files of more than 20 kB cannot be written, in whatever thread of Orbax's."""
    # Nor are those of a cache of compiled programs, which would be read again.
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(ROOT), "FLOWZOO_COMPILATION_CACHE": "off"}
    arguments = command("train", DIGITS.replace(":smoke", ":made,smoke"), "--workdir=run")
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    *progress, line = done.stderr.splitlines()
    assert done.returncode == 1 and all(text.startswith("epoch ") for text in progress)
    assert "Error: The checkpoint cannot be written" in line and "File too large." in line


def read_best(workdir) -> dict[str, bytes]:
    """The final state of a run, bit for bit."""
    import jax
    import orbax.checkpoint as ocp

    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    state = {}
    for item in ("best", "progress"):
        arrays = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(step) / item)
        state |= {f"{item}:{k}": jax.device_get(v).tobytes() for k, v in arrays.items()}
    return state


def start_processes(folder, *options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        subprocess.Popen(
            command(
                "train",
                WHITENED,
                *AS_DEFAULT,
                "--workdir=shared",
                f"--coordinator_address={address}",
                "--num_processes=2",
                f"--process_id={i}",
                *options,
            ),
            cwd=folder,
            env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def test_two_processes_train_as_one_and_one_writes(trained, tmp_path):
    processes = start_processes(tmp_path)
    printed = [process.communicate(timeout=HANGS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert ["test log-likelihood" in out for out, _ in printed] == [True, False]
    results = json.loads((tmp_path / "shared" / "results.json").read_text())
    alone = json.loads((trained[0] / WORKDIR / "results.json").read_text())
    # Sums in another order, in float32; the orthogonalisation of relative Muon amplifies it.
    assert results["log_likelihood_nats"] == pytest.approx(alone["log_likelihood_nats"], rel=2e-4)
    lines = (tmp_path / "shared" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 1
    # One of metrics and one of the sample picture.
    assert len(list((tmp_path / "shared").glob("events*"))) == 2


def test_when_a_process_dies_the_other_one_ends(tmp_path):
    options = ["--config.num_epochs=5000", "--config.eval_every_epochs=5000"]
    first, second = start_processes(tmp_path, *options)
    metrics = tmp_path / "shared" / "metrics.jsonl"
    deadline = time.monotonic() + HANGS
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    second.kill()
    second.communicate()
    _, error = first.communicate(timeout=60)
    assert first.returncode == 1 and "Traceback" not in error
    assert error.splitlines()[-1].startswith("Error: ") and "process" in error.lower()


def test_a_batch_that_does_not_divide_over_processes_is_refused(tmp_path):
    processes = start_processes(tmp_path, "--config.batch_size=75")
    for process in processes:
        _, error = process.communicate(timeout=HANGS)
        assert process.returncode == 1 and "does not divide over 2 devices" in error
