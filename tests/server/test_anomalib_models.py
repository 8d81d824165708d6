"""Packages of anomalib exports and of OpenVINO through the contract, as an old client sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.conftest import Client, byte_request
from support.anomalib import make_anomalib_package

from edge_agent.wire import edge_agent_pb2 as wire


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    pixels[40:100, 40:100] = (230, 10, 10)
    return pixels


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_the_whole_answer_and_a_mask_of_the_images_size(
    models: Path, client: Client, segment: Any, refused: Any, runtime: str
) -> None:
    make_anomalib_package(models / "export", runtime=runtime)
    client.start_and_wait("export")
    for shape in ((240, 320), (480, 640)):
        result = client.detect("export", picture(*shape))
        assert result.is_anomalous
        assert result.confidence == result.anomaly_score == pytest.approx(220 / 255, abs=1e-5)
        assert result.anomaly_threshold == 0.5
        found = [(a.name, a.pixel_anomaly.hex_color) for a in result.anomalies]
        assert found == [("background", "#FFFFFF"), ("anomaly", "#23A436")]
        assert sum(a.pixel_anomaly.total_percentage_area for a in result.anomalies) == pytest.approx(1)
        assert (result.anomaly_mask.height, result.anomaly_mask.width) == shape

    pixels = picture(480, 640)
    place = segment(pixels.nbytes)
    request = byte_request("export", pixels)
    handle = wire.SharedMemoryHandle(name=place.name, size=pixels.nbytes)
    request.anomaly_mask_params.shared_memory_handle.CopyFrom(handle)
    assert client.send(request).detect_anomaly_result.anomaly_mask.WhichOneof("data") == "shared_memory_handle"
    assert place.read(pixels.nbytes) == result.anomaly_mask.byte_data
    request.anomaly_mask_params.shared_memory_handle.size = 240 * 320 * 3
    with refused("INVALID_ARGUMENT", "the mask is 640x480 RGB888 pixels and needs 921600 bytes"):
        client.send(request)


def test_an_export_for_two_images_fails_with_the_way_out(models: Path, client: Client) -> None:
    make_anomalib_package(models / "export", batch=2, score_shape=(2,))
    described = client.start_and_wait("export", wire.FAILED)
    assert "It takes more than one image at a time. Export it anew for one: engine.export(" in described.status_message
