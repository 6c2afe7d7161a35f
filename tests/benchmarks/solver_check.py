"""A verifier on an exported benchmark: its answers beside the recorded statuses, its counterexamples replayed.

    .venv/bin/python tests/benchmarks/solver_check.py vnnlib/demo --timeout 60 \\
        "vibecheck verify {property} --network N={network} --timeout {timeout} --device cpu"

The command runs once an instance, without a shell. It prints `sat`, `unsat`, `unknown` or `timeout` as its first line
and, after `sat`, the counterexample; or it writes that to `{results}`, as VNN-COMP's run_instance.sh does.
Exit code 1 if an answer contradicts a status (`unsat` where attacked, a counterexample in the box where verified), if
a counterexample is missing, unreadable or does not hold, or if the solver says none of the four.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbutils.benchmark.folder_contents import WrittenBenchmark
from nbutils.benchmark.manifest import read_manifest
from nbutils.core import ParameterError, PropertyError, WorkbenchError, require
from nbutils.networks import open_network
from nbutils.properties import VERSIONS, parse_counterexample, read_property, replay

ANSWERS = {
    **{name: name for name in ("sat", "unsat", "unknown", "timeout")},
    **{"violated": "sat", "holds": "unsat", "timed-out": "timeout"},
}
"""What solvers print, and the one word for it."""
GRACE = 60.0
"""Seconds past its timeout after which a solver that has not answered is ended, with all its processes."""


def ask(command: str, network: Path, prop: Path, timeout: float) -> tuple[str, str]:
    """The answer in the words of `ANSWERS`, `error` for any other, `ended` for none in time; and the text after it."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.txt"
        fields = {"network": network, "property": prop, "timeout": f"{timeout:g}", "results": results}
        try:
            words = [word.format(**fields) for word in shlex.split(command)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        except (KeyError, IndexError, ValueError, OSError) as problem:
            found = f"{command!r} ({type(problem).__name__}: {problem})"
            names = ", ".join(f"{{{name}}}" for name in fields)
            raise ParameterError(f"command: found {found}; allowed: a program and {names}.") from None
        try:
            text, _ = process.communicate(timeout=timeout + GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the process group of this one command
            process.communicate()
            return "ended", ""
        text = results.read_text() if results.exists() else text
    first, _, rest = text.strip().partition("\n")
    return ANSWERS.get(first.strip().lower(), "error"), rest


def judge(said: str, text: str, status: str | None, network: Path, prop: Path) -> tuple[bool, str]:
    """Whether the answer `said`, with `text` as its counterexample, can stand beside `status`; and why."""
    if said == "error":
        return False, "no answer"
    if said == "unsat" and status == "attacked":
        return False, "contradiction: a counterexample is recorded"
    if said != "sat":
        return True, ""
    opened = open_network(network, device="cpu")
    meant = read_property(prop, opened.input_shape)
    try:
        result = replay(opened, meant, parse_counterexample(text, meant, name="counterexample"))
    except PropertyError as problem:
        return False, str(problem)
    if status == "verified" and result.verdict == "correct":
        return False, f"contradiction: {result.reason}"
    return result.verdict != "wrong", f"{result.verdict}: {result.reason}"


def main(arguments: list[str] | None = None) -> int:
    """Ask the solver about every chosen instance and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an export, with manifest.json")
    parser.add_argument("command", help="with {property}, {network}, {timeout} and perhaps {results}")
    parser.add_argument("--version", choices=VERSIONS, default="1.0", help="of VNN-LIB (default 1.0)")
    parser.add_argument("--timeout", type=float, help="seconds an instance (default: the instance's own)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="instances whose property's name holds one of these")
    args = parser.parse_args(arguments)
    bench = WrittenBenchmark(args.folder, read_manifest(args.folder))
    require(args.version in bench.bases, "--version", args.version, "what is exported: " + ", ".join(bench.bases))
    chosen = [
        entry
        for entry in bench.manifest["instances"]
        if args.only is None or any(text in entry["property"] for text in args.only)
    ]
    require(bool(chosen), "--only", args.only, "parts of names of exported properties")
    base, failed = args.folder / bench.bases[args.version], False
    for entry in chosen:
        status = (entry.get("verdict") or {}).get("status")
        prop = base / "vnnlib" / f"{entry['property']}{bench.suffix}"
        network = base / "onnx" / f"{entry['network']}.onnx{bench.suffix}"
        start = time.perf_counter()
        said, text = ask(args.command, network, prop, args.timeout or entry["timeout"])
        seconds = time.perf_counter() - start
        good, why = judge(said, text, status, network, prop)
        failed |= not good
        mark = "ok  " if good else "FAIL"
        print(f"{mark} {entry['property']}: {status} here, {said} in {seconds:.1f} s  {why}".rstrip(), flush=True)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WorkbenchError as error:
        sys.exit(f"error: {error}")
