"""The commands of `python -m nbutils`: each module has `HELP`, `add_arguments(parser)` and `run(args)`.

Modules import what they need inside `run`, so that `--help` never waits for torch.
"""
