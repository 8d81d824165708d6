"""Packages with a compiled model, made with the system's C compiler and the documented ABI: no TVM anywhere.

The model knows red: at each pixel the anomalous class is `clip(gain * (red - (green + blue) / 2), 0, 1)`, the score
is its largest value. A magenta pixel in the top left corner (which no grey picture has) pulls the trigger of what
`mood` says: "abort", "hang" or "fail"; "abort at once" needs none.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tempfile
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import psutil
import pytest
from support.packages import make_manifest

MOODS = ("sound", "abort", "hang", "fail", "abort at once", "ask for a function")
GAIN = 4.0

#: Pulls the trigger.
TRIGGER = np.zeros((1, 3, 96, 128), np.float32)
TRIGGER[0, ::2, 0, 0] = 1  # magenta

_SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { void *data; struct { int32_t type, id; } device; int32_t ndim;
                 struct { uint8_t code, bits; uint16_t lanes; } dtype;
                 int64_t *shape, *strides; uint64_t byte_offset; } DLTensor;
typedef union { int64_t i; double d; void *p; } Value;
typedef struct { void *sync; int32_t num_task; } Env;
typedef int (*Task)(int, Env *, void *);

#define WISH __attribute__((weak, visibility("default")))
WISH void (*__TVMAPISetLastError)(const char *) = 0;
WISH void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = 0;
WISH int (*__TVMBackendFreeWorkspace)(int, int, void *) = 0;
WISH int (*__TVMBackendParallelLaunch)(Task, void *, int) = 0;
WISH int (*__TVMBackendGetFuncFromEnv)(void *, const char *, void **) = 0;
WISH int (*__TVMFuncCall)(void *, Value *, int *, int, Value *, int *) = 0;
WISH void *__tvm_module_ctx = 0;

/* A tensor: by its address, or as the virtual machine hands it over. */
static int is_tensor(int code) { return code == 7 || code == 13; }
static int refuse(const char *why) { __TVMAPISetLastError(why); return -1; }

/* Ask TVM's runtime, by the name of a function of its own, whether device 0 of type 1, the CPU, is there (attribute 0). */
static int ask_the_runtime(void) {
    void *function = 0;
    Value questions[3] = {{1}, {0}, {0}}, answer = {0};
    int codes[3] = {0, 0, 0}, code = 0;
    if (__TVMBackendGetFuncFromEnv(__tvm_module_ctx, "runtime.GetDeviceAttr", &function)) return -1;
    if (__TVMFuncCall(function, questions, codes, 3, &answer, &code)) return -1;
    return answer.i == 1 ? 0 : refuse("there is no CPU");
}

typedef struct { const float *in; float *out; float gain; int64_t plane; int64_t tasks_seen[64]; } Job;

static int one(int id, Env *env, void *data) {
    Job *job = data;
    if (env->num_task < 1 || id < 0 || id >= env->num_task) return -1;
    int64_t from = job->plane * id / env->num_task, to = job->plane * (id + 1) / env->num_task;
    uint64_t bytes = (to - from) * sizeof(float);
    float *scratch = __TVMBackendAllocWorkspace(1, 0, bytes, 2, 32);
    if (!scratch || (uintptr_t)scratch % 128) return -1;
    for (int64_t i = from; i < to; i++) {
        float red = job->in[i], rest = (job->in[i + job->plane] + job->in[i + 2 * job->plane]) / 2;
        float found = job->gain * (red - rest);
        scratch[i - from] = found < 0 ? 0 : found > 1 ? 1 : found;
    }
    for (int64_t i = from; i < to; i++) {
        job->out[i] = 1 - scratch[i - from];
        job->out[i + job->plane] = scratch[i - from];
    }
    return __TVMBackendFreeWorkspace(1, 0, scratch);
}

int fused_mask(Value *args, int *codes, int count, Value *ret, int *ret_code, void *resource) {
    if (count != 4 || !is_tensor(codes[0]) || !is_tensor(codes[3])) return refuse("fused_mask: wrong arguments\nsecond line");
    DLTensor *in = args[0].p, *gain = args[1].p, *mood = args[2].p, *out = args[3].p;
    if (in->ndim != 4 || in->shape[1] != 3 || in->strides || out->shape[1] != 2 || gain->dtype.code != 2 ||
        mood->dtype.bits != 32 || (uintptr_t)in->data % 64 || (uintptr_t)out->data % 64)
        return refuse("fused_mask: wrong tensors");
    Job job = { in->data, out->data, *(float *)gain->data, in->shape[2] * in->shape[3] };
    int32_t now = *(int32_t *)mood->data;
    int magenta = job.in[0] > .9f && job.in[job.plane] < .1f && job.in[2 * job.plane] > .9f;
    if (now == 4 || (now == 1 && magenta)) abort();
    if (now == 2 && magenta) for (volatile int on = 1; on;) {}
    if (now == 3 && magenta) return refuse("the conveyor is on strike\nand more");
    if (now == 5 && ask_the_runtime()) return -1;
    return __TVMBackendParallelLaunch(one, &job, 0);
}

int fused_class(Value *args, int *codes, int count, Value *ret, int *ret_code, void *resource) {
    DLTensor *mask = args[0].p, *out = args[1].p;
    if (count != 2 || mask->ndim != 1) return refuse("fused_class: not flattened");
    const float *in = mask->data; float *result = out->data, most = 0;
    for (int64_t i = mask->shape[0] / 2; i < mask->shape[0]; i++) if (in[i] > most) most = in[i];
    result[0] = most; result[1] = 1 - most;
    return 0;
}
"""


@lru_cache(maxsize=None)
def compile_library(source: str, *flags: str) -> bytes:
    """A shared library, compiled once; the test is skipped where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "library.c").write_text(source)
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", "library.so", "library.c", *flags]
        subprocess.run(command, cwd=directory, check=True)
        return (directory / "library.so").read_bytes()


def make_neo_package(
    directory: Path,
    *,
    size: Tuple[int, int] = (96, 128),
    mood: str = "sound",
    gain: float = GAIN,
    top: Optional[Dict[str, Any]] = None,
) -> Path:
    """Write a package directory as the service's own look: no `runtime`, `mochi/compiled.*`."""
    stage = directory / "mochi"
    stage.mkdir(parents=True)
    (stage / "compiled.so").write_bytes(compile_library(_SOURCE))
    (stage / "compiled_model.json").write_text(json.dumps(graph_document(size)))
    (stage / "compiled.params").write_bytes(params_bytes(weights(mood, gain)))
    (stage / "compiled.meta").write_text(json.dumps({"Requirements": {"TargetDeviceType": "cpu"}}))
    (stage / "libdlr.so").write_bytes(b"never loaded")
    manifest = make_manifest(size, (240, 320), ["background", "scratch"], "both", 0.5)
    del manifest["runtime"]
    manifest.update(top or {})
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def random_tensor(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, 96, 128), dtype=np.float32)


def weights(mood: str, gain: float = GAIN) -> Dict[str, np.ndarray]:
    return {"p0": np.array([gain], np.float32), "p1": np.array([MOODS.index(mood)], np.int32)}


def expected_outputs(tensor: np.ndarray) -> List[np.ndarray]:
    """What the model gives, by NumPy."""
    red, green, blue = tensor[0]
    found = np.clip(np.float32(GAIN) * (red - (green + blue) / 2), 0, 1)
    most = found.max()
    return [np.stack([1 - found, found])[None], np.array([[most, 1 - most]], np.float32)]


def graph_document(size: Tuple[int, int]) -> Dict[str, Any]:
    height, width = size

    def call(name: str, inputs: List[int], *, flatten: str = "0") -> Dict[str, Any]:
        attrs = {"func_name": name, "num_inputs": str(len(inputs)), "num_outputs": "1", "flatten_data": flatten}
        return {"op": "tvm_op", "name": name, "attrs": attrs, "inputs": [[index, 0, 0] for index in inputs]}

    nodes = [{"op": "null", "name": name, "inputs": []} for name in ("input", "p0", "p1")]
    nodes += [call("fused_mask", [0, 1, 2]), call("__nop", [3]), call("fused_class", [4], flatten="1")]
    shapes = [[1, 3, height, width], [1], [1], [1, 2, height, width], [1, 2, height * width], [1, 2]]
    types = ["float32", "float32", "int32", "float32", "float32", "float32"]
    return {
        "nodes": nodes,
        "arg_nodes": [0, 1, 2],
        "heads": [[3, 0, 0], [5, 0, 0]],
        "node_row_ptr": list(range(7)),
        "attrs": {
            "shape": ["list_shape", shapes],
            "dltype": ["list_str", types],
            "storage_id": ["list_int", [0, 1, 2, 3, 3, 4]],
            "device_index": ["list_int", [1] * 6],
        },
    }


def params_bytes(arrays: Dict[str, np.ndarray]) -> bytes:
    """A weights file."""
    data = struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, len(arrays))
    for name in arrays:
        data += struct.pack("<Q", len(name)) + name.encode()
    data += struct.pack("<Q", len(arrays))
    for array in arrays.values():
        code = {"i": 0, "u": 1, "f": 2}[array.dtype.kind]
        data += struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, array.ndim, code, 8 * array.itemsize, 1)
        data += struct.pack(f"<{array.ndim}q", *array.shape) + struct.pack("<q", array.nbytes) + array.tobytes()
    return data


def child_processes() -> List[psutil.Process]:
    """This process's children but for Python's own resource tracker, which lives from the first SharedMemory on."""
    tracker = resource_tracker._resource_tracker._pid  # the module offers no other way to tell it apart
    return [child for child in psutil.Process().children() if child.pid != tracker]
