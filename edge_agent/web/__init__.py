"""What is served over HTTP: figures and health (docs/metrics.md), and the server for an inspector's own pages."""

from __future__ import annotations

from edge_agent.web.exposition import Exposition
from edge_agent.web.http_server import HttpServer, Tls, read_token
from edge_agent.web.messages import Answer, Request, Stream, words
from edge_agent.web.pages import Pages
from edge_agent.web.process_figures import add_process_figures
from edge_agent.web.prometheus import make_registry
from edge_agent.web.static_files import StaticFiles

__all__ = [
    "Answer",
    "Exposition",
    "HttpServer",
    "Pages",
    "Request",
    "StaticFiles",
    "Stream",
    "Tls",
    "add_process_figures",
    "make_registry",
    "read_token",
    "words",
]
