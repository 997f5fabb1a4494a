"""What says the same whatever it was trained on."""

from pathlib import Path
from types import ModuleType
from typing import Self

from steps.transfer.strategies import Material


class Unlearned:
    """A plain model of which there is nothing to save."""

    def __init__(self, kind: ModuleType) -> None:
        self.kind = kind

    @classmethod
    def fit(cls, material: Material, inverse: float) -> Self:
        return cls(material.type)

    def save(self, out: Path) -> None:
        """There is nothing to save."""

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> Self:
        return cls(kind)
