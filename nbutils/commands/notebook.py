"""Run a notebook without a screen and save it, as an HTML report too."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "run a notebook by papermill; refuses unknown parameters, fails on any hidden error"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", help="name in notebooks/, or a path ending in .ipynb")
    parser.add_argument(
        "-p",
        dest="pairs",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; repeat for more",
    )
    parser.add_argument("--list", action="store_true", help="print the notebook's parameters and stop")
    parser.add_argument("--out", type=Path, help="executed notebook (default runs/NAME/NAME.ipynb)")
    parser.add_argument("--report", type=Path, help="HTML report (default runs/NAME/report.html)")
    parser.add_argument("--pictures", type=Path, help="save every picture as a PNG file in this folder too")


def run(args: argparse.Namespace) -> None:
    """Run or explain the notebook `args.name`."""
    from ..core import root
    from ..notebook import find_notebook, notebook_parameters, parse_parameters, run_notebook

    path = find_notebook(args.name)
    if args.list:
        for name, parameter in notebook_parameters(path).items():
            kind = parameter["inferred_type_name"]
            print(f"{name}: {kind} = {parameter['default']}\n    {parameter['help']}")
        return
    folder = root() / "runs" / path.stem
    out, report = args.out or folder / f"{path.stem}.ipynb", args.report or folder / "report.html"
    run_notebook(path, parse_parameters(path, args.pairs), out, report=report, pictures=args.pictures)
    print(f"notebook  {out}\nreport    {report}")
