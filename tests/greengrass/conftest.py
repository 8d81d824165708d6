"""A local nucleus in either mode, and the real AWS clients on it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from awsiot.greengrasscoreipc import connect
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from greengrass_tools import RawClient, write_recipe

from edge_agent.greengrass.nucleus import LocalNucleus


@pytest.fixture(autouse=True)
def quiet_event_loop(caplog):
    """No test may make the nucleus fail inside, however well it goes on."""
    yield
    failures = [record for record in caplog.get_records("call") if record.name == "asyncio"]
    assert failures == []


@pytest.fixture(params=["classic", "lite"])
def mode(request):
    return request.param


@pytest.fixture
def start(tmp_path):
    """Start local nuclei; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start_one(mode, configuration=None, access_control=None, **options):
            if "recipe" not in options:
                options["recipe"] = write_recipe(tmp_path / "recipe.json", configuration, access_control)
            return stack.enter_context(LocalNucleus(tmp_path / "ipc.socket", mode=mode, **options))

        yield start_one


@pytest.fixture
def client():
    """Connect AWS's own V2 client to a nucleus; callbacks run in order on one thread."""
    with contextlib.ExitStack() as stack:

        def connect_one(nucleus, token=None, **options):
            raw = connect(
                ipc_socket=str(nucleus.socket_path), authtoken=token or nucleus.token, timeout=20.0, **options
            )
            wrapped = GreengrassCoreIPCClientV2(client=raw, executor=ThreadPoolExecutor(max_workers=1))
            stack.callback(_close, wrapped)
            return wrapped

        yield connect_one


def _close(client):
    # A connection that the nucleus has cut reports how it ended.
    with contextlib.suppress(Exception):
        client.close().result(10.0)


@pytest.fixture
def raw():
    """A bare socket to a nucleus."""
    with contextlib.ExitStack() as stack:

        def connect_one(nucleus):
            return stack.enter_context(contextlib.closing(RawClient(nucleus)))

        yield connect_one


@pytest.fixture
def component(monkeypatch):
    """Give this process the environment of a component of a nucleus."""

    def become(nucleus):
        for name, value in nucleus.environment().items():
            monkeypatch.setenv(name, value)

    return become
