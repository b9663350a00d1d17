"""Runs the cases of the Autobahn testsuite (PyPI `autobahntestsuite`) against an echo server of WebSocket, and prints what came of each
as one line of JSON. The package is Python 2 and its engine needs a library of that time; its cases are plain enough to be read by
Python 3, and what they ask of the engine is here: a client that sends any frame and judges nothing by itself.

Usage: fuzzing_client.py FOLDER_OF_THE_PACKAGE HOST PORT CASES_AT_A_TIME SECTION…
Left out: 9.9 and 9.10, which never end, 12 and 13, which need the engine's own compression.
"""

import asyncio
import base64
import builtins
import codecs
import importlib.abc
import importlib.util
import json
import os
import re
import sys
import types

# A machine that is busy answers late; how late it may is no part of any case.
CASE_LIMIT, KILL_PATIENCE, CLOSE_PATIENCE = 90, 20, 3
NORMAL, PROTOCOL_ERROR, INVALID_PAYLOAD = 1000, 1002, 1007


class WebSocketProtocol:
    """The constants that cases ask for."""

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)
    CLOSE_STATUS_CODE_NORMAL = NORMAL
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = PROTOCOL_ERROR
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = INVALID_PAYLOAD


class Utf8Validator:
    """As the engine's: whether all is valid so far, and whether it ends on a code point."""

    def __init__(self):
        self.reset()

    def reset(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def validate(self, text):
        try:
            self._decoder.decode(text.encode("latin-1"))
        except UnicodeDecodeError:
            return False, False, 0, 0
        return True, self._decoder.getstate()[0] == b"", len(text), len(text)


class CaseLoader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Reads modules of Python 2. Their strings are bytes, which are text of one character each here."""

    def __init__(self, folder):
        self._folder = folder

    def find_spec(self, name, path=None, target=None):
        if not re.fullmatch(r"case[\d_]*(X|x_x)?", name):
            return None
        return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        file = os.path.join(self._folder, module.__name__ + ".py")
        with open(file, encoding="latin-1") as source:
            text = source.read()
        text = re.sub(r"^#.*coding=.*$", "#", text, flags=re.M)
        text = re.sub(r"^(\s*)print\b.*$", r"\1pass", text, flags=re.M)
        text = text.replace("(object, Case, )", "(Case, )").replace(" / self.p.", " // self.p.")
        text = text.replace("binascii.b2a_hex(", "hexadecimal(")
        exec(compile(text, file, "exec"), module.__dict__)


def load_cases(folder):
    """All cases by their number, such as `6.4.1`."""
    builtins.xrange, builtins.unichr = range, chr
    builtins.hexadecimal = lambda text: text.encode("latin-1").hex()
    websocket = types.ModuleType("autobahn.websocket")
    protocol = types.ModuleType("autobahn.websocket.protocol")
    protocol.WebSocketProtocol = WebSocketProtocol
    validator = types.ModuleType("autobahn.websocket.utf8validator")
    validator.Utf8Validator = Utf8Validator
    for module in (types.ModuleType("autobahn"), websocket, protocol, validator):
        sys.modules[module.__name__] = module
    sys.meta_path.insert(0, CaseLoader(folder))
    base = importlib.import_module("case").Case
    base.compare = lambda self, one, other: one == other
    cases = {}
    for file in sorted(os.listdir(folder)):
        if not re.fullmatch(r"case\d.*\.py", file) or re.match(r"case(9_9_|9_10_|12_|13_)", file):
            continue
        for value in vars(importlib.import_module(file[:-3])).values():
            for case in value if isinstance(value, list) else [value]:
                if isinstance(case, type) and issubclass(case, base) and case is not base:
                    cases[case.__name__[4:].replace("_", ".")] = case
    return dict(sorted(cases.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def masked(payload, key):
    whole = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


class Connection:
    """What a case knows as `self.p`: one connection of a client."""

    CLOSE_STATUS_CODE_NORMAL = NORMAL
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = PROTOCOL_ERROR
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = INVALID_PAYLOAD

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._outgoing = asyncio.Queue()
        self._timers = []
        self.case = None
        self.factory = types.SimpleNamespace(isServer=False)
        self.state = WebSocketProtocol.STATE_OPEN
        self.connectionWasOpen = True
        self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.localCloseCode = self.localCloseReason = self.remoteCloseCode = self.remoteCloseReason = None
        self.createWirelog = False
        self.autoFragmentSize = 0
        self.trafficStats = None
        self.txFrameStats = {}

    def enableWirelog(self, _enable):
        pass

    def continueLater(self, delay, run, tag=None):
        self._later(delay, run)

    def closeAfter(self, delay):
        self._later(delay * CLOSE_PATIENCE, self.sendClose)

    def killAfter(self, delay):
        self._later(delay * KILL_PATIENCE, self.fail)

    def _later(self, delay, run):
        self._timers.append(self._loop.call_later(delay, lambda: self.state != WebSocketProtocol.STATE_CLOSED and run()))

    def fail(self):
        self.failedByMe = self.droppedByMe = True
        self.wasClean = False
        self.state = WebSocketProtocol.STATE_CLOSED
        self._writer.transport.abort()

    def sendFrame(self, opcode, payload="", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        data = payload.encode("latin-1")
        self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1
        key = os.urandom(4)
        frame = self._head(opcode, len(data), fin, rsv) + key + masked(data, key)
        step = chopsize or len(frame)
        for start in range(0, len(frame), step):
            self._outgoing.put_nowait(frame[start : start + step])

    def _head(self, opcode, length, fin, rsv):
        first = (0x80 if fin else 0) | rsv << 4 | opcode
        if length < 126:
            return bytes([first, 0x80 | length])
        if length < 65536:
            return bytes([first, 0x80 | 126]) + length.to_bytes(2, "big")
        return bytes([first, 0x80 | 127]) + length.to_bytes(8, "big")

    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False):
        opcode = 2 if isBinary else 1
        size = fragmentSize or self.autoFragmentSize
        if not size or len(payload) <= size:
            return self.sendFrame(opcode, payload)
        for start in range(0, len(payload), size):
            self.sendFrame(0 if start else opcode, payload[start : start + size], fin=start + size >= len(payload))

    def beginMessage(self, isBinary=False):
        self._opcode = 2 if isBinary else 1

    def beginMessageFrame(self, length):
        self._key, self._sent = os.urandom(4), 0
        self._outgoing.put_nowait(self._head(self._opcode, length, False, 0) + self._key)

    def sendMessageFrameData(self, payload):
        turned = self._key[self._sent % 4 :] + self._key[: self._sent % 4]
        self._sent += len(payload)
        self._outgoing.put_nowait(masked(payload.encode("latin-1"), turned))

    def endMessage(self):
        self.sendFrame(0, "", fin=True)

    def sendClose(self, code=None, reason=None):
        self.sendCloseFrame(code, reason)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        if self.state != WebSocketProtocol.STATE_OPEN:
            return
        payload = b"" if code is None else code.to_bytes(2, "big")
        reason = reasonUtf8 or ""
        self.sendFrame(8, payload.decode("latin-1") + reason)
        self.state = WebSocketProtocol.STATE_CLOSING
        self.closedByMe = not isReply
        self.localCloseCode, self.localCloseReason = code, reason

    async def run(self, case):
        self.case = case
        sending = asyncio.create_task(self._send())
        case.onOpen()
        try:
            await asyncio.wait_for(self._receive(), CASE_LIMIT)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.TimeoutError:
            self.failedByMe = True
        sending.cancel()
        for timer in self._timers:
            timer.cancel()
        self.state = WebSocketProtocol.STATE_CLOSED
        self._writer.transport.abort()
        case.onConnectionLost(self.failedByMe)

    async def _send(self):
        while True:
            self._writer.write(await self._outgoing.get())
            try:
                await self._writer.drain()
            except ConnectionError:
                return
            await asyncio.sleep(0)

    async def _receive(self):
        parts, binary = [], False
        while True:
            first, second = await self._reader.readexactly(2)
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            payload = (await self._reader.readexactly(length)).decode("latin-1")
            opcode = first & 0x0F
            if opcode == 8:
                self._closed(payload)
            elif opcode == 9:
                self.sendFrame(10, payload)
                self.case.onPing(payload)
            elif opcode == 10:
                self.case.onPong(payload)
            else:
                binary = opcode == 2 if opcode else binary
                parts.append(payload)
                if first & 0x80:
                    message, parts = "".join(parts), []
                    self.case.onMessage(message, binary)

    def _closed(self, payload):
        self.remoteCloseCode = int.from_bytes(payload[:2].encode("latin-1"), "big") if len(payload) > 1 else None
        self.remoteCloseReason = payload[2:]
        self.wasClean = True
        self.sendCloseFrame(NORMAL, isReply=True)
        # The server ends the connection (RFC 6455 section 7.1.1).


async def connect(host, port):
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        raise SystemExit(f"no WebSocket: {head!r}")
    return Connection(reader, writer)


async def main(folder, host, port, at_a_time, *sections):
    turns = asyncio.Semaphore(int(at_a_time))

    async def one(number, make):
        async with turns:
            connection = await connect(host, int(port))
            case = make(connection)
            await connection.run(case)
            told = {"case": number, "behavior": case.behavior, "close": case.behaviorClose, "result": case.result}
            print(json.dumps(told), flush=True)

    cases = load_cases(os.path.join(folder, "case"))
    wanted = [(number, make) for number, make in cases.items() if number.split(".")[0] in sections]
    await asyncio.gather(*(one(number, make) for number, make in wanted))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
