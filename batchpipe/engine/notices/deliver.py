"""Hand a notice to a command or a webhook, in ten seconds and with three tries."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchpipe.common.errors import UsageError
from batchpipe.common.secrets import redacted, remember
from batchpipe.engine.context import Context
from batchpipe.pipeline.load import expand_variables
from batchpipe.project.dotenv_file import place_of, place_of_address
from batchpipe.project.notify import Notify
from batchpipe.project.settings import PREFIX
from batchpipe.project.trust import Sending, Trust, variables_sent
from batchpipe.providers.shared.wire import follow

TRIES = 3
TRY_SECONDS = 10.0
PAUSE_SECONDS = 1.0
SHOWN_ERROR = 300
LAST_BYTES = 4 * SHOWN_ERROR
WHERE = "the setting notify"


class NotDeliveredError(Exception):
    """One try to hand over a notice failed."""


def require_trust(context: Context) -> None:
    """Check that each variable in the address of the webhook may be sent there, as for the address of a provider.

    A webhook that is all a variable comes from the environment. Raises CredentialsError.
    """
    notify, root, environment = context.settings.notify, context.root, context.environment
    text = (notify.webhook if notify is not None else None) or ""
    names = list(dict.fromkeys(variables_sent(text)))
    if context.settings.emulator or not all(environment.get(each) for each in names):
        return
    url = expand_variables(text, environment, WHERE) if names else ""
    for each in names:
        key_place = place_of(root, environment, each) or "repository"
        url_place = place_of_address(root, environment, environment, text, f"{PREFIX}NOTIFY")
        sending = Sending(variable=each, key_place=key_place, url=url, url_place=url_place)
        Trust(environment=environment, ask=context.ask).require(sending)


def deliver(context: Context, notify: Notify, value: Mapping[str, Any]) -> list[str]:
    """Hand over a notice by every way of `notify`, and return what went wrong: nothing where all have it.

    A way that fails is tried three times, with a pause of seconds between.
    """
    body = redacted(json.dumps(value, default=str)).encode()
    ways = [way for way, is_set in ((_command, notify.command), (_webhook, notify.webhook)) if is_set]
    failed = []
    for way in ways:
        error = ""
        for number in range(TRIES):
            if number:
                context.machine.sleep(PAUSE_SECONDS * number)
            try:
                way(context, notify, body)
                break
            except (NotDeliveredError, UsageError) as problem:
                error = redacted(str(problem))
        else:
            failed.append(error)
    return failed


def _command(context: Context, notify: Notify, body: bytes) -> None:
    """Run the command with the notice on its standard input. Raises NotDeliveredError."""
    words = [expand_variables(each, context.environment, WHERE) for each in notify.command]
    name = Path(notify.command[0]).name
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        # Files and no pipes: a process that the command leaves behind would hold a pipe open, and nobody waits for it.
        given.write(body)
        given.seek(0)
        try:
            process = subprocess.Popen(
                words,
                cwd=context.root,
                env=dict(context.environment),
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise NotDeliveredError(f"{name} cannot be run: {error.strerror}") from error
        try:
            code = process.wait(TRY_SECONDS)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise NotDeliveredError(f"{name} took longer than {TRY_SECONDS:.0f} s") from error
        except BaseException:
            _end(process)
            raise
        if code:
            said.seek(max(said.seek(0, os.SEEK_END) - LAST_BYTES, 0))
            last = said.read().decode("utf-8", "replace").strip()[-SHOWN_ERROR:]
            raise NotDeliveredError(f"{name} ended with exit code {code}" + (f": {last}" if last else ""))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _webhook(context: Context, notify: Notify, body: bytes) -> None:
    """Post the notice to the webhook, whose address nobody is shown. Raises NotDeliveredError."""
    import httpx2

    url = expand_variables(notify.webhook or "", context.environment, WHERE)
    remember(url, "the webhook")
    shown = f"the webhook at {urlsplit(url).hostname or 'no address'}"

    headers = {"content-type": "application/json"}
    try:
        with (
            httpx2.Client(
                transport=context.machine.transport,
                timeout=TRY_SECONDS,
                follow_redirects=False,
                event_hooks={"request": [follow]},
            ) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise NotDeliveredError(f"{shown} cannot be reached: {type(error).__name__}") from error
    if not 200 <= status < 300:
        raise NotDeliveredError(f"{shown} answered {status}")
