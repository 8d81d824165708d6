"""An echo on the contract's transport: answers DetectAnomalies with the image's own bytes as the mask.

    python -m benchmarks.echo SOCKET

It computes nothing, and treats memory as the model server does: what a server by bytes can be, over protobuf.
"""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any

import grpc

from edge_agent.allocator import keep_freed_memory
from edge_agent.contract import MAX_MESSAGE_BYTES
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc


class _Echo(edge_agent_pb2_grpc.EdgeAgentServicer):
    def DetectAnomalies(self, request: Any, context: grpc.ServicerContext) -> wire.DetectAnomaliesResponse:  # noqa: ARG002, N802 - the contract's name
        bitmap = request.bitmap
        mask = wire.Bitmap(width=bitmap.width, height=bitmap.height, byte_data=bitmap.byte_data)
        return wire.DetectAnomaliesResponse(detect_anomaly_result=wire.DetectAnomalyResult(anomaly_mask=mask))


def main() -> None:
    keep_freed_memory()
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), options=limits)
    edge_agent_pb2_grpc.add_EdgeAgentServicer_to_server(_Echo(), server)  # type: ignore[no-untyped-call] # generated
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
