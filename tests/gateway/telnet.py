"""A telnet client of a few lines: declines every option, types one command, and knows its answer."""

IAC, SE, SB, WILL, WONT, DO, DONT = 255, 240, 250, 251, 252, 253, 254
COMMAND, ANSWER = b"seq 41 43\r\n", b"41\r\n42\r\n43\r\n"


class Shell:
    """A shell behind telnetd, without I/O."""

    def __init__(self):
        self.heard, self.typed = b"", False

    @property
    def has_answered(self):
        return ANSWER in self.heard.replace(b"\x00", b"")

    def feed(self, data):
        """What is to be sent now that `data` has come."""
        self.heard += data
        answer = b""
        while (at := self.heard.find(bytes([IAC]))) >= 0 and len(self.heard) >= at + 3:
            verb, option, end = self.heard[at + 1], self.heard[at + 2], at + 3
            if verb == SB:
                end = self.heard.find(bytes([IAC, SE]), at) + 2
                if end < 2:
                    break
            elif verb in (WILL, DO):
                answer += bytes([IAC, DONT if verb == WILL else WONT, option])
            self.heard = self.heard[:at] + self.heard[end:]
        if not self.typed and self.heard.rstrip().endswith((b"#", b"$")):
            self.typed = True
            answer += COMMAND
        return answer
