"""rtsp_file.py PORT FILE: serves the H.264 of a Matroska file at rtsp://127.0.0.1:PORT/line, from its start for each client.

Run by Debian's Python, which alone sees Debian's bindings of GStreamer's RTSP server. Frames go out when their time
stamps say, and over TCP no faster than the client takes them.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions come first

port, path = sys.argv[1:]
Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(f"( filesrc location={path} ! matroskademux ! rtph264pay name=pay0 pt=96 config-interval=-1 )")
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(port)
server.get_mount_points().add_factory("/line", factory)
server.attach(None)
sys.stdout.write("ready\n")
sys.stdout.flush()
GLib.MainLoop().run()
