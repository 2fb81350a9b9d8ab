"""The workload of the seed case: it is its own upstream, asks for an allowed
and a refused name, and exits 0 if the answers are NOERROR and REFUSED."""

import socket
import struct
import sys
import threading

UPSTREAM = ("127.0.0.1", 53054)
PROXY = ("127.0.0.1", 53053)
NOERROR, REFUSED = 0, 5


def question(name):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
    return labels + b"\0" + struct.pack(">HH", 1, 1)  # A, IN


def serve(sock):
    """Answers every query with 1.2.3.4."""
    while True:
        query, peer = sock.recvfrom(2048)
        end = query.index(b"\0", 12) + 5
        header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + bytes([1, 2, 3, 4])
        sock.sendto(header + query[12:end] + record, peer)


def ask(name, query_id):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(struct.pack(">HHHHHH", query_id, 0x0100, 1, 0, 0, 0) + question(name), PROXY)
        answer = sock.recv(2048)
        assert answer[:2] == struct.pack(">H", query_id), "the answer is to another query"
        return answer[3] & 0x0F


upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
upstream.bind(UPSTREAM)
threading.Thread(target=serve, args=(upstream,), daemon=True).start()

allowed, refused = ask("api.example.com", 0xA1A1), ask("evil.example.com", 0xB2B2)
print("allowed name: rcode", allowed, "refused name: rcode", refused, flush=True)
sys.exit(0 if (allowed, refused) == (NOERROR, REFUSED) else 1)
