"""`python -m nbutils COMMAND`: the workbench without a screen."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from . import __version__
from .core import PLAIN, WorkbenchError

COMMANDS = (
    "notebook",
    "networks",
    "select",
    "bench",
    "train",
    "evaluate",
    "generate",
    "alpha",
    "check",
    "handout",
    "download-published",
)

DESCRIPTION = """\
A workbench for robustness benchmarks of image classifiers: look at images, class margins, PGD and CROWN
bounds; filter a test set; export what is left open as VNN-LIB properties."""

EPILOG = """\
examples:
  python -m nbutils networks                                         what stands in onnx/, beside the published
  python -m nbutils notebook benchmark --list                        the notebook's parameters, explained
  python -m nbutils notebook benchmark -p EPS_255 2 --report runs/look.html
  python -m nbutils select CIFAR100_resnet_small --eps 2/255 --ledger runs/small.sqlite
  python -m nbutils select CIFAR100_resnet_small --workers 2 --attack strong --ledger runs/small.sqlite
  python -m nbutils generate 0 --images embedded --out runs/twenty   instances.csv and vnnlib/ from a seed
  python -m nbutils check NETWORK PROPERTY COUNTEREXAMPLE            replay what a solver found
  python -m nbutils bench --eps 1/255                                seconds and memory beside the raw passes

Wrong input ends with one line on stderr and exit code 2."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 on success, what else the command returns, 2 on wrong input, 130 when interrupted.

    141 when whoever reads the output has left.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)
    parser = argparse.ArgumentParser(
        prog="python -m nbutils",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nbutils {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f".commands.{name.replace('-', '_')}", __package__)
        text = module.HELP.replace("%", "%%")  # argparse formats help texts, and descriptions not
        command = commands.add_parser(name, help=text, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads the output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141
    except WorkbenchError as error:
        print(f"nbutils {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder without permission, a name too long: it names the file
        print(f"nbutils {args.command}: {error}. Check the path and its permissions.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nbutils {args.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
