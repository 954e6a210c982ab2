"""The message that changes a session's credentials, as a C compiler lays its structs out."""

import errno
import struct

from kvmlun import sessionauth


def test_the_message_is_what_open_iscsi_would_send():
    sent = sessionauth.message(0xFFFF_8000_1234_5678, 7, 24, "s3cret")
    # sizeof(struct nlmsghdr) + sizeof(struct iscsi_uevent) + strlen + 1 (gcc, x86-64)
    assert len(sent) == 16 + 56 + 7 == struct.unpack_from("=I", sent)[0]
    # offsetof(struct iscsi_uevent, u) is 16.
    assert struct.unpack_from("=IIQIIII", sent, 16) == (16, 0, 0xFFFF_8000_1234_5678, 7, 0, 24, 7)
    assert sent[72:] == b"s3cret\0"


def test_an_error_of_the_kernel():
    answer = bytes(16) + struct.pack("=Ii", 16, -errno.ENOTCONN) + bytes(48)
    assert sessionauth.result(answer) == errno.ENOTCONN
    assert sessionauth.result(bytes(72)) == 0
