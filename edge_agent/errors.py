"""Every error that crosses a public boundary of the package.

EdgeAgentError                  subject, reason, remedy; `__cause__` holds what a dependency raised
├── ConfigError                 a configuration file or component configuration (subject: file and key path)
├── MissingExtraError           an optional dependency that is not installed (subject: the package)
├── ImageError                  an image that cannot become a frame (subject: file or frame)
├── CameraError                 a camera that failed (subject: the camera)
│   ├── CameraNotConnectedError   worth another try later
│   └── EndOfInputError           a finite camera has given its last frame
├── GpioError                   a GPIO chip or line (subject: chip and line)
├── TriggerError                a source of triggers (subject: the source)
│   └── TriggerNotConnectedError  worth another try later
├── SharedMemoryError           a segment or a handle that cannot be used (subject: its name)
├── ModelError                  a packaged model (subject: model and file)
│   ├── PackageError              the files of the package: missing, torn, climbing out, too large
│   ├── ManifestError             manifest.json (subject carries the key path)
│   ├── EngineError               the compiled model does not load, run or fit its manifest
│   └── SelfTestError             the model answers otherwise to a golden image than its package says
├── DetectorError               the client side of the Edge Agent contract (subject: the model)
│   ├── ServerUnavailableError    nobody answers on the socket
│   ├── DetectorTimeoutError      no answer within the deadline
│   ├── ServerBusyError           back-pressure: RESOURCE_EXHAUSTED from the agent
│   ├── ModelNotFoundError        NOT_FOUND
│   ├── ModelNotRunningError      FAILED_PRECONDITION
│   ├── ModelFailedError          the model reached FAILED, with its status message
│   ├── RequestRefusedError       INVALID_ARGUMENT: this frame will never be accepted
│   └── ServerFaultError          INTERNAL, UNKNOWN or a reply that breaks the contract
├── ServerError                 the Edge Agent server itself (subject: socket or path)
│   └── SocketInUseError          another agent answers on the socket
├── IpcError                    Greengrass IPC (subject: operation and topic)
│   ├── IpcUnavailableError       no nucleus, or the connection is gone
│   │   └── IpcTokenRefusedError    the nucleus is there and does not know our token
│   ├── IpcTimeoutError           no answer in time
│   ├── IpcUnauthorizedError      the recipe's accessControl does not allow it
│   ├── IpcInvalidError           the nucleus calls the request invalid: repeating it is useless
│   └── IpcRefusedError           the nucleus refuses for now (offline, full, slow down)
├── OutputError                 an output failed (subject: the output's device); it answers, and refuses
│   ├── OutputNotConnectedError   there is nobody, or nobody any more
│   └── OutputTimeoutError        no answer in time
├── WebError                    an address that nothing can be served on over HTTP (subject: the address)
├── SpoolError                  inspections on disk (subject: the spool's directory or file)
│   ├── SpoolFullError            the disk has no room
│   ├── SpoolUnavailableError     the disk cannot be used for now: read-only, an I/O error, no permission
│   │   └── SpoolInUseError         another process has the spool
│   └── SpoolDamagedError         the file is not what was written
├── RecorderError               recorded images on disk (subject: the recorder's directory)
│   ├── RecorderFullError         the disk has no room
│   └── ReviewError               a review that cannot be written (subject: the image)
│       └── ImageGoneError          the image is not recorded, or not any more
├── UploadError                 recorded images on their way to S3 (subject: bucket or credentials); worth another try
│   └── UploadRefusedError        a person has to mend it first
├── RecipeError                 a component recipe (subject: file and key path)
├── PackagingError              a packaging job's request (subject: operation or member); `code` as the service had it
│   ├── ValidationError           a member breaks its constraints, or two exclude one another
│   ├── AccessDeniedError         not signed, or not with the key of this server
│   ├── ResourceNotFoundError     no such project, model version or job
│   ├── ConflictError             the name, the component version or the client token is in use
│   ├── ServiceQuotaExceededError   too many jobs wait
│   └── ThrottlingError           too many requests at a time
├── DeploymentError             a deployment (subject: target, device or command)
│   └── DeploymentUnavailableError  AWS did not answer: worth another try
├── TrainingError               a manifest, an image or a label set that cannot be trained on
└── NucleusError                the local nucleus stand-in
    └── EventStreamError          bytes that are no frame of the IPC protocol
"""

from __future__ import annotations

from typing import Optional, Tuple


class EdgeAgentError(Exception):
    """An error that says what it is about, why it happened and what to do.

    Args:
        subject: what failed: a file, a key path, a camera, a model.
        reason: why, in one clause.
        remedy: what the reader can do; empty where nothing helps.
    """

    def __init__(self, subject: str, reason: str, remedy: str = "") -> None:
        super().__init__(subject, reason, remedy)
        self.subject = subject
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.subject}: {self.reason}"
        return f"{text}. {self.remedy}" if self.remedy else text


class ConfigError(EdgeAgentError):
    pass


class MissingExtraError(EdgeAgentError):
    """An optional dependency is missing; the remedy names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, "is not installed", f"Install it with: pip install 'edge-agent[{extra}]'")
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.subject, self.extra)


class ImageError(EdgeAgentError):
    pass


class CameraError(EdgeAgentError):
    pass


class CameraNotConnectedError(CameraError):
    pass


class GpioError(EdgeAgentError):
    pass


class TriggerError(EdgeAgentError):
    pass


class TriggerNotConnectedError(TriggerError):
    pass


class EndOfInputError(CameraError):
    pass


class SharedMemoryError(EdgeAgentError):
    pass


class ModelError(EdgeAgentError):
    pass


class PackageError(ModelError):
    pass


class ManifestError(ModelError):
    pass


class EngineError(ModelError):
    pass


class SelfTestError(ModelError):
    pass


class DetectorError(EdgeAgentError):
    pass


class ServerUnavailableError(DetectorError):
    pass


class DetectorTimeoutError(DetectorError):
    pass


class ServerBusyError(DetectorError):
    pass


class ModelNotFoundError(DetectorError):
    pass


class ModelNotRunningError(DetectorError):
    pass


class ModelFailedError(DetectorError):
    pass


class RequestRefusedError(DetectorError):
    pass


class ServerFaultError(DetectorError):
    pass


class ServerError(EdgeAgentError):
    pass


class SocketInUseError(ServerError):
    pass


class IpcError(EdgeAgentError):
    pass


class IpcUnavailableError(IpcError):
    pass


class IpcTokenRefusedError(IpcUnavailableError):
    pass


class IpcTimeoutError(IpcError):
    pass


class IpcUnauthorizedError(IpcError):
    pass


class IpcInvalidError(IpcError):
    pass


class IpcRefusedError(IpcError):
    pass


class OutputError(EdgeAgentError):
    pass


class OutputNotConnectedError(OutputError):
    pass


class OutputTimeoutError(OutputError):
    pass


class WebError(EdgeAgentError):
    pass


class SpoolError(EdgeAgentError):
    pass


class SpoolFullError(SpoolError):
    pass


class SpoolUnavailableError(SpoolError):
    pass


class SpoolInUseError(SpoolUnavailableError):
    pass


class SpoolDamagedError(SpoolError):
    pass


class RecorderError(EdgeAgentError):
    pass


class RecorderFullError(RecorderError):
    pass


class ReviewError(RecorderError):
    pass


class ImageGoneError(ReviewError):
    pass


class UploadError(EdgeAgentError):
    pass


class UploadRefusedError(UploadError):
    pass


class RecipeError(EdgeAgentError):
    pass


class PackagingError(EdgeAgentError):
    """A request to the packaging API that failed, as the service said it.

    Args:
        subject, reason, remedy: as every error of ours.
        resource: (type, id) of what was asked for, where the service names it: PROJECT, MODEL or MODEL_PACKAGE_JOB.

    Attributes:
        code: the service's name of the error.
        status: its HTTP status.
        resource: as given.
    """

    code = "InternalServerException"
    status = 500

    def __init__(
        self, subject: str, reason: str, remedy: str = "", *, resource: Optional[Tuple[str, str]] = None
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.resource = resource

    @property
    def message(self) -> str:
        """Without the code, which travels beside it."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class ValidationError(PackagingError):
    code = "ValidationException"
    status = 400


class AccessDeniedError(PackagingError):
    code = "AccessDeniedException"
    status = 403


class ResourceNotFoundError(PackagingError):
    code = "ResourceNotFoundException"
    status = 404


class ConflictError(PackagingError):
    code = "ConflictException"
    status = 409


class ServiceQuotaExceededError(PackagingError):
    code = "ServiceQuotaExceededException"
    status = 402


class ThrottlingError(PackagingError):
    code = "ThrottlingException"
    status = 429


class DeploymentError(EdgeAgentError):
    pass


class DeploymentUnavailableError(DeploymentError):
    pass


class TrainingError(EdgeAgentError):
    pass


class NucleusError(EdgeAgentError):
    pass


class EventStreamError(NucleusError):
    pass
