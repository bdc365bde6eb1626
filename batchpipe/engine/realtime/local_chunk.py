"""Record the rows that the local model answers: as a chunk that is sent to no provider, with a raw file like any other
chunk.

The raw file is written before the commit. Where the process is killed in between, the chunk is taken in from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchpipe.engine.batches.collect import CollectedBatch
from batchpipe.engine.batches.submit import include_parts
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.ledger.raw_folder import keep_chunks
from batchpipe.engine.ledger.unknown_chunks import EMULATED
from batchpipe.engine.local.choosing import LocalChoice, LocalVersion
from batchpipe.engine.output.output_table import merge_output, writing_output
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.sending import LOCAL, LOCAL_SETTINGS
from batchpipe.sql.quoting import number_sql, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def record_local_answers(parts: RunParts, choice: LocalChoice, plan: Plan) -> str | None:
    """Record the rows of a plan that the local model answers, and those that are audited; return what was repaired.

    Reads `work.local_due`, `work.local_sure`, the ledger.
    Writes `work.local_requests`, `work.local_lines`, the raw folder, `ledger.requests`, `ledger.results`,
    `ledger.decisions`, `ledger.local_answers`, `ledger.events`, the output table.
    """
    version, local = choice.version, plan.local
    if version is None or local is None or not (local.answered or local.audited):
        return None
    with parts.reading() as session:
        chunk_id = session.new_id()
        _fill_requests(session, parts, version, plan, chunk_id)
    connection = parts.work.connection
    lines = [line for (line,) in connection.execute(query("local_lines")).fetchall()]
    if lines:
        path = parts.raw_folder.write_results(chunk_id, "".join(f"{line}\n" for line in lines).encode())
        connection.execute(query("read_local_lines"), {"path": str(path)})
    with parts.writing() as session:
        _record_audits(session, parts, choice, version)
        if not lines:
            return None
        session.execute(query("insert_local_requests"), {"now": session.now, "seq": session.seq})
        data = {
            "mode": "realtime",
            "prompt_version": parts.resolved.version.prompt_version,
            "rung": 0,
            "model": version.name,
            "provider": LOCAL,
            "protocol": LOCAL,
            "endpoint": None,
            "base_url": EMULATED if choice.emulated else "",
            "key_hash": "",
            "requests": len(lines),
            "bytes": 0,
            "max_usd": "0",
            "expected_usd": "0",
        }
        parts.add_event(session, "chunk_prepared", data, chunk_id=chunk_id)
        keep_chunks(session, parts.raw_folder, [chunk_id], parts.database.path.name)
        repaired = _record(session, parts.resolved, chunk_id, parts)
    parts.raw_folder.compress(chunk_id)
    choice.recorded += len(lines)
    return repaired


def close_local_chunk(parts: RunParts, batch: OpenBatch, path: Path | None) -> CollectedBatch:
    """Record a chunk of the local model that the raw folder has and the ledger lost; `path` is its raw file.

    Without a file nothing is recorded, and its rows are due as before.
    Writes `work.local_lines`, and what `record_local_answers` writes.
    """
    if path is None:
        with parts.writing() as session:
            data = {"message": "its raw file is lost"}
            parts.add_event(session, "chunk_not_sent", data, chunk_id=batch.chunk_id)
        return _collected(0)
    parts.work.connection.execute(query("read_local_lines"), {"path": str(path)})
    with parts.writing() as session:
        repaired = _record(session, parts.resolved, batch.chunk_id, parts)
    parts.raw_folder.compress(batch.chunk_id)
    return _collected(batch.requests, repaired)


def _collected(accepted: int, repaired: str | None = None) -> CollectedBatch:
    warnings = () if repaired is None else (repaired,)
    return CollectedBatch(accepted=accepted, failed=0, due_again=0, canceled=0, warnings=warnings, stop=None)


def _fill_requests(session: Session, parts: RunParts, version: LocalVersion, plan: Plan, chunk_id: str) -> None:
    """Fill `work.local_requests`, less the rows that others have asked for or reviewed since the plan."""
    resolved = parts.resolved
    pipelines = quote_list(resolved.names)
    newer = query("newer_facts", pipelines=pipelines, families=pipelines)
    parameters: dict[str, Any] = {
        "pipeline": resolved.name,
        "database": session.one(query("database_id"))[0],
        "chunk_id": chunk_id,
        "run_id": parts.run_id,
        "since": plan.seq,
        "prompt_version": resolved.version.prompt_version,
        "policy_hash": resolved.policy_hash,
        "model": version.name,
        "settings": LOCAL_SETTINGS,
    }
    statement = query("local_requests", pipelines=pipelines, newer=newer, **include_parts(resolved, plan.snapshot))
    session.execute(statement, parameters)


def _record_audits(session: Session, parts: RunParts, choice: LocalChoice, version: LocalVersion) -> None:
    """Record what the model says of the rows that are audited. Writes `ledger.local_answers`."""
    stamp = {"pipeline": parts.resolved.name, "run_id": parts.run_id, "now": session.now, "seq": session.seq}
    values = {"version": version.number, "expected": version.expected, "audit": choice.rung.audit}
    session.execute(query("insert_local_audits", pipelines=quote_list(parts.resolved.names)), stamp | values)


def _record(session: Session, resolved: Resolved, chunk_id: str, parts: RunParts) -> str | None:
    """Record the answers of `work.local_lines`, for the requests of a chunk; return what of the output was repaired."""
    stamp = {"chunk_id": chunk_id, "run_id": parts.run_id, "now": session.now, "seq": session.seq}
    session.execute(query("insert_local_results"), stamp)
    session.execute(query("insert_local_decisions", pipelines=quote_list(resolved.names)), stamp)
    session.execute(query("insert_local_answers"), stamp)
    rows = session.one(query("local_chunk_rows"), {"chunk_id": chunk_id})[0]
    parts.add_event(session, "batch_collected", {"states": {"accepted": rows}, "faults": {}}, chunk_id=chunk_id)
    if not resolved.has_output:
        return None
    with writing_output(session, resolved, parts.run_id) as repaired:
        merge_output(session, resolved, query("accepted_in_commit", seq=number_sql(session.seq)))
    return repaired
