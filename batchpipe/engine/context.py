"""Hold what every command works with: the project, its settings, its database, its provider and the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from batchpipe.chain.chain import Chain, Upstream
from batchpipe.common import modes
from batchpipe.common.errors import DatabaseError, PipelineError, ProviderError
from batchpipe.common.given import as_utf_8
from batchpipe.common.machine import THIS_MACHINE, Machine, utc_now
from batchpipe.common.progress import Watch, unwatched
from batchpipe.decide.waits import clock_offset
from batchpipe.engine.access.configured import known_providers, price_book
from batchpipe.engine.access.making import Access, shown_url
from batchpipe.engine.access.providers import PipelineProviders
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.resolved.resolve import Resolved, resolve
from batchpipe.engine.source.contents import content_columns
from batchpipe.engine.source.databases import SourceDatabases, aliases_of, known_tables
from batchpipe.engine.source.files import MediaLook, hashed_path, known_files
from batchpipe.engine.source.request_files import RequestFiles
from batchpipe.engine.source.sessions import SourceSessions
from batchpipe.engine.source.source import Source, open_source
from batchpipe.engine.source.upstream import declared_columns, upstream_tables
from batchpipe.media.roots import Roots
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.dotenv_file import with_dotenv
from batchpipe.project.project import is_project
from batchpipe.project.settings import Settings
from batchpipe.providers import Account, NoListError, NotSentError, Provider, UnavailableError
from batchpipe.providers.known import KnownProviders
from batchpipe.store.database import Database, Work
from batchpipe.store.disk import disk_error, temporary_folder
from batchpipe.store.works import Works

EMULATOR_KEY = "emulator"
EMULATOR_RECONCILE_SECONDS = 2.0


@dataclass(kw_only=True)
class Context:
    """The surroundings of one call. `environment` is read once from the process; `say` writes to the person.

    `ask` puts a question to a person at the terminal; None where nobody can be asked. `expected_rows` are the files
    that stand in for output tables whose answers a plan only expects, by pipeline. `watch` is told what runs do.
    `shared` holds what the pipelines of the call have in common, as the limiters of realtime calls.
    """

    root: Path
    settings: Settings
    environment: Mapping[str, str]
    say: Callable[[str], None]
    wait_seconds: float = 30.0
    clock: Callable[[], datetime] = utc_now
    machine: Machine = THIS_MACHINE
    ask: Callable[[str], bool] | None = None
    watch: Watch = unwatched
    database: Database = field(init=False)
    shared: dict[tuple[str, ...], object] = field(default_factory=dict)
    chain: Chain = field(init=False)
    expected_rows: dict[str, Path] = field(default_factory=dict, init=False)
    _input_types: dict[Path, dict[str, str]] = field(default_factory=dict, init=False)
    _project_database: Path = field(init=False)
    _elsewhere: Path | None = field(default=None, init=False)
    _works: Works = field(default_factory=Works, init=False)
    _sessions: SourceSessions = field(default_factory=SourceSessions, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _made: dict[str, Provider] = field(default_factory=dict, init=False)
    _emulators: dict[str, str] = field(default_factory=dict, init=False)
    _emulated_providers: dict[tuple[str, str], Provider] = field(default_factory=dict, init=False)
    _accounts: dict[tuple[str, str], Account] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        modes.share_files(self.settings.shared)
        path = self.settings.database_path(self.root, self.environment)
        self._project_database = path
        self.chain = Chain(root=self.root, catalogs=aliases_of((path, path)), budget=self.settings.budget)
        self.chain.known_tables = lambda: known_tables(self._databases, self.wait_seconds)
        private_below = None
        if self.settings.emulator:
            private_below = path.parent / ".batchpipe"
            path = private_below / "emulator" / path.name
        self.database = Database(
            path=path,
            clock=self.clock,
            wait_seconds=self.wait_seconds,
            announce=self.say,
            sleep=self.machine.sleep,
            chance=self.machine.chance,
            private_below=private_below,
        )

    @cached_property
    def providers(self) -> KnownProviders:
        """Return the providers that a model may name. Raises UsageError for a wrong table in the settings."""
        return known_providers(self.settings)

    @cached_property
    def _variables(self) -> Mapping[str, str]:
        """Return what a `${NAME}` in the table of a provider stands for."""
        return with_dotenv(self.environment, self.root)

    @property
    def reconcile_wait(self) -> float:
        """Return the seconds after which a submit of unknown outcome counts as lost.

        The built-in emulator lists its batches at once, so a short wait is enough there.
        """
        if self.settings.emulator and "reconcile_wait" not in self.settings.model_fields_set:
            return EMULATOR_RECONCILE_SECONDS
        return self.settings.reconcile_wait

    def prices(self) -> PriceBook:
        """Return where the prices of each provider come from."""
        return price_book(self.settings, self.root, self.environment)

    def work(self) -> Work:
        """Open a working DuckDB that spills beside the database, or elsewhere where that cannot be written."""
        return self._works.open(self._spill())

    def _spill(self) -> Path | None:
        """Return the folder to spill to; None, so that DuckDB chooses, while nothing exists beside the database."""
        if not self.database.path.exists() and not self.database.folder.is_dir():
            return None
        beside = self._writable_folder("spill")
        if beside is None and self._elsewhere is None:
            self._elsewhere = Path(self._stack.enter_context(temporary_folder(self.database.folder)))
        return beside or self._elsewhere

    def _writable_folder(self, name: str) -> Path | None:
        """Make a folder below the working folder and return it; None where it cannot be made or written to."""
        try:
            folder = self.database.make_folder(name)
        except DatabaseError:
            return None
        return folder if os.access(folder, os.W_OK | os.X_OK) else None

    @contextmanager
    def temporary_folder(self, prefix: str) -> Iterator[Path]:
        """Make a folder beside the database, or elsewhere where that is not possible, and remove it at the end."""
        with temporary_folder(self.database.folder, prefix=prefix, below=self._writable_folder("work")) as folder:
            yield Path(folder)

    @contextmanager
    def source(
        self, file: PipelineFile, params: Mapping[str, Any], *, offline: bool = False, reads_only: bool = False
    ) -> Iterator[Source]:
        """Open a session over the input of `file`; with `offline` without any source or database.

        `reads_only` says that the block makes nothing in the session, so that it may be used again.
        """
        reads = self.chain.reads(file)
        with open_source(
            file,
            SourceDatabases(paths=self._databases, wait_seconds=self.wait_seconds),
            self.environment,
            params,
            spill=self._spill(),
            upstream=[
                table
                for each in reads.views
                for table in upstream_tables(each, self._declared_columns, self.expected_rows, offline=offline)
            ],
            only_upstream=reads.only_upstream,
            offline=offline,
            look=partial(self._look, file, from_answers=bool(reads.views)),
            sessions=self._sessions if reads_only else None,
        ) as source:
            yield source

    def _look(self, file: PipelineFile, snapshot: Path, *, from_answers: bool) -> MediaLook:
        """Return how the files that the input of `file` names are looked at.

        Paths that answers of another pipeline may have written have to lie below `media_roots`.
        """
        usual, strict = self._roots(file, from_answers=from_answers)

        def known(path: Path) -> Path | None:
            """Write what is known of files to `path`."""
            with closing(self.work()) as work:
                return known_files(self.database, work, path)

        hashed, kept = hashed_path(snapshot), self.looks_folder
        return MediaLook(roots=usual, strict=strict, known=known, clock=self.clock, hashed=hashed, kept=kept)

    @property
    def looks_folder(self) -> Path | None:
        """Return the folder that keeps the hashes of files until a run records them; None if it cannot be made."""
        return self._writable_folder("looks")

    def _roots(self, file: PipelineFile, *, from_answers: bool) -> tuple[Roots, Roots]:
        """Return the folders whose files `image()` and `pdf()` may send, and those for `file()`."""
        given = [self.root / each for each in file.pipeline.prompt.media_roots]
        forbidden = [path.with_name(path.name + end) for path in self._databases for end in ("", ".wal")]
        strict = Roots(root=self.root, allowed=given, forbidden=forbidden)
        allowed = given if from_answers else [self.root, *given]
        return Roots(root=self.root, allowed=allowed, forbidden=forbidden), strict

    def media_roots(self, file: PipelineFile) -> Roots:
        """Return the folders whose pictures and documents `file` may send."""
        return self._roots(file, from_answers=bool(self.chain.reads(file).views))[0]

    @contextmanager
    def request_files(
        self, resolved: Resolved, params: Mapping[str, Any], folder: Path
    ) -> Iterator[RequestFiles | None]:
        """Return what reads the files of a pipeline's requests; None where its prompt has none.

        What it writes to `folder` is removed at the end.
        """
        if not resolved.templates.media:
            yield None
            return
        files = RequestFiles(
            columns=content_columns(resolved.input_columns),
            roots=self._roots(resolved.file, from_answers=bool(self.chain.reads(resolved.file).views)),
            source=lambda: self.source(resolved.file, params),
            folder=folder,
        )
        try:
            yield files
        finally:
            files.forget()

    @property
    def _databases(self) -> tuple[Path, ...]:
        """Return the databases that the input may read: the call's own, and beside the emulator's the project's."""
        return (self.database.path, *([self._project_database] if self.settings.emulator else []))

    def _declared_columns(self, upstream: Upstream, offline: bool) -> list[tuple[str, str]]:
        """Return the columns of an output table as its pipeline declares them, also where the table is not there yet.

        The types of its key are those of its input, which is asked for them; offline, an undeclared one is text.
        Raises PipelineError for a file with mistakes.
        """
        file = upstream.file
        if file is None:
            raise PipelineError.from_problems(upstream.problems)
        types: dict[str, str] = dict(file.pipeline.input.columns)
        if not types and file.path in self._input_types:
            types = self._input_types[file.path]
        elif not types and not (offline and not self.chain.reads(file).only_upstream):
            self.chain.ordered([file])  # pipelines in a circle would ask each other without end
            with self.source(file, {}, offline=offline, reads_only=True) as source:
                types = self._input_types[file.path] = {each.name: each.type for each in source.columns()}
        return declared_columns(file, types)

    def resolve(self, file: PipelineFile, source: Source, *, answers: bool = True) -> Resolved:
        """Resolve `file` against `source`. Without `answers` no row is to be answered: only stored ones are read."""
        return resolve(file, source, self.providers, answers=answers)

    def providers_of(self, file: PipelineFile) -> PipelineProviders:
        """Return the providers of a pipeline, each made at its first use; with `--emulator` they run inside this
        process.
        """
        return PipelineProviders(
            known=self.providers,
            make=partial(self._emulated, file) if self.settings.emulator else self.provider_named,
            url=self._emulated_url if self.settings.emulator else self._url,
        )

    def providers_without_file(self) -> PipelineProviders:
        """Return the providers of pipelines that have no file any more; no emulator."""
        return PipelineProviders(known=self.providers, make=self.provider_named, url=self._url)

    def _url(self, name: str) -> str:
        """Return the address of the provider called `name` as it is recorded with a batch."""
        return self._access.url(self.providers.of(name))

    def provider_named(self, name: str) -> Provider:
        """Return the provider called `name`, which is made at its first use; no emulator."""
        if name not in self._made:
            self._made[name] = self._access.make(self.providers.of(name))
        return self._made[name]

    def _emulated(self, file: PipelineFile, name: str) -> Provider:
        """Return the provider called `name` as the emulator of a pipeline plays it."""
        shared = next(iter(file.evaluates), file.pipeline.name)
        if (shared, name) not in self._emulated_providers:
            if shared not in self._emulators:
                self._emulators[shared] = self._start_emulator(file)
            provider = self.providers.of(name)
            self._emulated_providers[shared, name] = self._access.emulated(
                provider, self._emulators[shared], EMULATOR_KEY
            )
        return self._emulated_providers[shared, name]

    def _emulated_url(self, name: str) -> str:
        """Return the address of every emulated provider: the port of an emulator means nothing."""
        return EMULATOR_KEY

    @property
    def _access(self) -> Access:
        """Return what makes providers with their keys and addresses."""
        return Access(
            settings=self.settings,
            root=self.root,
            environment=self.environment,
            variables=lambda: self._variables,
            ask=self.ask,
            transport=self.machine.transport,
        )

    def account_url(self, provider: Provider) -> str:
        """Return what names the account beside the key: the base URL. The built-in emulator's port means nothing."""
        return EMULATOR_KEY if self.settings.emulator else shown_url(provider.base_url)

    def account(self, provider: Provider) -> Account:
        """Return the account of the provider's key, and the offset of its clock, asked once in a call.

        A provider that does not answer now leaves both unknown. Raises RefusedError where it refuses.
        """
        key = (self.account_url(provider), provider.key_hash)
        if key not in self._accounts:
            before = self.clock()
            try:
                found = provider.account()
            except NoListError as error:
                return Account(no_list=str(error))
            except (NotSentError, UnavailableError):
                return Account()
            self._accounts[key] = Account(
                organization=found.organization,
                workspace=found.workspace,
                clock_offset_seconds=clock_offset(before, self.clock(), found.answered_at),
            )
        return self._accounts[key]

    def _start_emulator(self, file: PipelineFile) -> str:
        """Start an emulator for one pipeline with its own answers, and return its URL. All emulators share one folder
        of batches.
        """
        from batchpipe.emulator import Emulator, EmulatorError

        service = self.database.path.parent / "service"
        try:
            modes.make_folder(service, below=self._project_database.parent / ".batchpipe")
            emulator = Emulator(
                service,
                answers=self.emulator_answers(file),
                delay_seconds=self.settings.emulator_delay or 0.0,
                faults=self.settings.path("emulator_faults", self.root, self.environment),
                private=not self.settings.shared,
            )
            emulator.start()
        except EmulatorError as error:
            hint = "Correct the file that --answers or --faults names, or leave the option out."
            raise ProviderError(f"the emulator cannot start: {error}", where="--emulator", hint=hint) from error
        except OSError as error:
            raise disk_error(error, service) from error
        self._stack.callback(emulator.stop)
        return emulator.base_url

    def emulator_answers(self, file: PipelineFile) -> Path | None:
        """Return the file that has the emulator's answers for a pipeline; None where the emulator makes them up."""
        answers = self.settings.path("emulator_answers", self.root, self.environment)
        name = next(iter(file.evaluates), file.pipeline.name)
        conventional = self.root / "pipelines" / "data" / "answers" / f"{name}.jsonl"
        return conventional if answers is None and conventional.is_file() else answers

    def raw_folders(self) -> list[Path]:
        """Return the raw folder of the database, then those that other `database` settings may have left behind.

        These lie beside files in the root or in a folder of the root that is no project of its own. The emulator has
        its own folder alone.
        """
        own = self.database.folder / "raw"
        if self.settings.emulator:
            return [own]
        try:
            below = [each.path for each in os.scandir(self.root) if each.is_dir() and each.name != ".batchpipe"]
        except OSError:
            below = []
        places = [self.root, *(path for each in sorted(below) if not is_project(path := Path(each)))]
        others = [place / ".batchpipe" / "raw" for place in places]
        return [own, *(each for each in others if each != own)]

    @property
    def person(self) -> str:
        """Return the name of the person who runs this call, as CI or the operating system gives it."""
        names = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME", "USERNAME")
        return as_utf_8(next((self.environment[name] for name in names if self.environment.get(name)), "unknown"))

    def git_commit(self) -> str | None:
        """Return the checked-out commit, with `+` where files differ from it; None outside a repository."""
        return self.machine.git_commit(self.root)

    def close(self) -> None:
        """Stop the emulators of this call, and close its working databases and its sessions."""
        self._works.close()
        self._sessions.close()
        self._stack.close()
