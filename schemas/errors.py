"""Every code that a failure can have, and every reason for a further attempt.

Messages carry them as text, so that a code of a newer version passes through an older
process; what is made here is made from these.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong, as clients see it in `error.code` and analysts in `error_code`."""

    # The request itself.
    INVALID_VALUE = "invalid_value"
    INVALID_JSON = "invalid_json"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_REQUEST = "invalid_request"
    MISSING_PARAMETER = "missing_required_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_VALUE = "unsupported_value"
    UNSUPPORTED_ENCODING = "unsupported_content_encoding"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    BODY_INCOMPLETE = "body_incomplete"
    BODY_TOO_LARGE = "body_too_large"
    # Who asks, and for what.
    INVALID_API_KEY = "invalid_api_key"
    INSUFFICIENT_PERMISSIONS = "insufficient_permissions"
    CSRF_FAILED = "csrf_failed"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_DISABLED = "model_disabled"
    REQUEST_NOT_FOUND = "request_not_found"
    REQUEST_FINISHED = "request_finished"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use"
    IDEMPOTENCY_KEY_EXPIRED = "idempotency_key_expired"
    STREAM_EXPIRED = "stream_expired"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    PRECONDITION_REQUIRED = "precondition_required"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HTTP_ERROR = "http_error"
    # Ends that are no completion.
    REQUEST_CANCELLED = "request_cancelled"
    CLIENT_LEFT = "client_left"
    CLIENT_TOO_SLOW = "client_too_slow"
    BLOCKED = "blocked"
    PROMPT_INJECTION = "prompt_injection"
    SECRET_IN_PROMPT = "secret_in_prompt"  # noqa: S105  a code
    CONTENT_FILTER = "content_filter"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    ALREADY_ENDED = "already_ended"
    ANSWER_CHANGED = "answer_changed"
    # Inference that failed.
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    CANNOT_CONTINUE = "cannot_continue"
    ENGINE_FAILED = "engine_failed"
    INFERENCE_FAILED = "inference_failed"
    REPLICA_LOST = "replica_lost"
    REPLICA_KILLED = "replica_killed"
    REQUEST_UNREADABLE = "request_unreadable"
    REQUEST_LOST = "request_lost"
    ANSWER_TOO_LARGE = "answer_too_large"
    # Not now.
    BUS_UNAVAILABLE = "bus_unavailable"
    CONSOLE_UNAVAILABLE = "console_unavailable"
    CONSOLE_TIMEOUT = "console_timeout"
    GATEWAY_STOPPING = "gateway_stopping"
    OVERLOADED = "overloaded"
    STARTING = "starting"
    TOPIC_MISSING = "topic_missing"
    STORE_UNAVAILABLE = "store_unavailable"
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal_error"


class RetryReason(StrEnum):
    """Why an attempt is followed by another."""

    GAP = "gap"
    SILENCE = "silence"
    END_LOST = "end_lost"
    REPLICA_GAVE_UP = "replica_gave_up"
    REPLICA_LOST = "replica_lost"
    OTHER = "other"

    @classmethod
    def of(cls, text: str) -> "RetryReason":
        """The reason that a message names; OTHER for one that this version does not
        know.
        """
        try:
            return cls(text)
        except ValueError:
            return cls.OTHER
