"""The tables of the bench: what was deleted, what was drawn, what the LoRA brought, and what it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from learn_judge import (
    RoundTrip,
    Swap,
    coloured_things,
    deletions,
    drawn_colour,
    edit_settings,
    errors,
    load_editor,
    swap_colours,
)
from learn_pictures import Row, draw_curves, draw_rows
from learn_run import LearnRun
from learn_train import HeldOutLoss
from quality_tables import Table, Target

from train.editors import CopyMasked, Editor, FrameInpainting, ModelEditor, TemporalFill
from train.inpaint_pipeline import VividInpaintPipeline
from train.metrics import bootstrap_interval

GUIDANCES = (1.0, 2.0, 4.0)
MINUTES = 40.0
FOLLOWED = 0.8
"""Share of the held-out things whose drawn colour must go with the caption."""
SHOWS = (
    "It shows that the trainer, the loader, the 33-channel conditioning and the editing pipeline together learn from "
    "shards of the real job: to continue a background under a mask, to draw what a caption says, and to adapt by LoRA.",
    "It does not show how well a CogVideoX-sized model edits real footage: one shape on a still two-tone background, "
    "64×64 pixels, 9 frames, a text encoder that has learnt nothing and captions of a small vocabulary.",
    "OpenCV's inpainting sees one frame and was made for small damage; the fill from other frames knows the background "
    "wherever the mask moves away from it, which a still camera makes easy.",
)


@dataclass
class LearnReport:
    """All tables, and the pictures to be written beside them."""

    tables: list[Table] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def add(self, table: Table) -> None:
        """Print a table and keep it."""
        print(table.markdown(), flush=True)
        self.tables.append(table)

    @property
    def targets(self) -> list[Target]:
        """The targets of all tables."""
        return [target for table in self.tables for target in table.targets]

    def markdown(self) -> str:
        """All tables."""
        return "\n".join(table.markdown() for table in self.tables)

    def write(self, folder: Path, name: str) -> None:
        """Write tables, figures, curves and pictures, all called `name`."""
        (folder / f"{name}.md").write_text(self.markdown(), encoding="utf-8")
        document = {"tables": [table.document() for table in self.tables], "curves": self.curves}
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        draw_curves(folder / f"{name}-curves.png", self.curves)
        for kind, rows in self.rows.items():
            draw_rows(folder / f"{name}-{kind}.png", rows)


def make_report(run: LearnRun) -> LearnReport:
    """Train what is not there and judge it on held-out clips."""
    report = LearnReport()
    start = time.perf_counter()
    pipeline = load_editor(run.full)
    guidance = _guidance_table(run, pipeline, report)
    _deletion_table(run, pipeline, guidance["delete"], report)
    _colour_table(run, pipeline, guidance["colour"], report)
    _adaptation_table(run, guidance["delete"], report)
    _cost_table(run, time.perf_counter() - start - run.stage.spent, report)
    report.curves = {name: run.curve(name) for name in ("vae", "full", "lora", "control")}
    return report


def _guidance_table(run: LearnRun, pipeline: VividInpaintPipeline, report: LearnReport) -> dict[str, float]:
    """How far to follow the caption, chosen for either task on clips that were trained on."""
    size, url = run.size, str(run.first)
    holes = deletions(url, "train", size.chosen_on, size.seed)
    things = coloured_things(url, "train", size.chosen_on, size.seed)
    table = Table("Guidance, on training clips", ("guidance", "error of deletions", "colour follows"))
    found: dict[float, tuple[float, float]] = {}
    for guidance in GUIDANCES:
        editor = _editor("", pipeline, guidance, run)
        swaps = swap_colours(pipeline, things, editor.settings, size.seed)
        found[guidance] = _mean(errors(editor, holes)), _mean([float(swap.follows) for swap in swaps])
        table.rows.append((guidance, *found[guidance]))
    chosen = {
        "delete": min(GUIDANCES, key=lambda guidance: found[guidance][0]),
        "colour": max(GUIDANCES, key=lambda guidance: found[guidance][1]),
    }
    table.notes.append(f"chosen: {chosen['delete']:g} for deletion, {chosen['colour']:g} for add and modify")
    report.add(table)
    return chosen


def _deletion_table(run: LearnRun, pipeline: VividInpaintPipeline, guidance: float, report: LearnReport) -> None:
    triples = deletions(str(run.first), "eval", run.size.deletions, run.size.seed)
    ours = _editor("the editor", pipeline, guidance, run)
    editors: list[Editor] = [ours, CopyMasked(), FrameInpainting(), TemporalFill(), RoundTrip(run.vae)]
    found = {editor.name: errors(editor, triples) for editor in editors}
    own = np.asarray(found[ours.name])
    clips = [triple.name.split("-")[0] for triple in triples]
    table = Table(
        f"Deletion on {len(triples)} held-out masks: error inside the mask (0..255)",
        ("editor", "mean", "95 % from", "to", "the editor minus this", "95 % from", "to", "the editor is better on"),
    )
    for name, values in found.items():
        paired: list[float | None] = [None] * 4
        if name != ours.name:
            difference = own - np.asarray(values)
            interval = bootstrap_interval(list(difference), clusters=clips)
            paired = [_mean(difference), *interval, _mean(difference < 0)]
        table.rows.append((name, _mean(values), *bootstrap_interval(values, clusters=clips), *paired))
    table.notes.append("intervals: bootstrap over clips; a clip has up to two masks")
    for baseline in (CopyMasked.name, FrameInpainting.name):
        table.targets.append(
            Target(f"error of the editor, that of {baseline} being the bound", _mean(own), _mean(found[baseline]), True)
        )
    report.add(table)
    shown = triples[:10]
    report.rows["deletion"] = [
        Row(t, [e.edit(t) for e in (ours, FrameInpainting(), RoundTrip(run.vae))]) for t in shown
    ]


def _colour_table(run: LearnRun, pipeline: VividInpaintPipeline, guidance: float, report: LearnReport) -> None:
    triples = coloured_things(str(run.first), "eval", run.size.swaps, run.size.seed)
    swaps = swap_colours(pipeline, triples, edit_settings(guidance, run.size.denoising_steps), run.size.seed)
    table = Table(
        f"Red and blue exchanged in the captions of {len(swaps)} held-out things",
        ("caption", "edits", "drawn as asked", "drawn in the other colour", "another colour or nothing"),
    )
    for text, other in (("its own", False), ("exchanged", True)):
        asked = [_asked(swap, other) for swap in swaps]
        drawn = [swap.drawn[colour] for swap, colour in zip(swaps, asked, strict=True)]
        right = _mean([float(a == d) for a, d in zip(asked, drawn, strict=True)])
        wrong = _mean([float(d in ("red", "blue") and a != d) for a, d in zip(asked, drawn, strict=True)])
        table.rows.append((text, len(swaps), right, wrong, 1 - right - wrong))
    rebuilt = [drawn_colour(RoundTrip(run.vae).edit(triple), triple.masks) for triple in triples]
    seen = [colour == swap.own for colour, swap in zip(rebuilt, swaps, strict=True)]
    table.notes.append(f"of the true things {np.mean(seen):.0%} have their colour after a round trip through the VAE")
    follows = _mean([float(swap.follows) for swap in swaps])
    table.targets.append(Target("share whose colour goes with both captions", follows, FOLLOWED))
    table.notes.append(
        "a model blind to the caption draws one colour for both: at most half of the edits as asked, 0 with both"
    )
    report.add(table)
    report.rows["colours"] = [Row(s.triple, [s.edits["red"], s.edits["blue"]]) for s in swaps[:10]]


def _asked(swap: Swap, other: bool) -> str:
    return next(colour for colour in swap.edits if (colour != swap.own) == other)


def _adaptation_table(run: LearnRun, guidance: float, report: LearnReport) -> None:
    size = run.size
    held_out = HeldOutLoss(run.other, run.full, run.other_latents, count=size.other_samples, draws=8, seed=size.seed)
    triples = deletions(str(run.other), "eval", size.other_deletions, size.seed)
    models = {"unadapted": run.full, "LoRA on the other shapes": run.adapted, "LoRA on the first shapes": run.control}
    table = Table(
        f"Other shapes, {len(held_out.batch.sample_ids)} held-out samples and {len(triples)} deletions",
        ("model", "diffusion loss", "against unadapted", "95 % from", "to", "error of deletions"),
    )
    losses = {}
    for name, folder in models.items():
        pipeline = load_editor(folder)
        losses[name] = np.asarray(held_out(pipeline))
        difference = losses[name] - losses["unadapted"]
        error = _mean(errors(_editor(name, pipeline, guidance, run), triples))
        table.rows.append((name, _mean(losses[name]), _mean(difference), *bootstrap_interval(list(difference)), error))
    unadapted, adapted = _mean(losses["unadapted"]), _mean(losses["LoRA on the other shapes"])
    table.targets.append(
        Target("loss of the LoRA, that of the unadapted model being the bound", adapted, unadapted, True)
    )
    table.notes.append("the LoRA on the first shapes tells what more training alone brings")
    report.add(table)


def _cost_table(run: LearnRun, judging: float, report: LearnReport) -> None:
    table = Table("Time", ("stage", "minutes"))
    costs = {**run.stage.seconds(), "judging": judging}
    table.rows += [(name, seconds / 60) for name, seconds in costs.items()]
    table.targets.append(Target("minutes after the shards", sum(costs.values()) / 60, MINUTES, True))
    table.notes += SHOWS
    report.add(table)


def _editor(name: str, pipeline: VividInpaintPipeline, guidance: float, run: LearnRun) -> ModelEditor:
    return ModelEditor(name, pipeline, edit_settings(guidance, run.size.denoising_steps), run.size.seed)


def _mean(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    return float(np.mean(values))
