"""The networks an exploration has opened, each under a name of its own."""

from __future__ import annotations

import itertools

from ..core import root
from ..networks import Network, list_networks, open_network


class OpenedNetworks:
    """Networks by name: that of the file, with a number where another file has it.

    The published networks and those in onnx/ have the same names, and a file may be written anew while it is looked
    at: what was computed of one is no result of the other.
    """

    def __init__(self, device: str = "auto") -> None:
        """`device`: of networks that are opened here."""
        self._device = device
        self._held: dict[str, Network] = {}

    def __getitem__(self, name: str) -> Network:
        return self._held[name]

    def names(self) -> list[str]:
        """Networks in onnx/, and those that were opened."""
        return list(dict.fromkeys([*list_networks(), *self._held]))

    def open(self, network: str | Network) -> str:
        """The name of a network: an opened one, a name among `names` or a path.

        Raises:
            NetworkError: as `open_network`.
        """
        if isinstance(network, str) and network in self._held:
            return network
        opened = network if isinstance(network, Network) else open_network(network, device=self._device)
        listed = opened.name in list_networks() and not _in_onnx(opened)
        numbered = (f"{opened.name} ({number})" for number in itertools.count(2))
        wanted = itertools.chain([] if listed else [opened.name], numbered)
        name = next(name for name in wanted if name not in self._held or _alike(self._held[name], opened))
        self._held.setdefault(name, opened)
        return name

    def forget(self, name: str) -> None:
        """Let a network go; it can be opened again."""
        del self._held[name]

    def reference(self, name: str) -> str:
        """What `open_network` finds the network by: its name in onnx/, else its path."""
        network = self._held[name]
        return network.name if _in_onnx(network) else str(network.path)


def _in_onnx(network: Network) -> bool:
    """Whether the file stands there, a link to another place included."""
    return network.path.parent.resolve() == (root() / "onnx").resolve()


def _alike(one: Network, other: Network) -> bool:
    """Whether a result of one is a result of the other: the same bytes, fed with the same numbers."""
    return one.card.sha256 == other.card.sha256 and one.normalization == other.normalization
