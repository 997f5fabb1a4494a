"""Stage `validate`: documents or examples -> a Great Expectations verdict and its data docs.

    python -m steps.validate corpus NAME DOCUMENTS OUT
    python -m steps.validate task NAME EXAMPLES OUT

The suite is the `expect` list of the corpus or task in params.yaml: any expectation of GX, and ours
(steps/corpora/expectations.py). A critical one that fails stops the run, after verdict.json and
docs/index.html are written; any other is a warning. One that could not be run stops it as well.

GX's see the columns of the rows kept; a column of lists (`spans`, `labels`, `answers`) as the
lists' lengths; above `SAMPLE_ROWS` or `SAMPLE_BYTES` an even sample. Ours, and the number of rows,
are over all rows.
"""

import difflib
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.checks import expectations
from steps.checks.expectations import Judged, Line
from steps.checks.measures import SHOWN, Dataset, named
from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import count_rows, read_batches, shards, whole, write_json, write_text
from steps.core.params import Expectation

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 1_000_000
SAMPLE_BYTES = 256 << 20  # of Parquet, unpacked
BATCH_ROWS = 10_000
CLIP = 80  # characters shown of an unexpected value
ROW_COUNT = "expect_table_row_count"


class Kind(StrEnum):
    corpus = "corpus"
    task = "task"


def validate(data: Dataset, name: str, expect: list[Expectation]) -> tuple[dict[str, Any], str]:
    """Return the verdict and its data docs page; StepError where the suite itself is wrong."""
    from steps.checks.data_docs import Failure, page

    lines = [_check(number, item, name) for number, item in enumerate(expect)]
    own = [one for one in lines if isinstance(one, Line)]
    checks = [one for one in lines if not isinstance(one, Line)]
    counting = [check for check in checks if check.expectation_type.startswith(ROW_COUNT)]
    others = [check for check in checks if check not in counting]
    rows = count_rows(data.kept)
    frame = _sample(data.kept, rows)
    found = [*_results(_rows_only(rows), counting), *_results(frame, others)]
    judged = [Judged(one, None, []) for one in found]
    judged += expectations.judge(data, own, _results)
    judged.sort(key=lambda one: one.result.expectation_config.meta["line"])
    results = [_result(*pair) for pair in zip(expect, lines, judged, strict=True)]
    verdict = {
        "success": all(row["success"] or not row["critical"] for row in results),
        "results": results,
        "rows": rows,
        "rows_seen": len(frame),
    }
    failures = [Failure(_level(one), _say(one), one["rows"]) for one in _failed(results)]
    return verdict, page([_shown(one) for one in judged], name, _title(name, verdict), failures)


def _check(number: int, item: Expectation, name: str) -> Any:
    """Make the check of one line of the suite; StepError where it is not known so."""
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    if item.check in expectations.EXPECTATIONS:
        return expectations.line(number, item, f"{name}.expect")
    try:
        kind = registry.get_expectation_impl(item.check)
    except ExpectationNotFoundError:
        known = [*registry.list_registered_expectation_implementations()]
        near = difflib.get_close_matches(item.check, {*known, *expectations.EXPECTATIONS}, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see greatexpectations.io"
        raise StepError(f"{name}.expect: no check {item.check!r}; {hint}") from None
    severity = "critical" if item.critical else "warning"
    try:
        return kind(**(item.model_extra or {}), meta={"line": number}, severity=severity)
    except ValueError as error:  # pydantic's
        said = " ".join(str(error).split("\n", 1)[-1].split())
        given = ", ".join(sorted(item.model_extra or {})) or "none"
        raise StepError(
            f"{name}.expect: {item.check} cannot take these arguments ({given}): {said}"
        ) from None


def _results(frame: "pd.DataFrame", checks: list[Any]) -> list[Any]:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite("suite", expectations=checks)
    names = [name for name in ("id", "source", "text") if name in frame.columns]
    shape = {"result_format": "SUMMARY", "unexpected_index_column_names": names}
    return [_tidy(one) for one in batch.validate(suite, result_format=shape).results]


def _tidy(one: Any) -> Any:
    """Cut what names this machine, and what GX's own page trips over (counts without a total)."""
    for error in _exceptions(one):
        error["exception_traceback"] = ""
    found = one.result
    for part in ("unexpected", "missing"):
        values = found.get(f"partial_{part}_list")
        if values and "element_count" not in found:
            one.result = {"observed_value": f"{part}: {', '.join(sorted(map(str, values)))}"}
    return one


def _result(item: Expectation, check: Any, judged: Judged) -> dict[str, Any]:
    """Describe one result in plain JSON: no id, no date, no traceback."""
    one, ours = judged.result, isinstance(check, Line)
    errors = [e["exception_message"] for e in _exceptions(one) if e["raised_exception"]]
    found = one.to_json_dict()["result"]
    return {
        "check": item.check,
        "column": check.figure if ours else (item.model_extra or {}).get("column"),
        "arguments": item.model_extra or {},
        "critical": item.critical,
        "success": bool(one.success),
        "observed": _plain(found.get("observed_value")),
        "expected": check.expected if ours else _expected(item),
        "detail": judged.measured.detail if judged.measured else None,
        "unexpected": _unexpected(found),
        "rows": judged.rows if ours else _rows(found),
        "error": errors[0] if errors else None,
    }


def _expected(item: Expectation) -> str:
    """The bounds of one of GX's that has any, where they are numbers."""
    given = [(item.model_extra or {}).get(name) for name in ("min_value", "max_value")]
    numbers = all(value is None or isinstance(value, int | float) for value in given)
    return expectations.bounds(*given) if numbers else ""


def _unexpected(found: dict[str, Any]) -> dict[str, Any] | None:
    if "element_count" not in found:
        return None
    return {
        "count": found["unexpected_count"],
        "of": found["element_count"],
        "examples": list(
            dict.fromkeys(str(value)[:CLIP] for value in found["partial_unexpected_list"])
        )[:5],
    }


def _rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """Name the first of the rows with an unexpected value."""
    places = found.get("partial_unexpected_index_list") or []
    known = {"id": "", "source": "", "text": ""}
    found_rows = ({**known, **place} for place in places[:SHOWN] if "id" in place)
    return [named({key: str(one[key]) for key in known}) for one in found_rows]


def _plain(value: Any) -> Any:
    """Keep JSON canonical: a mean of nothing is no number."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(judged: Judged) -> Any:
    """The result as the data docs show it: a figure of ours with how it came about."""
    one, measured = judged.result, judged.measured
    if measured and measured.figure is not None:
        one.result = {"observed_value": f"{measured.figure:.4g} ({measured.detail})"}
    return one


def _exceptions(one: Any) -> list[dict[str, Any]]:
    """GX gives one exception, or one for each metric."""
    info = one.exception_info or {"raised_exception": False}
    return [info] if "raised_exception" in info else list(info.values())


def _rows_only(rows: int) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(index=range(rows))


def _sample(path: Path, rows: int) -> "pd.DataFrame":
    """Read every n-th row, so that no limit is exceeded; lists become their lengths."""
    step = max(-(-rows // SAMPLE_ROWS), -(-_unpacked(path) // SAMPLE_BYTES), 1)
    taken, start = [], 0
    for batch in read_batches(path, BATCH_ROWS):
        wanted = pa.array(range(-start % step, batch.num_rows, step), pa.int64())
        taken.append(batch.take(wanted))
        start += batch.num_rows
    table = pa.Table.from_batches(taken, schema=pq.read_schema(shards(path)[0]))
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            table = table.set_column(place, field.name, pc.list_value_length(table[field.name]))
    return table.to_pandas()


def _unpacked(path: Path) -> int:
    files = [pq.read_metadata(shard) for shard in shards(path)]
    return sum(
        file.row_group(n).total_byte_size for file in files for n in range(file.num_row_groups)
    )


def _title(name: str, verdict: dict[str, Any]) -> str:
    failed = sum(not row["success"] for row in verdict["results"])
    seen, rows = verdict["rows_seen"], verdict["rows"]
    sample = "" if seen == rows else f" (columns: a sample of {seen:,})"
    said = f"{failed} of {len(verdict['results'])} checks failed" if failed else "all checks passed"
    return f"{name}: {said} on {rows:,} rows{sample}"


def _failed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What failed or raised; warnings last."""
    failed = [one for one in results if not one["success"]]
    return sorted(failed, key=lambda one: _level(one) == "warning")


def _level(result: dict[str, Any]) -> str:
    return "raised" if result["error"] else "critical" if result["critical"] else "warning"


def _say(result: dict[str, Any]) -> str:
    where = f" on {result['column']}" if result["column"] else ""
    if result["check"] in expectations.EXPECTATIONS:
        where = f" ({result['column']})"
    if result["error"]:
        return f"{result['check']}{where} could not be run: {result['error']}"
    observed = f"observed {result['observed']}"
    if result["detail"]:
        observed = f"observed {result['observed']:.4g} ({result['detail']})"
    if part := result["unexpected"]:
        examples = ", ".join(repr(value) for value in part["examples"][:SHOWN])
        observed = f"observed {part['count']} unexpected of {part['of']} values, such as {examples}"
    expected = f"expected {result['expected']}, " if result["expected"] else ""
    return f"{result['check']}{where} failed: {expected}{observed}"


def _rows_said(result: dict[str, Any]) -> str:
    """Where the rows stand, for a line on a terminal."""
    places = [f"{one['id']} ({one['place'] or 'no source'})" for one in result["rows"]]
    return f"; rows: {', '.join(places)}" if places else ""


def _judge(name: str, verdict: dict[str, Any], docs: Path) -> None:
    """Warn of what is not critical; StepError for the first that is, or that could not be run."""
    failed = _failed(verdict["results"])
    stops = [one for one in failed if _level(one) != "warning"]
    for one in failed[len(stops) :]:
        print(f"warning: {name}: {_say(one)}{_rows_said(one)}; see {docs}", file=sys.stderr)
    if stops:
        more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
        mend = "params.yaml" if stops[0]["error"] else f"the data, or the suite {name}.expect"
        said = f"{_say(stops[0])}{_rows_said(stops[0])}{more}"
        raise StepError(f"{name}: {said}; see {docs}, and mend {mend}")


def main(kind: Kind, name: str, source: Path, out: Path) -> None:
    """Check the corpus or task NAME by its suite in params.yaml."""
    settings = params.load()
    if kind is Kind.corpus:
        corpus = params.choose(name, settings.corpora, "corpus")
        data, full = Dataset(source, "documents", name, corpus.mask_pii), f"corpora.{name}"
        verdict, docs = validate(data, full, corpus.expect)
    else:
        task = params.choose(name, settings.tasks, "task")
        data, full = Dataset(source, "examples", name), f"tasks.{name}"
        verdict, docs = validate(data, full, task.expect)
    with whole(out) as folder:
        write_json(folder / "verdict.json", verdict)
        write_text(folder / "docs" / "index.html", docs)
    _judge(full, verdict, out / "docs" / "index.html")


if __name__ == "__main__":
    run(main)
