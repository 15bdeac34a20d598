"""The program under test: a server that acknowledges lines.

It answers every line with "ok N", and stops to serve after "quit" or, if it is called
with a number, after so many lines.
"""

import socket
import sys

limit = int(sys.argv[1]) if len(sys.argv) > 1 else None
listener = socket.create_server(("10.0.0.1", 5000))
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rw") as lines:
        for count, line in enumerate(lines, 1):
            print(f"line {count}: {line.strip()}", flush=True)
            lines.write(f"ok {count}\n")
            lines.flush()
            if count == limit or line == "quit\n":
                break
