"""The generated modules against a table written from the published contract, not from our .proto file."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor

from edge_agent.wire import edge_agent_pb2

_TYPES = {
    "string": FieldDescriptor.TYPE_STRING,
    "bytes": FieldDescriptor.TYPE_BYTES,
    "bool": FieldDescriptor.TYPE_BOOL,
    "float": FieldDescriptor.TYPE_FLOAT,
    "int32": FieldDescriptor.TYPE_INT32,
    "uint64": FieldDescriptor.TYPE_UINT64,
}

# message: {number: (name, type, repeated)}; a capital letter starts a message or enum type
MESSAGES = {
    "SharedMemoryHandle": {
        1: ("name", "string", False),
        2: ("size", "uint64", False),
        3: ("offset", "uint64", False),
    },
    "Bitmap": {
        1: ("width", "int32", False),
        2: ("height", "int32", False),
        3: ("byte_data", "bytes", False),
        4: ("shared_memory_handle", "SharedMemoryHandle", False),
    },
    "AnomalyMaskParams": {2: ("shared_memory_handle", "SharedMemoryHandle", False)},
    "PixelAnomaly": {1: ("total_percentage_area", "float", False), 2: ("hex_color", "string", False)},
    "Anomaly": {1: ("name", "string", False), 2: ("pixel_anomaly", "PixelAnomaly", False)},
    "DetectAnomaliesRequest": {
        1: ("model_component", "string", False),
        2: ("bitmap", "Bitmap", False),
        3: ("anomaly_mask_params", "AnomalyMaskParams", False),
    },
    "DetectAnomalyResult": {
        1: ("is_anomalous", "bool", False),
        2: ("confidence", "float", False),
        3: ("anomaly_mask", "Bitmap", False),
        4: ("anomalies", "Anomaly", True),
        5: ("anomaly_score", "float", False),
        6: ("anomaly_threshold", "float", False),
    },
    "DetectAnomaliesResponse": {1: ("detect_anomaly_result", "DetectAnomalyResult", False)},
    "ModelDescription": {
        1: ("model_component", "string", False),
        2: ("lookout_vision_model_arn", "string", False),
        3: ("status", "ModelStatus", False),
        4: ("status_message", "string", False),
    },
    "ModelMetadata": {
        1: ("model_component", "string", False),
        2: ("lookout_vision_model_arn", "string", False),
        3: ("status", "ModelStatus", False),
        4: ("status_message", "string", False),
    },
    "StartModelRequest": {1: ("model_component", "string", False)},
    "StartModelResponse": {1: ("status", "ModelStatus", False)},
    "StopModelRequest": {1: ("model_component", "string", False)},
    "StopModelResponse": {1: ("status", "ModelStatus", False)},
    "ListModelsRequest": {},
    "ListModelsResponse": {1: ("models", "ModelMetadata", True)},
    "DescribeModelRequest": {1: ("model_component", "string", False)},
    "DescribeModelResponse": {1: ("model_description", "ModelDescription", False)},
}

METHODS = {
    "DetectAnomalies": ("DetectAnomaliesRequest", "DetectAnomaliesResponse"),
    "StartModel": ("StartModelRequest", "StartModelResponse"),
    "StopModel": ("StopModelRequest", "StopModelResponse"),
    "ListModels": ("ListModelsRequest", "ListModelsResponse"),
    "DescribeModel": ("DescribeModelRequest", "DescribeModelResponse"),
}

FILE = edge_agent_pb2.DESCRIPTOR


def test_package_and_messages_are_the_contracts() -> None:
    assert FILE.package == "AWS.LookoutVision"
    assert set(FILE.message_types_by_name) == set(MESSAGES)
    assert FILE.GetOptions().java_package == "com.amazonaws.lookoutvision"


def _is_repeated(field: FieldDescriptor) -> bool:
    # `label` is deprecated in the newest protobuf, `is_repeated` is absent from the oldest.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_fields_have_the_contracts_numbers_and_types(name: str) -> None:
    found = {}
    for field in FILE.message_types_by_name[name].fields:
        if field.message_type is not None:
            kind = field.message_type.name
        elif field.enum_type is not None:
            kind = field.enum_type.name
        else:
            kind = next(word for word, number in _TYPES.items() if number == field.type)
        found[field.number] = (field.name, kind, _is_repeated(field))
    assert found == MESSAGES[name]


def test_bitmap_data_is_the_only_oneof() -> None:
    oneofs = {
        (message.name, oneof.name): {field.name for field in oneof.fields}
        for message in FILE.message_types_by_name.values()
        for oneof in message.oneofs
    }
    assert oneofs == {("Bitmap", "data"): {"byte_data", "shared_memory_handle"}}


def test_status_values_are_the_contracts() -> None:
    values = {value.name: value.number for value in FILE.enum_types_by_name["ModelStatus"].values}
    assert values == {"STOPPED": 0, "STARTING": 1, "RUNNING": 2, "FAILED": 3, "STOPPING": 4}


def test_service_has_the_five_unary_calls() -> None:
    service = FILE.services_by_name["EdgeAgent"]
    assert service.full_name == "AWS.LookoutVision.EdgeAgent"
    assert {m.name: (m.input_type.name, m.output_type.name) for m in service.methods} == METHODS
    assert not any(m.client_streaming or m.server_streaming for m in service.methods)
