"""Commands end with one clear line and exit code 2 on wrong input, and write nothing."""

import os
import re
import subprocess
import sys

import pytest
import toys

from nbutils.__main__ import COMMANDS, main
from nbutils.core import PLAIN


def test_help_explains_every_command_without_torch():
    script = (
        "import sys\nfrom nbutils.__main__ import main\n"
        "try: main(['--help'])\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert "exit code 2" in done.stdout
    assert done.stderr.strip() == "False", "--help must not wait for torch"


@pytest.mark.parametrize("words", [["--help"], ["check", "--help"], ["networks"], ["select", "nothing…"]])
def test_a_terminal_of_ascii_gets_the_nearest_characters(words):
    """Today `--help` ended in UnicodeEncodeError: the help of `check` holds an ellipsis."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "nbutils", *words], capture_output=True, env=environment)
    said = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in said
    assert "..." in said or words == ["networks"], said
    assert done.returncode == (2 if "select" in words else 0)


# text: what a terminal of ASCII shows
PLAIN_TEXTS = {"((X_0 v) …)": "((X_0 v) ...)", "36\N{EN DASH}37 ≥ \N{MINUS SIGN}1": "36-37 >= -1", "plain": "plain",
               "Café Ångström": "Cafe Angstrom", "→ ✓": "-> ?", "10¹ ½": "10? ?", "«日本»": "????"}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_plain_text(text):
    assert text.encode("ascii", PLAIN).decode() == PLAIN_TEXTS[text]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert len(said) > 100
    assert "%%" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eps", "0"], r"eps: found 0.0; allowed: a radius in pixel units, above 0 and below 1"),
        (["--eps=-1/255"], r"eps: found -0.0039"),
        (["--eps", "2"], r"eps: found 2.0; .* write 2/255, not 2"),
        (["--eps", "two"], r"eps: found 'two'; allowed: a fraction as 2/255"),
        (["--steps", "-1"], r"steps: found -1; allowed: a whole number from 0"),
        (["--restarts", "0"], r"restarts: found 0; allowed: a whole number from 1"),
        (["--method", "crownn"], r"method: found 'crownn'; allowed: ibp, crown-ibp, crown, alpha-crown"),
        (["--images", "cifar"], r"found 'cifar'; allowed: .*cifar100"),
        (["--images", "cifar100", "--path", "nowhere"], r"nowhere"),
        (["--images", "npz", "--path", "nowhere.npz", "--dataset", "cifar100"], r"nowhere.npz"),
        (["--count", "21"], r"number of images: found 21; allowed: 1 to 20"),
    ],
)
def test_select_refuses_wrong_input(arguments, message, capsys, tmp_path):
    ledger = tmp_path / "run.sqlite"
    assert main(["select", "CIFAR100_resnet_small", "--ledger", str(ledger), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nbutils select: ")
    assert re.search(message, line), line
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty|not an ONNX|ONNX"), (b"these are words, no network", "ONNX"), (None, "found")],
)
def test_a_network_that_is_none_is_refused(content, message, capsys, tmp_path):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    assert main(["networks", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "net.onnx" in line
    assert any(word in line for word in message.split("|"))


def test_an_unknown_network_is_named_with_those_there_are(capsys):
    assert main(["networks", "CIFAR100_resnet_tiny"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "CIFAR100_resnet_tiny" in line
    assert "CIFAR100_resnet_small" in line


def test_networks_describes_a_file(capsys, tmp_path):
    assert main(["networks", str(toys.two_neuron_net(tmp_path))]) == 0
    assert "two_neuron" in capsys.readouterr().out


def test_output_that_nobody_reads_ends_quietly():
    command = [sys.executable, "-m", "nbutils", "networks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_notebook_lists_and_refuses_parameters(capsys, tmp_path):
    assert main(["notebook", "benchmark", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "EPS_255: float = 1.0" in listed
    assert "radius in 1/255 pixel steps" in listed
    out = tmp_path / "out.ipynb"
    assert main(["notebook", "benchmark", "-p", "EPSILON", "3", "--out", str(out)]) == 2
    assert "no parameter 'EPSILON'; allowed: NETWORK" in capsys.readouterr().err
    assert main(["notebook", "benchmrk", "--out", str(out)]) == 2
    assert "one of benchmark" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
