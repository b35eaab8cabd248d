"""Reads what Weights & Biases wrote, offline, into a run directory."""

import json
import pathlib
from typing import Any

from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore


def records(file: pathlib.Path) -> list[Any]:
    """All records of an offline run."""
    store = DataStore()
    store.open_for_scan(str(file))
    found = []
    while (data := store.scan_data()) is not None:
        record: Any = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made at import
        record.ParseFromString(data)
        found.append(record)
    return found


def history(file: pathlib.Path) -> list[dict[str, Any]]:
    """What was logged, one dict per call, without what W&B adds."""
    return [
        {
            item.key or item.nested_key[0]: json.loads(item.value_json)
            for item in record.history.item
            if not (item.key or item.nested_key[0]).startswith("_")
        }
        for record in records(file)
        if record.WhichOneof("record_type") == "history"
    ]


def files(run: pathlib.Path) -> list[pathlib.Path]:
    """The offline runs, oldest first."""
    found = (run / "wandb").glob("offline-run-*/*.wandb")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def summary(file: pathlib.Path) -> dict[str, Any]:
    """The values of the run's summary."""
    return {
        (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
        for record in records(file)
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
