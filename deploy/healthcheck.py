"""Exit status 0 if the service in this container is healthy, 1 and one line if it is not; for HEALTHCHECK."""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT = 5.0
"""Less than the --timeout of HEALTHCHECK, so that the line below is what an operator reads."""


def main() -> int:
    """Ask /healthz where $STREAMFER_LISTEN says that the service listens (0.0.0.0 is this host as well)."""
    address = os.environ["STREAMFER_LISTEN"]
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        text = answer.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"{address}: no answer: {error or type(error).__name__}")
        return 1
    finally:
        connection.close()
    print(text)
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
