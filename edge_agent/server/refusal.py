"""How a call ends that is not answered."""

from __future__ import annotations

import grpc


class Refusal(Exception):  # noqa: N818 - control flow inside the server; it never leaves as an exception
    """A documented status code and the sentence that goes with it (docs/server.md)."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def invalid(details: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, details)
