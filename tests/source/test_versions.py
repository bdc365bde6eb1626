"""Tests of prompt versions by name (a number, the beginning of a hash, a git ref), and of rows rendered with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from checkout import batchpipe, copy_examples
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.decide.fingerprint import fingerprinter
from batchpipe.engine.context import Context
from batchpipe.engine.plan.prompt_diff import typed_values
from batchpipe.engine.resolved.commits import Commit
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.versions import (
    KnownInputs,
    KnownVersion,
    find_version,
    known_versions,
    past_columns,
    read_version,
    resolve_version,
)
from batchpipe.engine.source.snapshot import input_column
from batchpipe.pipeline.load import load
from batchpipe.project.settings import load_settings
from batchpipe.sql.quoting import Sql

FILES = BASIC.replace("user_text", 'system = "demo/system.md.j2"\nuser_text')
QUERIES = """
[input]
query = "SELECT id, body, lang FROM read_csv('rows.csv')"
key = "id"
[prompt]
user_text = \"\"\"{{ product }} {{ since.year }} {% for each in examples %}{{ each.text }}={{ each.day }} {% endfor %}
{% for each in fields.label.enum %}{{ each }}: {{ fields.label.meanings[each] }}; {% endfor %}{{ body }}\"\"\"
[prompt.vars]
product = "Acme"
since = 2026-01-05
[prompt.queries]
examples = "SELECT * FROM read_csv('examples.csv') ORDER BY text"
[output.fields.label]
enum = { query = "SELECT value, meaning FROM read_csv('labels.csv')" }
description = "The queue"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


def known(project: Project) -> list[KnownVersion]:
    context = project.context()
    work = context.work()
    try:
        with context.database.reading(work) as session:
            return known_versions(session, ["demo"])
    finally:
        work.close()
        context.close()


def named(project: Project, name: str) -> KnownVersion | Commit:
    return find_version(known(project), project.root, name, where="--from-version")


def resolved_as(project: Project, name: str, *, for_plan: bool = False) -> Resolved:
    """Return the present pipeline with the prompt version `name`."""
    found = named(project, name)
    file = load(project.root / "pipelines" / "demo.toml", project.root)
    context = project.context()
    work = context.work()
    try:
        with context.database.reading(work) as session:
            version = read_version(session, ["demo"], found) if isinstance(found, KnownVersion) else found
            past = None if for_plan else past_columns(session, ["demo"])
        with context.source(file, {}) as source:
            return resolve_version(version, file, source, context.providers, past=past)
    finally:
        work.close()
        context.close()


def resolved_now(project: Project) -> Resolved:
    context = project.context()
    file = load(project.root / "pipelines" / "demo.toml", project.root)
    with context.source(file, {}) as source:
        return context.resolve(file, source)


def git(root: Path, *words: str) -> str:
    person = ["-c", "user.name=A Person", "-c", "user.email=person@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *person, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def commit(project: Project) -> Callable[[str], str]:
    """Commit the project's folder and return the commit's 40 digits."""
    git(project.root, "init", "-q", "-b", "main")

    def make(message: str) -> str:
        git(project.root, "add", "-A", "pipelines", "prompts", "rows.csv")
        git(project.root, "commit", "-q", "-m", message)
        return git(project.root, "rev-parse", "HEAD")

    (project.root / "prompts" / "demo").mkdir(parents=True)
    return make


def template(project: Project, text: str, name: str = "demo/system.md.j2") -> None:
    path = project.root / "prompts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class TestNames:
    def test_a_number_and_the_beginning_of_a_hash(self, project: Project) -> None:
        project.rows(numbered(2))
        for text in ("{{ body }}", "Say: {{ body }}"):
            project.pipeline(BASIC.replace("{{ body }}", text))
            project.run()
        first, second = known(project)
        assert (first.version, second.version) == ("v1", "v2")
        assert named(project, "v1") == named(project, " V1 ") == first
        assert named(project, second.hash) == named(project, second.hash[:8].upper()) == second
        stored = project.sql(
            "SELECT replace(prompt_version::VARCHAR, '-', '') FROM ledger.prompt_versions ORDER BY seq"
        )
        assert [each.hash for each in (first, second)] == [each for (each,) in stored]

    def test_an_unknown_name_lists_the_known_ones_with_their_dates(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline()
        with pytest.raises(UsageError) as error:
            named(project, "v9")
        assert "No run has recorded a version yet" in str(error.value.hint)
        project.run()
        with pytest.raises(UsageError) as error:
            named(project, "v9")
        (only,) = known(project)
        assert f"v1 ({only.recorded_at:%Y-%m-%d %H:%M} UTC, {only.hash[:12]})" in str(error.value.hint)

    def test_a_beginning_of_two_hashes_is_refused(self) -> None:
        stamp: dict[str, Any] = {"recorded_at": datetime.fromisoformat("2026-01-02"), "git_commit": None}
        pair = [
            KnownVersion(version=f"v{number}", prompt_version=str(UUID(int=0xABCD << 112 | number)), **stamp)
            for number in (1, 2)
        ]
        with pytest.raises(UsageError, match="beginning of several versions: v1, v2"):
            find_version(pair, Path(), "abcd", where="--from")

    @pytest.mark.parametrize("name", ["--help", "-q", "nothing", "v1..v2", "", "HEAD:pipelines"])
    def test_what_git_does_not_take_for_a_commit(self, project: Project, commit: Any, name: str) -> None:
        project.rows(numbered(1))
        project.pipeline()
        commit("first")
        with pytest.raises(UsageError, match="there is no prompt version"):
            named(project, name)

    def test_a_git_ref_of_many_kinds(self, project: Project, commit: Callable[[str], str]) -> None:
        project.rows(numbered(1))
        project.pipeline()
        first = commit("first")
        git(project.root, "tag", "-a", "-m", "a tag", "good")
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        commit("second")
        for ref in ("good", "HEAD~1", first, first[:10]):
            found = named(project, ref)
            assert isinstance(found, Commit)
            assert found.commit == first
        assert named(project, "good") == Commit(ref="good", commit=first)
        assert Commit(ref="good", commit=first).label == f"good ({first[:12]})"
        assert Commit(ref=first[:10], commit=first).label == first[:12]

    def test_a_version_goes_before_a_ref_of_its_name(self, project: Project, commit: Callable[[str], str]) -> None:
        project.rows(numbered(1))
        project.pipeline()
        commit("first")
        git(project.root, "tag", "v1")
        assert isinstance(named(project, "v1"), Commit)
        project.run()
        assert isinstance(named(project, "v1"), KnownVersion)


class TestRecorded:
    def test_it_renders_as_it_did(self, project: Project) -> None:
        template(project, "{% include 'shared/rules.j2' %}")
        template(project, "Be {{ 'brief' }}.", "shared/rules.j2")
        project.pipeline(FILES)
        project.rows(numbered(2, german=1))
        project.run()
        template(project, "Be long.", "shared/rules.j2")
        project.pipeline(FILES.replace("{{ body }}", "{{ body|upper }}"))
        message = resolved_as(project, "v1").templates.render({"body": "x", "lang": "de"})
        assert (message.system, message.user) == ("Be brief.", "x Auf Deutsch.")

    def test_vars_queries_and_enums_are_those_of_then(self, project: Project) -> None:
        (project.root / "examples.csv").write_text("text,day\na,2026-02-03\n", encoding="utf-8")
        (project.root / "labels.csv").write_text(
            'value,meaning\nbug,"It breaks\n- now"\nbug_report,A report\nother,\n', encoding="utf-8"
        )
        project.pipeline(QUERIES.replace("{{ fields.label.meanings[each] }}", "{{ fields.label.meanings.get(each) }}"))
        project.rows(numbered(1))
        project.run()
        row = {"body": "hello", "lang": "en"}
        before = resolved_now(project)
        (project.root / "examples.csv").write_text("text,day\nb,2027-02-03\n", encoding="utf-8")
        (project.root / "labels.csv").unlink()
        after = resolved_as(project, "v1")
        assert after.templates.render(row) == before.templates.render(row)
        assert "Acme 2026 a=2026-02-03" in after.templates.render(row).user
        assert "bug: It breaks\n- now; bug_report: A report; other: ; hello" in after.templates.render(row).user
        assert after.full_schema == before.full_schema
        stored = project.sql("SELECT prompt_version::VARCHAR, full_schema::VARCHAR FROM ledger.prompt_versions")
        assert stored[0][0] == after.version.prompt_version
        assert json.loads(stored[0][1]) == after.full_schema

    def test_a_column_that_left_the_input(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline(BASIC.replace("{{ body }}", "{{ body }} {{ amount }}"))
        project.run()
        project.pipeline(BASIC.replace(", amount", ""))
        assert resolved_as(project, "v1").templates.render({"body": "x", "lang": "en", "amount": 3}).user == "x 3"
        with pytest.raises(PipelineError, match="amount"):
            resolved_as(project, "v1", for_plan=True)

    def test_conditions_that_no_longer_fit_do_not_hinder_it(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline()
        project.run()
        project.pipeline(
            BASIC.replace("[output.fields.score]", "[output.fields.sure]").replace(
                "[[models]]", '[output.checks]\nsane = "sure > 0"\n[[models]]'
            )
        )
        assert resolved_as(project, "v1").templates.render({"body": "x", "lang": "en"}).user == "x"

    def test_for_a_plan_it_is_the_same_version_again(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline()
        project.run()
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        again = resolved_as(project, "v1", for_plan=True)
        (stored,) = project.sql("SELECT prompt_version::VARCHAR, visible_hash::VARCHAR FROM ledger.prompt_versions")
        assert (again.version.prompt_version, again.version.visible_hash) == stored
        assert again.file.root == project.root


@pytest.mark.parametrize("name", ["ticket_triage", "function_tags", "invoice_extraction"])
def test_every_request_that_was_sent_is_rendered_again(name: str, tmp_path: Path) -> None:
    """Check that all kinds of values are rendered as before (queries, meanings, times, lists), by the fingerprint."""
    root = copy_examples(tmp_path)
    ended = batchpipe("run", name, "--emulator", "--yes", cwd=root)
    assert ended.returncode == 0, ended.stderr
    file = load(root / "pipelines" / f"{name}.toml", root)
    settings = load_settings(root, environment={}, command_line={"emulator": True})
    context = Context(root=root, settings=settings, environment={}, say=print)
    work = context.work()
    with context.database.reading(work) as session:
        (version,) = known_versions(session, [name])
        recorded, past = read_version(session, [name], version), past_columns(session, [name])
        rows = session.rows(
            Sql(
                "SELECT p.columns, p.types, q.input_values, q.fingerprint "
                "FROM ledger.requests q JOIN ledger.policies p USING (policy_hash) WHERE q.pipeline = $1"
            ),
            [name],
        )
    resolved = resolve_version(recorded, file, KnownInputs(work.connection, ()), context.providers, past=past)
    fingerprint = fingerprinter(file.pipeline.output.format, resolved.visible_schema)
    assert rows
    for columns, types, texts, sent in rows:
        named = [input_column(*each) for each in zip(columns, types, strict=True)]
        values = typed_values(work.connection, named, texts)
        message = resolved.templates.render({name: values[name] for name in resolved.templates.columns})
        found = work.connection.execute(Sql("SELECT md5($1)::UUID"), [fingerprint(message.system, message.user)])
        assert found.fetchone() == (sent,)
    work.close()
    context.close()


class TestCommits:
    def test_files_are_the_commits_and_data_is_of_now(self, project: Project, commit: Callable[[str], str]) -> None:
        template(project, "Be brief.")
        project.rows(numbered(1))
        (project.root / "pipelines" / "schemas").mkdir()
        schema = project.root / "pipelines" / "schemas" / "answer.json"
        schema.write_text('{"type": "object", "properties": {"old": {"type": "string"}}}', encoding="utf-8")
        text = FILES[: FILES.index("[output")] + '[output]\nschema_file = "pipelines/schemas/answer.json"\n'
        query = project.root / "pipelines" / "rows.sql"
        query.write_text("SELECT 'old' AS id, 'b' AS body, 'l' AS lang", encoding="utf-8")
        project.pipeline(text + FILES[FILES.index("[[models]]") :])
        commit("first")
        template(project, "Be long.")
        schema.write_text('{"type": "object", "properties": {"new": {"type": "string"}}}', encoding="utf-8")
        project.pipeline(FILES)
        project.rows([{**numbered(1)[0], "more": 1}])
        resolved = resolved_as(project, "HEAD")
        assert resolved.templates.render({"body": "x", "lang": "en"}).system == "Be brief."
        assert list(resolved.full_schema["properties"]) == ["old"]
        assert {each.name for each in resolved.input_columns} == {"id", "body", "lang", "amount"}

    def test_a_project_below_the_repositorys_top(self, project_at: Callable[[Path], Project], tmp_path: Path) -> None:
        folder = tmp_path / "below"
        folder.mkdir()
        (tmp_path / "prompts").mkdir()
        (tmp_path / "prompts" / "decoy.j2").write_text("decoy", encoding="utf-8")
        project = project_at(folder)
        template(project, "Be brief.")
        project.rows(numbered(1))
        project.pipeline(FILES)
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "prompts", "below/pipelines", "below/prompts")
        git(tmp_path, "commit", "-q", "-m", "first")
        template(project, "Be long.")
        message = resolved_as(project, "HEAD").templates.render({"body": "x", "lang": "en"})
        assert message.system == "Be brief."

    def test_a_file_that_had_another_name(self, project: Project, commit: Callable[[str], str]) -> None:
        project.rows(numbered(1))
        (project.root / "pipelines" / "older.toml").write_text('name = "demo"\n' + BASIC, encoding="utf-8")
        commit("first")
        (project.root / "pipelines" / "older.toml").unlink()
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        assert resolved_as(project, "HEAD").templates.render({"body": "x", "lang": "en"}).user == "x"

    def test_a_commit_without_the_pipeline(self, project: Project, commit: Callable[[str], str]) -> None:
        project.rows(numbered(1))
        project.pipeline(name="another")
        commit("first")
        project.pipeline()
        with pytest.raises(UsageError, match="there is no pipeline demo"):
            resolved_as(project, "HEAD")

    def test_a_broken_file_says_in_which_commit(self, project: Project, commit: Callable[[str], str]) -> None:
        project.rows(numbered(1))
        (project.root / "pipelines" / "demo.toml").write_text("nonsense", encoding="utf-8")
        commit("first")
        project.pipeline()
        with pytest.raises(PipelineError) as error:
            resolved_as(project, "HEAD")
        assert str(error.value).startswith("HEAD (")

    def test_a_link_out_of_the_project_is_not_followed(self, project: Project, commit: Callable[[str], str]) -> None:
        outside = project.root.parent / "secret.txt"
        outside.write_text("a secret", encoding="utf-8")
        (project.root / "prompts" / "demo" / "system.md.j2").symlink_to(outside)
        project.rows(numbered(1))
        project.pipeline(FILES)
        commit("first")
        with pytest.raises(UsageError, match="cannot be unpacked"):
            resolved_as(project, "HEAD")
