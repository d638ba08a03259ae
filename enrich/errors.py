"""The errors users see. Each message is one line: what happened, why, and the next step.

EveryFrameError                 base class
├── SettingsError               a setting or an argument has an invalid value
├── LibraryError                the database is missing, damaged, or from another version
├── VideoError                  one video cannot be used
│   ├── NotAVideoError          no decodable video stream in the file
│   │   └── ProbeCrashedError   probing crashed, hung or needed too much memory (in `enrich.library.probe_process`)
│   ├── VideoMissingError       the file is missing or unreadable or its drive fails (retryable)
│   ├── VideoChangedError       the path now holds a different file (retryable: the original may come back)
│   ├── DiskFullError           less than the reserve is free on the disk of the images (retryable)
│   ├── ImageStorageError       the folder of the images cannot be written to (retryable)
│   ├── DecodingError           FFmpeg failed unexpectedly; outside of `enrich.video`, no error of FFmpeg is seen
│   └── FrameNotFoundError      the video has no frame with this index (in `enrich.video.source`)
├── RunningError                another worker is already using this library
├── ControlError                a background process could not be started, stopped or reached
├── AutostartError              the worker could not be registered to start at login
├── BudgetError                 the cost would exceed the monthly budget
└── DescribeError               one call to a describer failed
    ├── HostError               the host failed, not the image: never counts as an attempt at the frame
    │   ├── HostDownError       the host is not responding
    │   │   ├── NotSentError    no connection to Claude, so nothing was sent (in `enrich.describe.claude.client`)
    │   │   └── ConnectionLostError  the connection broke during the call: the host went down, perhaps over the image
    │   └── HostBusyError       the host reports that it is overloaded
    │       └── GatewayError    a server on the way to Claude failed: the request may have arrived (there too)
    ├── ModelError              the model is missing, is text-only, or would upload images: needs the user, unless only
    │   │                       one frame gets it
    │   └── AccountError        the API key is missing or invalid, or the account is out of credit: needs the user
    ├── ImagesTakenError        another process is sending these images to Claude (there too)
    ├── CallTimeoutError        no reply in time: counts as an attempt
    └── CallFailedError         the host replied with an error: counts as an attempt
        ├── RunnerCrashedError  the host's model runner ended during the call, perhaps over the image
        ├── ImageTooLargeError  the host or the model takes no image of this size: a smaller one is sent
        ├── ResponseStatusError an HTTP error status (in `enrich.describe.ollama.client`)
        │   └── RunnerStatusError  also a RunnerCrashedError: the host reported that its runner ended (there too)
        ├── RequestRefusedError the Claude API rejected the request (in `enrich.describe.claude.client`)
        └── NotFoundError       the object does not exist at Anthropic, or not for this key (there too)
"""


class EveryFrameError(Exception):
    """Base class of all errors whose message is written for the user."""


class SettingsError(EveryFrameError):
    """A setting or an argument has an invalid value."""


class LibraryError(EveryFrameError):
    """The library's database is missing, damaged, or from another version."""


class VideoError(EveryFrameError):
    """One video cannot be used."""


class NotAVideoError(VideoError):
    """The file has no video stream that can be decoded."""


class VideoMissingError(VideoError):
    """The file is missing or unreadable, or its drive fails. Retryable: it may come back."""


class VideoChangedError(VideoError):
    """The video's path now holds a different file. Retryable: the original may come back."""


class DiskFullError(VideoError):
    """Less than the reserve is free on the disk of the images. Retryable: the user may free some."""


class ImageStorageError(VideoError):
    """The folder of the images cannot be written to. Retryable: the user may fix it."""


class DecodingError(VideoError):
    """FFmpeg failed unexpectedly."""


class RunningError(EveryFrameError):
    """Another worker is already using this library."""


class ControlError(EveryFrameError):
    """A background process could not be started, stopped or reached."""


class AutostartError(EveryFrameError):
    """The worker could not be registered to start at login."""


class BudgetError(EveryFrameError):
    """The cost would exceed the monthly budget."""


class DescribeError(EveryFrameError):
    """A call to a describer failed."""


class HostError(DescribeError):
    """The host failed, not the image. Never counts as an attempt at the frame."""


class HostDownError(HostError):
    """The host is not responding."""


class ConnectionLostError(HostDownError):
    """The connection broke during the call: the host went down, perhaps over one of the images in flight."""


class HostBusyError(HostError):
    """The host reports that it is overloaded."""


class ModelError(DescribeError):
    """The model is missing, is text-only, or would upload images. Needs the user."""


class AccountError(ModelError):
    """The API key is missing or invalid, or the account is out of credit. Needs the user."""


class CallTimeoutError(DescribeError):
    """The host did not reply in time. Counts as an attempt."""


class CallFailedError(DescribeError):
    """The host replied with an error. Counts as an attempt."""


class RunnerCrashedError(CallFailedError):
    """The host's model runner ended during the call, perhaps over another image in flight."""


class ImageTooLargeError(CallFailedError):
    """The host or the model takes no image of this size. A smaller one is sent, as far as that makes sense."""
