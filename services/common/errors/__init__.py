"""The kinds of failure, by what to do about them."""


class TocsinError(Exception):
    """Anything that Tocsin raises on purpose."""


class TransientError(TocsinError):
    """It may work later: retry, bounded."""


class PermanentError(TocsinError):
    """It will never work: set the message aside."""


class ConfigError(TocsinError):
    """A setting is wrong; the message says which and how to mend it.

    The process exits with it.
    """


class MissingSettingError(ConfigError):
    """A setting that must be given is not there."""


class RecordTooLargeError(PermanentError):
    """A message does not fit into a record; no other attempt at it will."""


class BusUnavailableError(TransientError):
    """Kafka did not take or give a record in time."""


class StoreUnavailableError(TransientError):
    """ClickHouse cannot be reached, or cannot answer now."""


class StoreRejectedError(PermanentError):
    """ClickHouse refuses this data; the same data will be refused again."""


class HaltError(TocsinError):
    """Going on would spoil what is there: the consumer stops, and a person decides."""
