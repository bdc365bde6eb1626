"""Errors of this protocol: `{"error": {"message", "type", "param", "code"}}`."""

from batchpipe.emulator.service.jsontypes import JsonObject

_TYPES = {401: "invalid_request_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 413: "file_too_large"}


class OpenAIError(Exception):
    """The service answers with an HTTP status other than 200; `code` and `param` may be None."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code if code is not None else _CODES.get(status)
        self.param = param
        self.kind = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")

    def body(self) -> JsonObject:
        """Return the error as the provider's JSON."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def error_body(status: int, message: str, code: str | None) -> JsonObject:
    """Return the body of an error with this status."""
    return OpenAIError(status, message, code=code).body()
