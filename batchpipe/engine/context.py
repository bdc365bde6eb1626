"""What every command works with: the project, its settings, its database, its provider and the clock."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchpipe.common.errors import ProviderError
from batchpipe.engine.cost.estimate import PriceBook
from batchpipe.engine.cost.pricing import read_prices
from batchpipe.engine.resolved.resolve import Resolved, resolve, split_model
from batchpipe.engine.source.source import Source, SourceDatabases, open_source
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.settings import Settings, credentials
from batchpipe.providers import REGISTRY, Provider, get_provider_module
from batchpipe.store.database import Database, Work

EMULATOR_KEY = "emulator"
EMULATOR_RECONCILE_SECONDS = 2.0


def utc_now() -> datetime:
    """The wall clock as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(slots=True, kw_only=True)
class Context:
    """One call's surroundings. `environment` is the process's, read once; `say` talks to the person."""

    root: Path
    settings: Settings
    environment: Mapping[str, str]
    say: Callable[[str], None]
    wait_seconds: float = 30.0
    clock: Callable[[], datetime] = utc_now
    database: Database = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _providers: dict[str, Provider] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        path = self.settings.database_path(self.root, self.environment)
        self._project_database = path
        if self.settings.emulator:
            path = path.parent / ".batchpipe" / "emulator" / path.name
        self.database = Database(path=path, clock=self.clock, wait_seconds=self.wait_seconds, announce=self.say)

    _project_database: Path = field(init=False)

    @property
    def default_provider(self) -> str:
        return self.settings.provider or next(iter(REGISTRY))

    @property
    def reconcile_wait(self) -> float:
        """Seconds; the built-in emulator's list is never late, so that less is enough there."""
        if self.settings.emulator and "reconcile_wait" not in self.settings.model_fields_set:
            return EMULATOR_RECONCILE_SECONDS
        return self.settings.reconcile_wait

    def prices(self) -> PriceBook:
        """The team's prices, or the built-in table."""
        path = self.settings.path("prices", self.root, self.environment)
        return PriceBook(file=read_prices(path) if path else None, factor=self.settings.price_factor)

    def work(self) -> Work:
        """A working DuckDB that spills beside the database."""
        return Work.open(folder=self._spill())

    def _spill(self) -> Path | None:
        """Where to spill; where nothing has been made beside the database yet, DuckDB chooses."""
        return self.database.make_folder("spill") if self.database.folder.is_dir() else None

    @contextmanager
    def temporary_folder(self, prefix: str) -> Iterator[Path]:
        """A folder beside the database that goes again; elsewhere where nothing may be written there."""
        try:
            beside: Path | None = self.database.make_folder("work")
        except OSError:
            beside = None
        with TemporaryDirectory(prefix=prefix, dir=beside) as folder:
            yield Path(folder)

    @contextmanager
    def source(self, file: PipelineFile, params: Mapping[str, Any], *, offline: bool = False) -> Iterator[Source]:
        """An open session over the input of `file`; with `offline` one that opens no source and no database."""
        paths = [self.database.path]
        if self.settings.emulator:
            paths.append(self._project_database)
        databases = SourceDatabases(paths=() if offline else tuple(paths), wait_seconds=self.wait_seconds)
        spill = self._spill()
        with open_source(file, databases, self.environment, params, spill=spill, offline=offline) as source:
            yield source

    def resolve(self, file: PipelineFile, source: Source) -> Resolved:
        return resolve(file, source, self.default_provider)

    def provider(self, file: PipelineFile) -> Provider:
        """The provider of a pipeline, made at its first use: with `--emulator` the one inside this process."""
        name, _ = split_model(file.pipeline.models[0].model, self.default_provider)
        shared = next(iter(file.evaluates), file.pipeline.name) if self.settings.emulator else name
        if shared not in self._providers:
            self._providers[shared] = self._make_provider(name, file)
        return self._providers[shared]

    def account_url(self, provider: Provider) -> str:
        """What names the account beside the key: the base URL; the built-in emulator's port means nothing."""
        return EMULATOR_KEY if self.settings.emulator else provider.base_url

    def _make_provider(self, name: str, file: PipelineFile) -> Provider:
        module = get_provider_module(name)
        if self.settings.emulator:
            key = {module.KEY_VARIABLE: EMULATOR_KEY}
            return module.provider(key, base_url=self._start_emulator(file))
        found = credentials(self.environment, self.root, module.VARIABLES)
        base_url = self.settings.text("base_url", self.environment)
        secrets = {name: secret.get_secret_value() for name, secret in found.items()}
        return module.provider(secrets, base_url=base_url)

    def _start_emulator(self, file: PipelineFile) -> str:
        """A server for one pipeline, with its own answers; all of them share the batches in one folder."""
        from batchpipe.emulator import Emulator, EmulatorError

        try:
            emulator = Emulator(
                self.database.path.parent / "service",
                answers=self.emulator_answers(file),
                delay_seconds=self.settings.emulator_delay or 0.0,
                faults=self.settings.path("emulator_faults", self.root, self.environment),
            )
            emulator.start()
        except EmulatorError as error:
            hint = "Correct the file, or leave it out."
            raise ProviderError(f"the emulator cannot start: {error}", where="--emulator", hint=hint) from error
        self._stack.callback(emulator.stop)
        return emulator.base_url

    def emulator_answers(self, file: PipelineFile) -> Path | None:
        """The file that the emulator answers a pipeline from; None where it makes answers up."""
        answers = self.settings.path("emulator_answers", self.root, self.environment)
        name = next(iter(file.evaluates), file.pipeline.name)
        conventional = self.root / "pipelines" / "data" / "answers" / f"{name}.jsonl"
        return conventional if answers is None and conventional.is_file() else answers

    @property
    def person(self) -> str:
        """Who runs this call, as CI or the system names them."""
        names = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME", "USERNAME")
        return next((self.environment[name] for name in names if self.environment.get(name)), "unknown")

    def git_commit(self) -> str | None:
        """The commit that is checked out, with `+` where files differ from it; None outside a repository."""
        try:
            run = [
                "git",
                "-C",
                str(self.root),
                "describe",
                "--always",
                "--dirty=+",
                "--abbrev=12",
                "--exclude=*",
            ]
            found = subprocess.run(run, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return found.stdout.strip() or None if found.returncode == 0 else None

    def close(self) -> None:
        self._stack.close()
