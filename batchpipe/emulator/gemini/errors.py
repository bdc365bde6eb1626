"""The errors of this service: an HTTP status, its name in google.rpc.Code, and the JSON that says so."""

from typing import Any

NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# The number of each name in google.rpc.Code, which stands in the lines of a results file.
CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


class GoogleError(Exception):
    """The service answers with an HTTP status other than 200. `name` is the error's name, `details` a list of its."""

    def __init__(self, status: int, message: str, *, name: str | None = None, details: list[Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.name = name or NAMES.get(status, "UNKNOWN")
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the error as the service's JSON."""
        return error_body(self.status, self.message, self.name, self.details)

    def in_line(self) -> dict[str, Any]:
        """Return the error as a line of results has it, a google.rpc.Status."""
        return {"code": CODES.get(self.name, 2), "message": self.message}


def error_body(status: int, message: str, name: str | None = None, details: list[Any] | None = None) -> dict[str, Any]:
    """Return `{"error": {"code", "message", "status", "details"?}}`."""
    error: dict[str, Any] = {"code": status, "message": message, "status": name or NAMES.get(status, "UNKNOWN")}
    if details:
        error["details"] = details
    return {"error": error}


def quota_error(quota: str, *, seconds: float | None = None) -> GoogleError:
    """Return the refusal for a quota that is used up; `seconds` is how long it asks to wait."""
    kind = "type.googleapis.com/google.rpc."
    details: list[Any] = [{"@type": f"{kind}QuotaFailure", "violations": [{"quotaId": quota}]}]
    if seconds is not None:
        details.append({"@type": f"{kind}RetryInfo", "retryDelay": f"{seconds:g}s"})
    return GoogleError(429, QUOTA, details=details)
