"""`vivid inspect --verify`: hash a dataset's files and say which are not as they were written."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from manifests.storage import Store
from manifests.verify import take_inventory, verify


def verify_text(store: Store, console: Console) -> tuple[str, bool]:
    """What is wrong with the files of a dataset and its latents, a line each and a sum; and whether all is well."""
    inventory = take_inventory(store)
    with Progress(
        TextColumn("verify"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("verify", total=inventory.num_bytes)
        faults = [*inventory.faults, *verify(store, inventory, lambda size: bar.advance(task, size))]
    lines = [f"{fault.path} {fault.why}" for fault in faults]
    amount = f"{len(inventory.files)} files of {store.url}, {inventory.num_bytes / 2**20:.1f} MiB"
    if faults:
        lines.append(f"{amount}: {len(faults)} not as written; copy these again from where they are whole")
    else:
        lines.append(f"{amount}: all as they were written")
    return "\n".join(lines), not faults
