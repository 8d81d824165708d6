"""Packages that need Neo's own runtime, with a `libdlr.so` of ours that speaks its documented C API: no TVM anywhere.

The library reads what to do from the file `behaviour` beside it. Its model knows red, as that of `support.neo`, and has
the same trigger, a magenta pixel in the top left corner, for what `mood` says:

- "abort", "hang", "fail": in an inference with the trigger; "abort at once", "refuse", "refuse aloud" (in the log
  alone): while it loads.
- "grow": an output has another shape in an inference with the trigger.
- "tell": the mask is no mask; it begins with what the library has seen and tried, as `Told` names it.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from support.neo import compile_library
from support.packages import make_manifest


class Told(IntEnum):
    """Where in the mask the library puts what it has to tell; of attempts, errno or 0."""

    DEVICE_TYPE = 0
    DEVICE_ID = 1
    TVM_NUM_THREADS = 2
    OMP_NUM_THREADS = 3
    TVM_BIND_THREADS = 4
    SECRETS = 5
    INET = 6
    INET6 = 7
    PACKET = 8
    VSOCK = 9
    INET_IN_A_THREAD = 10
    INET_IN_A_NEW_PROCESS = 11
    IO_URING = 12
    UNIX = 13
    NETLINK = 14
    TVM_THREAD_POOL_SPIN_COUNT = 15


_SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void *Handle;
typedef struct {
    char mood[32], in_type[16], out_type[16], backend[16];
    int height, width, inputs, outputs, device, id, ran, grown;
    float *in, *mask, scores[2];
} Model;

static char last_error[256];
const char *DLRGetLastError(void) { return last_error; }
static int refuse(const char *why) { snprintf(last_error, sizeof last_error, "%s", why); return -1; }
static Model *of(Handle *handle) { return *handle; }
static int is(Handle *handle, const char *mood) { return !strcmp(of(handle)->mood, mood); }

int CreateDLRModel(Handle *handle, const char *path, int device, int id) {
    char name[512];
    Model *m = calloc(1, sizeof *m);
    if (strchr(path, ':')) return refuse("a list of paths");
    snprintf(name, sizeof name, "%s/behaviour", path);
    FILE *file = fopen(name, "r");
    if (!file || fscanf(file, "%31[^\n]\n%15s %15s %15s %d %d %d %d", m->mood, m->in_type, m->out_type, m->backend,
                        &m->height, &m->width, &m->inputs, &m->outputs) != 8)
        return refuse("no behaviour");
    fclose(file);
    m->device = device; m->id = id;
    m->in = calloc(3 * m->height * m->width, sizeof(float));
    m->mask = calloc(4 * m->height * m->width, sizeof(float));
    *handle = m;
    if (is(handle, "refuse")) return refuse("TVMError: no kernel image is available\nStack trace:\n  [bt] (0) x");
    if (is(handle, "refuse aloud")) {
        fprintf(stderr, "[01:02:03] /src/a.cc:1: Loading\n[01:02:03] /src/dlr.cc:321: Compiled model requires more\n");
        *handle = 0;
        return -1;
    }
    if (is(handle, "abort at once")) abort();
    return 0;
}

int GetDLRNumInputs(Handle *handle, int *count) { *count = of(handle)->inputs; return 0; }
int GetDLRInputName(Handle *handle, int index, const char **name) { *name = index ? "aux" : "input"; return 0; }
int GetDLRInputType(Handle *handle, int index, const char **type) { *type = of(handle)->in_type; return 0; }
int GetDLRInputSizeDim(Handle *handle, int index, int64_t *size, int *dimensions) {
    *size = 3 * of(handle)->height * of(handle)->width;
    *dimensions = 4;
    return 0;
}
int GetDLRInputShape(Handle *handle, int index, int64_t *shape) {
    int known = strcmp(of(handle)->backend, "relayvm");
    int64_t sides[] = {1, 3, known ? of(handle)->height : -1, known ? of(handle)->width : -1};
    memcpy(shape, sides, sizeof sides);
    return 0;
}
int SetDLRInput(Handle *handle, const char *name, const int64_t *shape, const void *data, int dimensions) {
    Model *m = of(handle);
    if (strcmp(name, "input")) return refuse("no such input");
    if (dimensions != 4 || shape[0] != 1 || shape[1] != 3 || shape[2] != m->height || shape[3] != m->width)
        return refuse("Mismatch found in input data size");
    memcpy(m->in, data, 3 * m->height * m->width * sizeof(float));
    return 0;
}

static int try_socket(int family) {
    int made = socket(family, SOCK_DGRAM, 0);
    if (made < 0) return errno;
    close(made);
    return 0;
}
static void *try_in_thread(void *result) { *(int *)result = try_socket(AF_INET); return 0; }
static int try_in_process(void) {
    int status;
    pid_t child = fork();
    if (!child) _exit(try_socket(AF_INET));
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}
static int number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : -1; }

static void tell(Model *m) {
    int in_thread = -1;
    pthread_t thread;
    if (!pthread_create(&thread, 0, try_in_thread, &in_thread)) pthread_join(thread, 0);
    char parameters[256] = {0};
    int ring = syscall(425, 1, parameters) < 0 ? errno : 0;
    int told[] = {m->device, m->id, number("TVM_NUM_THREADS"), number("OMP_NUM_THREADS"), number("TVM_BIND_THREADS"),
                  getenv("SVCUID") || getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN"), try_socket(AF_INET),
                  try_socket(AF_INET6), try_socket(AF_PACKET), try_socket(AF_VSOCK), in_thread, try_in_process(),
                  ring, try_socket(AF_UNIX), try_socket(AF_NETLINK),
                  number("TVM_THREAD_POOL_SPIN_COUNT")};
    for (unsigned i = 0; i < sizeof told / sizeof *told; i++) m->mask[i] = told[i];
    const char *cache = getenv("TVM_TENSORRT_CACHE_DIR");
    if (cache) {
        char name[512];
        snprintf(name, sizeof name, "%s/tensorrt_0_fp32.plan", cache);
        FILE *file = fopen(name, "w");
        if (file) fclose(file);
    }
}

int RunDLRModel(Handle *handle) {
    Model *m = of(handle);
    int64_t plane = m->height * m->width;
    int magenta = m->in[0] > .9f && m->in[plane] < .1f && m->in[2 * plane] > .9f;
    m->ran = 1;
    m->grown = magenta && is(handle, "grow");
    if (magenta && is(handle, "abort")) abort();
    if (magenta && is(handle, "hang")) for (volatile int on = 1; on;) {}
    if (magenta && is(handle, "fail")) return refuse("the conveyor is on strike\nand more");
    float most = 0;
    for (int64_t i = 0; i < plane; i++) {
        float found = 4 * (m->in[i] - (m->in[i + plane] + m->in[i + 2 * plane]) / 2);
        found = found < 0 ? 0 : found > 1 ? 1 : found;
        if (found > most) most = found;
        m->mask[i] = 1 - found;
        m->mask[i + plane] = found;
    }
    m->scores[0] = most; m->scores[1] = 1 - most;
    if (is(handle, "tell")) tell(m);
    return 0;
}

int GetDLRNumOutputs(Handle *handle, int *count) { *count = of(handle)->outputs; return 0; }
#ifndef OLD
int GetDLROutputType(Handle *handle, int index, const char **type) { *type = of(handle)->out_type; return 0; }
#endif
int GetDLROutputShape(Handle *handle, int index, int64_t *shape) {
    Model *m = of(handle);
    int known = m->ran || strcmp(m->backend, "relayvm");
    int64_t mask[] = {1, 2 + 2 * m->grown, known ? m->height : -1, known ? m->width : -1}, scores[] = {1, 2};
    if (index == 0) memcpy(shape, mask, sizeof mask); else memcpy(shape, scores, sizeof scores);
    return 0;
}
int GetDLROutputSizeDim(Handle *handle, int index, int64_t *size, int *dimensions) {
    *dimensions = index == 0 ? 4 : 2;
    *size = -1;
    return 0;
}
int GetDLROutput(Handle *handle, int index, void *out) {
    Model *m = of(handle);
    if (!m->ran) return refuse("nothing has run");
    if (index == 0) memcpy(out, m->mask, (2 + 2 * m->grown) * m->height * m->width * sizeof(float));
    else memcpy(out, m->scores, sizeof m->scores);
    return 0;
}
"""

#: The files beside libdlr.so for each kind of model, as SageMaker Neo names them.
KINDS: Dict[str, Tuple[str, ...]] = {
    "gpu": ("compiled.params", "compiled_model.json"),
    "opencl": ("compiled.params", "compiled_model.json"),
    "relayvm": ("code.ro",),
}


def make_runtime(*flags: str) -> bytes:
    return compile_library(_SOURCE, "-pthread", *flags)


def make_dlr_package(
    directory: Path,
    *,
    kind: str = "gpu",
    mood: str = "sound",
    runtime: Optional[bytes] = None,
    shape: Tuple[int, int] = (96, 128),
    types: Tuple[str, str] = ("float32", "float32"),
    counts: Tuple[int, int] = (1, 2),
) -> Path:
    """Write a package directory.

    Args:
        directory: of the package.
        kind: of KINDS.
        mood: of the library.
        runtime: another libdlr.so than ours.
        shape: (height, width) of what the model takes; the manifest says 96 by 128.
        types: of its inputs and of its outputs.
        counts: how many of each it says it has.
    """
    stage = directory / "mochi"
    stage.mkdir(parents=True)
    (stage / "libdlr.so").write_bytes(make_runtime() if runtime is None else runtime)
    for name in KINDS[kind]:
        (stage / name).write_bytes(b"")
    (stage / "compiled.so").write_bytes(b"")
    target = "cpu" if kind == "relayvm" else kind
    (stage / "compiled.meta").write_text(json.dumps({"Requirements": {"TargetDeviceType": target}}))
    backend = "relayvm" if kind == "relayvm" else "tvm"
    numbers = " ".join(str(number) for number in (*shape, *counts))
    (stage / "behaviour").write_text(f"{mood}\n{types[0]} {types[1]} {backend} {numbers}\n")
    manifest: Dict[str, Any] = make_manifest((96, 128), (240, 320), ["background", "scratch"], "both", 0.5)
    del manifest["runtime"]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory
