"""The two kinds of error: the emulator was used wrongly, or the emulated service answers with an error."""

from typing import Any

STATUS_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class EmulatorError(ValueError):
    """The emulator cannot use an answers file, a faults file or a folder; the text names the file and the place."""


class ApiError(Exception):
    """The emulated service answers with an HTTP status other than 200.

    `kind` is the provider's error type, `message` its text. `error_code` becomes `error.details.error_code`;
    `retry_after` (seconds) becomes the header.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind or STATUS_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        self.message = message
        self.error_code = error_code
        self.retry_after = retry_after

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error as the provider's JSON."""
        return error_envelope(self.kind, self.message, request_id, self.error_code)


def error_envelope(kind: str, message: str, request_id: str, error_code: str | None = None) -> dict[str, Any]:
    """Return `{"type": "error", "error": {"type", "message"}, "request_id"}`, with details if there is a code."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if error_code is not None:
        error["details"] = {"error_code": error_code}
    return {"type": "error", "error": error, "request_id": request_id}
