"""Rules about what a prompt asks for: the number of tasks, and the form of the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchpipe.lint.subject import Finding, Subject

# A reason, a quotation or a confidence belongs to the answer of another task and is no task of its own.
_OF_ITSELF = r"\b(?!(?: \w+){0,2} (?:reason|rationale|evidence|decision|quot|passage|why))"
_OF_CONFIDENCE = r"\b(?!(?: \w+)? (?:confiden|certain|sure\b|likel))"
# What a model is asked to do, by kind. Only English is read.
_TASKS = {
    "classify": r"classif(?:y|ies)|categori[sz]e|triage|label (?:the|each|every|this|it)|tag (?:the|each|every|this|it)"
    r"|(?:choose|pick|assign|select) (?:exactly )?(?:one|a|the) (?:\w+ ){0,2}(?:label|category|class|queue|tag)",
    "summarize": rf"(?:summari[sz]e|sum (?:\w+ ){{0,3}}up|write (?:a|the) (?:\w+ ){{0,2}}summary){_OF_ITSELF}",
    "translate": r"translate",
    "extract": rf"extract{_OF_ITSELF}",
    "rewrite": r"rewrite|rephrase|paraphrase|proofread|correct (?:the|all|any|its) (?:spelling|grammar|typos?)",
    "reply": r"(?:write|draft|compose|suggest) (?:a|an|the|your) (?:\w+ ){0,2}(?:reply|response|answer|e-?mail|letter)",
    "rate": rf"(?:rate|score|grade) (?:the|its|each|how|this|it|every){_OF_CONFIDENCE}",
}
_VERB = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _TASKS.items())
_LEAD = (
    r"(?:[-*•#>\s]|\d+[.)]|\(\w\)|please |then,? |also,? |finally,? |first(?:ly)?,? |second(?:ly)?,? |third(?:ly)?,? "
    r"|next,? |lastly,? |afterwards,? |additionally,? |in addition,? |now "
    r"|you (?:must |should |will |are to |can )?(?:also |then )?"
    r"|(?:your|the) (?:\w+ )?(?:task|job|role) is to |i want you to |for (?:each|every) [^,.]{1,40}, "
    r"|(?:if|when|where) [^,.]{1,60}, )*"
)
_READING = r"(?:read|look at|take|consider|analy[sz]e|go through|examine|review) "
_FIRST = re.compile(rf"{_LEAD}(?:{_VERB})\b", re.IGNORECASE)
_OPENS = re.compile(rf"{_LEAD}(?:{_READING}|(?:{_VERB})\b)", re.IGNORECASE)
_FURTHER = re.compile(rf"(?:[,;]| and| then)\s+(?:and |then |also |finally |to )*(?:{_VERB})\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?:;\n]+(?:[.](?=\w)[^.!?:;\n]+)*", re.IGNORECASE)
_REFUSAL = re.compile(r"\b(?:not|never|without|don't|avoid|no)\s+(?:\w+\s+){0,2}$", re.IGNORECASE)
_NUMBERED = re.compile(r"^[^\w\n]*task\s*(?:#|no\.?\s*)?([1-9])\b", re.IGNORECASE | re.MULTILINE)
_SEVERAL = re.compile(
    r"\b(?:perform|do|complete|carry out|you have|your) (?:(?:the|these|all|two|three|four|five|several|multiple"
    r"|following|[2-9]) ){0,3}tasks\b",
    re.IGNORECASE,
)

# Words that name the form of an answer; a few words of other languages prevent false alarms for such prompts.
_FORM = re.compile(
    r"\b(?:words?|sentences?|paragraphs?|lines?|characters?|bullets?|bullet points?|headings?|lists?|tables?|prose"
    r"|markdown|html|xml|json|csv|yaml|plain text|one word|yes or no|number|format(?:ted)?|verbatim|as written"
    r"|(?:answer|reply|respond) with|(?:return|output|print) (?:only|just)|(?:only|just) the|alone|nothing (?:else|but)"
    r"|code block|code fence|sql|wort|worte|wörter|wörtern|satz|sätze|sätzen|absatz|zeilen?|stichpunkten?|nur|allein"
    r"|mots?|phrases?|lignes?|seulement|palabras?|frases?|líneas?|solo|sólo|parole|frasi)\b|句|字|单词|語",
    re.IGNORECASE,
)


def several_tasks(subject: Subject) -> Iterator[Finding]:
    """Find orders of different kinds in one prompt, or tasks that the prompt itself numbers or counts."""
    hint = "Write a pipeline for each task: it is then checked, retried, escalated and paid for alone."
    found: dict[str, str] = {}
    for prompt in subject.prompts:
        counted = _SEVERAL.search(prompt.text)
        numbered = {match[1]: match.start(1) for match in _NUMBERED.finditer(prompt.text)}
        if len(numbered) > 1:
            what = f"the prompt numbers {len(numbered)} tasks"
            yield Finding(what=what, where=subject.at(prompt, max(numbered.values())), hint=hint)
            return
        if counted:
            what = f'the prompt names several tasks: "{counted[0]}"'
            yield Finding(what=what, where=subject.at(prompt, counted.start()), hint=hint)
            return
        for kind, offset in _orders(prompt.text):
            found.setdefault(kind, subject.at(prompt, offset))
    if len(found) > 1:
        what = f"the prompt asks for {len(found)} tasks at once: {', '.join(found)}"
        yield Finding(what=what, where=list(found.values())[1], hint=hint)


def _orders(text: str) -> Iterator[tuple[str, int]]:
    """Yield (kind of task, offset) for each order in the sentences of a text."""
    for sentence in _SENTENCE.finditer(text):
        words, start = sentence[0], sentence.start()
        lead = len(words) - len(words.lstrip())
        first = _FIRST.match(words, lead)
        if first and first.lastgroup and not _REFUSAL.search(words[: first.start(first.lastgroup)]):
            yield first.lastgroup, start + first.start(first.lastgroup)
        if _OPENS.match(words, lead):
            for each in _FURTHER.finditer(words):
                if each.lastgroup and not _REFUSAL.search(words[: each.start(each.lastgroup)]):
                    yield each.lastgroup, start + each.start(each.lastgroup)


def no_output_format(subject: Subject) -> Iterator[Finding]:
    """Find free text whose form the prompt does not name. The other formats are enforced or sent with every request."""
    if subject.output_format != "text":
        return
    texts = [subject.text(prompt) for prompt in subject.prompts]
    if any(_FORM.search(each) for each in texts):
        return
    description = str((next(iter(subject.schema.get("properties", {}).values()), None) or {}).get("description") or "")
    meant = f" ({description.rstrip('.')})" if description else ""
    yield Finding(
        what=f'format = "text" does not set the form of the answer{meant}, and the prompt does not either',
        where=subject.at(subject.prompts[0], 0),
        hint='Say in the prompt how long the answer is and what it may hold: "Answer with one sentence and nothing '
        'else."; or choose format = "json_schema".',
    )
