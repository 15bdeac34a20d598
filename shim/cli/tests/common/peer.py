"""A peer for the command's tests: peer.py [--port PORT] ADDRESS MODE [N].

Modes: all       reads to the end and prints how much it got
       save FILE as all, into FILE
       close N   reads N bytes, then closes
       reset N   reads N bytes, then closes with a RST
       leave N   waits N seconds, then closes with a RST
       unread N  waits for N bytes, then closes without reading them
       half N    reads N bytes, closes its own direction, reads to the end
       stop      accepts, and never reads
       slow N    reads N bytes a second to the end and prints how much it got; more than
                 100,000 bytes may wait for it
       late      reads to the end, waits 2 s, and prints whether its answer
                 was refused
       crawl     waits 2 s, reads to the end, and prints how much it got
       lose DEV  reads a byte, then takes the addresses from its device
       full      listens, with a queue that is full already
       chatty    sends 100,000 bytes, closes its own direction, reads to the end
"""

import array
import fcntl
import socket
import struct
import subprocess
import sys
import termios
import time

def read(connection, count=None):
    got = 0
    while count is None or got < count:
        data = connection.recv(65536 if count is None else count - got)
        if not data:
            break
        got += len(data)
    return got


def wait_for(connection, count):
    arrived = array.array("i", [0])
    while arrived[0] < count:
        fcntl.ioctl(connection, termios.FIONREAD, arrived)
        time.sleep(0.005)


def main():
    port = 5000
    address, mode, *rest = sys.argv[1:]
    if address == "--port":
        port = int(mode)
        address, mode, *rest = rest
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if mode == "slow":
        # This limits what may wait to be read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
    listener.bind((address, port))
    if mode == "full":
        # One connection fits into a queue of zero; from then on, SYNs drop.
        fill = socket.socket(family)
        fill.bind((address, 0))
        listener.listen(0)
        fill.connect((address, port))
        print("peer is full", flush=True)
        time.sleep(60)
    listener.listen()
    connection, _ = listener.accept()
    if mode == "all":
        print("peer got", read(connection), flush=True)
    elif mode == "save":
        with open(rest[0], "wb", buffering=0) as copy:
            while data := connection.recv(65536):
                copy.write(data)
    elif mode == "close":
        read(connection, int(rest[0]))
        connection.close()
    elif mode in ("reset", "leave"):
        if mode == "reset":
            read(connection, int(rest[0]))
        else:
            time.sleep(int(rest[0]))
        on_with_zero_seconds = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on_with_zero_seconds)
        connection.close()
    elif mode == "unread":
        wait_for(connection, int(rest[0]))
        connection.close()
    elif mode == "half":
        got = read(connection, int(rest[0]))
        connection.shutdown(socket.SHUT_WR)
        print("peer got", got + read(connection), flush=True)
    elif mode == "chatty":
        connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        read(connection)
    elif mode == "slow":
        got, size = 0, max(1, int(rest[0]) // 20)
        while data := connection.recv(size):
            got += len(data)
            time.sleep(len(data) / int(rest[0]))
        print("peer got", got, flush=True)
    elif mode == "late":
        read(connection)
        time.sleep(2)
        try:
            connection.sendall(b"answer")
            time.sleep(0.3)
            connection.sendall(b"answer")
            print("peer was left alone", flush=True)
        except OSError as error:
            print("peer got an error:", error.strerror, flush=True)
    elif mode == "crawl":
        time.sleep(2)
        print("peer got", read(connection), flush=True)
    elif mode == "stop":
        time.sleep(60)
    elif mode == "lose":
        read(connection, 1)
        subprocess.run(["ip", "address", "flush", "dev", rest[0]], check=True)
        time.sleep(60)


main()
