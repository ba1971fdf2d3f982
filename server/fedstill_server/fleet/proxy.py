"""nginx in front of the SuperLink: devices reach the fleet's routes and the signed packages, and nothing
else.

Flower's SuperLink has its Control and Runtime APIs at the same port as its Fleet API, without accounts:
anybody who reaches the port could stop runs and let devices in. So it listens on loopback, behind this proxy.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

from fedstill_proto.system.supervisor import ChildProcess

from fedstill_server.fleet.certificates import authority_file, server_files
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.flower import FLEET_ROUTES, LOOPBACK, OBJECT_ROUTE
from fedstill_server.fleet.folder import REPOSITORY_PATH, FleetFolder, FleetSettings
from fedstill_server.fleet.guard import OBJECT_LIMIT_BYTES, REQUEST_LIMIT_BYTES

_CONNECTIONS = 4096

_CONFIGURATION = """\
# Written by fedstill-server up, anew each time.
{user}daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes auto;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;

  # Floods: requests a second of one device at one address, and of one address; requests at a time of one
  # address, and of all. What a device may ask for in all is for the SuperLink's guard to say (guard.py).
  limit_req_zone $binary_remote_addr$http_flwr_public_key zone=devices:16m rate=20r/s;
  limit_req_zone $binary_remote_addr zone=addresses:4m rate=200r/s;
  limit_conn_zone $binary_remote_addr zone=at_a_time:4m;
  limit_conn_zone $server_name zone=in_all:1m;
  limit_req_status 503;  # a device tries again later
  limit_conn_status 503;
  limit_req_log_level info;
  limit_conn_log_level info;

  client_max_body_size 1k;
  client_body_buffer_size 16k;
  client_header_timeout 10s;
  client_body_timeout 20s;
  send_timeout 30s;
  reset_timedout_connection on;
  keepalive_timeout 75s;

  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:4m;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=repository:4m max_size=4g inactive=30d;

  upstream superlink {{
    server {superlink};
    keepalive 16;
  }}

  server {{
    listen {listen} ssl;
    server_name _;

{routes}
    location {repository_path}/ {{
      limit_except GET {{ deny all; }}
      limit_conn at_a_time 64;
      limit_conn in_all 1024;
{repository}    }}

    location / {{ return 404; }}
  }}
}}
"""


_OWN_REPOSITORY = """\
      root {root};
      disable_symlinks on from=$document_root;
      sendfile on;
      log_not_found off;  # devices ask whether there is a newer root
"""

_ROUTES = """\
    location ~ ^/v1/fleet/({routes})$ {{
      limit_except POST {{ deny all; }}
      if ($http_flwr_public_key = "") {{ return 401; }}
      client_max_body_size {body_limit};
      limit_req zone=devices burst=300 nodelay;
      limit_req zone=addresses burst=2000 nodelay;
      limit_conn at_a_time 64;
      limit_conn in_all 1024;
      proxy_request_buffering off;  # nobody's body is kept on the disk, nor is any answer
      proxy_max_temp_file_size 0;
      proxy_pass https://superlink;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_ssl_trusted_certificate {authority};
      proxy_ssl_verify on;
      proxy_ssl_name localhost;  # nginx does not match addresses
      proxy_ssl_session_reuse on;
      proxy_read_timeout 300s;
      proxy_next_upstream off;
    }}
"""


def nginx_program() -> str:
    """The path of nginx; raises FleetError, which tells how to get it."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise FleetError(
            "nginx is not installed; get it from the system's packages (apt install nginx), or try a fleet "
            "out on this machine alone: fedstill-server init --without-proxy"
        )
    return program


def configuration(fleet: FleetFolder, repository: str = "") -> str:
    """nginx's configuration for this fleet; see `proxy`."""
    (certificate, key), folder = server_files(fleet), _folder(fleet)
    for path in (folder, fleet.folder.resolve()):
        if any(letter in str(path) for letter in " ;{}\"'\\$\n"):
            raise FleetError(f"{path}: nginx cannot read a path with such characters; move the fleet.")
    settings = fleet.settings
    return _CONFIGURATION.format(
        # Started as root, nginx would change to a user who may not read the fleet's folder.
        user=f"user {getpass.getuser()};\n" if os.geteuid() == 0 else "",
        folder=folder,
        connections=_CONNECTIONS,
        certificate=certificate.resolve(),
        key=key.resolve(),
        superlink=f"{LOOPBACK}:{settings.superlink_port}",
        listen=_listens_at(settings),
        routes=_locations(fleet),
        repository_path=REPOSITORY_PATH,
        repository=repository or _OWN_REPOSITORY.format(root=fleet.folder.resolve()),
    )


def _listens_at(settings: FleetSettings) -> str:
    """Where nginx listens: on loopback alone for a fleet that is tried out, else at every address."""
    if ":" in settings.host:
        return f"[{settings.host if settings.is_loopback else '::'}]:{settings.port}"
    return f"{LOOPBACK}:{settings.port}" if settings.is_loopback else str(settings.port)


def _locations(fleet: FleetFolder) -> str:
    """The routes for devices: one takes objects, the others nothing large."""
    others = "|".join(route for route in FLEET_ROUTES if route != OBJECT_ROUTE)
    limits = {OBJECT_ROUTE: OBJECT_LIMIT_BYTES, others: REQUEST_LIMIT_BYTES}
    authority = authority_file(fleet).resolve()
    return "\n".join(
        _ROUTES.format(routes=routes, body_limit=limit, authority=authority)
        for routes, limit in limits.items()
    )


def proxy(fleet: FleetFolder, repository: str = "") -> ChildProcess:
    """nginx with its configuration written and checked.

    Args:
        fleet: What it stands in front of.
        repository: What it does with requests for packages; empty serves those of the fleet's own.

    Raises:
        FleetError: nginx is not there, or refuses the configuration.
    """
    program, folder = nginx_program(), _folder(fleet)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "nginx.conf"
    file.write_text(configuration(fleet, repository))
    command = [program, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    if checked.returncode != 0:
        raise FleetError(f"nginx refuses {file}: {checked.stderr.strip()}")
    return ChildProcess("proxy", command, fleet.logs / "proxy.log")


def _folder(fleet: FleetFolder) -> Path:
    return fleet.folder.resolve() / "nginx"
