"""Versions and the two aliases, looked up through the client that `registry` gives."""

import json
from dataclasses import dataclass
from typing import Any

from pipelines import record
from steps.core.entry import StepError

CHAMPION, CHALLENGER = "champion", "challenger"
KEY = "outplant.lineage"
MARK = "outplant.record"  # on the model: the record's end when it was last acted on
Client = Any  # mlflow.MlflowClient


@dataclass(frozen=True)
class Version:
    """A registered winner; `score` is the test metric of the comparison that it won."""

    task: str
    number: int
    lineage: str
    recipe: str
    metric: str
    score: float
    seed: int
    commit: str
    dirty: tuple[str, ...]  # files of code and params that were not as committed

    def reference(self) -> dict[str, Any]:
        """What the record of promotions says of a version."""
        return {"version": self.number, "lineage": self.lineage, "commit": self.commit}


def search(client: Client, task: str, key: str) -> Version | None:
    """Return the version that was made from that lineage."""
    found = client.search_model_versions(f"name = '{task}' and tags.`{KEY}` = '{key}'")
    return read(max(found, key=lambda item: int(item.version))) if found else None


def aliases(client: Client, task: str) -> dict[str, int]:
    """Return alias -> version number."""
    return _aliases_and_mark(client, task)[0]


def aliased(client: Client, task: str, alias: str) -> Version | None:
    """Return the version that an alias points at."""
    number = aliases(client, task).get(alias)
    return None if number is None else get(client, task, number)


def numbers(client: Client, task: str) -> list[int]:
    """Numbers of the versions that this project registered, ascending."""
    found, page = [], None
    while page != "":
        part = client.search_model_versions(f"name = '{task}'", page_token=page)
        found += [int(item.version) for item in part if KEY in item.tags]
        page = part.token or ""
    return sorted(found)


def models(client: Client) -> list[Any]:
    """Return all registered models, whoever registered them."""
    found, page = [], None
    while page != "":
        part = client.search_registered_models(page_token=page)
        found += list(part)
        page = part.token or ""
    return found


def get(client: Client, task: str, number: int) -> Version:
    """Return a version that is known to be there."""
    return read(client.get_model_version(task, str(number)))


def read(item: Any) -> Version:
    """Read a version of MLflow from its tags; StepError where `register` has not made it."""
    if KEY not in item.tags:
        raise StepError(
            f"version {item.version} of {item.name} was not made by `register`; "
            "take the alias off it, or promote another version"
        )
    said = {name.removeprefix("outplant."): value for name, value in item.tags.items()}
    return Version(
        item.name,
        int(item.version),
        said["lineage"],
        said["recipe"],
        said["metric"],
        float(said["score"]),
        int(said["seed"]),
        said["commit"],
        tuple(json.loads(said["dirty"])),
    )


def point(client: Client, found: Version, alias: str) -> None:
    """Let an alias point at a version; nothing is written where it does already."""
    if aliases(client, found.task).get(alias) != found.number:
        client.set_registered_model_alias(found.task, alias, str(found.number))


def crown(client: Client, found: Version) -> None:
    """Let the champion's alias follow the record's last line, and note how far that goes."""
    mark = record.mark(found.task)  # read in the session that has the lock: fails where it is lost
    client.set_registered_model_alias(found.task, CHAMPION, str(found.number))
    client.set_registered_model_tag(found.task, MARK, mark)


def behind(client: Client, task: str) -> str:
    """Say what the record lacks of what was acted on: its end was cut, or it is another's.

    The mark is read first, so that a move of this very moment is no lack.
    """
    return record.lacks(task, _aliases_and_mark(client, task)[1])


def settle(client: Client, task: str) -> str:
    """Let the champion's alias follow the record; return what was wrong, in one line."""
    entries = record.read(task)
    if not entries:
        return ""
    known, mark = _aliases_and_mark(client, task)
    if why := record.lacks(task, mark):
        return f"{task}: the champion stays as it is, for {why}"
    to = entries[-1]["to"]
    found, now = search(client, task, to["lineage"]), known.get(CHAMPION)
    if found is None:
        made = f"commit {to['commit'][:12]}" if to["commit"] else "the files it was made from"
        return (
            f"{task}: the champion on record (lineage {to['lineage'][:12]}) is not in the registry;"
            f" go back to {made} and run `dvc repro`, or promote another version"
        )
    if now != found.number or mark != record.mark(task):
        crown(client, found)
    if now == found.number:
        return ""
    return f"{task}: the champion is version {found.number} again, as the record says (was {now})"


def _aliases_and_mark(client: Client, task: str) -> tuple[dict[str, int], str]:
    found = client.search_registered_models(f"name = '{task}'")
    if not found:
        return {}, ""
    known = {name: int(number) for name, number in found[0].aliases.items()}
    return known, str(found[0].tags.get(MARK, ""))
