"""What a result was trained on, and how. No path of the machine that trained is part of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from train.mixing import Stratum
from train.settings import OPERATIONAL, TrainSettings

if TYPE_CHECKING:
    from manifests.dataset import Dataset


class Provenance(BaseModel, frozen=True, extra="forbid"):
    """The dataset and the settings of a training, as its result keeps them."""

    dataset: str = Field(description="last part of the dataset's folder or URL")
    dataset_profile: str = Field(description="profile it was made with")
    dataset_configuration: str = Field(description="`semantic_hash` of its run.json")
    dataset_content: str = Field(description="16 hex digits over all committed files: equal for equal datasets")
    samples: dict[str, int] = Field(description="samples of the split that is trained on, by kind and task")
    settings: dict[str, Any] = Field(
        description="settings that decide what is learnt, as `TrainSettings` writes them; not checked when read: "
        "results outlive a renamed setting"
    )


def record_provenance(dataset: Dataset, counts: Mapping[Stratum, int], settings: TrainSettings) -> Provenance:
    """The provenance of a training on so many samples of each kind and task of a dataset."""
    return Provenance(
        dataset=dataset.store.url.rstrip("/").rsplit("/", 1)[-1],
        dataset_profile=dataset.run["profile"],
        dataset_configuration=dataset.run["semantic_hash"],
        dataset_content=_content(dataset),
        samples={f"{kind} {task}": count for (kind, task), count in counts.items()},
        settings=settings.model_dump(mode="json", exclude=OPERATIONAL),
    )


def _content(dataset: Dataset) -> str:
    files = (file for parts in dataset.commits.values() for commit in parts.values() for file in commit.files)
    lines = sorted(f"{file.path} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
