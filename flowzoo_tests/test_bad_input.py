"""Bad input on a command line: one row an input, the sentence that is expected, and exit code 1."""

import json
import pathlib
import sys

import pytest

from flowzoo.training.config_file import read_config

DIGITS = "--config=digits:smoke"
DIGITS_CONFIG = read_config("digits:smoke").to_dict()
PEERS = ["--num_processes=2", "--process_id=0"]
FILES = {
    "misspelt.py": """
from flowzoo.training.config import choose


def get_config(argument=None):
    entries = {"a": dict(title="A", model="maf", optimizer=dict(lerning_rate=0.0))}
    return choose(argument, entries, name="x", dataset=dict(name="digits"))
""",
    "raises.py": "def get_config():\n    return 1 / 0\n",
    "returns.py": "def get_config():\n    return 3\n",
    "lacks.py": "x = 3\n",
    "broken.py": "\ndef get_config(:\n",
    "empty.py": "def get_config():\n    return {}\n",
    "bare.py": "def get_config():\n    return {'model': 'maf', 'name': 'x', 'title': 'X'}\n",
    "text.txt": "no Python",
    "foreign/config.json": '{"a": 1}',
    "cut/config.json": '{"name": "x", "opti',
    "list/config.json": "[1]",
    "bytes/config.json": "\x00\x01",
    "unfinished/config.json": json.dumps(DIGITS_CONFIG),
    "damaged/config.json": json.dumps(DIGITS_CONFIG),
    "damaged/checkpoints/12/best/manifest.ocdbt": "no checkpoint",
    "damaged/checkpoints/12/progress/manifest.ocdbt": "no checkpoint",
    "garbage/config.json": json.dumps(DIGITS_CONFIG),
    "garbage/metrics.jsonl": "[1]\n[2]\n",
    "results/config.json": json.dumps(DIGITS_CONFIG),
    "results/results.json": "",
}


@pytest.mark.parametrize(
    ("program", "arguments", "sentence"),
    [
        ("train", [], "--config is missing. Example: python -m flowzoo.train"),
        ("train", [DIGITS, "stray"], "Unexpected argument 'stray'"),
        ("train", [DIGITS, "--wrokdir=x"], "Unknown command line flag 'wrokdir'"),
        # Config files.
        ("train", ["--config=nowhere.py"], "no config file 'nowhere.py'"),
        ("train", ["--config=mnits"], "Did you mean 'mnist'?"),
        ("train", ["--config=folder"], "--config names the folder folder, expected a file"),
        ("train", ["--config=misspelt.py"], "misspelt.py, line 7: There is no config key"),
        ("train", ["--config=misspelt.py"], "Did you mean 'optimizer.learning_rate'"),
        ("train", ["--config=raises.py"], "raises.py, line 2: ZeroDivisionError"),
        ("train", ["--config=raises.py:a"], "takes no argument, but --config ends in ':a'"),
        ("train", ["--config=returns.py"], "returned 3, expected a ConfigDict"),
        ("train", ["--config=lacks.py"], "lacks.py defines no function get_config"),
        ("train", ["--config=broken.py"], "broken.py, line 2: SyntaxError"),
        ("train", ["--config=empty.py"], "empty.py: Unknown model ''"),
        ("train", ["--config=bare.py"], "bare.py: config.dataset.name is '', expected the name"),
        ("train", ["--config=text.txt"], "text.txt is no Python file"),
        ("train", ["--config=digits:gan"], "'gan', expected one of the entries learned"),
        ("train", ["--config=digits:maf5,made"], "maf5 and made, expected one entry"),
        ("train", ["--config=digits:short"], "flag short, which learned has not"),
        # Keys and values.
        ("train", [DIGITS, "--config.bathc_size=3"], "Did you mean 'batch_size'?"),
        ("train", [DIGITS, "--config.batch_size=many"], "config.batch_size is 'many', expected"),
        ("train", [DIGITS, "--config.batch_size.x=1"], "no config key 'batch_size.x'"),
        ("train", [DIGITS, "--config.optimizer=1"], "config.optimizer is 1, expected keys"),
        ("train", [DIGITS, "--config.optimizer.learning_rate=-1"], "learning_rate is -1, expected"),
        ("train", [DIGITS, "--config.optimizer.learning_rate=nan"], "learning_rate is 'nan'"),
        ("train", [DIGITS, "--config.optimizer.learning_rate=1e999"], "learning_rate is inf"),
        ("train", [DIGITS, "--config.optimizer.clip_norm=-1"], "clip_norm is -1, expected"),
        ("train", [DIGITS, "--config.optimizer.warmup_steps=-1"], "warmup_steps is -1, expected"),
        ("train", [DIGITS, "--config.optimizer.weight_decay=-1"], "weight_decay is -1, expected"),
        ("train", [DIGITS, "--config.optimizer.momentum=5"], "momentum is 5, expected a number"),
        ("train", [DIGITS, "--config.optimizer.decay_pattern=("], "a regular expression"),
        ("train", [DIGITS, "--config.num_parameters=-1"], "num_parameters is -1, expected"),
        ("train", [DIGITS, "--config.seed=1e30"], "config.seed is 1e+30, expected a whole number"),
        ("train", [DIGITS, "--config.num_parameters=5000"], "the option hidden_sizes"),
        ("train", [DIGITS, "--config.dataset.limit=2"], "only 2 training examples"),
        ("train", [DIGITS, "--config.batch_size=5000"], "only 1000 training examples"),
        ("train", [DIGITS, "--config.dataset.name=digit"], "Did you mean 'digits'"),
        ("train", [DIGITS, "--config.model.name=mav"], "Did you mean 'maf'"),
        ("train", [DIGITS, "--config.model.num_layer=3"], "no config key 'model.num_layer'"),
        ("train", [DIGITS, "--config.model.inner=splin"], "Did you mean 'spline'"),
        (
            "train",
            [DIGITS, "--config.model.base=cauchy"],
            "base 'cauchy', expected one of",
        ),
        (
            "train",
            ["--config=digits:maf5,smoke", "--config.model.hidden_sizes=abc"],
            "maf got hidden_sizes[0] 'abc', expected a whole number",
        ),
        # Several processes.
        ("train", [DIGITS, "--num_processes=2"], "need --coordinator_address, host:port"),
        ("train", [DIGITS, *PEERS, "--coordinator_address=nonsense"], "expected host:port"),
        ("train", [DIGITS, *PEERS, "--coordinator_address=localhost:99999"], "expected host:port"),
        ("train", [DIGITS, *PEERS, "--coordinator_address=no.invalid:1"], "host 'no.invalid'"),
        ("train", [DIGITS, "--coordinator_address=localhost:1"], "needs --num_processes and"),
        (
            "train",
            [DIGITS, *PEERS, "--coordinator_address=localhost:1", "--process_id=2"],
            "--process_id is 2, expected a number from 0 to 1",
        ),
        # Files and folders.
        (
            "train",
            [DIGITS, "--workdir=/proc/forbidden"],
            "/proc/forbidden",
        ),
        ("train", [DIGITS, "--workdir=text.txt"], "text.txt"),
        ("train", [DIGITS, "--workdir=cut"], "cut/config.json is not valid JSON"),
        (
            "train",
            [DIGITS, "--workdir=foreign"],
            "foreign/config.json is not a config of this flowzoo",
        ),
        ("train", [DIGITS, "--workdir=list"], "list/config.json holds no config"),
        ("train", [DIGITS, "--workdir=garbage"], "garbage/metrics.jsonl"),
        ("evaluate", ["--workdir=nowhere"], "nowhere is not a workdir"),
        ("evaluate", ["--workdir=text.txt"], "text.txt is not a workdir"),
        ("evaluate", ["--workdir=foreign"], "not a config of this flowzoo: There is no config key"),
        ("evaluate", ["--workdir=cut"], "cut/config.json is not valid JSON"),
        ("evaluate", ["--workdir=list"], "list/config.json holds no config"),
        ("evaluate", ["--workdir=bytes"], "bytes/config.json is not valid JSON"),
        ("evaluate", ["--workdir=unfinished"], "no checkpoint yet"),
        ("evaluate", ["--workdir=damaged"], "12 cannot be restored"),
        ("report", ["results"], "results/results.json is not valid JSON"),
        ("report", ["nope"], "nope"),
        ("sample", ["--workdir=nowhere", "--num_samples=0"], "num_samples"),
        # Sweeps.
        ("sweep", [DIGITS], "Nothing is swept"),
        ("sweep", [DIGITS, "--sweep=all"], "--sweep is 'all', expected one of paper"),
        ("sweep", [DIGITS, "--sweep.lerning_rate=1"], "Did you mean 'learning_rate'"),
        ("sweep", [DIGITS, "--sweep.learning_rate=-1"], "The sweep's learning_rate=-1: config."),
        ("sweep", [DIGITS, "--sweep.num_layers=two"], "num_layers 'two', expected a whole number"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, program, arguments, sentence):
    pathlib.Path("folder").mkdir()
    for name, text in FILES.items():
        pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(name).write_text(text)
    before = set(pathlib.Path().iterdir())
    ended = call(program, *arguments)
    assert ended.code == 1 and ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("Error: ") and sentence in line
    # Nothing was made for a run that never was.
    assert set(pathlib.Path().iterdir()) == before


@pytest.mark.parametrize(
    ("program", "arguments", "library"),
    [
        ("studies.reverse_kl", ["--smoke", "--processes=1"], "numpyro"),
        ("train", ["--config=toy:moons_ffjord,smoke"], "diffrax"),
    ],
)
def test_a_library_that_is_not_installed_is_named(call, monkeypatch, program, arguments, library):
    monkeypatch.setitem(sys.modules, library, None)
    ended = call(program, *arguments)
    assert ended.code == 1
    line = ended.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ") and "pip install" in line and library in line
