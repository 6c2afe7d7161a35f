"""The lessons for a class: students get them without solutions."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write the lessons for a class: without solutions for students, with them for the teacher"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", type=Path, help="folder that gets student/ and solved/")


def run(args: argparse.Namespace) -> None:
    """Write both editions and name the files."""
    from ..teaching import write_handout

    for path in write_handout(args.out):
        print(path)
