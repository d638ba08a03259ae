"""The errors people read.

EveryFrameError                 its text is what the user reads, in one line, and says what to do
├── SettingsError               a setting cannot be used
├── LibraryError                the database is missing, damaged, or of another version
├── VideoError                  something about one video
│   ├── NotAVideoError          no video stream in it, or not media at all
│   ├── VideoMissingError       the file is gone, or may not be read (retryable: it may come back)
│   └── VideoChangedError       another file lies under the path (retryable: it may come back)
├── RunningError                another worker has this library
├── ControlError                the worker in the background could not be started, or there is none to be asked
├── AutostartError              the system refuses to start the worker at login
├── BudgetError                 it would cost more than the month's budget leaves
└── DescribeError               something about one call to a describer
    ├── HostError               the host is to blame, not the picture: never counted against a frame
    │   ├── HostDownError       nobody answers
    │   └── HostBusyError       it answers that it has too much to do
    ├── ModelError              the model is missing, cannot see, or would send pictures away: a person must act
    │   └── AccountError        no key, a wrong one, or no credit: a person must act
    ├── CallTimeoutError        no answer in time: counted as an attempt
    └── CallFailedError         the host answered with an error: counted as an attempt
"""


class EveryFrameError(Exception):
    """Base of all errors with a text for the user."""


class SettingsError(EveryFrameError):
    """A setting has a value that cannot be used."""


class LibraryError(EveryFrameError):
    """The library's database cannot be used as it is."""


class VideoError(EveryFrameError):
    """One video cannot be read."""


class NotAVideoError(VideoError):
    """The file holds no video stream that can be decoded."""


class VideoMissingError(VideoError):
    """The file is gone, or may not be read; it may come back."""


class VideoChangedError(VideoError):
    """Another file lies under the video's path; the right one may come back."""


class RunningError(EveryFrameError):
    """Another worker has this library."""


class AutostartError(EveryFrameError):
    """The system cannot be told to start the worker at login."""


class ControlError(EveryFrameError):
    """The worker in the background could not be started, or there is none to be asked."""


class BudgetError(EveryFrameError):
    """It would cost more than the month's budget leaves."""


class DescribeError(EveryFrameError):
    """A call to a describer brought no reply."""


class HostError(DescribeError):
    """The host is to blame, not the picture: never counted against a frame."""


class HostDownError(HostError):
    """Nobody answers at the host's address."""


class HostBusyError(HostError):
    """The host answers that it has too much to do."""


class ModelError(DescribeError):
    """The model is missing, cannot see, or would send pictures away: a person must act."""


class AccountError(ModelError):
    """There is no key, the key is refused, or the account has no credit: a person must act."""


class CallTimeoutError(DescribeError):
    """No answer in time."""


class CallFailedError(DescribeError):
    """The host answered with an error."""
