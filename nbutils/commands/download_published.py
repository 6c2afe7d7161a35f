"""Fetch the lists and networks of the published benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "fetch the published lists and networks of VNN-COMP 2022 over HTTPS, checked before they are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, help="folder (default data/published)")
    parser.add_argument("--only", choices=("lists", "networks"), help="one of both (default: lists and networks)")
    parser.add_argument("--base-url", help="another place with the folders selected_list/ and onnx/")


def run(args: argparse.Namespace) -> None:
    """Print each file as it arrives, with what is known of it."""
    from ..core import root
    from ..published import BASE_URL, download_published

    out = args.out or root() / "data" / "published"
    wanted = {"lists": args.only != "networks", "networks": args.only != "lists"}
    for path, known in download_published(out, base_url=(args.base_url or BASE_URL).rstrip("/"), **wanted):
        print(f"{path}  {known}")
    if wanted["networks"]:
        print(
            "To analyse a published network, give its path; copied into onnx/ it takes the place of ours of that name."
        )
