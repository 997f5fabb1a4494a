"""Stage `validate`: documents or examples -> a Great Expectations verdict and its data docs.

    python -m steps.validate corpus NAME DOCUMENTS OUT
    python -m steps.validate task NAME EXAMPLES OUT

The suite is the `expect` list of the corpus or task in params.yaml. A check on a column of lists
(the `spans` of a tokens task) sees the lists' lengths. A critical check that fails stops the run,
after verdict.json and docs/index.html are written; any other is a warning.

Above `SAMPLE_ROWS` rows, checks of columns see an even sample; those of the number of rows see all.
"""

import difflib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import whole, write_json, write_text
from steps.core.params import Expectation

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 1_000_000
BATCH_ROWS = 50_000
CLIP = 80  # characters shown of an unexpected value
ROW_COUNT = "expect_table_row_count"


class Kind(StrEnum):
    corpus = "corpus"
    task = "task"


def validate(source: Path, name: str, expect: list[Expectation]) -> tuple[dict[str, Any], str]:
    """Return the verdict and its data docs page; StepError where the suite itself is wrong."""
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )

    from steps.corpora.data_docs import page

    checks = [_check(line, item, name) for line, item in enumerate(expect)]
    rows = _row_count(source)
    frame = _profile(source, rows)
    counting = [check for check in checks if check.expectation_type.startswith(ROW_COUNT)]
    others = [check for check in checks if check not in counting]
    found = [*_results(_rows_only(rows), counting), *_results(frame, others)]
    found.sort(key=lambda one: one.expectation_config.meta["line"])
    results = [_result(item, one) for item, one in zip(expect, found, strict=True)]
    verdict = {
        "success": all(row["success"] or not row["critical"] for row in results),
        "results": results,
        "rows": rows,
        "rows_seen": len(frame),
    }
    whole_result = ExpectationSuiteValidationResult(
        results=found,
        success=all(one.success for one in found),
        suite_name=name,
        statistics=_statistics(found),
        meta={},
    )
    return verdict, page(whole_result, _title(name, verdict))


def _check(line: int, item: Expectation, name: str) -> Any:
    """Make the check of one line of the suite; StepError where GX does not know it so."""
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    try:
        kind = registry.get_expectation_impl(item.check)
    except ExpectationNotFoundError:
        known = registry.list_registered_expectation_implementations()
        near = difflib.get_close_matches(item.check, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see greatexpectations.io"
        raise StepError(f"{name}.expect: no check {item.check!r}; {hint}") from None
    severity = "critical" if item.critical else "warning"
    try:
        return kind(**(item.model_extra or {}), meta={"line": line}, severity=severity)
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
    return [_tidy(one) for one in batch.validate(suite).results]


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


def _result(item: Expectation, one: Any) -> dict[str, Any]:
    """Describe one result in plain JSON: no id, no date, no traceback."""
    errors = [e["exception_message"] for e in _exceptions(one) if e["raised_exception"]]
    found = one.to_json_dict()["result"]
    unexpected = None
    if "element_count" in found:
        shown = found["partial_unexpected_list"]
        unexpected = {
            "count": found["unexpected_count"],
            "of": found["element_count"],
            "examples": list(dict.fromkeys(str(value)[:CLIP] for value in shown))[:5],
        }
    return {
        "check": item.check,
        "column": (item.model_extra or {}).get("column"),
        "critical": item.critical,
        "success": bool(one.success),
        "observed": found.get("observed_value"),
        "unexpected": unexpected,
        "error": errors[0] if errors else None,
    }


def _exceptions(one: Any) -> list[dict[str, Any]]:
    """GX gives one exception, or one for each metric."""
    info = one.exception_info or {"raised_exception": False}
    return [info] if "raised_exception" in info else list(info.values())


def _statistics(found: list[Any]) -> dict[str, Any]:
    good = sum(bool(one.success) for one in found)
    return {
        "evaluated_expectations": len(found),
        "successful_expectations": good,
        "unsuccessful_expectations": len(found) - good,
        "success_percent": 100 * good / len(found) if found else None,
    }


def _row_count(source: Path) -> int:
    if not source.exists():
        raise StepError(f"no file {source}; run `dvc repro` (or `dvc pull`) to make it")
    rows: int = pq.read_metadata(source).num_rows
    return rows


def _rows_only(rows: int) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(index=range(rows))


def _profile(source: Path, rows: int) -> "pd.DataFrame":
    """Read every n-th row, so that `SAMPLE_ROWS` are not exceeded; lists become their lengths."""
    step = -(-rows // SAMPLE_ROWS) or 1
    taken, start = [], 0
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches(BATCH_ROWS):
            wanted = pa.array(range(-start % step, batch.num_rows, step), pa.int64())
            taken.append(batch.take(wanted))
            start += batch.num_rows
    table = pa.Table.from_batches(taken, schema=schema)
    for place, field in enumerate(schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            table = table.set_column(place, field.name, pc.list_value_length(table[field.name]))
    return table.to_pandas()


def _title(name: str, verdict: dict[str, Any]) -> str:
    failed = sum(not row["success"] for row in verdict["results"])
    seen, rows = verdict["rows_seen"], verdict["rows"]
    sample = "" if seen == rows else f" (columns: a sample of {seen:,})"
    said = f"{failed} of {len(verdict['results'])} checks failed" if failed else "all checks passed"
    return f"{name}: {said} on {rows:,} rows{sample}"


def _say(name: str, row: dict[str, Any]) -> str:
    where = f" on {row['column']}" if row["column"] else ""
    if row["error"]:
        return f"{name}: {row['check']}{where} could not be run: {row['error']}"
    observed = f"observed {row['observed']}"
    if row["unexpected"]:
        part = row["unexpected"]
        examples = ", ".join(repr(value) for value in part["examples"][:3])
        observed = f"observed {part['count']} unexpected of {part['of']} values, such as {examples}"
    return f"{name}: {row['check']}{where} failed: {observed}"


def _judge(name: str, verdict: dict[str, Any], docs: Path) -> None:
    """Warn of what is not critical; StepError for the first that is, or that could not be run."""
    failed = [row for row in verdict["results"] if not row["success"]]
    stops = [row for row in failed if row["critical"] or row["error"]]
    for row in failed:
        if row not in stops:
            print(f"warning: {_say(name, row)}; see {docs}", file=sys.stderr)
    if stops:
        more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
        mend = "params.yaml" if stops[0]["error"] else f"the data, or the suite {name}.expect"
        raise StepError(f"{_say(name, stops[0])}{more}; see {docs}, and mend {mend}")


def main(kind: Kind, name: str, source: Path, out: Path) -> None:
    """Check the corpus or task NAME by its suite in params.yaml."""
    settings = params.load()
    if kind is Kind.corpus:
        suite = params.choose(name, settings.corpora, "corpus").expect
        file, full = "documents.parquet", f"corpora.{name}"
    else:
        suite = params.choose(name, settings.tasks, "task").expect
        file, full = "examples.parquet", f"tasks.{name}"
    verdict, docs = validate(source / file, full, suite)
    with whole(out) as folder:
        write_json(folder / "verdict.json", verdict)
        write_text(folder / "docs" / "index.html", docs)
    _judge(full, verdict, out / "docs" / "index.html")


if __name__ == "__main__":
    run(main)
