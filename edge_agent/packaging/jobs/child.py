"""What a worker starts, with STATE and NUMBER as arguments: does one job that is RUNNING, in a process of its own.

A model is foreign code to us: where loading it takes the process down, the job fails and nothing else does.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from edge_agent.errors import EdgeAgentError
from edge_agent.packaging.jobs.buckets import open_buckets
from edge_agent.packaging.jobs.engine import Made
from edge_agent.packaging.jobs.job import Job
from edge_agent.packaging.jobs.local import LocalEngine
from edge_agent.packaging.jobs.register import Registrar
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.signing import SigningKey
from edge_agent.packaging.jobs.store import JobStore


def main() -> int:
    store, number = JobStore(Path(sys.argv[1])), int(sys.argv[2])
    try:
        made = _run(store.get(number))
    except EdgeAgentError as error:
        store.fail(number, str(error))
        return 0
    except Exception as error:  # noqa: BLE001 - the log has it, the job says where
        traceback.print_exc()
        store.fail(number, f"Internal error: {type(error).__name__}. See {sys.argv[1]}/logs/{number}.log.")
        return 0
    output = {"ComponentVersionArn": made.arn, "ComponentName": made.name, "ComponentVersion": made.version}
    store.succeed(number, made.message, output)
    return 0


def _run(job: Job) -> Made:
    key = None if job.settings.sign_with is None else SigningKey(Path(job.settings.sign_with))
    registrar = Registrar() if job.settings.register else None
    threads = len(os.sched_getaffinity(0))
    engine = LocalEngine(open_buckets(job.settings.buckets), threads, key=key, registrar=registrar)
    return engine.run(job, ModelRegistry(Path(job.settings.registry)).find(job.project, job.model_version))
