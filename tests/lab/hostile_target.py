"""An iSCSI target that lies, run as a program on a SAN host: it has one disk of zeros a target.

Standard library only. Its one argument is JSON: ``address``, ``ports`` (each port's answer to
SendTargets) and ``targets`` (by name, what each of them says). Bytes are in hexadecimal:

- of a port: ``text``, the answer to SendTargets; ``endless``, which never ends it; ``trickle``.
- of a target: ``pages``, VPD pages by number, null for none; ``inquiry``, the standard data;
  ``luns``, the answer to REPORT LUNS; ``capacity``, that to READ CAPACITY(16); ``reservations``,
  that to REPORT CAPABILITIES of reservations, which it does not know otherwise; ``endless``: data
  without end for this command (its operation code); ``login``, the text of the login's answer;
  ``status``, of a login's answer; ``trickle``: the login's answer comes a byte a second.
"""

import json
import socketserver
import struct
import sys
import threading
import time

BLOCKS, BLOCK = 64 << 11, 512
CHUNK = 64 << 10
# RFC 7143, 11.1.1.2: operation codes, and what this target answers them with.
NOP, COMMAND, TASK, LOGIN, TEXT, DATA_OUT, LOGOUT = 0, 1, 2, 3, 4, 5, 6
NOP_IN, RESPONSE, TASK_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = (
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26,
)  # fmt: skip
RESERVED = b"\xff\xff\xff\xff"
CONTINUE = 0x40  # more text follows
GOOD, CHECK_CONDITION = 0, 2
# SPC-5, 4.4.3: fixed format, ILLEGAL REQUEST, INVALID FIELD IN CDB.
SENSE = b"\x70\0\x05\0\0\0\0\x0a\0\0\0\0\x24\0\0\0\0\0"
NEGOTIATED = {
    "AuthMethod": "None",
    "HeaderDigest": "None",
    "DataDigest": "None",
    "InitialR2T": "Yes",
    "ImmediateData": "No",
    "MaxConnections": "1",
    "MaxOutstandingR2T": "1",
    "MaxBurstLength": "262144",
    "FirstBurstLength": "65536",
    "ErrorRecoveryLevel": "0",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "IFMarker": "No",
    "OFMarker": "No",
    "MaxRecvDataSegmentLength": str(CHUNK),
}


class Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.port = self.server.port
        self.target: dict = {}
        self.number = 1  # StatSN
        try:
            while (header := self.read(48)) is not None:
                data = self.read(int.from_bytes(header[5:8], "big") + 3 & ~3) or b""
                if not self.answer(header, data[: int.from_bytes(header[5:8], "big")]):
                    return
        except OSError:
            return

    def read(self, length: int) -> bytes | None:
        data = b""
        while len(data) < length:
            if not (more := self.request.recv(length - len(data))):
                return None
            data += more
        return data

    def send(
        self, header: bytes, code: int, flags: int, data: bytes = b"", *, rest: bytes = b"",
        at: bytes = b"", status: int | None = 0, slow: bool = False,
    ) -> None:  # fmt: skip
        """Send a PDU in answer to `header`; `rest` follows byte 36, `at` are bytes 2 and 3."""
        expected = int.from_bytes(header[24:28], "big") + (not header[0] & 0x40)
        middle = header[8:16] if code == LOGIN_RESPONSE else bytes(8)
        ttt = (
            RESERVED if code in (NOP_IN, TEXT_RESPONSE, DATA_IN) and flags != CONTINUE else bytes(4)
        )
        pdu = struct.pack(
            ">BB2sI8s4s4sIII12s", code, flags, at, len(data), middle, header[16:20], ttt,
            self.number, expected, expected + 31, rest,
        ) + data + bytes(-len(data) % 4)  # fmt: skip
        self.number += status is not None
        for part in (pdu[i : i + 1] for i in range(len(pdu))) if slow else [pdu]:
            self.request.sendall(part)
            time.sleep(1 if slow else 0)

    def answer(self, header: bytes, data: bytes) -> bool:
        code = header[0] & 0x3F
        if code == LOGIN:
            return self.log_in(header, data)
        if code == TEXT:
            self.targets(header)
        elif code == NOP:
            if header[16:20] != RESERVED:
                self.send(header, NOP_IN, 0x80, data)
        elif code == TASK:
            self.send(header, TASK_RESPONSE, 0x80)
        elif code == COMMAND:
            self.command(header)
        elif code == LOGOUT:
            self.send(header, LOGOUT_RESPONSE, 0x80)
        return code != LOGOUT

    def log_in(self, header: bytes, data: bytes) -> bool:
        asked = dict(pair.partition("=")[::2] for pair in data.decode().split("\0") if pair)
        discovery = asked.get("SessionType") == "Discovery"
        if "TargetName" in asked:
            self.target = self.server.targets.get(asked["TargetName"], {"status": 0x0203})
        says = self.port if discovery else self.target
        status = says.get("status", 0)
        mine = {"TargetPortalGroupTag": "1"} if "InitiatorName" in asked else {}
        mine |= {key: NEGOTIATED[key] for key in asked if key in NEGOTIATED}
        text = "".join(f"{key}={value}\0" for key, value in mine.items()).encode()
        text = bytes.fromhex(says["login"]) if "login" in says else text
        handle = b"\0\1" if header[1] & 0x83 == 0x83 else bytes(2)  # TSIH, in the last answer
        header = header[:14] + handle + header[16:]
        self.send(
            header, LOGIN_RESPONSE, 0 if status else header[1] & ~CONTINUE, b"" if status else text,
            rest=status.to_bytes(2, "big"), slow=says.get("trickle", False),
        )  # fmt: skip
        return not status

    def targets(self, header: bytes) -> None:
        text = bytes.fromhex(self.port.get("text", ""))
        if not text:
            address, port = self.server.server_address[:2]
            text = b"".join(
                f"TargetName={name}\0TargetAddress={address}:{port},1\0".encode()
                for name in self.server.targets
            )
        self.send(header, TEXT_RESPONSE, CONTINUE if "endless" in self.port else 0x80, text)

    # SCSI

    def command(self, header: bytes) -> None:
        cdb, wanted = header[32:48], int.from_bytes(header[20:24], "big")
        data = self.scsi(cdb, wanted)
        if data is None:
            sense = len(SENSE).to_bytes(2, "big") + SENSE
            return self.send(header, RESPONSE, 0x82, sense, at=bytes([0, CHECK_CONDITION]),
                             rest=struct.pack(">4xII", 0, wanted))  # fmt: skip
        if self.target.get("endless") == cdb[0]:
            while True:
                self.send(header, DATA_IN, 0, bytes(CHUNK), status=None)
        left = wanted - len(data[:wanted])
        if not data:
            return self.send(header, RESPONSE, 0x80 | 2 * bool(left),
                             rest=struct.pack(">4xII", 0, left))  # fmt: skip
        data = data[:wanted]
        for part, offset in enumerate(range(0, len(data), CHUNK)):
            chunk = data[offset : offset + CHUNK]
            last = offset + CHUNK >= len(data)
            self.send(
                header, DATA_IN, (0x81 | 2 * bool(left)) if last else 0, chunk,
                rest=struct.pack(">III", part, offset, left if last else 0),
                status=0 if last else None,
            )  # fmt: skip

    def scsi(self, cdb: bytes, wanted: int) -> bytes | None:
        """Return a command's data, None for an error."""
        code = cdb[0]
        if code == 0x12:
            return self.page(cdb[2]) if cdb[1] & 1 else self.said("inquiry", standard())
        if code == 0x25:
            return struct.pack(">II", BLOCKS - 1, BLOCK)
        if code == 0x9E and cdb[1] & 0x1F == 0x10:
            return self.said("capacity", struct.pack(">QI20x", BLOCKS - 1, BLOCK))
        if code == 0xA0:
            return self.said("luns", struct.pack(">I4xQ", 8, 0))
        if code == 0x1A:
            return b"\x03\0\0\0"
        if code == 0x5A:
            return b"\0\x06\0\0\0\0\0\0"
        if code == 0x5E and "reservations" in self.target:
            return self.said("reservations", b"") if cdb[1] & 0x1F == 2 else bytes(8)
        if code in (0x08, 0x28, 0x88):
            return bytes(wanted)
        return b"" if code in (0x00, 0x35, 0x91) else None  # TEST UNIT READY, SYNCHRONIZE CACHE

    def said(self, what: str, otherwise: bytes) -> bytes:
        return bytes.fromhex(self.target[what]) if what in self.target else otherwise

    def page(self, number: int) -> bytes | None:
        pages = {
            "0": "000000040080 83b0",
            "128": "00800004 30303031",
            "176": "00b0003c" + "00" * 60,
        }
        found = {**pages, **self.target.get("pages", {})}.get(str(number))
        return None if found is None else bytes.fromhex(found)


def standard(vendor: bytes = b"KVMLUN", product: bytes = b"HOSTILE") -> bytes:
    """Return standard INQUIRY data (SPC-5, 6.7.2)."""
    return b"\0\0\x06\x02\x1f\0\0\x02" + vendor.ljust(8) + product.ljust(16) + b"1   "


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def main(spec: str) -> None:
    given = json.loads(spec)
    for port, says in given["ports"].items():
        server = Server((given["address"], int(port)), Connection)
        server.port, server.targets = says, given["targets"]
        threading.Thread(target=server.serve_forever).start()
    print("ready", flush=True)


if __name__ == "__main__":
    main(open(sys.argv[1]).read())
