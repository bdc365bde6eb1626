"""The rungs of a pipeline file: whom each one asks, what its provider refuses, and the schema as it is sent there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batchpipe.common.errors import Problem
from batchpipe.engine.resolved.panels import MemberRequest, members_of, seats, settings_of
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import Mode, ProviderRules, RuleProblem, RungSettings, SentSchema
from batchpipe.providers.known import KnownProviders
from batchpipe.schema.validate import schema_errors

STRUCTURED_FORMATS = ("json_schema", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The rungs of a file, each with its provider, and after them the other members of panels.

    `parts` has the requests of a row on each rung that asks more than once.
    """

    file: PipelineFile
    providers: KnownProviders
    rungs: tuple[RungSettings, ...]
    parts: Mapping[int, tuple[MemberRequest, ...]] = field(default_factory=dict)

    def number_of(self, seat: int) -> int:
        """Return the number of the rung that a model with its settings belongs to."""
        return next((rung for rung, parts in self.parts.items() if any(each.seat == seat for each in parts)), seat)

    def every_rules(self) -> list[ProviderRules]:
        """Return the rules of the providers of all rungs, each once."""
        names = dict.fromkeys(each.provider for each in self.rungs)
        return list({id(rules): rules for rules in (self.providers.of(name).rules for name in names)}.values())

    def warnings(self, full: Mapping[str, Any]) -> list[RuleProblem]:
        """Return what the providers' rules warn of; each key begins with the number of its rung."""
        return [replace(each, key=f"{number} {each.key}") for number, each in self._found(full, "warning")]

    def problems(self, full: Mapping[str, Any]) -> list[Problem]:
        """Return what is wrong with the rungs, each with its place in the file."""
        return [
            Problem(what=each.what, where=self.file.where(f"[[models]] {number} {each.key}".rstrip()), hint=each.hint)
            for number, each in self._found(full, "error")
        ]

    def _found(self, full: Mapping[str, Any], level: str) -> list[tuple[int, RuleProblem]]:
        """Return what the providers' rules say against the rungs, each with the number of its rung."""
        return [
            (self.number_of(seat), each)
            for seat, rung in enumerate(self.rungs, start=1)
            for each in self._of_rung(rung, full, level)
        ]

    def _of_rung(self, rung: RungSettings, full: Mapping[str, Any], level: str) -> list[RuleProblem]:
        provider = self.providers.of(rung.provider)
        sent = sent_by(self.file, provider.rules, full)
        given = rung_problems(
            self.providers,
            rung,
            output_format=self.file.pipeline.output.format,
            sent_schema=sent.schema if sent is not None else None,
        )
        return [each for each in given if each.level == level]


def rungs_of(file: PipelineFile, providers: KnownProviders) -> tuple[RungSettings, ...]:
    """Return each rung's settings, with its provider. Raises PipelineError for a provider that there is not."""
    return tuple(
        settings_of(file, providers, rung.members[0], f"[[models]] {number} {'panel' if rung.panel else 'model'}")
        for number, rung in enumerate(file.pipeline.models, start=1)
    )


def ladder_of(file: PipelineFile, providers: KnownProviders) -> Ladder:
    """Return the rungs of a file with their providers, and the members of panels after them."""
    every, parts = seats(rungs_of(file, providers), members_of(file, providers))
    return Ladder(file=file, providers=providers, rungs=every, parts=parts)


def sent_by(file: PipelineFile, rules: ProviderRules, full: Mapping[str, Any]) -> SentSchema | None:
    """Return the schema as a provider is sent it; None in the format "text"."""
    return None if file.pipeline.output.format == "text" else rules.schema(full)


def schema_problems_of(file: PipelineFile, ladder: Ladder | None, full: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the schema, and what structured outputs of the ladder's providers cannot express."""
    found = list(schema_errors(full))
    if file.pipeline.output.format in STRUCTURED_FORMATS and ladder is not None:
        for rules in ladder.every_rules():
            found += [each for each in rules.schema(full).problems if each not in found]
    return [Problem(what=what, where=file.where(f"[output] {path}".rstrip()), hint=hint) for path, what, hint in found]


def fitted(providers: KnownProviders, rung: RungSettings, mode: Mode) -> RungSettings:
    """Return a rung with room for no longer an answer than its model writes in this mode."""
    cap = providers.of(rung.provider).rules.max_output_tokens(rung.usual_name, mode)
    return rung if cap is None or rung.max_tokens <= cap else replace(rung, max_tokens=cap)


def fitted_text(model: str, most: int, wanted: int) -> str:
    """Return the sentence that a model is asked for shorter answers than the rung allows that it was held against."""
    return f"{model} is asked with max_tokens = {most:,}, the most that it writes, and not with {wanted:,}."


def rung_problems(
    providers: KnownProviders, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
) -> Sequence[RuleProblem]:
    """Return everything in a rung that its provider is known to refuse, and what looks like a mistake.

    What models a gateway has is not known, so that none of its models is one that there is not.
    """
    provider = providers.of(rung.provider or providers.default)
    owner = providers.owner(provider, rung.model)
    found = provider.rules.problems(rung, output_format=output_format, sent_schema=sent_schema)
    if owner is not None:
        what = f"`{rung.model}` is a model of the provider {owner}, and this rung asks {provider.name}"
        other = RuleProblem(key="model", what=what, hint=f'Name it with its provider: "{owner}:{rung.model}".')
        return [other, *(each for each in found if each.key != "model")]
    return found if provider.own_address else [each for each in found if each.key != "model"]
