"""One operator of a network as the rules that restate it see it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Site:
    """One node of the network at an example image: the layer, its arguments, and which of them are constants."""

    def __init__(
        self, layer: nn.Module, args: list[Tensor], constants: list[Tensor | None], after_relu: bool = False
    ) -> None:
        self.layer: Any = layer  # of any class: a rule reads the settings that its class has
        self.args, self.constants = args, constants
        self.after_relu = after_relu  # whether its argument is what a ReLU gives
        self.kind = type(layer).__name__
        moving = [arg for arg, constant in zip(args, constants, strict=True) if constant is None]
        self.x = moving[0] if len(moving) == 1 else None  # the value of the one argument that depends on the image
        self.moving = len(moving)

    def constant(self, position: int) -> Tensor | None:
        """The constant at `position` of the arguments, where there is one."""
        return self.constants[position] if position < len(self.constants) else None


def pair(value: object) -> tuple[int, int]:
    """Height and width of a setting that may be one number for both."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))  # type: ignore[index]
