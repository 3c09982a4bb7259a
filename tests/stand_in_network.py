"""A network in all but the network: it has weights, which it reads, and it can be asked whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from models.placement import Placement
from models.protocols import Image, ModelInfo, Tag, Tags
from models.weights import Weights

STAND_IN = "stand_in_network:StandIn"
SERVICE = "stand_in_network:Service"


class StandInSettings(BaseModel, frozen=True, extra="forbid"):
    weights: str = "net"


class StandIn:
    """A tagger of one entity, and of the words that stand in its weight's file as neither vocabulary's."""

    Settings = StandInSettings

    def __init__(self, settings: StandInSettings, weights: Weights, placement: Placement) -> None:
        self.info = ModelInfo(weights.name, weights.revision)
        self.words = weights.file(".txt").read_text().split()
        self.placement = placement

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        return [Tags([Tag("thing", 1.0)], [Tag("floor", 1.0)], [Tag(word, 0.5) for word in self.words]) for _ in clips]


class ServiceSettings(BaseModel, frozen=True, extra="forbid"):
    up: bool = True


class Service(StandIn):
    """A model without weights that asks something else."""

    Settings = ServiceSettings

    def __init__(self, settings: ServiceSettings) -> None:
        self.info = ModelInfo("service", "1")
        self.words = []

    @classmethod
    def check(cls, settings: ServiceSettings) -> None:
        if not settings.up:
            raise ValueError("the service does not answer")
