"""One opened video: PyAV's side of a video camera. Used by one thread."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, Optional

import numpy as np

from edge_agent.cameras.base import Reserve, size_problem
from edge_agent.cameras.redact import redacted
from edge_agent.cameras.video.settings import VideoSettings
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, CameraNotConnectedError, EndOfInputError, ImageError, MissingExtraError
from edge_agent.frame import CHANNELS, Pixels

# Where Debian, Ubuntu and what is made of them keep the authorities; PyAV's own FFmpeg knows no place.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"

# What FFmpeg may open on the way: a playlist must not lead from a stream to files, nor from a file to the network.
_FILE_PROTOCOLS = "file"
_STREAM_PROTOCOLS = "rtsp,rtp,udp,tcp,http,https,httpproxy,tls"

# Cameras put messages of their own, often malformed ones, between the pictures of these.
_TOLERANT = ("h264", "hevc")


class Stream:
    """A video that was opened.

    Raises (when made):
        CameraNotConnectedError: it is not there, does not answer in time, or refuses.
        CameraError: it is no video.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, settings: VideoSettings, clock: Clock) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("av", "video") from error
        self._av: Any = av
        self._settings = settings
        self._name = settings.name
        self._decoded: Deque[Any] = deque()
        self._given = 0
        # PyAV 19 has no such choice, and needs none.
        titles = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
        started_ns = clock.monotonic_ns()
        try:
            self._container = av.open(
                settings.source if settings.scheme else f"file:{Path(settings.source).absolute()}",
                options=_options(settings),
                timeout=(settings.open_timeout_s, settings.read_timeout_s),
                **titles,
            )
        except av.error.FFmpegError as error:
            raise self._not_opened(error, (clock.monotonic_ns() - started_ns) / 1e9) from _without_secrets(error)
        if not self._container.streams.video:
            self._container.close()
            raise CameraError(self._name, "has no pictures in it", "Give the path or address of a video.")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            self._container.close()
            raise CameraError(self._name, "is coded in a way that FFmpeg does not know", "Choose H.264 or MJPEG.")
        self._set_up_decoder(self._stream.codec_context)
        self._packets: Iterator[Any] = self._container.demux(self._stream)
        self._reformatter = av.video.reformatter.VideoReformatter()

    def read(self) -> Any:
        """The next frame, as PyAV has it.

        Raises:
            ImageError: data came and is damaged; the next call goes on behind it.
            CameraNotConnectedError: the stream broke off or gave nothing for the time that was set.
            EndOfInputError: the file has no more frames.
        """
        while not self._decoded:
            packet = self._next_packet()
            try:
                self._decoded.extend(packet.decode())
            except self._av.error.FFmpegError as error:
                # Who comes into a stream in its middle cannot decode what refers to frames before.
                if self._given or not self._settings.scheme:
                    raise self._damaged() from _without_secrets(error)
        self._given += 1
        frame = self._decoded.popleft()
        if frame.is_corrupt:
            raise self._damaged()
        return frame

    def seconds(self, frame: Any) -> Optional[float]:
        """When the frame is to be shown, in seconds of the video's own time; None where it does not say."""
        return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)

    def name(self, frame: Any) -> str:
        """Where the frame came from: the stream, or the file and its second in it."""
        seconds = self.seconds(frame)
        return self._name if self._settings.scheme or seconds is None else f"{self._name}@{seconds:.3f}s"

    def place(self, frame: Any, reserve: Reserve) -> Pixels:
        """Put the frame's pixels, as RGB888, into what `reserve` gives."""
        problem = size_problem(frame.width, frame.height)
        if problem:
            raise CameraError(self._name, problem, "Set another resolution at the camera.")
        try:
            plane = self._reformatter.reformat(frame, format="rgb24").planes[0]
        except (self._av.error.FFmpegError, ValueError) as error:
            raise ImageError(self._name, f"has frames of a form that does not become RGB ({error})") from error
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        pixels = reserve(frame.height, frame.width)
        # FFmpeg's rows end with padding.
        pixels.reshape(frame.height, -1)[...] = rows[:, : frame.width * CHANNELS]
        return pixels

    def close(self) -> None:
        self._container.close()

    def _set_up_decoder(self, decoder: Any) -> None:
        options = {}
        if decoder.name not in _TOLERANT:
            # Otherwise a torn picture comes out with grey, or with the one before, where data is missing.
            options["err_detect"] = "explode"
        if self._settings.scheme:
            # A frame comes out as soon as its data is there; threads that work on several frames hold some back.
            options["flags"] = "low_delay"
            decoder.thread_type = "SLICE"
        else:
            decoder.thread_type = "AUTO"
        decoder.options = options

    def _next_packet(self) -> Any:
        try:
            packet = next(self._packets)
        except StopIteration:
            raise self._ended() from None
        except self._av.error.FFmpegError as error:
            if isinstance(error, self._av.error.EOFError):
                raise self._ended() from None
            raise CameraNotConnectedError(self._name, self._reading_failed(error)) from _without_secrets(error)
        return packet

    def _ended(self) -> CameraError:
        if self._settings.scheme:
            return CameraNotConnectedError(self._name, "ended its stream")
        return EndOfInputError(self._name, "has no more frames")

    def _damaged(self) -> ImageError:
        return ImageError(f"{self._name}: frame {self._given}", "is damaged", "Check the way to the camera.")

    def _reading_failed(self, error: Any) -> str:
        if isinstance(error, self._av.error.ExitError):
            return f"gave nothing for {self._settings.read_timeout_s:g} s"
        return f"broke off ({_reason(error)})"

    def _not_opened(self, error: Any, seconds: float) -> CameraError:
        # What was interrupted for its time comes back as one error or another.
        if isinstance(error, self._av.error.ExitError) or seconds >= self._settings.open_timeout_s:
            return CameraNotConnectedError(self._name, f"did not answer within {self._settings.open_timeout_s:g} s")
        if isinstance(error, self._av.error.HTTPUnauthorizedError):
            return CameraNotConnectedError(self._name, "refuses user and password", "Put the right ones into `source`.")
        if self._settings.scheme == "https":
            return CameraNotConnectedError(
                self._name, f"cannot be opened ({_reason(error)})", "Check its certificate against `ca_file`."
            )
        if isinstance(error, self._av.error.InvalidDataError) and not self._settings.scheme:
            return CameraError(self._name, "is no video that FFmpeg knows", "Give another file.")
        return CameraNotConnectedError(self._name, f"cannot be opened ({_reason(error)})")


def _options(settings: VideoSettings) -> Dict[str, str]:
    if not settings.scheme:
        return {"protocol_whitelist": _FILE_PROTOCOLS}
    options = {
        "protocol_whitelist": _STREAM_PROTOCOLS,
        # Frames that come while the stream is looked into are late ones already: they are not kept.
        "fflags": "nobuffer",
        "analyzeduration": "500000",
        "fpsprobesize": "0",
    }
    if settings.scheme == "rtsp":
        options["rtsp_transport"] = settings.transport
    if settings.scheme == "https":
        options.update(tls_verify="1", ca_file=settings.ca_file or _AUTHORITIES)
    return options


def _reason(error: Any) -> str:
    return redacted(" ".join(str(error.strerror or type(error).__name__).split()))


def _without_secrets(error: Any) -> Exception:
    """What PyAV raised, as a cause: its own text repeats the address with user and password."""
    return OSError(error.errno, _reason(error))
