"""Every error that deepscan raises on purpose, as one tree.

::

    DeepscanError
    ├── ConfigError              a setting is unknown, malformed or contradicts another
    │   ├── UnknownNameError     a name is in no registry; the message names the nearest one
    │   └── NoBrowserError       a report is to be printed, and no browser that prints is on this machine
    ├── MediaError               a file cannot be read as media
    │   ├── EmptyMediaError      it holds no bytes
    │   ├── UnsupportedMediaError  its content is of no kind that deepscan reads
    │   ├── MediaTooLargeError   it exceeds a limit on bytes, pixels, frames, time or memory
    │   ├── CorruptMediaError    it is truncated or does not decode
    │   ├── DecodeTimeoutError   decoding it took longer than it may
    │   └── DecoderCrashedError  the process that decoded it died of it
    ├── AbstainError             the media is sound, but this detector or analyzer cannot judge it
    │   ├── NoPictureError       it holds no picture of the kind that is judged
    │   ├── NoFaceError          no face was found
    │   ├── NoSoundError         it holds no sound, or nothing but silence
    │   ├── NoHumError           its sound carries no hum of the mains
    │   ├── TooShortError        it ends before there is enough to judge
    │   ├── UnclearError         what would be measured is lost in noise
    │   ├── OutOfDomainError     it is unlike everything that the detector was chosen on
    │   ├── NothingMeasuredError no analyzer found anything to measure
    │   ├── NoMapError           the detector has nothing that a heat map of this kind could show
    │   └── NotInstalledError    what is needed to look at it is not installed
    ├── AssetError               a model file that deepscan fetches is absent, unreachable or altered
    ├── DataError                a data set cannot be used as it is
    │   ├── TooManyBadFilesError more files failed than ``--max-bad`` allows
    │   └── SeenDataError        a detector is to be measured on what it learnt from
    ├── BundleError              a bundle is absent, incomplete, altered or of another version
    ├── FormatError              a model cannot be written to or run from a weights format
    ├── ResourceError            the cluster cannot hold what was asked of it
    │   └── StalledError         work on it has stood still for too long
    ├── StorageError             files cannot be listed, read or written where they are or should be
    ├── RegressionError          a bundle is wrong about files that the accepted one was right about
    ├── TrainingError            training cannot go on (diverged, or nothing to learn from)
    └── ServiceError             the service cannot answer, or not now
        ├── OverloadedError      its queues are full; ask again later
        ├── RateLimitedError     this caller has asked too often; ask again when it says
        └── UnauthorizedError    it needs an API key, and there was none or an unknown one

Messages say what was given, what is allowed and what to do. HTTP statuses and exit codes are
assigned to this tree in one table each: ``deepscan.serving.api.HTTP_STATUS`` and
``deepscan.cli.EXIT_CODES``.
"""


class DeepscanError(Exception):
    """Root of the tree: catch it to catch everything that deepscan raises on purpose."""


class ConfigError(DeepscanError):
    """A setting is unknown, malformed or contradicts another."""


class UnknownNameError(ConfigError):
    """A name is in no registry."""


class NoBrowserError(ConfigError):
    """A report is to be printed, and no browser that prints is on this machine."""


class MediaError(DeepscanError):
    """A file cannot be read as media."""


class EmptyMediaError(MediaError):
    """The file holds no bytes."""


class UnsupportedMediaError(MediaError):
    """The content is of no kind that deepscan reads."""


class MediaTooLargeError(MediaError):
    """The media exceeds a limit on bytes, pixels, frames, time or memory."""


class CorruptMediaError(MediaError):
    """The media is truncated or does not decode."""


class DecodeTimeoutError(MediaError):
    """Decoding the media took longer than it may, so it was given up."""


class DecoderCrashedError(MediaError):
    """The process that decoded the media died of it, or answered what no decoder answers."""


class AbstainError(DeepscanError):
    """The media is sound, but a detector cannot judge it; becomes an Abstention, never a score.

    Attributes:
        reason: A short machine-readable word, the same for every instance of a class.
    """

    reason = "abstained"


class NoPictureError(AbstainError):
    """The media holds no picture, or no moving one, that the detector could look at."""

    reason = "no-picture"


class NoFaceError(AbstainError):
    """No face was found in the picture."""

    reason = "no-face"


class NoSoundError(AbstainError):
    """The media holds no sound, or nothing but silence."""

    reason = "no-sound"


class NoHumError(AbstainError):
    """The sound carries no hum of the mains that could be followed."""

    reason = "no-hum"


class TooShortError(AbstainError):
    """The media ends before there is enough to judge."""

    reason = "too-short"


class NothingMeasuredError(AbstainError):
    """No analyzer found anything in the media that it measures."""

    reason = "nothing-measured"


class NotInstalledError(AbstainError):
    """The media holds something that only an optional package can look at, and it is not installed."""

    reason = "not-installed"


class UnclearError(AbstainError):
    """What would be measured is there, but lost in noise."""

    reason = "unclear"


class OutOfDomainError(AbstainError):
    """What was prepared of the media is unlike everything that the detector was chosen on."""

    reason = "out-of-domain"


class NoMapError(AbstainError):
    """The detector judged the media, but a heat map of this kind cannot show how."""

    reason = "no-map"


class AssetError(DeepscanError):
    """A model file that deepscan fetches is absent, unreachable or altered."""


class DataError(DeepscanError):
    """A data set cannot be used as it is."""


class TooManyBadFilesError(DataError):
    """More files of a data set failed than ``--max-bad`` allows."""


class SeenDataError(DataError):
    """A detector is to be measured on files that trained it, or that chose its epoch or operating point."""


class BundleError(DeepscanError):
    """A bundle is absent, incomplete, altered or of another version."""


class FormatError(DeepscanError):
    """A model cannot be written to or run from a weights format."""


class ResourceError(DeepscanError):
    """The cluster cannot hold what was asked of it."""


class StalledError(ResourceError):
    """Work on the cluster has stood still for too long; the message says what waits for what."""


class StorageError(DeepscanError):
    """Files cannot be listed, read or written where they are or should be."""


class RegressionError(DeepscanError):
    """A bundle is wrong about files of the regression set that the accepted one was right about."""


class TrainingError(DeepscanError):
    """Training cannot go on: it diverged, or there is nothing to learn from."""


class ServiceError(DeepscanError):
    """The service cannot answer, or not now."""


class OverloadedError(ServiceError):
    """The service's queues are full; ask again later."""


class RateLimitedError(ServiceError):
    """The caller has asked more often than it may.

    Attributes:
        retry_after_s: Whole seconds until it may ask again.
    """

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        """Take the message, and when to ask again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnauthorizedError(ServiceError):
    """The service needs an API key, and there was none or an unknown one."""
