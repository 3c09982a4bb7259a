"""`vivid weights`: what is there, and fetching what is not, with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from manifests.statistics import format_table
from models.weights import WeightsError, WeightsList, list_with, weights_folders
from models.weights_fetch import fetch_weight, lock_weight


def fetch_and_lock(names: Sequence[str], lock: bool, console: Console) -> None:
    """Fetch and verify weights; with `lock`, note what the list did not know of them. Raises ValueError.

    What is all there in any of the folders stays where it is; the rest goes into the first that knows its name.
    """
    for name in names:
        list_with(name).entry(name)
    for name in dict.fromkeys(names):
        weights = list_with(name)
        with _Bars(console) as bars:
            fetched = fetch_weight(weights, name, bars.report)
        learnt = lock_weight(weights, name) if lock else 0
        weights = WeightsList(weights.base)
        did = f"fetched {', '.join(fetched)}" if fetched else "all there"
        state = f"locked {learnt} values" if learnt else _unlocked(weights, name) or "locked"
        console.print(f"{name} {weights.revision(name)}: {did}; verified; {state}", highlight=False, soft_wrap=True)


class _Bars:
    """One bar per file."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, name: str, done: int, total: int | None) -> None:
        """Bytes of a file that are there."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


def weights_table(names: Sequence[str]) -> str:
    """All weights of the list, or some, with what is there of them."""
    folders = weights_folders()
    known = {name for folder in folders for name in WeightsList(folder).entries}
    rows = [_list_row(list_with(name), name) for name in names or sorted(known)]
    table = format_table(("weight", "state", "revision", "on disk", "licence", "from"), rows)
    return "\n".join((*map(str, folders), table))


def _list_row(weights: WeightsList, name: str) -> tuple[str, ...]:
    entry = weights.entry(name)
    addresses = sorted({str(urlsplit(spec.url).hostname) for spec in entry.files.values() if spec.url})
    return (
        name,
        weight_state(weights, name)[0],
        weights.revision(name),
        size_text(weights, name),
        entry.licence or "not stated",
        entry.hub or ", ".join(addresses) or "to be put there by hand",
    )


def weight_state(weights: WeightsList, name: str) -> tuple[str, bool]:
    """A word or two for what is there of a weight, and whether it can be used."""
    missing = weights.missing(name)
    if missing:
        return ("missing", False) if not weights.present(name) else (f"missing {', '.join(missing)}", False)
    try:
        weights.check(name)
    except WeightsError:
        return "wrong content", False
    unlocked = _unlocked(weights, name)
    return (f"present, {unlocked}" if unlocked else "present"), True


def _unlocked(weights: WeightsList, name: str) -> str:
    count = len(weights.unlocked(name))
    return f"{count} file{'s' if count > 1 else ''} unlocked" if count else ""


def size_text(weights: WeightsList, name: str) -> str:
    """Bytes of a weight on this disk."""
    size = sum(path.stat().st_size for path in weights.present(name).values())
    return f"{size / 2**20:,.1f} MiB" if size else ""
