"""Daft as this project runs it: Python work in processes, one a core, results in order.

The runner is chosen by the environment alone (DAFT_RUNNER=ray, RAY_ADDRESS): hardware must not
invalidate a cache. On a cluster the project's folder lies where all its nodes can see it.
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from steps.core.entry import StepError

FEW = 2  # pieces of work that are not worth starting processes for


class Worker(Protocol):
    """Work on one piece after another; it and its pieces can be pickled."""

    def __call__(self, piece: Any) -> Any: ...


class _Remote:
    """A worker as Daft calls it: bytes in, bytes out; what the user can mend comes back as such."""

    def __init__(self, worker: bytes) -> None:
        self._worker: Worker = pickle.loads(worker)

    def __call__(self, piece: bytes) -> bytes:
        try:
            return pickle.dumps(self._worker(pickle.loads(piece)))
        except StepError as error:
            return pickle.dumps(error)


def in_processes(worker: Worker, pieces: Sequence[Any]) -> Iterator[Any]:
    """Yield what the worker makes of each piece, in their order, as soon as it is there."""
    if len(pieces) < FEW:
        yield from map(worker, pieces)
        return
    import daft
    from daft import DataType, col

    method = daft.method(return_dtype=DataType.binary())(_Remote.__call__)
    body = {"__init__": _Remote.__init__, "__call__": method}
    kind = type("Remote", (), body)
    remote = daft.cls(max_concurrency=min(cores(), len(pieces)), use_process=True)(kind)
    frame = daft.from_pydict({"piece": [pickle.dumps(piece) for piece in pieces]})
    done = remote(pickle.dumps(worker))(col("piece")).alias("done")
    for row in frame.into_batches(1).select(done).iter_rows():
        found = pickle.loads(row["done"])
        if isinstance(found, StepError):
            raise found
        yield found


def cores() -> int:
    """How many processes may run side by side: on this machine, or on the Ray cluster."""
    if os.environ.get("DAFT_RUNNER", "").lower() == "ray":
        import ray

        ray.init(ignore_reinit_error=True, log_to_driver=False)  # at RAY_ADDRESS, else here
        return int(ray.cluster_resources()["CPU"])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
