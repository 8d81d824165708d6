"""rtsp_server.py PORT DIRECTORY RATE: serves DIRECTORY/%02d.png, round and round, as H.264 at rtsp://127.0.0.1:PORT/line.

Run by Debian's Python, which alone sees Debian's bindings of GStreamer's RTSP server.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions come first

port, directory, rate = sys.argv[1:]
Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    f"( multifilesrc location={directory}/%02d.png loop=true caps=image/png,framerate={rate}/1 ! pngdec"
    " ! videoconvert ! video/x-raw,format=I420 ! identity sync=true"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=4 bitrate=4000 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(port)
server.get_mount_points().add_factory("/line", factory)

# operator:s3cret, by basic authentication.
basic = GstRtspServer.RTSPAuth.make_basic("operator", "s3cret")
token = GstRtspServer.RTSPToken()
token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "operator")
auth = GstRtspServer.RTSPAuth.new()
auth.add_basic(basic, token)
server.set_auth(auth)
permissions = GstRtspServer.RTSPPermissions()
for what in (GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT):
    permissions.add_permission_for_role("operator", what, True)  # noqa: FBT003 - GStreamer's form
factory.set_permissions(permissions)

server.attach(None)
sys.stdout.write("ready\n")
sys.stdout.flush()
GLib.MainLoop().run()
