"""One client's connection: the handshake, its streams, and what each nucleus does about broken rules."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any, Callable, Dict, List, Optional, Tuple

from edge_agent.errors import EventStreamError
from edge_agent.greengrass import eventstream
from edge_agent.greengrass.bounded_json import loads
from edge_agent.greengrass.eventstream import Decoder, Header, Message, MessageType, rpc_message
from edge_agent.greengrass.nucleus.core import Core
from edge_agent.greengrass.nucleus.operations import NAMESPACE, dispatch
from edge_agent.greengrass.nucleus.state import SERVICE_ERROR, OperationError

_READ_BYTES = 65536
#: A client that does not read its events is dropped when this many bytes wait for it.
_MAX_UNREAD_BYTES = 16 * 1024 * 1024
#: How long a refused client has to read its CONNECT_ACK before the connection is closed under it.
_REFUSAL_SECONDS = 1.0
_SERVICE = "aws.greengrass#GreengrassCoreIPC"


class _ClosingError(Exception):
    """The connection has to end; a PROTOCOL_ERROR with the text goes first where the classic nucleus sends one."""


class _Stream:
    """One operation. Events wait until the reply is on its way: the client takes the first frame for the reply."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._replied = False
        self._early: List[Tuple[str, Dict[str, Any]]] = []
        self._closers: List[Callable[[], None]] = []

    def send_event(self, model: str, payload: Dict[str, Any]) -> None:
        if not self._replied:
            self._early.append((model, payload))
        else:
            self._connection.send_event(self._number, model, payload)

    def on_close(self, function: Callable[[], None]) -> None:
        self._closers.append(function)

    def replied(self) -> None:
        self._replied = True
        for model, payload in self._early:
            self._connection.send_event(self._number, model, payload)
        self._early.clear()

    def close(self) -> None:
        for function in self._closers:
            function()
        self._closers.clear()


class Connection:
    """Serves one client until it leaves, breaks the protocol, or `abort`.

    Args:
        core: the nucleus.
        token: gives the SVCUID that is accepted now.
        reader: bytes from the client.
        writer: bytes to the client.
    """

    def __init__(
        self, core: Core, token: Callable[[], str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._core = core
        self._lite = core.limits.lite
        self._token = token
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder(core.limits.frame_bytes)
        self._loop = asyncio.get_event_loop()
        self._authenticated = False
        self._refused = False
        self._closed = False
        self._last_stream = 0
        self._streams: Dict[int, _Stream] = {}

    async def serve(self) -> None:
        try:
            await asyncio.sleep(self._core.faults.accept_delay)
            while not self._closed:
                data = await self._read()
                if not data:
                    break
                for message in self._decoder.feed(data):
                    self._handle(message)
                await self._writer.drain()
        except (EventStreamError, _ClosingError) as error:
            self._core.counters.frames_refused += 1
            self._say_goodbye(str(error))
        except (ConnectionError, asyncio.TimeoutError):
            pass
        finally:
            self._end()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._end()
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        limit = self._core.limits.frame_seconds
        if limit is None or not self._decoder.partial:
            return await self._reader.read(_READ_BYTES)
        return await asyncio.wait_for(self._reader.read(_READ_BYTES), limit)

    def _say_goodbye(self, reason: str) -> None:
        if not self._lite:
            payload = json.dumps({"message": reason}).encode()
            self._write(rpc_message(MessageType.PROTOCOL_ERROR, 0, 0, _json_headers(), payload))

    def _end(self) -> None:
        self._closed = True
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.close()
        self._writer.close()

    def _handle(self, message: Message) -> None:
        if self._closed or self._refused:
            return
        kind, flags, stream = message.routing()
        if not self._authenticated:
            self._connect(message, kind, flags, stream)
        elif stream == 0:
            self._handle_connection_message(message, kind)
        elif stream < 0 or kind not in (MessageType.APPLICATION_MESSAGE, MessageType.APPLICATION_ERROR):
            raise _ClosingError("A stream carries application messages only")
        elif flags & eventstream.FLAG_TERMINATE_STREAM:
            self._terminate(stream)
        else:
            self._start_stream(message, kind, flags, stream)

    def _connect(self, message: Message, kind: int, flags: int, stream: int) -> None:
        if kind != MessageType.CONNECT or stream or flags:
            raise _ClosingError("The first message must be CONNECT")
        if self._version_is_right(message) and self._token_is_right(message):
            self._authenticated = True
            self._core.counters.connections_accepted += 1
            self._write(rpc_message(MessageType.CONNECT_ACK, eventstream.FLAG_CONNECTION_ACCEPTED, 0))
            return
        self._core.counters.connections_refused += 1
        if self._lite:
            self._end()
            return
        self._refused = True
        self._write(rpc_message(MessageType.CONNECT_ACK, 0, 0))
        self._loop.call_later(_REFUSAL_SECONDS, self._end)

    def _version_is_right(self, message: Message) -> bool:
        version = message.text(eventstream.VERSION_HEADER)
        return version == eventstream.PROTOCOL_VERSION or (version is None and self._lite)

    def _token_is_right(self, message: Message) -> bool:
        try:
            token = loads(message.payload)["authToken"]
        except (ValueError, KeyError, TypeError):
            return False
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self._token().encode())

    def _handle_connection_message(self, message: Message, kind: int) -> None:
        if kind == MessageType.PING and not self._lite:
            kept = tuple(header for header in message.headers if not header.name.startswith(":"))
            self._write(rpc_message(MessageType.PING_RESPONSE, 0, 0, kept, message.payload))
        elif kind != MessageType.PING_RESPONSE or self._lite:
            raise _ClosingError("Only PING and PING_RESPONSE may follow CONNECT on stream 0")

    def _terminate(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.close()

    def _start_stream(self, message: Message, kind: int, flags: int, number: int) -> None:
        if number in self._streams:
            return  # a message on an open stream: no operation here takes more than one
        if not self._lite:
            if number != self._last_stream + 1:
                raise _ClosingError(f"Stream {self._last_stream + 1} is next, not {number}")
            self._last_stream = number
        stream = _Stream(self, number)
        self._streams[number] = stream
        try:
            operation = self._operation(message, kind, flags)
            reply, streaming = dispatch(self._core, operation, self._json(message.payload), stream)
            frame = self._reply_frame(number, operation, reply, streaming=streaming)
        except OperationError as error:
            streaming = False
            frame = self._error_frame(number, error)
        delay = self._core.faults.reply_delay
        if delay:
            self._loop.call_later(delay, self._reply, number, stream, frame, streaming)
        else:
            self._reply(number, stream, frame, streaming)

    def _operation(self, message: Message, kind: int, flags: int) -> str:
        operation = message.text(eventstream.OPERATION_HEADER)
        if operation is None or kind != MessageType.APPLICATION_MESSAGE or flags:
            raise OperationError(SERVICE_ERROR if self._lite else None, "The request carries no operation")
        return operation

    def _json(self, payload: bytes) -> Any:
        try:
            return loads(payload)
        except ValueError as error:
            raise OperationError(SERVICE_ERROR if self._lite else None, "The request is not JSON") from error

    def _reply(self, number: int, stream: _Stream, frame: bytes, streaming: bool) -> None:  # noqa: FBT001 - call_later
        still_open = self._streams.get(number) is stream
        # The classic nucleus says nothing on a stream that the client has ended; nucleus lite does not look.
        if still_open or self._lite:
            self._write(frame)
        if not still_open:
            return
        if streaming:
            stream.replied()
        else:
            self._terminate(number)

    def _reply_frame(self, number: int, operation: str, reply: Dict[str, Any], *, streaming: bool) -> bytes:
        flags = 0 if streaming or self._lite else eventstream.FLAG_TERMINATE_STREAM
        payload = json.dumps(reply).encode()
        frame = rpc_message(
            MessageType.APPLICATION_MESSAGE, flags, number, _json_headers(f"{operation}Response"), payload
        )
        if len(frame) > self._core.limits.reply_bytes:
            raise OperationError(SERVICE_ERROR, "The reply is too large", "too_large")
        return frame

    def _error_frame(self, number: int, error: OperationError) -> bytes:
        if error.code is None:
            return rpc_message(MessageType.APPLICATION_ERROR, eventstream.FLAG_TERMINATE_STREAM, number)
        body = {"_message": error.message, "_errorCode": error.code}
        if not self._lite:
            body = {"message": error.message, **body, "_service": _SERVICE}
        return rpc_message(
            MessageType.APPLICATION_ERROR,
            eventstream.FLAG_TERMINATE_STREAM,
            number,
            _json_headers(NAMESPACE + error.code),
            json.dumps(body).encode(),
        )

    def send_event(self, number: int, model: str, payload: Dict[str, Any]) -> None:
        data = json.dumps(payload).encode()
        frame = rpc_message(MessageType.APPLICATION_MESSAGE, 0, number, _json_headers(NAMESPACE + model), data)
        if len(frame) > self._core.limits.reply_bytes:
            self._core.counters.events_dropped += 1
            return
        self._core.counters.events_sent += 1
        self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self._writer.is_closing():
            return
        self._writer.write(frame)
        if self._writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self.abort()


def _json_headers(model: Optional[str] = None) -> Tuple[Header, ...]:
    content = Header.text(eventstream.CONTENT_TYPE_HEADER, eventstream.JSON_CONTENT)
    return (content,) if model is None else (content, Header.text(eventstream.MODEL_HEADER, model))
